/** Writes PUBLISH packets in the form that one connection needs: its version, its aliases, its Maximum Packet Size. */
import type { QoS } from '../codec/packets.ts';
import {
  frameLength,
  type PublishShape,
  publishRemainingLength,
  writePublish,
} from '../codec/publish-frame.ts';
import type { PublishSource } from '../codec/publish-source.ts';
import type { PublishRun } from '../router/publish-run.ts';
import type { Delivery } from '../session/delivery.ts';
import type { Outgoing } from '../session/outgoing.ts';
import type { SendResult } from '../session/receiver.ts';
import type { PacketStream } from './packet-stream.ts';

/** Appends a run as it was received; `other` where the client needs its packets in another form. */
export function writeRun(stream: PacketStream, run: PublishRun): SendResult | 'other' {
  const { aliases, version, packetBytesMax } = stream;
  if (aliases !== null || (version === 5) !== run.v5 || run.frameBytesMax > packetBytesMax) return 'other';
  if (!stream.hasRoomFor(run.end - run.start)) return 'full';
  stream.out.append(run.buffer, run.start, run.end);
  count(stream, run.count, run.end - run.start);
  return 'sent';
}

/** Appends a message on its way: the frame shared with other receivers, or one of the client's own where it must differ. */
export function writeOutgoing(
  stream: PacketStream,
  out: Outgoing,
  qos: QoS,
  retain: boolean,
  identifiers: readonly number[] | null,
  packetId: number,
): SendResult {
  const v5 = stream.version === 5;
  if (v5 && (identifiers !== null || stream.aliases !== null))
    return writeOwnShape(stream, out, qos, retain, identifiers, packetId);
  out.select(v5, qos, retain);
  const { buffer, start, end } = out;
  if (end - start > stream.packetBytesMax) return tooLarge(stream, out.topic);
  if (qos === 0 && !stream.hasRoomFor(end - start)) return 'full';
  const offset = stream.out.append(buffer, start, end);
  if (qos > 0) {
    const id = offset + out.idOffset;
    stream.out.buffer[id] = packetId >>> 8;
    stream.out.buffer[id + 1] = packetId & 0xff;
  }
  count(stream, 1, end - start);
  return 'sent';
}

function writeOwnShape(
  stream: PacketStream,
  out: Outgoing,
  qos: QoS,
  retain: boolean,
  identifiers: readonly number[] | null,
  packetId: number,
): SendResult {
  const { shape } = stream.broker;
  fillShape(stream, shape, qos, retain, identifiers, packetId);
  shape.expirySeconds = out.expirySeconds;
  return writeShape(stream, shape, out.source, out.topic, qos === 0);
}

/** Appends a delivery with `expirySeconds` left of its expiry; -1: none. */
export function writeDelivery(
  stream: PacketStream,
  delivery: Delivery,
  packetId: number,
  dup: boolean,
  expirySeconds: number,
): SendResult {
  const { message } = delivery;
  const shape = shapeOf(stream, delivery, packetId, dup, expirySeconds);
  // What waited is sent when there is room, and not dropped.
  return writeShape(stream, shape, message, message.topic, false);
}

/** Appends a packet made for this client alone, with an alias where it may have one. */
function writeShape(
  stream: PacketStream,
  shape: PublishShape,
  source: PublishSource,
  topic: string,
  mayDrop: boolean,
): SendResult {
  const aliasIsNew = chooseAlias(stream, shape, topic);
  const remaining = publishRemainingLength(source, shape);
  const bytes = frameLength(remaining);
  if (bytes > stream.packetBytesMax) return tooLarge(stream, topic);
  if (mayDrop && !stream.hasRoomFor(bytes)) return 'full';
  if (aliasIsNew) stream.aliases?.commit(topic, shape.topicAlias);
  const offset = stream.out.reserve(bytes);
  writePublish(stream.out.buffer, offset, source, shape, remaining);
  count(stream, 1, bytes);
  return 'sent';
}

/**
 * A delivery as a packet to be sent later; null when it is too large. Without an alias: a packet that does not wait could
 * use one before this one defined it.
 */
export function encodeDelivery(
  stream: PacketStream,
  delivery: Delivery,
  packetId: number,
  dup: boolean,
  expirySeconds: number,
): Buffer | null {
  const { message } = delivery;
  const shape = shapeOf(stream, delivery, packetId, dup, expirySeconds);
  const remaining = publishRemainingLength(message, shape);
  const bytes = frameLength(remaining);
  if (bytes > stream.packetBytesMax) {
    tooLarge(stream, message.topic);
    return null;
  }
  const packet = Buffer.allocUnsafe(bytes);
  writePublish(packet, 0, message, shape, remaining);
  // As a packet it is counted when it leaves.
  stream.broker.statistics.publishSent++;
  stream.broker.statistics.publishBytesSent += bytes;
  return packet;
}

function shapeOf(
  stream: PacketStream,
  { qos, retain, identifiers }: Delivery,
  packetId: number,
  dup: boolean,
  expirySeconds: number,
): PublishShape {
  const { shape } = stream.broker;
  fillShape(stream, shape, qos, retain, identifiers, packetId);
  shape.dup = dup;
  shape.expirySeconds = shape.v5 ? expirySeconds : -1;
  return shape;
}

function fillShape(
  stream: PacketStream,
  shape: PublishShape,
  qos: QoS,
  retain: boolean,
  identifiers: readonly number[] | null,
  packetId: number,
): void {
  shape.v5 = stream.version === 5;
  shape.qos = qos;
  shape.retain = retain;
  shape.dup = false;
  shape.packetId = packetId;
  shape.identifiers = shape.v5 ? identifiers : null;
  shape.topicAlias = 0;
  shape.withTopic = true;
}

/** Puts the topic's alias into `shape`; true when it is a new one, to be committed once the packet is sent. */
function chooseAlias({ aliases }: PacketStream, shape: PublishShape, topic: string): boolean {
  if (aliases === null || !shape.v5) return false;
  const known = aliases.known(topic);
  shape.topicAlias = known === 0 ? aliases.next() : known;
  shape.withTopic = known === 0;
  return known === 0 && shape.topicAlias > 0;
}

/** [MQTT-3.1.2-25] a message that the client cannot take counts as delivered. */
function tooLarge({ broker, logFields }: PacketStream, topic: string): SendResult {
  broker.statistics.publishTooLarge++;
  broker.log.debug('publish.too_large_for_receiver', { ...logFields, topic });
  return 'too-large';
}

function count({ broker: { statistics } }: PacketStream, messages: number, bytes: number): void {
  statistics.messagesSent += messages;
  statistics.publishSent += messages;
  statistics.publishBytesSent += bytes;
}
