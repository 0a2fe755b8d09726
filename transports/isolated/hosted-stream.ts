/** The engine's end of a stream that is on its way to the broker: stands where the core stands in a broker of one process. */
import type { Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { EVICTED } from '../arrival.ts';
import { CREDIT_BYTES, FRAME, type Link, WINDOW_BYTES } from './link.ts';
import { tellError } from './messages.ts';

/** What all streams of a process share. */
export interface StreamHost {
  readonly link: Link;
  /** `drained` of the stream is to be called when the link has room. */
  awaitRoom(stream: HostedStream): void;
  /** The stream needs nothing more. */
  forget(stream: HostedStream): void;
  /** Tells the broker of a further stream of the connection whose first one has this number. */
  further(parent: number, wire: Wire): HostedStream;
}

/** Where the wire is paused. The chunk that goes beyond, and the one that is already read, fit into the window. */
const AHEAD_BYTES_MAX = WINDOW_BYTES / 2;
/** What the broker says when it cuts a stream off. */
const CUT_OFF = new Error('cut off by the broker');

export class HostedStream implements WireEvents {
  readonly id: number;
  readonly #host: StreamHost;
  readonly #wire: Wire;
  /** Not the first stream of its connection. */
  readonly #isFurther: boolean;
  /** Bytes sent to the broker and not used there. */
  #uncredited: number;
  #isPaused: boolean;
  /** From the broker: bytes that wait for the wire, and how many it holds. */
  #waiting: Buffer[];
  #held: number;
  /** Used, and not told yet. */
  #used: number;
  /** The broker has ended it with this code; null: it has not. */
  #endCode: number | null;
  #isOver: boolean;

  constructor(host: StreamHost, id: number, wire: Wire, isFurther: boolean) {
    this.id = id;
    this.#host = host;
    this.#wire = wire;
    this.#isFurther = isFurther;
    this.#uncredited = 0;
    this.#isPaused = false;
    this.#waiting = [];
    this.#held = 0;
    this.#used = 0;
    this.#endCode = null;
    this.#isOver = false;
  }

  data(chunk: Buffer): void {
    const { link } = this.#host;
    link.data(this.id, chunk);
    this.#uncredited += chunk.length;
    // The end of a further stream is not told before the broker has answered what came before: its answer is to leave ahead of our end.
    if (this.#uncredited < AHEAD_BYTES_MAX && !link.isFull && !this.#isFurther) return;
    if (link.isFull) this.#host.awaitRoom(this);
    this.#isPaused = true;
    this.#wire.pause();
  }

  drain(): void {
    this.#use(this.#held);
    this.#held = 0;
    this.#writeWaiting();
  }

  /** The broker is asked, and ends what it does not want. */
  stream(wire: Wire): WireEvents {
    return this.#host.further(this.id, wire);
  }

  closed(error?: Error): void {
    this.#isOver = true;
    this.#waiting = [];
    const { link } = this.#host;
    if (error === undefined) link.frame(FRAME.closed, this.id);
    else link.json(FRAME.closed, this.id, tellError(error));
    this.#host.forget(this);
  }

  /** Bytes of the broker. They stay as they are: Node reads into new memory each time. */
  write(bytes: Buffer): void {
    if (this.#isOver) return;
    if (this.#held > 0 || this.#waiting.length > 0) this.#waiting.push(Buffer.from(bytes));
    else this.#hand(bytes);
  }

  /** The broker has used so many bytes. */
  credited(bytes: number): void {
    this.#uncredited -= bytes;
    this.drained();
  }

  /** There may be room for more. */
  drained(): void {
    if (!this.#isPaused || this.#isOver || this.#uncredited >= AHEAD_BYTES_MAX) return;
    if (this.#isFurther && this.#uncredited > 0) return;
    if (this.#host.link.isFull) {
      this.#host.awaitRoom(this);
      return;
    }
    this.#isPaused = false;
    this.#wire.resume();
  }

  /** To be ended behind what was written. */
  end(code: number): void {
    this.#endCode = code;
    // It is reset with the code, and nothing more of it arrives.
    if (this.#isFurther && code !== 0) this.#waiting = [];
    if (this.#waiting.length === 0) this.#wire.end(code);
  }

  abort(isEvicted: boolean): void {
    this.#waiting = [];
    this.#wire.abort(isEvicted ? EVICTED : CUT_OFF);
  }

  #writeWaiting(): void {
    while (this.#held === 0) {
      const bytes = this.#waiting.shift();
      if (bytes === undefined) return;
      this.#hand(bytes);
      if (this.#waiting.length === 0 && this.#endCode !== null) this.#wire.end(this.#endCode);
    }
  }

  #hand(bytes: Buffer): void {
    if (this.#wire.write(bytes)) this.#use(bytes.length);
    else this.#held = bytes.length;
  }

  #use(bytes: number): void {
    this.#used += bytes;
    if (this.#used < CREDIT_BYTES) return;
    this.#host.link.credit(this.id, this.#used);
    this.#used = 0;
  }
}
