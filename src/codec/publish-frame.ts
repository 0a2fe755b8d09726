/** Encodes an outgoing PUBLISH (MQTT 5.0 section 3.3) straight from a PublishSource. */
import type { QoS } from './packets.ts';
import type { PublishSource } from './publish-source.ts';
import { variableByteIntegerLength, writeVariableByteInteger } from './varint.ts';

const MESSAGE_EXPIRY_INTERVAL = 0x02;
const SUBSCRIPTION_IDENTIFIER = 0x0b;
const TOPIC_ALIAS = 0x23;

/** What differs from receiver to receiver. One instance is filled again for every packet. */
export class PublishShape {
  /** True for MQTT 5: the packet has properties. */
  v5 = false;
  qos: QoS = 0;
  retain = false;
  dup = false;
  packetId = 0;
  /** Remaining message expiry in seconds; -1: none. MQTT 5 only. */
  expirySeconds = -1;
  /** 0: none. MQTT 5 only. */
  topicAlias = 0;
  /** False when the alias alone is sent. */
  withTopic = true;
  identifiers: readonly number[] | null = null;
}

/** Bytes of the v5 property section's content, its length field not counted. */
function propertyLength(source: PublishSource, shape: PublishShape): number {
  let length = source.propertyEnd - source.propertyStart;
  if (shape.expirySeconds >= 0) length += 5;
  if (shape.topicAlias > 0) length += 3;
  if (shape.identifiers !== null)
    for (const identifier of shape.identifiers) length += 1 + variableByteIntegerLength(identifier);
  return length;
}

/** The remaining length of the packet that `writePublish` would write, in bytes. */
export function publishRemainingLength(source: PublishSource, shape: PublishShape): number {
  let length = 2 + source.payloadEnd - source.payloadStart;
  if (shape.withTopic) length += source.topicEnd - source.topicStart;
  if (shape.qos > 0) length += 2;
  if (shape.v5) {
    const properties = propertyLength(source, shape);
    length += variableByteIntegerLength(properties) + properties;
  }
  return length;
}

/** The whole packet's size in bytes for a remaining length. */
export function frameLength(remainingLength: number): number {
  return 1 + variableByteIntegerLength(remainingLength) + remainingLength;
}

/** Offset of the packet identifier in the packet, relative to its first byte. Only for QoS 1 and 2. */
export function packetIdOffset(source: PublishSource, shape: PublishShape, remainingLength: number): number {
  const topic = shape.withTopic ? source.topicEnd - source.topicStart : 0;
  return 1 + variableByteIntegerLength(remainingLength) + 2 + topic;
}

/** Writes the packet at `start` and returns the offset after it. The buffer must have room for `frameLength(remainingLength)`. */
export function writePublish(
  buffer: Buffer,
  start: number,
  source: PublishSource,
  shape: PublishShape,
  remainingLength: number,
): number {
  let offset = start;
  buffer[offset++] = 0x30 | (shape.dup ? 8 : 0) | (shape.qos << 1) | (shape.retain ? 1 : 0);
  offset = writeVariableByteInteger(buffer, offset, remainingLength);
  const topicLength = shape.withTopic ? source.topicEnd - source.topicStart : 0;
  buffer[offset++] = topicLength >>> 8;
  buffer[offset++] = topicLength & 0xff;
  if (topicLength > 0) {
    source.topicBytes.copy(buffer, offset, source.topicStart, source.topicEnd);
    offset += topicLength;
  }
  if (shape.qos > 0) {
    buffer[offset++] = shape.packetId >>> 8;
    buffer[offset++] = shape.packetId & 0xff;
  }
  if (shape.v5) offset = writeProperties(buffer, offset, source, shape);
  source.payloadBytes.copy(buffer, offset, source.payloadStart, source.payloadEnd);
  return offset + source.payloadEnd - source.payloadStart;
}

function writeProperties(buffer: Buffer, start: number, source: PublishSource, shape: PublishShape): number {
  let offset = writeVariableByteInteger(buffer, start, propertyLength(source, shape));
  if (shape.expirySeconds >= 0) {
    buffer[offset++] = MESSAGE_EXPIRY_INTERVAL;
    offset = buffer.writeUInt32BE(shape.expirySeconds, offset);
  }
  if (shape.topicAlias > 0) {
    buffer[offset++] = TOPIC_ALIAS;
    offset = buffer.writeUInt16BE(shape.topicAlias, offset);
  }
  if (shape.identifiers !== null)
    for (const identifier of shape.identifiers) {
      buffer[offset++] = SUBSCRIPTION_IDENTIFIER;
      offset = writeVariableByteInteger(buffer, offset, identifier);
    }
  // [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] forwarded unaltered, in order
  source.propertyBytes.copy(buffer, offset, source.propertyStart, source.propertyEnd);
  return offset + source.propertyEnd - source.propertyStart;
}
