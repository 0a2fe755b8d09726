/**
 * The rows of a store as bytes and back, and the checksums over them. Numbers are little-endian; text is UTF-8.
 *
 * Blobs and text carry a CRC-32 that begins with the row's key. Rows of integers carry a weighted sum, which SQL computes as well:
 * `SQL_CHECKSUM`. Any one damaged bit of a row of integers changes it, because the modulus is prime.
 */
import { crc32 } from 'node:zlib';
import type {
  StoredDelivery,
  StoredMessage,
  StoredSession,
  StoredSubscription,
  StoredWill,
} from '../../src/interfaces/store.ts';

type QoS = StoredMessage['qos'];

const MODULUS = 4_294_967_291;
const WORD = 4_294_967_296;
/**
 * Weights are odd and below 2^17: with values below 2^32 seven products and their sum are exact in a double. Each table begins with
 * a constant of its own, so that no row passes for one of another table.
 */
const W = [101_117, 74_713, 118_081, 89_899, 56_237, 124_777, 97_787] as const;
const DELIVERY_BASE = 1_000_003;
const INBOUND_BASE = 2_000_003;
const RETAINED_BASE = 3_000_017;
const ENDED_BASE = 4_000_037;

/** The checksum of a row of integers as SQL, over the columns of its table. Sound rows have `checksum = …`. */
export const SQL_CHECKSUM = {
  delivery:
    `((${DELIVERY_BASE} + session * ${W[0]} + position * ${W[1]} + message * ${W[2]} + bytes * ${W[3]} + flags * ${W[4]}` +
    ` + packet * ${W[5]} + ifnull(length(extra), 0) * ${W[6]}) % ${MODULUS})`,
  inbound: `((${INBOUND_BASE} + session * ${W[0]} + packet * ${W[1]}) % ${MODULUS})`,
  retained: `((${RETAINED_BASE} + message * ${W[0]}) % ${MODULUS})`,
  ended: `((${ENDED_BASE} + session * ${W[0]}) % ${MODULUS})`,
} as const;

/**
 * SQL for the checksum of a delivery whose `flags` become ?1 and whose `packet` becomes ?2: made from the old one, so that damage
 * from before still shows.
 */
export const SQL_DELIVERY_CHECKSUM_MOVED = `((checksum + (?1 - flags) * ${W[4]} + (?2 - packet) * ${W[5]} + ${3 * MODULUS}) % ${MODULUS})`;

/** A value as a factor of a checksum: the products stay exact. */
function term(value: number): number {
  return value < WORD ? value : value % MODULUS;
}

/** Checksum of a row of `delivery`; `extraBytes`: length of the blob, 0 when it is null. */
export function deliveryChecksum(
  session: number,
  position: number,
  message: number,
  bytes: number,
  flags: number,
  packet: number,
  extraBytes: number,
): number {
  const keys = term(session) * W[0] + term(position) * W[1] + term(message) * W[2];
  return (DELIVERY_BASE + keys + bytes * W[3] + flags * W[4] + packet * W[5] + extraBytes * W[6]) % MODULUS;
}

export function inboundChecksum(session: number, packet: number): number {
  return (INBOUND_BASE + term(session) * W[0] + packet * W[1]) % MODULUS;
}

export function retainedChecksum(message: number): number {
  return (RETAINED_BASE + term(message) * W[0]) % MODULUS;
}

export function endedChecksum(session: number): number {
  return (ENDED_BASE + term(session) * W[0]) % MODULUS;
}

/** What a CRC begins with: two integers of the row. */
function seed(a: number, b: number): number {
  return (term(a) * W[0] + term(b) * W[1]) % MODULUS;
}

export function metaChecksum(name: string, value: number): number {
  return crc32(name, seed(value, 0));
}

/** Checksum of a row of `session`. */
export function sessionChecksum(id: number, clientId: string, record: Uint8Array): number {
  return crc32(record, crc32(clientId, seed(id, record.length)));
}

/** Checksum of a row of `subscription`. */
export function subscriptionChecksum(session: number, filter: string, options: number): number {
  return crc32(filter, seed(session, options));
}

/** Checksum of a row of `message`. `refs` is not in it: it changes without the body, and is checked against the rows that point here. */
export function messageChecksum(id: number, body: Uint8Array): number {
  return crc32(body, seed(id, body.length));
}

// Flags of a delivery: the column `delivery.flags`.
const QOS_MASK = 3;
const RETAIN = 4;
const RELEASED = 8;

/** The column `flags` of a delivery. */
export function deliveryFlags(delivery: StoredDelivery): number {
  return delivery.qos | (delivery.retain ? RETAIN : 0) | (delivery.released ? RELEASED : 0);
}

/** QoS, retain and released from the column `flags`. */
export function readDeliveryFlags(flags: number): Pick<StoredDelivery, 'qos' | 'retain' | 'released'> {
  return {
    qos: (flags & QOS_MASK) as QoS,
    retain: (flags & RETAIN) !== 0,
    released: (flags & RELEASED) !== 0,
  };
}

// Column `delivery.extra`: CRC-32 (4), flags (1), number of identifiers (4), each (4), then the shared filter.
const EXTRA_HEAD_BYTES = 9;
const EXTRA_IDENTIFIERS = 1;
const EXTRA_SHARED_FILTER = 2;

/** Most bytes the column `extra` can take for this delivery; 0: it is null. */
export function extraBytesMax({ identifiers, sharedFilter }: StoredDelivery): number {
  if (identifiers === null && sharedFilter === null) return 0;
  return EXTRA_HEAD_BYTES + 4 * (identifiers?.length ?? 0) + 3 * (sharedFilter?.length ?? 0);
}

/** Writes the column `extra` of a delivery of this session into `target` from `offset` on; gives the offset behind it. */
export function writeExtra(
  target: Buffer,
  offset: number,
  session: number,
  delivery: StoredDelivery,
): number {
  const { identifiers, sharedFilter, position } = delivery;
  const flags =
    (identifiers !== null ? EXTRA_IDENTIFIERS : 0) | (sharedFilter !== null ? EXTRA_SHARED_FILTER : 0);
  let end = target.writeUInt8(flags, offset + 4);
  end = target.writeUInt32LE(identifiers?.length ?? 0, end);
  for (const identifier of identifiers ?? []) end = target.writeUInt32LE(identifier, end);
  if (sharedFilter !== null) end += target.write(sharedFilter, end);
  target.writeUInt32LE(extraChecksum(target.subarray(offset, end), session, position), offset);
  return end;
}

function extraChecksum(extra: Uint8Array, session: number, position: number): number {
  return crc32(extra.subarray(4), seed(session, position));
}

/**
 * Identifiers and shared filter from the column `extra` of a delivery.
 * @throws Error when it is damaged
 */
export function readExtra(
  extra: Uint8Array | null,
  session: number,
  position: number,
): Pick<StoredDelivery, 'identifiers' | 'sharedFilter'> {
  if (extra === null) return { identifiers: null, sharedFilter: null };
  const bytes = asBuffer(extra);
  need(bytes, EXTRA_HEAD_BYTES);
  if (bytes.readUInt32LE(0) !== extraChecksum(bytes, session, position))
    throw new Error('the checksum of its identifiers and shared filter does not fit');
  const flags = bytes.readUInt8(4);
  const count = bytes.readUInt32LE(5);
  const end = EXTRA_HEAD_BYTES + 4 * count;
  need(bytes, end);
  const identifiers = Array.from({ length: count }, (_, i) => bytes.readUInt32LE(EXTRA_HEAD_BYTES + 4 * i));
  return {
    identifiers: (flags & EXTRA_IDENTIFIERS) !== 0 ? identifiers : null,
    sharedFilter: (flags & EXTRA_SHARED_FILTER) !== 0 ? bytes.toString('utf8', end) : null,
  };
}

// Column `message.body`: flags (1), bytes of topic (2), publisher (2) and properties (4), wall-clock milliseconds of the expiry (8, if
// there is one), then topic, publisher, properties and payload.
const BODY_HEAD_BYTES = 9;
const BODY_EXPIRES = 8;
const NO_BYTES = Buffer.alloc(0);

/** Most bytes that `writeBody` takes. */
export function bodyBytesMax({ topic, publisherId, properties, payload }: StoredMessage): number {
  return BODY_HEAD_BYTES + 8 + 3 * (topic.length + publisherId.length) + properties.length + payload.length;
}

/**
 * Writes the column `body` of a message into `target` from `offset` on.
 * @param offsetMs what to add to `expiresAtMs` to get milliseconds of the store's time
 * @returns the offset behind it
 */
export function writeBody(target: Buffer, offset: number, message: StoredMessage, offsetMs: number): number {
  const { topic, publisherId, properties, payload, expiresAtMs } = message;
  let start = offset + BODY_HEAD_BYTES;
  if (expiresAtMs !== 0) start = target.writeDoubleLE(expiresAtMs + offsetMs, start);
  const topicBytes = target.write(topic, start);
  const publisherBytes = publisherId === '' ? 0 : target.write(publisherId, start + topicBytes);
  const propertyStart = start + topicBytes + publisherBytes;
  if (properties.length > 0) target.set(properties, propertyStart);
  target.set(payload, propertyStart + properties.length);
  target[offset] = message.qos | (message.retain ? RETAIN : 0) | (expiresAtMs !== 0 ? BODY_EXPIRES : 0);
  target.writeUInt16LE(topicBytes, offset + 1);
  target.writeUInt16LE(publisherBytes, offset + 3);
  target.writeUInt32LE(properties.length, offset + 5);
  return propertyStart + properties.length + payload.length;
}

/** What a queue counts for a message, from its body: topic, properties and payload. */
export function countedBytes(body: Buffer, start: number, end: number): number {
  const expiryBytes = (body[start] & BODY_EXPIRES) !== 0 ? 8 : 0;
  return end - start - BODY_HEAD_BYTES - expiryBytes - body.readUInt16LE(start + 3);
}

/**
 * The message of a column `body`; its buffers are views of it.
 * @param id the row's key, which becomes `storeHandle`
 * @param offsetMs what to take from milliseconds of the store's time to get those of `expiresAtMs`; 0: leave them
 * @throws Error when the lengths in it do not fit
 */
export function readBody(body: Uint8Array, id: number, offsetMs: number): StoredMessage {
  const bytes = asBuffer(body);
  need(bytes, BODY_HEAD_BYTES);
  const flags = bytes[0];
  const expires = (flags & BODY_EXPIRES) !== 0;
  const topicStart = BODY_HEAD_BYTES + (expires ? 8 : 0);
  const publisherStart = topicStart + bytes.readUInt16LE(1);
  const propertyStart = publisherStart + bytes.readUInt16LE(3);
  const payloadStart = propertyStart + bytes.readUInt32LE(5);
  need(bytes, payloadStart);
  return {
    topic: bytes.toString('utf8', topicStart, publisherStart),
    payload: bytes.subarray(payloadStart),
    qos: (flags & QOS_MASK) as QoS,
    retain: (flags & RETAIN) !== 0,
    properties: payloadStart === propertyStart ? NO_BYTES : bytes.subarray(propertyStart, payloadStart),
    expiresAtMs: expires ? expiryOf(bytes.readDoubleLE(BODY_HEAD_BYTES) - offsetMs) : 0,
    publisherId: bytes.toString('utf8', publisherStart, propertyStart),
    storeHandle: id,
  };
}

/** A monotonic expiry of exactly 0 would mean never. */
function expiryOf(expiresAtMs: number): number {
  return expiresAtMs === 0 ? -1 : expiresAtMs;
}

// Column `session.record`: flags (1), expiry in seconds (8), wall-clock milliseconds of the disconnect (8), bytes of the owner (4), the
// owner, and with a will its delay in seconds (8), its expiry in seconds (8) and its message.
const RECORD_HEAD_BYTES = 21;
const RECORD_OWNER = 1;
const RECORD_WILL = 2;
/** In place of the time of the disconnect. */
const CONNECTED = 0;
const WILL_HEAD_BYTES = 16;

/** Most bytes that `writeSession` takes. */
export function sessionBytesMax({ owner, will }: StoredSession): number {
  const willBytes = will === null ? 0 : WILL_HEAD_BYTES + bodyBytesMax(will.message);
  return RECORD_HEAD_BYTES + 3 * (owner?.length ?? 0) + willBytes;
}

/** Writes the column `record` of a session, as `writeBody` does. */
export function writeSession(
  target: Buffer,
  offset: number,
  session: StoredSession,
  offsetMs: number,
): number {
  const { owner, will } = session;
  target.writeUInt8((owner !== null ? RECORD_OWNER : 0) | (will !== null ? RECORD_WILL : 0), offset);
  target.writeDoubleLE(session.expirySeconds, offset + 1);
  const { disconnectedAtMs } = session;
  target.writeDoubleLE(disconnectedAtMs === null ? CONNECTED : disconnectedAtMs + offsetMs, offset + 9);
  const ownerBytes = owner === null ? 0 : target.write(owner, offset + RECORD_HEAD_BYTES);
  target.writeUInt32LE(ownerBytes, offset + 17);
  const end = offset + RECORD_HEAD_BYTES + ownerBytes;
  if (will === null) return end;
  target.writeDoubleLE(will.delaySeconds, end);
  target.writeDoubleLE(will.expirySeconds, end + 8);
  return writeBody(target, end + WILL_HEAD_BYTES, will.message, offsetMs);
}

/**
 * The session of a column `record`.
 * @throws Error when the lengths in it do not fit
 */
export function readSession(record: Uint8Array, clientId: string, offsetMs: number): StoredSession {
  const bytes = asBuffer(record);
  need(bytes, RECORD_HEAD_BYTES);
  const flags = bytes[0];
  const end = RECORD_HEAD_BYTES + bytes.readUInt32LE(17);
  need(bytes, end);
  const disconnectedAt = bytes.readDoubleLE(9);
  return {
    clientId,
    owner: (flags & RECORD_OWNER) !== 0 ? bytes.toString('utf8', RECORD_HEAD_BYTES, end) : null,
    expirySeconds: bytes.readDoubleLE(1),
    disconnectedAtMs: disconnectedAt === CONNECTED ? null : disconnectedAt - offsetMs,
    will: (flags & RECORD_WILL) !== 0 ? readWill(bytes.subarray(end), offsetMs) : null,
  };
}

function readWill(bytes: Buffer, offsetMs: number): StoredWill {
  need(bytes, WILL_HEAD_BYTES);
  return {
    message: readBody(bytes.subarray(WILL_HEAD_BYTES), 0, offsetMs),
    delaySeconds: bytes.readDoubleLE(0),
    expirySeconds: bytes.readDoubleLE(8),
  };
}

// Column `subscription.options`: QoS, two flags and retain handling in six bits, the identifier above them.
const NO_LOCAL = 4;
const RETAIN_AS_PUBLISHED = 8;

/** The column `options` of a subscription. */
export function subscriptionOptions(subscription: StoredSubscription): number {
  return (
    subscription.qos +
    (subscription.noLocal ? NO_LOCAL : 0) +
    (subscription.retainAsPublished ? RETAIN_AS_PUBLISHED : 0) +
    subscription.retainHandling * 16 +
    subscription.identifier * 64
  );
}

/** The subscription of a row's filter and options. */
export function readSubscription(filter: string, options: number): StoredSubscription {
  return {
    filter,
    qos: (options & QOS_MASK) as QoS,
    noLocal: (options & NO_LOCAL) !== 0,
    retainAsPublished: (options & RETAIN_AS_PUBLISHED) !== 0,
    retainHandling: ((options >> 4) & 3) as 0 | 1 | 2,
    identifier: Math.floor(options / 64),
  };
}

const MARK_MAGIC = 0x6b72614d63756c53n;
/** Length of the mark file. */
export const MARK_BYTES = 24;

/**
 * The content of the mark file: magic (8), commit number (8), whether each commit was synced (4), CRC-32 (4).
 * @param isSynced false: a power cut may take away the end of the log, and leave gaps in it
 */
export function encodeMark(commitNumber: number, isSynced = true): Buffer {
  const mark = Buffer.alloc(MARK_BYTES);
  mark.writeBigUInt64LE(MARK_MAGIC, 0);
  mark.writeDoubleLE(commitNumber, 8);
  mark.writeUInt32LE(isSynced ? 1 : 0, 16);
  mark.writeUInt32LE(crc32(mark.subarray(0, 20)), 20);
  return mark;
}

/** The commit number of a mark file's content; null: it is damaged. */
export function decodeMark(mark: Uint8Array): number | null {
  const bytes = asBuffer(mark);
  if (bytes.length !== MARK_BYTES || bytes.readBigUInt64LE(0) !== MARK_MAGIC) return null;
  return bytes.readUInt32LE(20) === crc32(bytes.subarray(0, 20)) ? bytes.readDoubleLE(8) : null;
}

/** Whether each commit was synced, according to the content of a mark file that is not damaged. */
export function isSyncedMark(mark: Uint8Array): boolean {
  return asBuffer(mark).readUInt32LE(16) !== 0;
}

/** SQLite gives plain arrays of bytes. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function need(bytes: Uint8Array, length: number): void {
  if (bytes.length < length)
    throw new Error(`it has ${bytes.length} bytes, but ${length} or more are needed`);
}
