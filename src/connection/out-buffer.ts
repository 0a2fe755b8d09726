import type { Wire } from '../interfaces/transport.ts';
import { OUT_BUFFER_BYTES_MAX, OUT_BUFFER_BYTES_MIN } from '../limits.ts';

const EMPTY = Buffer.alloc(0);

/** Collects buffers that have bytes to write and writes each once at the end of the event-loop turn. */
export class Flusher {
  #dirty: OutBuffer[] = [];
  #scheduled = false;
  /** Bytes handed to wires so far, all connections together. */
  bytesWritten = 0;
  readonly #flushAll = (): void => {
    this.#scheduled = false;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const out of dirty) out.flushAndTell();
  };

  add(out: OutBuffer): void {
    this.#dirty.push(out);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#flushAll);
  }
}

/**
 * Bytes on their way to one wire. One buffer that grows from 512 B to 64 KB and is used again when the wire took it
 * whole; while the wire holds it, a second one collects. Either grows past 64 KB where it must, and is then not kept.
 * Never more than one write is open.
 */
export class OutBuffer {
  readonly #wire: Wire;
  readonly #flusher: Flusher;
  readonly #boundBytes: number;
  readonly #onRoom: () => void;
  /** Where bytes are written; valid until the next `reserve`. */
  buffer: Buffer = EMPTY;
  #length = 0;
  #held: Buffer | null = null;
  #spare: Buffer | null = null;
  #heldBytes = 0;
  #dirty = false;
  #wasOver = false;
  #closed = false;

  /** `onRoom` is called, at the end of a turn, when more than `boundBytes` waited and the wire took all of it. */
  constructor(wire: Wire, flusher: Flusher, boundBytes: number, onRoom: () => void) {
    this.#wire = wire;
    this.#flusher = flusher;
    this.#boundBytes = boundBytes;
    this.#onRoom = onRoom;
  }

  /** Bytes not yet handed to the wire, or held by it. */
  get waitingBytes(): number {
    return this.#length + this.#heldBytes;
  }

  /** True while the wire holds a buffer: it takes no more now. */
  get blocked(): boolean {
    return this.#held !== null;
  }

  /** Makes room for `bytes`, counts them as written, and gives the offset in `buffer` where they go. */
  reserve(bytes: number): number {
    if (this.#length + bytes > this.buffer.length) this.#makeRoom(bytes);
    if (!this.#dirty) {
      this.#dirty = true;
      this.#flusher.add(this);
    }
    const offset = this.#length;
    this.#length += bytes;
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
    if (this.#held !== null || this.#length === 0 || this.#closed) return;
    const buffer = this.buffer;
    const length = this.#length;
    this.#length = 0;
    this.#flusher.bytesWritten += length;
    if (this.#wire.write(length === buffer.length ? buffer : buffer.subarray(0, length))) {
      if (length > this.#boundBytes) this.#wasOver = true;
      if (buffer.length > OUT_BUFFER_BYTES_MAX) this.buffer = EMPTY;
      return;
    }
    this.#held = buffer;
    this.#heldBytes = length;
    this.buffer = this.#spare ?? EMPTY;
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
    this.buffer = EMPTY;
    this.#spare = null;
  }

  /** Nothing is written any more. */
  close(): void {
    this.#closed = true;
    this.#length = 0;
    this.#held = null;
    this.#heldBytes = 0;
    this.buffer = EMPTY;
    this.#spare = null;
  }

  #makeRoom(bytes: number): void {
    if (this.#held === null && this.#length + bytes > OUT_BUFFER_BYTES_MAX && this.#length > 0) {
      this.flush();
      if (bytes <= this.buffer.length - this.#length) return;
    }
    const needed = this.#length + bytes;
    let capacity = Math.max(OUT_BUFFER_BYTES_MIN, this.buffer.length);
    while (capacity < needed) capacity *= 2;
    // Small ones come from Node's pool, which is several times faster.
    const grown =
      capacity <= OUT_BUFFER_BYTES_MIN ? Buffer.allocUnsafe(capacity) : Buffer.allocUnsafeSlow(capacity);
    this.buffer.copy(grown, 0, 0, this.#length);
    this.buffer = grown;
  }
}
