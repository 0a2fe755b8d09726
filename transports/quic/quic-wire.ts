/** A Wire over one stream of a QUIC connection. */
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { EVICTED } from '../arrival.ts';
import type { OnError } from '../listen-url.ts';

/** Application error codes of MQTT over QUIC, as EMQX uses them. */
export const CODES = { normal: 0, controlStreamLost: 1, overloaded: 2 } as const;

/** What a wire can do with its stream. */
export interface WireStream {
  /** Copies what there is room for; answers how many bytes that is. */
  take(bytes: Uint8Array): number;
  /** Has what was taken sent. */
  sendSoon(): void;
  /** Has it read again. */
  wake(): void;
  /** The core has ended it with this MQTT 5 reason code: from now on the client has `END_TIMEOUT_MS` to take the rest. */
  boundEnd(reasonCode: number): void;
  /** No more is read; what was taken is sent, then the end. */
  finish(): void;
  /** Ends it now, with this application error code; the control stream ends the connection. */
  kill(code: number): void;
}

/** Stands in until the core has answered `accept`. */
const NO_EVENTS: WireEvents = { data() {}, drain() {}, closed() {} };

export class QuicWire implements Wire {
  readonly peer: PeerInfo;
  readonly visit?: Visit;
  readonly #stream: WireStream;
  readonly #onError: OnError | undefined;
  #events: WireEvents;
  /** Data and drain may still be raised, and writes are taken. */
  #live: boolean;
  #paused: boolean;
  /** What is left of a write that there was no room for. */
  #held: Uint8Array | null;
  /** To be finished when what is held has gone. */
  #isEnding: boolean;
  #closedRaised: boolean;
  #coreEnded: boolean;
  #error: Error | undefined;

  private constructor(
    stream: WireStream,
    peer: PeerInfo,
    visit: Visit | undefined,
    onError: OnError | undefined,
  ) {
    this.peer = peer;
    if (visit !== undefined) this.visit = visit;
    this.#stream = stream;
    this.#onError = onError;
    this.#events = NO_EVENTS;
    this.#live = true;
    this.#paused = false;
    this.#held = null;
    this.#isEnding = false;
    this.#closedRaised = false;
    this.#coreEnded = false;
    this.#error = undefined;
  }

  /**
   * Hands the stream to the core; null: the core does not want it. Never throws: what `accept` throws goes to `onError`, and is
   * the end of the stream.
   */
  static open(
    stream: WireStream,
    peer: PeerInfo,
    visit: Visit | undefined,
    accept: (wire: Wire) => WireEvents | null,
    onError: OnError | undefined,
  ): QuicWire | null {
    const wire = new QuicWire(stream, peer, visit, onError);
    try {
      const events = accept(wire);
      if (events === null) return null;
      wire.#events = events;
    } catch (error) {
      wire.#fail(error);
    }
    return wire;
  }

  /** Whether bytes of the stream may be raised now. */
  get wantsData(): boolean {
    return this.#live && !this.#paused;
  }

  /** The core has not ended it, and waits before it reads more. */
  get isPaused(): boolean {
    return this.#live && this.#paused;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#live || bytes.length === 0) return true;
    const taken = this.#stream.take(bytes);
    this.#stream.sendSoon();
    if (taken === bytes.length || !this.#live) return true;
    this.#held = taken === 0 ? bytes : bytes.subarray(taken);
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#live) this.#stream.wake();
  }

  end(reasonCode = 0): void {
    if (!this.#live) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#isEnding = true;
    this.#stream.boundEnd(reasonCode);
    if (this.#held === null) this.#stream.finish();
  }

  abort(error?: Error): void {
    if (this.#closedRaised) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#held = null;
    this.#error ??= error;
    this.#stream.kill(error === EVICTED ? CODES.overloaded : CODES.normal);
  }

  /** Bytes of the stream; only when `wantsData`. */
  data(chunk: Buffer): void {
    try {
      this.#events.data(chunk);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Asks the core whether it wants a further stream of the connection whose control stream this is. */
  stream(wire: Wire): WireEvents | null {
    if (!this.#live) return null;
    return this.#events.stream?.(wire) ?? null;
  }

  /** There may be room for what is held. */
  roomAgain(): void {
    if (this.#held === null) return;
    const taken = this.#stream.take(this.#held);
    // Taking may have found the stream lost, and closed this.
    if (this.#held === null) return;
    this.#held = taken === this.#held.length ? null : this.#held.subarray(taken);
    if (this.#held !== null) return;
    if (this.#isEnding) this.#stream.finish();
    if (!this.#live) return;
    try {
      this.#events.drain();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The connection is over. */
  closed(error?: Error): void {
    this.#live = false;
    this.#held = null;
    if (this.#closedRaised) return;
    this.#closedRaised = true;
    if (!this.#coreEnded) this.#error ??= error;
    try {
      this.#events.closed(this.#error);
    } catch (thrown) {
      this.#onError?.(asError(thrown), this.peer.address);
    }
  }

  /** A handler threw: that is the end of this wire, and of no other. */
  #fail(thrown: unknown): void {
    const error = asError(thrown);
    this.#onError?.(error, this.peer.address);
    this.abort(error);
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
