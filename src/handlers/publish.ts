import { PacketType } from '../codec/packets.ts';
import type { PublishView } from '../codec/publish-view.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import { isValidUtf8 } from '../codec/utf8.ts';
import type { Connection } from '../connection/connection.ts';
import type { PacketStream } from '../connection/packet-stream.ts';
import { sameTopic, type TopicState } from '../connection/topic-state.ts';
import { ProtocolError, quoted } from '../errors.ts';
import { shapeIndex } from '../session/outgoing.ts';
import { isValidTopicName } from '../topics/names.ts';

const PUBACK = 0x40;
const PUBREC = 0x50;

/** A message from the client (MQTT 5.0 section 3.3). At QoS 0 with a topic seen last, nothing is allocated. */
export function handlePublish(
  stream: PacketStream,
  buffer: Buffer,
  start: number,
  bodyStart: number,
  end: number,
): void {
  const { broker, connection } = stream;
  const { limits } = stream.door;
  const view = broker.publishView;
  view.userPropertiesMax = limits.userPropertiesMax;
  view.parse(buffer, start, bodyStart, end, connection.version);
  broker.statistics.publishReceived++;
  broker.statistics.publishBytesReceived += end - start;
  // [MQTT-3.2.2-11] [MQTT-3.2.2-14]
  if (view.qos > limits.maximumQos)
    throw new ProtocolError(
      ReasonCode.QOS_NOT_SUPPORTED,
      `QoS ${view.qos} is over the maximum of ${limits.maximumQos}`,
    );
  if (view.retain && !limits.retainAvailable)
    throw new ProtocolError(ReasonCode.RETAIN_NOT_SUPPORTED, 'retained messages are switched off here');
  const state = topicOf(stream, view);
  if (view.qos === 2 && connection.session!.hasInbound(view.packetId)) {
    // [MQTT-4.3.3-10] seen before and not released: answered, not delivered again
    stream.sendAck(PUBREC, view.packetId, connection.session!.sequence);
    return;
  }
  checkQuota(connection, view);
  if (broker.store.full && view.qos > 0 && state.allowed && storing(connection, view, state)) {
    refuseStoring(stream, view);
    return;
  }
  const before = broker.store.appended;
  const reasonCode = publish(connection, view, state);
  if (view.qos === 0) return;
  if (view.qos === 2 && reasonCode < 0x80) connection.session!.noteInbound(view.packetId);
  // Nothing written for this message: its acknowledgement waits for nobody else's.
  const { appended } = broker.store;
  acknowledge(stream, view, reasonCode, appended === before ? 0 : appended);
}

/** True when the store would have to take the message. */
function storing(connection: Connection, view: PublishView, state: TopicState): boolean {
  const { router } = connection.broker;
  if (state.route.generation < 0) return false;
  return view.retain || router.touchesStore(state.route, view.qos);
}

/**
 * The store is full. MQTT 5 has an answer; a 3.x client gets none, keeps the message, and sends it again on the connection
 * that it has to make once there is room.
 */
function refuseStoring(stream: PacketStream, view: PublishView): void {
  stream.broker.statistics.publishRefused++;
  if (stream.version === 5) acknowledge(stream, view, ReasonCode.QUOTA_EXCEEDED, 0);
  else stream.connection.unanswered = true;
}

/** Delivers and retains. Returns the reason code for PUBACK or PUBREC. */
function publish(connection: Connection, view: PublishView, state: TopicState): number {
  const { broker } = connection;
  if (!state.allowed) return denied(connection);
  if (state.route.generation < 0) return overLimits(connection, view, state.bytes.length);
  if (view.payloadIsUtf8 && broker.settings.payloadFormatCheck) {
    if (!isValidUtf8(view.payloadBytes, view.payloadStart, view.payloadEnd)) return badPayload(view);
  }
  const version5 = connection.version === 5;
  const cap = connection.door.limits.messageExpiryMaxSeconds;
  const expirySeconds =
    cap > 0 && (view.expirySeconds < 0 || view.expirySeconds > cap) ? cap : view.expirySeconds;
  const out = broker.router.outgoing;
  out.fill(view, state.topic, expirySeconds, connection.clientId, connection.lastReceivedAtMs, null);
  // The received bytes are what receivers of the same shape get, if no alias stands in them and no expiry was changed.
  if (!view.dup && view.topicAlias === 0 && expirySeconds === view.expirySeconds)
    out.offerVerbatim(
      shapeIndex(version5, view.qos, view.retain),
      view.buffer,
      view.frameStart,
      view.frameEnd,
      view.packetIdOffset,
    );
  const retained = view.retain ? broker.retain(out) : true;
  let receivers = 0;
  const refused = !retained && version5 && view.qos > 0;
  if (!retained && !refused) broker.forgetRetained(state.topic);
  if (!refused) receivers = broker.router.dispatch(state.route, view.qos, view.retain, connection.session);
  const nobodyHasRoom = receivers === 0 && out.refused > 0 && !view.retain;
  out.clear();
  if (refused || nobodyHasRoom) return ReasonCode.QUOTA_EXCEEDED;
  return receivers > 0 || !version5 ? ReasonCode.SUCCESS : ReasonCode.NO_MATCHING_SUBSCRIBERS;
}

/** The stream's topic for this packet: by alias, the last one again, or looked up. */
function topicOf(stream: PacketStream, view: PublishView): TopicState {
  const { connection } = stream;
  if (view.topicAlias > 0) return aliasedTopic(stream, view);
  const last = stream.lastTopic;
  if (last !== null && sameTopic(last, view.topicBytes, view.topicStart, view.topicEnd))
    return fresh(connection, last);
  const state = newTopic(connection, view);
  stream.lastTopic = state;
  return state;
}

/** Looks rights and route up again if anything changed since. */
function fresh(connection: Connection, state: TopicState): TopicState {
  const { router, authorizer } = connection.broker;
  const generation = router.generation;
  if (state.generation !== generation) {
    state.generation = generation;
    state.allowed = authorizer.may(connection.session!.identity, 'publish', state.topic);
    // Here, and not for each message: a client that goes on publishing must not fill the log.
    if (!state.allowed)
      connection.broker.log.info('publish.denied', { ...connection.logFields, topic: state.topic });
    if (state.allowed && state.route.generation >= 0) state.route = router.route(state.topic);
  }
  return state;
}

function newTopic(connection: Connection, view: PublishView): TopicState {
  const { topicBytes, topicStart, topicEnd } = view;
  const { limits } = connection.door;
  // [MQTT-1.5.4-1] [MQTT-3.3.2-1]
  if (!isValidUtf8(topicBytes, topicStart, topicEnd))
    throw new ProtocolError(ReasonCode.MALFORMED_PACKET, 'the topic name is not well-formed UTF-8');
  const bytes = Buffer.from(topicBytes.subarray(topicStart, topicEnd));
  const topic = bytes.toString();
  if (bytes.length === 0 && connection.version === 5)
    throw new ProtocolError(
      ReasonCode.PROTOCOL_ERROR,
      'a PUBLISH has neither a topic name nor a topic alias',
    );
  // [MQTT-3.3.2-2] [MQTT-4.7.3-1]
  if (!isValidTopicName(topic, Number.POSITIVE_INFINITY))
    throw new ProtocolError(
      ReasonCode.TOPIC_NAME_INVALID,
      `topic name ${quoted(topic)} is empty or has a wildcard`,
    );
  if (bytes.length > limits.topicBytesMax || !isValidTopicName(topic, limits.topicLevelsMax))
    return refusedTopic(connection, topic, bytes);
  const state: TopicState = {
    topic,
    bytes,
    generation: -1,
    allowed: false,
    route: { topic, generation: 0, targets: [], groups: [], hold: null },
  };
  return fresh(connection, state);
}

/** A state for a well-formed name over our limits; it stands in for the topic so that the next packet costs no more. */
function refusedTopic(connection: Connection, topic: string, bytes: Buffer): TopicState {
  const route = { topic, generation: -1, targets: [], groups: [], hold: null };
  return { topic, bytes, generation: connection.broker.router.generation, allowed: true, route };
}

/** MQTT 5 can refuse a topic name in PUBACK and PUBREC; everything else ends the connection. */
function overLimits(connection: Connection, view: PublishView, topicBytes: number): number {
  if (connection.version === 5 && view.qos > 0) return ReasonCode.TOPIC_NAME_INVALID;
  const { topicLevelsMax, topicBytesMax } = connection.door.limits;
  throw new ProtocolError(
    ReasonCode.TOPIC_NAME_INVALID,
    `a topic name of ${topicBytes} bytes is over the limit of ${topicBytesMax} bytes or ${topicLevelsMax} levels`,
  );
}

/** [MQTT-3.3.2-9] [MQTT-3.3.2-12] an alias up to what we granted; with a topic name it is (re)defined, without one it must be known. */
function aliasedTopic(stream: PacketStream, view: PublishView): TopicState {
  const { connection } = stream;
  const { topicAlias } = view;
  if (topicAlias > connection.door.limits.topicAliasMaximum)
    throw new ProtocolError(
      ReasonCode.TOPIC_ALIAS_INVALID,
      `topic alias ${topicAlias} is over the maximum granted`,
    );
  if (view.topicEnd > view.topicStart) {
    const state = newTopic(connection, view);
    stream.inboundAliases ??= new Map();
    stream.inboundAliases.set(topicAlias, state);
    return state;
  }
  const state = stream.inboundAliases?.get(topicAlias);
  if (state === undefined)
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, `topic alias ${topicAlias} has not been defined`);
  view.topicBytes = state.bytes;
  view.topicStart = 0;
  view.topicEnd = state.bytes.length;
  return fresh(connection, state);
}

/** [MQTT-3.3.4-7] no more unacknowledged QoS 1 and 2 messages than our Receive Maximum. 3.x has none to exceed. */
function checkQuota(connection: Connection, view: PublishView): void {
  if (view.qos === 0 || connection.version !== 5) return;
  const max = connection.door.limits.receiveMaximum;
  // A new connection starts with the whole quota: what is unreleased from an earlier one does not count.
  const unreleased = Math.max(0, connection.session!.inboundCount - connection.inboundBefore);
  if (unreleased + connection.unacknowledged >= max)
    throw new ProtocolError(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, `more than ${max} unacknowledged messages`);
}

function denied(connection: Connection): number {
  const { broker } = connection;
  broker.statistics.publishDenied++;
  if (broker.settings.deniedPublish === 'disconnect')
    throw new ProtocolError(ReasonCode.NOT_AUTHORIZED, 'not allowed to publish to this topic');
  return ReasonCode.NOT_AUTHORIZED;
}

function badPayload(view: PublishView): number {
  if (view.qos === 0)
    throw new ProtocolError(
      ReasonCode.PAYLOAD_FORMAT_INVALID,
      'the payload is not the UTF-8 that it says it is',
    );
  return ReasonCode.PAYLOAD_FORMAT_INVALID;
}

/** 3.x knows no refusal: the message is acknowledged as the protocol wants, whatever became of it. */
function acknowledge(stream: PacketStream, view: PublishView, reasonCode: number, sequence: number): void {
  const { connection } = stream;
  const { packetId, qos } = view;
  let release: (() => void) | null = null;
  if (sequence > connection.broker.store.durable && qos === 1) {
    connection.unacknowledged++;
    release = () => connection.unacknowledged--;
  }
  if (connection.version !== 5 || reasonCode === ReasonCode.SUCCESS) {
    stream.sendAck(qos === 1 ? PUBACK : PUBREC, packetId, sequence, release);
    return;
  }
  const type = qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
  stream.sendWhenDurable(sequence, { type, packetId, reasonCode, properties: {} }, release);
}
