/** A cursor that fills a buffer of exactly one packet. What does not fit the format is the caller's defect: RangeError. */

import { Buffer } from 'node:buffer';
import { variableByteIntegerLength, writeVariableByteInteger } from './varint.ts';

const LENGTH_MAX = 65_535;

/** Bytes of `text` as an MQTT string, its two length bytes included. Throws RangeError past 65 535 bytes of UTF-8. */
export function stringLength(text: string): number {
  const length = Buffer.byteLength(text);
  if (length > LENGTH_MAX) throw new RangeError(`a string of ${length} bytes is over MQTT's ${LENGTH_MAX}`);
  return 2 + length;
}

/** Bytes of `data` as MQTT binary data, its two length bytes included. Throws RangeError past 65 535 bytes. */
export function binaryLength(data: Uint8Array): number {
  if (data.length > LENGTH_MAX) {
    throw new RangeError(`binary data of ${data.length} bytes is over MQTT's ${LENGTH_MAX}`);
  }
  return 2 + data.length;
}

/** Writes `text` with its length before it (section 1.5.4); returns the offset after it. */
export function writeString(buffer: Buffer, offset: number, text: string): number {
  const length = buffer.write(text, offset + 2);
  buffer[offset] = length >>> 8;
  buffer[offset + 1] = length & 255;
  return offset + 2 + length;
}

/** Writes `data` with its length before it (section 1.5.6); returns the offset after it. */
export function writeBinary(buffer: Buffer, offset: number, data: Uint8Array): number {
  buffer[offset] = data.length >>> 8;
  buffer[offset + 1] = data.length & 255;
  buffer.set(data, offset + 2);
  return offset + 2 + data.length;
}

export class Writer {
  readonly buffer: Buffer;
  offset: number;

  /** Room for a packet with that first byte and a body of `bodyLength` bytes; the fixed header is written. */
  constructor(firstByte: number, bodyLength: number) {
    this.buffer = Buffer.allocUnsafe(1 + variableByteIntegerLength(bodyLength) + bodyLength);
    this.buffer[0] = firstByte;
    this.offset = writeVariableByteInteger(this.buffer, 1, bodyLength);
  }

  u8(value: number): void {
    this.offset = this.buffer.writeUInt8(value, this.offset);
  }

  u16(value: number): void {
    this.offset = this.buffer.writeUInt16BE(value, this.offset);
  }

  string(text: string): void {
    this.offset = writeString(this.buffer, this.offset, text);
  }

  binary(data: Uint8Array): void {
    this.offset = writeBinary(this.buffer, this.offset, data);
  }

  /** Bytes as they are, with no length before them. */
  raw(data: Uint8Array): void {
    this.buffer.set(data, this.offset);
    this.offset += data.length;
  }

  /** The packet. Throws when its encoder counted wrong, rather than send uninitialised memory. */
  finish(): Buffer {
    if (this.offset !== this.buffer.length) {
      throw new RangeError(`encoded ${this.offset} bytes of a packet of ${this.buffer.length}`);
    }
    return this.buffer;
  }
}
