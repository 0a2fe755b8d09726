/** A data stream: one of the bidirectional streams that a client opened behind the first, as a wire of its own. */
import type { PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { END_TIMEOUT_MS, STREAM_REFUSED } from '../../src/limits.ts';
import type { OnError } from '../listen-url.ts';
import { QuicWire, type WireStream } from './quic-wire.ts';
import type { Quiche, QuicheConnection } from './quiche.ts';

/** MQTT 5 reason code Unspecified error (2.4). */
const ABORTED = 0x80;
const NONE = Buffer.alloc(0);

/** The engine's side of a connection. */
export interface StreamEngine {
  readonly native: QuicheConnection;
  readonly quiche: Quiche;
  /** Bytes are read into it, and lent to the core. */
  readonly readBuffer: Buffer;
}

/** What the data streams of a connection share with it. */
export interface StreamHost extends StreamEngine {
  readonly peer: PeerInfo;
  readonly onError: OnError | undefined;
  /** Nothing more is sent. */
  isDying(): boolean;
  /** Asks the core. */
  accept(wire: Wire): WireEvents | null;
  sendSoon(): void;
  wake(): void;
  /** So many bytes were handed to the core. */
  wasRead(bytes: number): void;
}

/**
 * Resets a stream, both ways.
 * @param code application error code
 */
export function resetStream({ native, quiche, readBuffer }: StreamEngine, id: number, code: number): void {
  const { Shutdown } = quiche;
  for (const direction of [Shutdown.Read, Shutdown.Write]) {
    try {
      native.streamShutdown(id, direction, code);
    } catch {
      // A unidirectional stream has no other direction, and one that is over none at all.
    }
  }
  discard(native, id, readBuffer);
}

/** Reads what was buffered, so that the engine forgets it. */
function discard(native: QuicheConnection, id: number, readBuffer: Buffer): void {
  try {
    let result = native.streamRecv(id, readBuffer);
    while (result !== null && !result[1]) result = native.streamRecv(id, readBuffer);
  } catch {
    // It is reset.
  }
}

class QuicDataStream implements WireStream {
  readonly #host: StreamHost;
  readonly #id: number;
  /** The client has ended it, and the core paused with its last bytes: it hears of the end when it goes on. */
  #isEndRead: boolean;
  /** Null: the core did not want it. */
  readonly wire: QuicWire | null;
  /** Nothing more is read or written. */
  #isOver: boolean;
  #isTold: boolean;
  #error: Error | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(host: StreamHost, id: number) {
    this.#host = host;
    this.#id = id;
    this.#isEndRead = false;
    this.#isOver = false;
    this.#isTold = false;
    this.#error = undefined;
    this.#timer = undefined;
    this.wire = QuicWire.open(this, host.peer, undefined, (wire) => host.accept(wire), host.onError);
    if (this.wire !== null) return;
    this.#isOver = true;
    this.#isTold = true;
    resetStream(host, id, STREAM_REFUSED);
  }

  /** Hands on what there is; to be called with every turn of the connection. */
  turn(): void {
    const { wire } = this;
    if (wire === null) return;
    if (!this.#isOver) this.#read(wire);
    if (!this.#isOver) wire.roomAgain();
    if (!this.#isOver || this.#isTold) return;
    this.#isTold = true;
    clearTimeout(this.#timer);
    wire.closed(this.#error);
  }

  /** True when neither the core nor the engine has anything more to do with it. */
  get isForgotten(): boolean {
    return this.#isTold && !this.#isKnown;
  }

  /** The connection is over. */
  closed(error: Error | undefined): void {
    clearTimeout(this.#timer);
    if (this.#isTold) return;
    this.#isOver = true;
    this.#isTold = true;
    this.wire?.closed(this.#error ?? error);
  }

  take(bytes: Uint8Array): number {
    if (this.#isOver || this.#host.isDying()) return bytes.length;
    try {
      return this.#host.native.streamSend(this.#id, bytes, false) ?? 0;
    } catch (error) {
      this.#lost(error as Error);
      return 0;
    }
  }

  sendSoon(): void {
    this.#host.sendSoon();
  }

  wake(): void {
    this.#host.wake();
  }

  boundEnd(reasonCode: number): void {
    if (reasonCode !== 0) {
      this.kill(reasonCode);
      return;
    }
    this.#timer = setTimeout(() => this.kill(ABORTED), END_TIMEOUT_MS);
    this.#timer.unref();
  }

  finish(): void {
    if (this.#isOver) return;
    this.#sendEnd();
    try {
      // The client need not send more.
      this.#host.native.streamShutdown(this.#id, this.#host.quiche.Shutdown.Read, 0);
    } catch {
      // He has ended or reset it himself.
    }
    this.#over();
  }

  kill(code: number): void {
    if (this.#isOver) return;
    resetStream(this.#host, this.#id, code === 0 ? ABORTED : code);
    this.#over();
  }

  #read(wire: QuicWire): void {
    const { native, readBuffer } = this.#host;
    try {
      while (wire.wantsData && !this.#isOver) {
        if (this.#isEndRead) {
          this.#clientEnded();
          return;
        }
        if (!native.streamReadable(this.#id)) return;
        const result = native.streamRecv(this.#id, readBuffer);
        if (result === null) return;
        const [bytes, isLast] = result;
        this.#host.wasRead(bytes);
        if (bytes > 0) wire.data(readBuffer.subarray(0, bytes));
        this.#isEndRead = isLast;
      }
    } catch (error) {
      this.#lost(error as Error);
    }
  }

  /** What the core has written by now still leaves. */
  #clientEnded(): void {
    this.#sendEnd();
    this.#over();
  }

  #sendEnd(): void {
    try {
      this.#host.native.streamSend(this.#id, NONE, true);
    } catch {
      // The client does not want to hear more.
    }
  }

  #lost(error: Error): void {
    if (this.#isOver) return;
    this.#error = new Error(`the client broke off a data stream (${error.message})`);
    resetStream(this.#host, this.#id, ABORTED);
    this.#over();
  }

  /** The core hears of it in the next turn. */
  #over(): void {
    this.#isOver = true;
    this.#host.wake();
  }

  /** False: the peer has all that was sent, and has ended his side too. */
  get #isKnown(): boolean {
    const { native, readBuffer } = this.#host;
    if (native.streamReadable(this.#id)) discard(native, this.#id, readBuffer);
    try {
      native.streamWritable(this.#id, 0);
      return true;
    } catch (error) {
      return !(error as Error).message.startsWith('InvalidStreamState');
    }
  }
}

/** All data streams of one connection. The engine bounds how many there are at a time. */
export class QuicDataStreams {
  readonly #host: StreamHost;
  readonly #byId: Map<number, QuicDataStream>;

  constructor(host: StreamHost) {
    this.#host = host;
    this.#byId = new Map();
  }

  /** The engine has something to read on a stream that the client opened. */
  readable(id: number): void {
    if (!this.#byId.has(id)) this.#byId.set(id, new QuicDataStream(this.#host, id));
  }

  /** To be called with every turn of the connection, behind `readable`. */
  turn(): void {
    for (const [id, stream] of this.#byId) {
      stream.turn();
      if (stream.isForgotten) this.#byId.delete(id);
    }
  }

  /** The connection is over. */
  closed(error: Error | undefined): void {
    for (const stream of this.#byId.values()) stream.closed(error);
    this.#byId.clear();
  }
}
