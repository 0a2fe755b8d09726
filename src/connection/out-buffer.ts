import type { Wire } from '../interfaces/transport.ts';
import { OUT_BUFFER_BYTES_MAX, OUT_BUFFER_BYTES_MIN } from '../limits.ts';

const EMPTY = Buffer.alloc(0);

/** What all connections that have little to say in one turn share. */
const SLAB_BYTES = 131_072;
/** A piece is a multiple of this: a line of the processor's cache, enough for the acknowledgements of most turns. */
const PIECE_BYTES_MIN = 64;
/** A connection that has more to say gets a buffer of its own. */
const PIECE_BYTES_MAX = 4_096;

/** Collects buffers that have bytes to write and writes each once at the end of the event-loop turn. */
export class Flusher {
  #dirty: OutBuffer[] = [];
  #scheduled = false;
  /** Pieces of it are given out until the turn ends. Small writes of many connections so stay in the processor's cache. */
  #slab: Buffer = EMPTY;
  #slabUsed = 0;
  /** Bytes handed to wires so far, all connections together. */
  bytesWritten = 0;
  readonly #flushAll = (): void => {
    this.#scheduled = false;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const out of dirty) out.flushAndTell();
    // Whoever wrote meanwhile has pieces that are not written yet.
    if (this.#dirty.length === 0) this.#slabUsed = 0;
  };

  get slab(): Buffer {
    return this.#slab;
  }

  add(out: OutBuffer): void {
    this.#dirty.push(out);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#flushAll);
  }

  /** Offset of a piece of the slab for at least `bytes`, valid until the turn's flush; -1: there is none. */
  takePiece(bytes: number): number {
    if (this.#slab === EMPTY) this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    const offset = this.#slabUsed;
    const end = offset + pieceBytes(bytes);
    if (bytes > PIECE_BYTES_MAX || end > SLAB_BYTES) return -1;
    this.#slabUsed = end;
    return offset;
  }

  /** Makes the piece `[start, end)` long enough for `bytes`; false where another one follows it, or it would get too long. */
  extendPiece(start: number, end: number, bytes: number): boolean {
    if (end !== this.#slabUsed || bytes > PIECE_BYTES_MAX || start + pieceBytes(bytes) > SLAB_BYTES)
      return false;
    this.#slabUsed = start + pieceBytes(bytes);
    return true;
  }

  /** A wire holds a piece: what comes goes into another slab. */
  leaveSlab(): void {
    this.#slab = EMPTY;
    this.#slabUsed = 0;
  }
}

/** Length of a piece for `bytes`. */
export function pieceBytes(bytes: number): number {
  return Math.ceil(bytes / PIECE_BYTES_MIN) * PIECE_BYTES_MIN;
}

/** In bytes. */
export interface OutBounds {
  /** Up to here the buffer doubles, and no further. */
  readonly growsTo: number;
  /** More than this waited: whoever held back is told when it has left. */
  readonly tellsOver: number;
}

/**
 * Bytes on their way to one wire. Few go into a piece of the flusher's slab. More make it get a buffer of its own, which
 * grows up to 64 KB and is used again when the wire took it whole; while the wire holds it, a second one collects. Either
 * grows past 64 KB where it must, and is then not kept.
 * Never more than one write is open.
 */
export class OutBuffer {
  readonly #wire: Wire;
  readonly #flusher: Flusher;
  readonly #bounds: OutBounds;
  readonly #onRoom: () => void;
  /** Where bytes are written; valid until the next `reserve`. */
  buffer: Buffer = EMPTY;
  /** Where our bytes begin and end in `buffer`, and how far they may go. */
  #start = 0;
  #end = 0;
  #limit = 0;
  #isPiece = false;
  #held: Buffer | null = null;
  #spare: Buffer | null = null;
  #heldBytes = 0;
  #dirty = false;
  #wasOver = false;
  #closed = false;

  /** `onRoom` is called, at the end of a turn, when more than `tellsOver` bytes waited and the wire took all of it. */
  constructor(wire: Wire, flusher: Flusher, bounds: OutBounds, onRoom: () => void) {
    this.#wire = wire;
    this.#flusher = flusher;
    this.#bounds = bounds;
    this.#onRoom = onRoom;
  }

  /** Bytes not yet handed to the wire, or held by it. */
  get waitingBytes(): number {
    return this.#end - this.#start + this.#heldBytes;
  }

  /** True while the wire holds a buffer: it takes no more now. */
  get blocked(): boolean {
    return this.#held !== null;
  }

  /** Makes room for `bytes`, counts them as written, and gives the offset in `buffer` where they go. */
  reserve(bytes: number): number {
    if (this.#end + bytes > this.#limit) this.#makeRoom(bytes);
    if (!this.#dirty) {
      this.#dirty = true;
      this.#flusher.add(this);
    }
    const offset = this.#end;
    this.#end += bytes;
    return offset;
  }

  /** Copies `source[start, end)`; gives the offset in `buffer` where it begins. */
  append(source: Buffer, start: number, end: number): number {
    const offset = this.reserve(end - start);
    source.copy(this.buffer, offset, start, end);
    return offset;
  }

  /**
   * Appends PUBACK, PUBREC, PUBREL or PUBCOMP without reason code: four bytes. The CONNACK of 3.x is one of them too, with
   * its flags and its code where these have the packet identifier.
   */
  appendAck(firstByte: number, packetId: number): void {
    const offset = this.reserve(4);
    const buffer = this.buffer;
    buffer[offset] = firstByte;
    buffer[offset + 1] = 2;
    buffer[offset + 2] = packetId >>> 8;
    buffer[offset + 3] = packetId & 0xff;
  }

  /** Hands everything to the wire, if it is free. */
  flush(): void {
    this.#dirty = false;
    const start = this.#start;
    const end = this.#end;
    if (this.#held !== null || end === start || this.#closed) return;
    const buffer = this.buffer;
    const length = end - start;
    if (length > OUT_BUFFER_BYTES_MAX) {
      this.#flushParts();
      return;
    }
    const isPiece = this.#isPiece;
    this.#use(isPiece ? EMPTY : buffer);
    this.#flusher.bytesWritten += length;
    if (this.#wire.write(length === buffer.length ? buffer : buffer.subarray(start, end))) {
      if (length > this.#bounds.tellsOver) this.#wasOver = true;
      if (buffer.length > OUT_BUFFER_BYTES_MAX) this.#use(EMPTY);
      return;
    }
    if (isPiece) this.#flusher.leaveSlab();
    this.#held = isPiece ? EMPTY : buffer;
    this.#heldBytes = length;
    this.#use(this.#spare ?? EMPTY);
    this.#spare = null;
  }

  /**
   * Hands over what is long in parts: a wire that takes one after the other makes progress that can be seen, and the memory
   * of those that have left is free as soon as the last one has.
   */
  #flushParts(): void {
    const { buffer } = this;
    if (this.#end - this.#start > this.#bounds.tellsOver) this.#wasOver = true;
    while (this.#start < this.#end) {
      const start = this.#start;
      const end = Math.min(start + OUT_BUFFER_BYTES_MAX, this.#end);
      this.#start = end;
      this.#flusher.bytesWritten += end - start;
      if (this.#wire.write(buffer.subarray(start, end))) continue;
      // The wire keeps the bytes alive; they are a part of a buffer that goes on being filled, so nothing to use again.
      this.#held = EMPTY;
      this.#heldBytes = end - start;
      break;
    }
    if (this.#start < this.#end) return;
    this.#use(this.#spare ?? EMPTY);
    this.#spare = null;
  }

  /** Flushes at the end of a turn. An error of one wire must not keep the others from being written. */
  flushAndTell(): void {
    try {
      this.flush();
      if (!this.#wasOver) return;
      this.#wasOver = false;
      this.#onRoom();
    } catch (error) {
      this.#wire.abort(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** The wire gave its buffer back. */
  drained(): void {
    const held = this.#held;
    this.#held = null;
    this.#heldBytes = 0;
    if (held !== null && held.length <= OUT_BUFFER_BYTES_MAX) this.#spare = held;
    this.flush();
  }

  /** Gives back memory that an idle connection does not need. */
  trim(): void {
    if (this.#dirty || this.#held !== null) return;
    this.#use(EMPTY);
    this.#spare = null;
  }

  /** Nothing is written any more. */
  close(): void {
    this.#closed = true;
    this.#held = null;
    this.#heldBytes = 0;
    this.#use(EMPTY);
    this.#spare = null;
  }

  #makeRoom(bytes: number): void {
    if (this.#held === null) {
      if (this.#end - this.#start + bytes > OUT_BUFFER_BYTES_MAX && this.#end > this.#start) {
        this.flush();
        if (this.#end + bytes <= this.#limit) return;
      }
      if (this.#findPiece(bytes)) return;
    }
    const length = this.#end - this.#start;
    let capacity = OUT_BUFFER_BYTES_MIN;
    while (capacity < length + bytes) capacity *= 2;
    // Doubling ends at the bound: what a peer that does not read costs is the bound, not the power of two behind it.
    const bound = this.#bounds.growsTo;
    if (capacity > bound && length + bytes <= bound) capacity = bound;
    else if (capacity > bound) capacity = length + bytes + Math.max(OUT_BUFFER_BYTES_MIN, bound >>> 4);
    // Small ones come from Node's pool, which is several times faster.
    const grown =
      capacity <= OUT_BUFFER_BYTES_MIN ? Buffer.allocUnsafe(capacity) : Buffer.allocUnsafeSlow(capacity);
    this.buffer.copy(grown, 0, this.#start, this.#end);
    this.#use(grown);
    this.#end = length;
  }

  /** Finds room in the slab: a new piece, or more of the one that is filled now. */
  #findPiece(bytes: number): boolean {
    const flusher = this.#flusher;
    if (this.#isPiece) {
      const needed = this.#end - this.#start + bytes;
      if (this.buffer !== flusher.slab || !flusher.extendPiece(this.#start, this.#limit, needed))
        return false;
      this.#limit = this.#start + pieceBytes(needed);
      return true;
    }
    if (this.buffer !== EMPTY) return false;
    const start = flusher.takePiece(bytes);
    if (start < 0) return false;
    this.buffer = flusher.slab;
    this.#isPiece = true;
    this.#start = start;
    this.#end = start;
    this.#limit = start + pieceBytes(bytes);
    return true;
  }

  /** Goes on with an empty buffer of our own. */
  #use(buffer: Buffer): void {
    this.buffer = buffer;
    this.#isPiece = false;
    this.#start = 0;
    this.#end = 0;
    this.#limit = buffer.length;
  }
}
