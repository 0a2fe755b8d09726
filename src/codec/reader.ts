/** A cursor over one packet's bytes that never leaves them: a length that lies is a malformed packet. */

import type { Buffer } from 'node:buffer';
import { malformed, violation } from './refuse.ts';
import { isValidUtf8 } from './utf8.ts';

/** `what` in every method names the field for the error. All of them throw ProtocolError 0x81 past the end. */
export class Reader {
  buffer: Buffer;
  offset: number;
  end: number;

  /** Reads `buffer[start, end)`. */
  constructor(buffer: Buffer, start: number, end: number) {
    if (start > end || end > buffer.length) {
      throw new RangeError(
        `a packet from ${start} to ${end} is not inside its buffer of ${buffer.length} bytes`,
      );
    }
    this.buffer = buffer;
    this.offset = start;
    this.end = end;
  }

  /** Reads `buffer[start, end)` from now on, so that one reader can serve every packet. The range must be inside the buffer. */
  reset(buffer: Buffer, start: number, end: number): this {
    this.buffer = buffer;
    this.offset = start;
    this.end = end;
    return this;
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  u8(what: string): number {
    return this.buffer[this.#take(1, what)]!;
  }

  u16(what: string): number {
    const at = this.#take(2, what);
    return this.buffer[at]! * 256 + this.buffer[at + 1]!;
  }

  u32(what: string): number {
    const at = this.#take(4, what);
    return this.buffer.readUInt32BE(at);
  }

  /** A Packet Identifier, which is never 0 (0x82) [MQTT-2.2.1-3]. */
  packetId(): number {
    const id = this.u16('packet identifier');
    if (id === 0) throw violation('packet identifier is 0, it must be 1 to 65535');
    return id;
  }

  /** A Variable Byte Integer of at most four bytes in its shortest form [MQTT-1.5.5-1]. */
  varint(what: string): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8(what);
      value |= (byte & 127) << shift;
      if (byte < 128) {
        if (byte === 0 && shift > 0) throw malformed(`${what} is not in its shortest form`);
        return value;
      }
    }
    throw malformed(`${what} takes more than four bytes`);
  }

  /** A UTF-8 string with its length before it, as a copy [MQTT-1.5.4-1] [MQTT-1.5.4-2]; U+FEFF stays [MQTT-1.5.4-3]. */
  string(what: string): string {
    const length = this.u16(what);
    const at = this.#take(length, what);
    if (!isValidUtf8(this.buffer, at, at + length)) {
      throw malformed(`${what} is not well-formed UTF-8 without U+0000`);
    }
    return this.buffer.toString('utf8', at, at + length);
  }

  /** Binary data with its length before it, as a copy with memory of its own, so that it keeps no network chunk alive. */
  binary(what: string): Uint8Array {
    const length = this.u16(what);
    const at = this.#take(length, what);
    return new Uint8Array(this.buffer.subarray(at, at + length));
  }

  /** Moves past a string and checks it, without making one. */
  skipString(what: string): void {
    const length = this.u16(what);
    const at = this.#take(length, what);
    if (!isValidUtf8(this.buffer, at, at + length)) {
      throw malformed(`${what} is not well-formed UTF-8 without U+0000`);
    }
  }

  /** Moves past binary data. */
  skipBinary(what: string): void {
    this.#take(this.u16(what), what);
  }

  /** Everything up to the end, as a view. */
  rest(): Buffer {
    const at = this.offset;
    this.offset = this.end;
    return this.buffer.subarray(at, this.end);
  }

  /** Ends the reader after the next `length` bytes and returns the end it had, to be put back in `end`. */
  narrow(length: number, what: string): number {
    const outer = this.end;
    const at = this.#take(length, what);
    this.offset = at;
    this.end = at + length;
    return outer;
  }

  #take(length: number, what: string): number {
    const at = this.offset;
    if (length > this.end - at) {
      throw malformed(`${what} needs ${length} bytes where ${this.end - at} are left`);
    }
    this.offset = at + length;
    return at;
  }
}
