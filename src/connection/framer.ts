/** Cuts a byte stream into MQTT control packets, whatever the split (MQTT 5.0 section 2.1). */
import { ReasonCode } from '../codec/reason-codes.ts';
import { ProtocolError } from '../errors.ts';

export interface FrameSink {
  /** Largest packet accepted now, in bytes, fixed header included. Read anew for every packet. */
  readonly frameBytesMax: number;
  /**
   * One whole packet: `buffer[start]` is its first byte, `bodyStart` the byte after the remaining length, `end` past its
   * last. The buffer is only lent. False stops the framer until `resume`.
   */
  frame(buffer: Buffer, start: number, bodyStart: number, end: number): boolean;
}

const PENDING_BYTES_MIN = 64;
const EMPTY = Buffer.alloc(0);

/** Bytes are copied only where a packet straddles two chunks; a buffer grows with what has arrived, never with what was announced. */
export class Framer {
  readonly #sink: FrameSink;
  #pending: Buffer = EMPTY;
  #pendingLength = 0;
  #stopped = false;
  /** Chunks that came while stopped; null: none. */
  #held: Buffer[] | null = null;
  #bodyStart = 0;
  #frameEnd = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Takes the next chunk, which is only lent. Throws ProtocolError 0x81 for a bad remaining length, 0x95 for a packet over the limit. */
  push(chunk: Buffer): void {
    if (this.#stopped) {
      this.#hold(chunk);
      return;
    }
    this.#scan(chunk, this.#pendingLength === 0 ? 0 : this.#completePending(chunk));
  }

  /** Keeps what comes until `resume`. */
  stop(): void {
    this.#stopped = true;
  }

  /** Goes on after `stop`, or after `frame` returned false. */
  resume(): void {
    this.#stopped = false;
    while (!this.#stopped && this.#held !== null) {
      const chunk = this.#held.shift()!;
      if (this.#held.length === 0) this.#held = null;
      this.push(chunk);
    }
  }

  /** True after `stop`, or after `frame` returned false, until `resume`. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Bytes kept here because their packet is not complete or the framer is stopped. */
  get heldBytes(): number {
    if (this.#held === null) return this.#pendingLength;
    return this.#held.reduce((sum, chunk) => sum + chunk.length, this.#pendingLength);
  }

  #hold(chunk: Buffer): void {
    this.#held ??= [];
    this.#held.push(Buffer.from(chunk));
  }

  #stopBefore(rest: Buffer): void {
    this.#stopped = true;
    if (rest.length === 0) return;
    this.#held ??= [];
    this.#held.unshift(Buffer.from(rest));
  }

  #scan(buffer: Buffer, from: number): void {
    if (from < 0) return;
    const sink = this.#sink;
    const length = buffer.length;
    let offset = from;
    while (offset < length) {
      if (!this.#header(buffer, offset, length)) break;
      const end = this.#frameEnd;
      if (end > length) break;
      if (!sink.frame(buffer, offset, this.#bodyStart, end)) {
        this.#stopBefore(buffer.subarray(end));
        return;
      }
      offset = end;
    }
    if (offset < length) this.#keep(buffer, offset, length);
  }

  /** Reads the fixed header at `offset` into #bodyStart and #frameEnd; false when it is not all there yet. */
  #header(buffer: Buffer, offset: number, length: number): boolean {
    let position = offset + 1;
    let remaining = 0;
    let shift = 0;
    let byte = 0;
    do {
      if (position >= length) return false;
      byte = buffer[position++];
      remaining += (byte & 0x7f) * 2 ** shift;
      shift += 7;
      if (shift === 28 && byte >= 0x80)
        throw new ProtocolError(ReasonCode.MALFORMED_PACKET, 'the remaining length has more than four bytes');
    } while (byte >= 0x80);
    // [MQTT-1.5.5-1] the encoding must use the fewest bytes
    if (byte === 0 && shift > 7)
      throw new ProtocolError(
        ReasonCode.MALFORMED_PACKET,
        'the remaining length is not in its shortest form',
      );
    const max = this.#sink.frameBytesMax;
    if (position + remaining - offset > max)
      throw new ProtocolError(
        ReasonCode.PACKET_TOO_LARGE,
        `a packet of ${position + remaining - offset} bytes is over the limit of ${max}`,
      );
    this.#bodyStart = position;
    this.#frameEnd = position + remaining;
    return true;
  }

  #keep(buffer: Buffer, start: number, end: number): void {
    const bytes = end - start;
    this.#reserve(this.#pendingLength + bytes);
    buffer.copy(this.#pending, this.#pendingLength, start, end);
    this.#pendingLength += bytes;
  }

  #reserve(bytes: number): void {
    if (this.#pending.length >= bytes) return;
    const grown = Buffer.allocUnsafe(Math.max(PENDING_BYTES_MIN, bytes, this.#pending.length * 2));
    this.#pending.copy(grown, 0, 0, this.#pendingLength);
    this.#pending = grown;
  }

  /** Adds to the incomplete packet what belongs to it; gives the offset where the next one starts, or -1 when stopped or used up. */
  #completePending(chunk: Buffer): number {
    let offset = 0;
    while (!this.#header(this.#pending, 0, this.#pendingLength)) {
      if (offset === chunk.length) return -1;
      this.#keep(chunk, offset, offset + 1);
      offset++;
    }
    const missing = this.#frameEnd - this.#pendingLength;
    const take = Math.min(missing, chunk.length - offset);
    this.#keep(chunk, offset, offset + take);
    offset += take;
    if (take < missing) return -1;
    const packet = this.#pending;
    this.#pending = EMPTY;
    this.#pendingLength = 0;
    if (this.#sink.frame(packet, 0, this.#bodyStart, this.#frameEnd)) return offset;
    this.#stopBefore(chunk.subarray(offset));
    return -1;
  }
}
