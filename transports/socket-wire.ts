/** A Wire over a stream socket: shared by the TCP, TLS and unix doors. */
import type { Socket } from 'node:net';
import type { Visit } from '../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { END_TIMEOUT_MS } from '../src/limits.ts';
import type { Arrival } from './arrival.ts';
import type { OnError } from './listen-url.ts';

/** Stands in until the core has answered `accept`. */
export const NO_EVENTS: WireEvents = { data() {}, drain() {}, closed() {} };

/**
 * One socket. `write` and the data path allocate nothing beyond what `node:net` does: the callback is bound once,
 * and whether a write has left is read from `writableLength`.
 */
export class SocketWire implements Wire {
  readonly peer: PeerInfo;
  readonly visit: Visit;
  readonly #socket: Socket;
  readonly #onError: OnError | undefined;
  readonly #onWritten: (error?: Error | null) => void;
  #events: WireEvents;
  /** Data and drain may still be raised, and writes are taken. */
  #live: boolean;
  /** A write is waiting for its drain. */
  #held: boolean;
  /** The core ended or aborted: what breaks from here on is not news. */
  #coreEnded: boolean;
  #closedRaised: boolean;
  #error: Error | undefined;
  #endTimer: NodeJS.Timeout | undefined;

  private constructor(socket: Socket, peer: PeerInfo, visit: Visit, onError: OnError | undefined) {
    this.peer = peer;
    this.visit = visit;
    this.#socket = socket;
    this.#onError = onError;
    this.#onWritten = (error) => this.#written(error);
    this.#events = NO_EVENTS;
    this.#live = true;
    this.#held = false;
    this.#coreEnded = false;
    this.#closedRaised = false;
    this.#error = undefined;
    this.#endTimer = undefined;
  }

  /**
   * Hands an accepted socket to the core. The socket must have been made with `allowHalfOpen: false`.
   * Never throws: what `accept` throws goes to `onError` and closes the socket.
   */
  static open(
    socket: Socket,
    peer: PeerInfo,
    accept: (wire: Wire) => WireEvents,
    onError: OnError | undefined,
    arrival: Arrival,
  ): void {
    const wire = new SocketWire(socket, peer, arrival.visit, onError);
    arrival.became(wire);
    socket.on('error', (error) => wire.#broke(error));
    socket.on('close', () => wire.#finish());
    try {
      wire.#events = accept(wire);
    } catch (error) {
      wire.#fail(error);
      return;
    }
    socket.on('end', () => wire.#peerEnded());
    socket.on('data', (chunk: Buffer) => wire.#data(chunk));
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#live) return true;
    this.#socket.write(bytes, this.#onWritten);
    if (this.#socket.writableLength === 0) return true;
    this.#held = true;
    return false;
  }

  pause(): void {
    if (this.#live) this.#socket.pause();
  }

  resume(): void {
    if (this.#live) this.#socket.resume();
  }

  end(): void {
    if (!this.#live) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#boundEnd();
    this.#socket.end();
    // Input is read and dropped until the peer's FIN: unread input would turn our FIN into a reset that eats the last bytes.
    this.#socket.resume();
  }

  abort(error?: Error): void {
    if (this.#closedRaised || this.#socket.destroyed) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#error = error;
    abortSocket(this.#socket);
  }

  #data(chunk: Buffer): void {
    if (!this.#live) return;
    try {
      this.#events.data(chunk);
    } catch (error) {
      this.#fail(error);
    }
  }

  #written(error: Error | null | undefined): void {
    if (!this.#held || error || !this.#live || this.#socket.writableLength !== 0) return;
    this.#held = false;
    try {
      this.#events.drain();
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  /** The peer's FIN. Node ends our side by itself once the pending writes are out. */
  #peerEnded(): void {
    this.#boundEnd();
    this.#finish();
  }

  #broke(error: Error): void {
    if (!this.#coreEnded) this.#error ??= error;
    this.#live = false;
  }

  #finish(): void {
    this.#live = false;
    if (this.#socket.destroyed) clearTimeout(this.#endTimer);
    if (this.#closedRaised) return;
    this.#closedRaised = true;
    try {
      this.#events.closed(this.#error);
    } catch (error) {
      this.#onError?.(asError(error), this.peer.address);
    }
  }

  /** A handler threw: that is the end of this wire, and of no other. */
  #fail(thrown: unknown): void {
    const error = asError(thrown);
    this.#onError?.(error, this.peer.address);
    this.abort(error);
  }

  #boundEnd(): void {
    if (this.#endTimer !== undefined) return;
    this.#endTimer = setTimeout(abortSocket, END_TIMEOUT_MS, this.#socket);
    this.#endTimer.unref();
  }
}

/**
 * Destroys a socket so that the kernel lets go of unsent bytes at once: with a reset where the handle can.
 * Only a plain TCP handle has `reset`: Node throws for a pipe and for TLS. And it fails once our FIN is under way:
 * Node 24 then reports EINVAL, never closes the handle and never emits `close`.
 */
export function abortSocket(socket: Socket): void {
  if (socket.remoteFamily === undefined || 'encrypted' in socket || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** What was thrown, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
