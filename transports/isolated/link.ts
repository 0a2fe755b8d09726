/** The pipe between the broker and the process of an engine: frames, one behind the other, so that everything keeps its order. */
import type { Socket } from 'node:net';

/** Stream or visit, length and type. */
const HEADER_BYTES = 8;
/** Short enough for many streams to take turns. */
const FRAME_BYTES_MAX = 65_536;
/** Frames are written one behind the other into pieces of memory of this size. */
const SLAB_BYTES = 65_536;
/** Pieces that are kept for the next frames when the system has what was in them: large messages would have V8 collect without end. */
const FREE_SLABS_MAX = 16;
/** Of what the other process has not taken: nobody writes data beyond it. Frames that are no data are few and small. */
const UNSENT_BYTES_MAX = 4_194_304;
/**
 * What one side may send of a stream ahead of what the other has used: the bound of what a stream can make either process keep,
 * and enough for hundreds of megabytes a second between two processes on one machine.
 */
export const WINDOW_BYTES = 262_144;
/** Credit is given in pieces of this size, so that small messages cause none. */
export const CREDIT_BYTES = WINDOW_BYTES / 4;

/** What a frame is. The number beside it is that of a stream, of a visit, or 0. */
export const FRAME = {
  /** Both ways, of a stream: its bytes, and how many of them were used. */
  data: 1,
  credit: 2,
  /** To the engine. */
  start: 10,
  ping: 11,
  admit: 12,
  evict: 13,
  end: 14,
  abort: 15,
  reload: 16,
  close: 17,
  loggedIn: 18,
  /** To the broker. */
  bound: 30,
  failed: 31,
  pong: 32,
  knock: 33,
  left: 34,
  open: 35,
  closed: 36,
  fault: 37,
  log: 38,
} as const;

/** A piece of memory, and its parts that the system has not taken yet. */
interface Slab {
  readonly bytes: Buffer;
  writes: number;
}

const NONE = Buffer.alloc(0);

/** What comes out of a link. Bytes are lent until the call returns. */
export interface LinkEvents {
  data(stream: number, bytes: Buffer): void;
  frame(type: number, id: number, payload: Buffer): void;
  /** The link was full, and has room again. */
  drained(): void;
  /** The other side has closed, or sends what is no frame. Called once, and last. */
  gone(error?: Error): void;
}

export class Link {
  readonly #socket: Socket;
  readonly #events: LinkEvents;
  readonly #flush: () => void;
  readonly #written: () => void;
  #slab: Slab;
  /** For each write under way, in order, where its bytes are. */
  readonly #writing: Slab[];
  readonly #free: Slab[];
  /** Of the slab: up to here it is on its way, up to there it is written. */
  #sent: number;
  #used: number;
  #isFlushScheduled: boolean;
  #isGone: boolean;
  /** A header, or a frame that is no data, of which a part has come. */
  readonly #header: Buffer;
  #headerBytes: number;
  #type: number;
  #id: number;
  /** Of the frame that is being read: what is still to come. */
  #missing: number;
  #parts: Buffer[];

  constructor(socket: Socket, events: LinkEvents) {
    this.#socket = socket;
    this.#events = events;
    this.#flush = () => this.flush();
    this.#written = () => this.#wrote();
    this.#slab = newSlab();
    this.#writing = [];
    this.#free = [];
    this.#sent = 0;
    this.#used = 0;
    this.#isFlushScheduled = false;
    this.#isGone = false;
    this.#header = Buffer.alloc(HEADER_BYTES);
    this.#headerBytes = 0;
    this.#type = 0;
    this.#id = 0;
    this.#missing = 0;
    this.#parts = [];
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => events.drained());
    socket.on('end', () => this.#over());
    // What it says is that the other process has gone, which `close` says too.
    socket.on('error', () => {});
    socket.on('close', () => this.#over());
  }

  /** Whether data has to wait for `drained`. */
  get isFull(): boolean {
    return this.#socket.writableLength + this.#used - this.#sent > UNSENT_BYTES_MAX;
  }

  /** Sends bytes of a stream. They are copied. */
  data(stream: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += FRAME_BYTES_MAX) {
      this.#append(
        FRAME.data,
        stream,
        at === 0 && bytes.length <= FRAME_BYTES_MAX ? bytes : bytes.subarray(at, at + FRAME_BYTES_MAX),
      );
    }
  }

  /** Tells how many bytes of a stream were used. */
  credit(stream: number, bytes: number): void {
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32LE(bytes);
    this.#append(FRAME.credit, stream, payload);
  }

  /** Sends a frame that is no data; its payload has at most 64 KiB. */
  frame(type: number, id = 0, payload: Uint8Array = NONE): void {
    this.#append(type, id, payload.subarray(0, FRAME_BYTES_MAX));
  }

  /** Sends a frame with a JSON text, or without it where that is too long for one. */
  json(type: number, id: number, value: unknown): void {
    const text = Buffer.from(JSON.stringify(value));
    this.frame(type, id, text.length > FRAME_BYTES_MAX ? NONE : text);
  }

  /** Hands what was sent to the system now, and not at the end of the turn. */
  flush(): void {
    this.#isFlushScheduled = false;
    if (this.#used === this.#sent || this.#isGone) return;
    const bytes = this.#slab.bytes.subarray(this.#sent, this.#used);
    this.#sent = this.#used;
    this.#slab.writes++;
    this.#writing.push(this.#slab);
    this.#socket.write(bytes, this.#written);
  }

  /** Sends what is left, and closes. */
  end(): void {
    this.flush();
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #append(type: number, id: number, payload: Uint8Array): void {
    if (this.#isGone) return;
    this.#room(HEADER_BYTES);
    const at = this.#used;
    const { bytes } = this.#slab;
    bytes.writeUInt32LE(id, at);
    bytes.writeUInt32LE(payload.length + type * 0x1_00_00_00, at + 4);
    this.#used = at + HEADER_BYTES;
    for (let done = 0; done < payload.length; ) {
      this.#room(1);
      const piece = Math.min(payload.length - done, SLAB_BYTES - this.#used);
      this.#slab.bytes.set(
        done === 0 && piece === payload.length ? payload : payload.subarray(done, done + piece),
        this.#used,
      );
      this.#used += piece;
      done += piece;
    }
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    process.nextTick(this.#flush);
  }

  /** Makes room for so many bytes in one piece. What is in the slab stays there until the system has it. */
  #room(bytes: number): void {
    if (SLAB_BYTES - this.#used >= bytes) return;
    const scheduled = this.#isFlushScheduled;
    this.flush();
    this.#isFlushScheduled = scheduled;
    this.#slab = this.#free.pop() ?? newSlab();
    this.#sent = 0;
    this.#used = 0;
  }

  /** The system has taken the oldest write. */
  #wrote(): void {
    const slab = this.#writing.shift();
    if (slab === undefined) return;
    slab.writes--;
    if (slab.writes === 0 && slab !== this.#slab && this.#free.length < FREE_SLABS_MAX) this.#free.push(slab);
  }

  #read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#isGone) {
      if (this.#headerBytes < HEADER_BYTES) {
        at += this.#readHeader(chunk, at);
        // A frame without a payload is over with its header.
        if (this.#headerBytes === HEADER_BYTES && this.#missing === 0) this.#finish(NONE);
        continue;
      }
      const bytes = chunk.subarray(at, at + this.#missing);
      at += bytes.length;
      this.#missing -= bytes.length;
      if (this.#type === FRAME.data) {
        if (this.#missing === 0) this.#headerBytes = 0;
        this.#events.data(this.#id, bytes);
      } else if (this.#missing > 0) this.#parts.push(Buffer.from(bytes));
      else this.#finish(bytes);
    }
  }

  /** Answers how many bytes it has read. */
  #readHeader(chunk: Buffer, at: number): number {
    const bytes = Math.min(HEADER_BYTES - this.#headerBytes, chunk.length - at);
    chunk.copy(this.#header, this.#headerBytes, at, at + bytes);
    this.#headerBytes += bytes;
    if (this.#headerBytes < HEADER_BYTES) return bytes;
    this.#id = this.#header.readUInt32LE(0);
    this.#missing = this.#header.readUIntLE(4, 3);
    this.#type = this.#header[7];
    if (this.#missing > FRAME_BYTES_MAX)
      this.#over(new Error('it sent a frame that is longer than any may be'));
    return bytes;
  }

  #finish(last: Buffer): void {
    const payload = this.#parts.length === 0 ? last : Buffer.concat([...this.#parts, last]);
    this.#parts = [];
    this.#headerBytes = 0;
    this.#events.frame(this.#type, this.#id, payload);
  }

  #over(error?: Error): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#socket.destroy();
    this.#events.gone(error);
  }
}

function newSlab(): Slab {
  return { bytes: Buffer.allocUnsafeSlow(SLAB_BYTES), writes: 0 };
}
