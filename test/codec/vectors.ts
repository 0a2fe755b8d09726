/** Reads the packet vectors of test/data/packets: bytes, and what they say or why they are refused. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodePacket, type Sender } from '../../src/codec/decode.ts';
import { type Packet, PacketType, type ProtocolVersion } from '../../src/codec/packets.ts';

interface RawVector {
  name: string;
  statement?: string;
  version: ProtocolVersion;
  sender?: Sender;
  hex: string;
  packet?: Record<string, unknown>;
  /** A hexadecimal reason code. */
  error?: { code: string };
  /** False: valid, but not how we would write it. */
  canonical?: boolean;
}

export interface Vector {
  readonly title: string;
  readonly version: ProtocolVersion;
  readonly sender: Sender | undefined;
  readonly bytes: Buffer;
  /** Undefined when the bytes are to be refused with `errorCode`. */
  readonly packet: Packet | undefined;
  readonly errorCode: number;
  readonly canonical: boolean;
}

const FOLDER = join(import.meta.dirname, '..', 'data', 'packets');
const VERSION_NAMES = { 3: 'MQTT 3.1', 4: 'MQTT 3.1.1', 5: 'MQTT 5.0' } as const;
const WITHOUT_PROPERTIES: readonly unknown[] = [PacketType.PINGREQ, PacketType.PINGRESP];

export function readVectors(): Vector[] {
  const files = readdirSync(FOLDER).sort();
  return files.flatMap((file) =>
    (JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as RawVector[]).map(toVector),
  );
}

function toVector(raw: RawVector): Vector {
  const statement =
    raw.statement === undefined ? '' : ` ${raw.version === 5 ? '5.0' : '3.1.1'}:[${raw.statement}]`;
  const outcome = raw.packet === undefined ? `is refused with ${raw.error?.code}` : 'is understood';
  const from = raw.sender === undefined ? '' : ` from a ${raw.sender}`;
  return {
    title: `${VERSION_NAMES[raw.version]}: ${raw.name} ${outcome}${from.length > 0 && raw.name.includes(from) ? '' : from}${statement}`,
    version: raw.version,
    sender: raw.sender,
    bytes: Buffer.from(raw.hex, 'hex'),
    packet: raw.packet === undefined ? undefined : (withDefaults(raw.packet) as unknown as Packet),
    errorCode: Number(raw.error?.code),
    canonical: raw.canonical ?? true,
  };
}

/** `{ "hex": … }` becomes bytes; properties that a vector leaves out are none. */
function withDefaults(raw: Record<string, unknown>): unknown {
  const packet = toBytes(raw) as Record<string, unknown>;
  if (!WITHOUT_PROPERTIES.includes(packet.type)) packet.properties ??= {};
  const will = packet.will as Record<string, unknown> | null | undefined;
  if (will) will.properties ??= {};
  return packet;
}

function toBytes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toBytes);
  if (typeof value !== 'object' || value === null) return value;
  if ('hex' in value && typeof value.hex === 'string') return new Uint8Array(Buffer.from(value.hex, 'hex'));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toBytes(inner)]));
}

/** Where the body of a framed packet begins; the frame must be whole. */
export function bodyStart(bytes: Buffer): number {
  let at = 1;
  while (bytes[at]! >= 128) at++;
  return at + 1;
}

/** Decodes a framed packet and makes every view a Uint8Array, so that it can be compared. */
export function decodeFrame(bytes: Buffer, version: ProtocolVersion, sender?: Sender): Packet {
  return comparable(decodePacket(bytes, bytes[0]!, bodyStart(bytes), bytes.length, version, sender));
}

export function comparable(packet: Packet): Packet {
  return packet.type === PacketType.PUBLISH ? { ...packet, payload: new Uint8Array(packet.payload) } : packet;
}
