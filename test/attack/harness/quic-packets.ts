/** QUIC packets by hand (RFC 9000 and 9001): what no proper client would send, encrypted as if one did. */
import { createCipheriv, createHmac } from 'node:crypto';

/** RFC 9001, 5.2 */
const INITIAL_SALT = Buffer.from('38762cf7f55934b34d179ae6a4c80cadccbb7f0a', 'hex');
const HASH_BYTES = 32;
const TAG_BYTES = 16;
const NUMBER_BYTES = 4;
const NONE = Buffer.alloc(0);

/** Of one direction, for AES-128-GCM. */
export interface PacketKeys {
  readonly key: Buffer;
  readonly iv: Buffer;
  readonly hp: Buffer;
}

/** RFC 9000, 16 */
export function varint(value: number): Buffer<ArrayBuffer> {
  if (value < 64) return Buffer.from([value]);
  if (value < 16_384) return Buffer.from([0x40 | (value >> 8), value & 255]);
  const bytes = Buffer.alloc(value < 2 ** 30 ? 4 : 8);
  if (bytes.length === 4) bytes.writeUInt32BE(value);
  else bytes.writeBigUInt64BE(BigInt(value));
  bytes[0]! |= bytes.length === 4 ? 0x80 : 0xc0;
  return bytes;
}

function hmac(key: Uint8Array, ...parts: Uint8Array[]): Buffer {
  const hash = createHmac('sha256', key);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** RFC 8446, 7.1; one round is enough for what QUIC needs. */
function expandLabel(secret: Uint8Array, label: string, bytes: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.from([0, bytes, name.length]), name, Buffer.from([0, 1])]);
  return hmac(secret, info).subarray(0, bytes);
}

/** The keys of a client's traffic secret. */
export function keysOf(secret: Uint8Array): PacketKeys {
  return {
    key: expandLabel(secret, 'quic key', 16),
    iv: expandLabel(secret, 'quic iv', 12),
    hp: expandLabel(secret, 'quic hp', 16),
  };
}

/** What everybody knows who has seen the first packet: a client's keys for Initial packets. */
export function initialKeys(dcid: Uint8Array): PacketKeys {
  return keysOf(expandLabel(hmac(INITIAL_SALT, dcid), 'client in', HASH_BYTES));
}

function sealed(head: Buffer, number: number, payload: Uint8Array, { key, iv, hp }: PacketKeys): Buffer {
  const nonce = Buffer.from(iv);
  nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ number) >>> 0, 8);
  const cipher = createCipheriv('aes-128-gcm', key, nonce).setAAD(head);
  const packet = Buffer.concat([head, cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
  // RFC 9001, 5.4: the number's own bytes are hidden by a sample of what stands behind it.
  const at = head.length - NUMBER_BYTES;
  const sample = packet.subarray(at + 4, at + 20);
  const mask = createCipheriv('aes-128-ecb', hp, null).update(sample);
  packet[0]! ^= mask[0]! & ((packet[0]! & 0x80) === 0 ? 0x1f : 0x0f);
  for (let index = 0; index < NUMBER_BYTES; index++) packet[at + index]! ^= mask[1 + index]!;
  return packet;
}

export interface InitialOptions {
  readonly dcid: Uint8Array;
  readonly scid: Uint8Array;
  readonly token?: Uint8Array;
  readonly number: number;
  readonly frames: Uint8Array;
  readonly keys: PacketKeys;
}

/** An Initial packet of the size that a first one must have. */
export function initialPacket({ dcid, scid, token = NONE, number, frames, keys }: InitialOptions): Buffer {
  const before = Buffer.concat([
    Buffer.from([0xc3, 0, 0, 0, 1, dcid.length]),
    dcid,
    Buffer.from([scid.length]),
    scid,
    varint(token.length),
    token,
  ]);
  const padding = 1_200 - before.length - 2 - NUMBER_BYTES - TAG_BYTES - frames.length;
  const payload = Buffer.concat([frames, Buffer.alloc(Math.max(0, padding))]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(0x4000 | (NUMBER_BYTES + payload.length + TAG_BYTES));
  return sealed(Buffer.concat([before, length, numberOf(number)]), number, payload, keys);
}

/** A packet of a connection whose handshake is done. */
export function shortPacket(dcid: Uint8Array, number: number, frames: Uint8Array, keys: PacketKeys): Buffer {
  return sealed(Buffer.concat([Buffer.from([0x43]), dcid, numberOf(number)]), number, frames, keys);
}

function numberOf(number: number): Buffer {
  const bytes = Buffer.alloc(NUMBER_BYTES);
  bytes.writeUInt32BE(number);
  return bytes;
}

/** RFC 9000, 19.6 */
export function cryptoFrame(offset: number, data: Uint8Array): Buffer {
  return Buffer.concat([varint(6), varint(offset), varint(data.length), data]);
}

/** What a server says of an address it does not know yet (RFC 9000, 17.2.5); null: it is something else. */
export function readRetry(datagram: Buffer): { readonly scid: Buffer; readonly token: Buffer } | null {
  if (datagram.length < 7 + TAG_BYTES || (datagram[0]! & 0xf0) !== 0xf0 || datagram.readUInt32BE(1) !== 1)
    return null;
  const start = 6 + datagram[5]!;
  const end = start + 1 + datagram[start]!;
  return {
    scid: datagram.subarray(start + 1, end),
    token: datagram.subarray(end, datagram.length - TAG_BYTES),
  };
}
