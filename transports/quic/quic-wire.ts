/** A Wire over the control stream of a QUIC connection. */
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { EVICTED } from '../arrival.ts';
import type { OnError } from '../listen-url.ts';

/** Application error codes of MQTT over QUIC, as EMQX uses them. */
export const CODES = { normal: 0, controlStreamLost: 1, overloaded: 2 } as const;

/** MQTT 5 reasons that mean: there is no room for you now. */
const OVERLOADED: ReadonlySet<number> = new Set([0x89, 0x97, 0x9f]);

/** What a wire can do with its stream. */
export interface ControlStream {
  /** Copies what there is room for; answers how many bytes that is. */
  take(bytes: Uint8Array): number;
  /** Has what was taken sent. */
  sendSoon(): void;
  /** Has it read again. */
  wake(): void;
  /** From now on the client has `END_TIMEOUT_MS` to take the rest; then it is closed with this code. */
  boundEnd(code: number): void;
  /** No more is read; what was taken is sent, then the end. */
  finish(): void;
  /** Closes the connection, now. */
  kill(code: number): void;
}

/** Stands in until the core has answered `accept`. */
const NO_EVENTS: WireEvents = { data() {}, drain() {}, closed() {} };

export class QuicWire implements Wire {
  readonly peer: PeerInfo;
  readonly visit: Visit;
  readonly #stream: ControlStream;
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

  private constructor(stream: ControlStream, peer: PeerInfo, visit: Visit, onError: OnError | undefined) {
    this.peer = peer;
    this.visit = visit;
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

  /** Hands the stream to the core. Never throws: what `accept` throws goes to `onError` and closes the connection. */
  static open(
    stream: ControlStream,
    peer: PeerInfo,
    visit: Visit,
    accept: (wire: Wire) => WireEvents,
    onError: OnError | undefined,
  ): QuicWire {
    const wire = new QuicWire(stream, peer, visit, onError);
    try {
      wire.#events = accept(wire);
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
    this.#stream.boundEnd(OVERLOADED.has(reasonCode) ? CODES.overloaded : CODES.normal);
    if (this.#held === null) this.#stream.finish();
  }

  abort(error?: Error): void {
    if (this.#closedRaised) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#held = null;
    this.#error = error;
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
