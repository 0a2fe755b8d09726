/** The broker's end of a stream whose engine runs in a process of its own. */
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { END_TIMEOUT_MS, STREAM_REFUSED } from '../../src/limits.ts';
import { EVICTED } from '../arrival.ts';
import type { OnError } from '../listen-url.ts';
import { asError, NO_EVENTS } from '../socket-wire.ts';
import { CREDIT_BYTES, FRAME, type Link, WINDOW_BYTES } from './link.ts';

/** More than the process may send ahead, whatever the size of its chunks: one that goes on beyond is out of its mind. */
const WAITING_BYTES_MAX = 4 * WINDOW_BYTES;

/** What all streams of a process share. */
export interface WireHost {
  readonly link: Link;
  readonly onError: OnError | undefined;
  /** `drained` of the wire is to be called when the link has room. */
  awaitRoom(wire: IsolatedWire): void;
  /** The wire needs nothing more. */
  forget(wire: IsolatedWire): void;
  /** The process does what it must not. */
  violated(problem: string): void;
}

export class IsolatedWire implements Wire {
  readonly id: number;
  readonly peer: PeerInfo;
  readonly visit?: Visit;
  readonly #host: WireHost;
  /** That of the first stream of its connection; null: it is that. */
  readonly #parent: IsolatedWire | null;
  /** Further streams of its connection. */
  readonly #further: Set<IsolatedWire>;
  #events: WireEvents;
  /** Data and drain may still be raised, and writes are taken. */
  #live: boolean;
  #coreEnded: boolean;
  #closedRaised: boolean;
  #error: Error | undefined;
  #endTimer: NodeJS.Timeout | undefined;
  #endCode: number;
  /** To be ended when what is held has gone. */
  #isEnding: boolean;
  /** Bytes that the process has room for. */
  #credit: number;
  /** What is left of a write that there was no room for. */
  #held: Uint8Array | null;
  #paused: boolean;
  /** What came while the core had paused. */
  #waiting: Buffer[];
  #waitingBytes: number;
  /** Bytes the core has had since the process was last told of them. */
  #uncredited: number;
  /** The stream is over, behind what waits. */
  #isOver: boolean;

  private constructor(host: WireHost, id: number, peer: PeerInfo, of: Visit | IsolatedWire) {
    this.id = id;
    this.peer = peer;
    this.#parent = of instanceof IsolatedWire ? of : null;
    if (!(of instanceof IsolatedWire)) this.visit = of;
    this.#further = new Set();
    this.#host = host;
    this.#events = NO_EVENTS;
    this.#live = true;
    this.#coreEnded = false;
    this.#closedRaised = false;
    this.#error = undefined;
    this.#endTimer = undefined;
    this.#endCode = 0;
    this.#isEnding = false;
    this.#credit = WINDOW_BYTES;
    this.#held = null;
    this.#paused = false;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#uncredited = 0;
    this.#isOver = false;
  }

  /** Hands the stream to the core. Never throws: what `accept` throws goes to `onError` and ends the stream. */
  static open(
    host: WireHost,
    id: number,
    peer: PeerInfo,
    visit: Visit,
    accept: (wire: Wire) => WireEvents,
  ): IsolatedWire {
    const wire = new IsolatedWire(host, id, peer, visit);
    try {
      wire.#events = accept(wire);
    } catch (error) {
      wire.#fail(error);
    }
    return wire;
  }

  /** Hands a further stream of this connection to the core, or has it reset. Never throws. */
  openFurther(id: number, keep: (wire: IsolatedWire) => void): void {
    const wire = new IsolatedWire(this.#host, id, this.peer, this);
    keep(wire);
    this.#further.add(wire);
    try {
      const events = this.#live ? (this.#events.stream?.(wire) ?? null) : null;
      if (events === null) wire.#refuse();
      else wire.#events = events;
    } catch (error) {
      wire.#fail(error);
    }
  }

  write(bytes: Uint8Array): boolean {
    // Behind the end of the stream, which the core has not heard of, nobody reads.
    if (!this.#live || this.#isOver || bytes.length === 0) return true;
    const taken = this.#send(bytes);
    if (taken === bytes.length) return true;
    this.#held = bytes.subarray(taken);
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#waiting.length > 0 || this.#isOver) process.nextTick(() => this.#deliverWaiting());
  }

  end(reasonCode = 0): void {
    if (!this.#live) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#dropWaiting();
    this.#endCode = reasonCode;
    if (this.#isOver) {
      process.nextTick(() => this.#finish());
      return;
    }
    // A further stream is reset with the code, and nothing more of it arrives.
    if (this.#parent !== null && reasonCode !== 0) this.#held = null;
    this.#endTimer = setTimeout(() => this.abort(), END_TIMEOUT_MS);
    this.#endTimer.unref();
    if (this.#held === null) this.#sendEnd();
    else this.#isEnding = true;
  }

  abort(error?: Error): void {
    if (this.#closedRaised) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#error ??= error;
    this.#held = null;
    this.#dropWaiting();
    this.#host.link.frame(FRAME.abort, this.id, Buffer.of(error === EVICTED ? 1 : 0));
    // Not from within a call of the core.
    process.nextTick(() => this.#finish());
  }

  /** Bytes of the client. */
  data(chunk: Buffer): void {
    if (!this.#live) return;
    if (!this.#paused && this.#waiting.length === 0) {
      this.#deliver(chunk);
      return;
    }
    this.#waitingBytes += chunk.length;
    if (this.#waitingBytes > WAITING_BYTES_MAX) this.#host.violated('it sent more of a stream than it may');
    else this.#waiting.push(Buffer.from(chunk));
  }

  /** The process has room for so many bytes more. */
  credited(bytes: number): void {
    this.#credit = Math.min(this.#credit + bytes, WINDOW_BYTES);
    this.drained();
  }

  /** There may be room for what is held. */
  drained(): void {
    if (this.#held === null) return;
    const taken = this.#send(this.#held);
    this.#held = taken === this.#held.length ? null : this.#held.subarray(taken);
    if (this.#held !== null) return;
    if (this.#isEnding) this.#sendEnd();
    if (!this.#live) return;
    try {
      this.#events.drain();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The stream is over; every byte before was told. */
  closed(error?: Error): void {
    // A core that reads no more, because it cannot write any more, would wait for ever.
    if (error === undefined && this.#live && this.#waiting.length > 0 && this.#held === null)
      this.#isOver = true;
    else this.#finish(error);
  }

  /** The process is gone. */
  lost(error?: Error): void {
    this.#finish(error);
  }

  #send(bytes: Uint8Array): number {
    const { link } = this.#host;
    const isFull = link.isFull;
    const taken = isFull ? 0 : Math.min(this.#credit, bytes.length);
    if (isFull) this.#host.awaitRoom(this);
    if (taken === 0) return 0;
    this.#credit -= taken;
    link.data(this.id, taken === bytes.length ? bytes : bytes.subarray(0, taken));
    return taken;
  }

  #sendEnd(): void {
    this.#isEnding = false;
    this.#host.link.frame(FRAME.end, this.id, Buffer.of(this.#endCode));
  }

  #deliver(chunk: Buffer): void {
    try {
      this.#events.data(chunk);
    } catch (error) {
      this.#fail(error);
    }
    this.#uncredited += chunk.length;
    if (!this.#live || (this.#uncredited < CREDIT_BYTES && this.#parent === null)) return;
    this.#host.link.credit(this.id, this.#uncredited);
    this.#uncredited = 0;
  }

  #deliverWaiting(): void {
    while (this.#live && !this.#paused) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) break;
      this.#waitingBytes -= chunk.length;
      this.#deliver(chunk);
    }
    if (this.#isOver && this.#waiting.length === 0) this.#finish();
  }

  #dropWaiting(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  /** The end, told once. An end of the core's own has the error that it gave. */
  #finish(error?: Error): void {
    if (this.#closedRaised) return;
    this.#closedRaised = true;
    this.#live = false;
    this.#held = null;
    this.#dropWaiting();
    clearTimeout(this.#endTimer);
    const told = this.#coreEnded ? this.#error : error;
    for (const further of this.#further) further.#finish(told);
    this.#leave();
    try {
      this.#events.closed(told);
    } catch (thrown) {
      this.#host.onError?.(asError(thrown), this.peer.address);
    }
  }

  /** The core does not want it. */
  #refuse(): void {
    this.#closedRaised = true;
    this.#live = false;
    this.#host.link.frame(FRAME.end, this.id, Buffer.of(STREAM_REFUSED));
    this.#leave();
  }

  #leave(): void {
    if (this.#parent !== null) this.#parent.#further.delete(this);
    this.#host.forget(this);
  }

  /** A handler threw: that is the end of this wire, and of no other. */
  #fail(thrown: unknown): void {
    const error = asError(thrown);
    this.#host.onError?.(error, this.peer.address);
    this.abort(error);
  }
}
