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
import type { Connection } from './connection.ts';

/** Appends a run as it was received; `other` where the client needs its packets in another form. */
export function writeRun(connection: Connection, run: PublishRun): SendResult | 'other' {
  const { aliases, version, packetBytesMax } = connection;
  if (aliases !== null || (version === 5) !== run.v5 || run.frameBytesMax > packetBytesMax) return 'other';
  if (!connection.hasRoomFor(run.end - run.start)) return 'full';
  connection.out.append(run.buffer, run.start, run.end);
  count(connection, run.count, run.end - run.start);
  return 'sent';
}

/** Appends a message on its way: the frame shared with other receivers, or one of the client's own where it must differ. */
export function writeOutgoing(
  connection: Connection,
  out: Outgoing,
  qos: QoS,
  retain: boolean,
  identifiers: readonly number[] | null,
  packetId: number,
): SendResult {
  const v5 = connection.version === 5;
  if (v5 && (identifiers !== null || connection.aliases !== null))
    return writeOwnShape(connection, out, qos, retain, identifiers, packetId);
  out.select(v5, qos, retain);
  const { buffer, start, end } = out;
  if (end - start > connection.packetBytesMax) return tooLarge(connection, out.topic);
  if (qos === 0 && !connection.hasRoomFor(end - start)) return 'full';
  const offset = connection.out.append(buffer, start, end);
  if (qos > 0) {
    const id = offset + out.idOffset;
    connection.out.buffer[id] = packetId >>> 8;
    connection.out.buffer[id + 1] = packetId & 0xff;
  }
  count(connection, 1, end - start);
  return 'sent';
}

function writeOwnShape(
  connection: Connection,
  out: Outgoing,
  qos: QoS,
  retain: boolean,
  identifiers: readonly number[] | null,
  packetId: number,
): SendResult {
  const { shape } = connection.broker;
  fillShape(connection, shape, qos, retain, identifiers, packetId);
  shape.expirySeconds = out.expirySeconds;
  return writeShape(connection, shape, out.source, out.topic, qos === 0);
}

/** Appends a delivery with `expirySeconds` left of its expiry; -1: none. */
export function writeDelivery(
  connection: Connection,
  delivery: Delivery,
  packetId: number,
  dup: boolean,
  expirySeconds: number,
): SendResult {
  const { message } = delivery;
  const shape = shapeOf(connection, delivery, packetId, dup, expirySeconds);
  // What waited is sent when there is room, and not dropped.
  return writeShape(connection, shape, message, message.topic, false);
}

/** Appends a packet made for this client alone, with an alias where it may have one. */
function writeShape(
  connection: Connection,
  shape: PublishShape,
  source: PublishSource,
  topic: string,
  mayDrop: boolean,
): SendResult {
  const aliasIsNew = chooseAlias(connection, shape, topic);
  const remaining = publishRemainingLength(source, shape);
  const bytes = frameLength(remaining);
  if (bytes > connection.packetBytesMax) return tooLarge(connection, topic);
  if (mayDrop && !connection.hasRoomFor(bytes)) return 'full';
  if (aliasIsNew) connection.aliases?.commit(topic, shape.topicAlias);
  const offset = connection.out.reserve(bytes);
  writePublish(connection.out.buffer, offset, source, shape, remaining);
  count(connection, 1, bytes);
  return 'sent';
}

/**
 * A delivery as a packet to be sent later; null when it is too large. Without an alias: a packet that does not wait could
 * use one before this one defined it.
 */
export function encodeDelivery(
  connection: Connection,
  delivery: Delivery,
  packetId: number,
  dup: boolean,
  expirySeconds: number,
): Buffer | null {
  const { message } = delivery;
  const shape = shapeOf(connection, delivery, packetId, dup, expirySeconds);
  const remaining = publishRemainingLength(message, shape);
  const bytes = frameLength(remaining);
  if (bytes > connection.packetBytesMax) {
    tooLarge(connection, message.topic);
    return null;
  }
  const packet = Buffer.allocUnsafe(bytes);
  writePublish(packet, 0, message, shape, remaining);
  // As a packet it is counted when it leaves.
  connection.broker.statistics.publishSent++;
  connection.broker.statistics.publishBytesSent += bytes;
  return packet;
}

function shapeOf(
  connection: Connection,
  { qos, retain, identifiers }: Delivery,
  packetId: number,
  dup: boolean,
  expirySeconds: number,
): PublishShape {
  const { shape } = connection.broker;
  fillShape(connection, shape, qos, retain, identifiers, packetId);
  shape.dup = dup;
  shape.expirySeconds = shape.v5 ? expirySeconds : -1;
  return shape;
}

function fillShape(
  connection: Connection,
  shape: PublishShape,
  qos: QoS,
  retain: boolean,
  identifiers: readonly number[] | null,
  packetId: number,
): void {
  shape.v5 = connection.version === 5;
  shape.qos = qos;
  shape.retain = retain;
  shape.dup = false;
  shape.packetId = packetId;
  shape.identifiers = shape.v5 ? identifiers : null;
  shape.topicAlias = 0;
  shape.withTopic = true;
}

/** Puts the topic's alias into `shape`; true when it is a new one, to be committed once the packet is sent. */
function chooseAlias({ aliases }: Connection, shape: PublishShape, topic: string): boolean {
  if (aliases === null || !shape.v5) return false;
  const known = aliases.known(topic);
  shape.topicAlias = known === 0 ? aliases.next() : known;
  shape.withTopic = known === 0;
  return known === 0 && shape.topicAlias > 0;
}

/** [MQTT-3.1.2-25] a message that the client cannot take counts as delivered. */
function tooLarge({ broker, logFields }: Connection, topic: string): SendResult {
  broker.statistics.publishTooLarge++;
  broker.log.debug('publish.too_large_for_receiver', { ...logFields, topic });
  return 'too-large';
}

function count({ broker: { statistics } }: Connection, messages: number, bytes: number): void {
  statistics.messagesSent += messages;
  statistics.publishSent += messages;
  statistics.publishBytesSent += bytes;
}
