import { type ConnectPacket, PacketType, type Properties } from '../codec/packets.ts';
import { propertiesLength, writeProperties } from '../codec/properties.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';
import { TopicAliases } from '../connection/topic-aliases.ts';
import { ProtocolError } from '../errors.ts';
import type { Accepted } from '../interfaces/auth.ts';
import { Message } from '../session/message.ts';
import type { SessionWill } from '../session/session-context.ts';
import { answerRefused, refuseConnect } from './refuse-connect.ts';

const RECEIVE_MAXIMUM_DEFAULT = 65_535;

/** The client is who it says: gives it its session, new or old, and answers CONNACK (MQTT 5.0 section 3.1.4). */
export function openSession(
  connection: Connection,
  packet: ConnectPacket,
  assigned: boolean,
  { grants = null, endsAtMs = 0, credential = null }: Accepted,
): void {
  const { broker } = connection;
  const { sessions } = broker;
  const { clientId, username } = connection;
  const known = sessions.get(clientId);
  if (known !== undefined && known.owner !== username) {
    broker.log.warn('session.foreign', { ...connection.logFields });
    answerRefused(
      connection,
      ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
      'the client id belongs to another user',
    );
    return;
  }
  const identity = { clientId, username, grants, door: connection.wire.peer.door };
  const { will } = packet;
  const mayWill = will === null || broker.authorizer.may(identity, 'publish', will.topic);
  if (!mayWill) {
    refuseConnect(connection, ReasonCode.NOT_AUTHORIZED, "not allowed to publish to the will's topic");
    return;
  }
  if (known === undefined && sessions.full) {
    refuseConnect(connection, ReasonCode.QUOTA_EXCEEDED, 'too many sessions');
    return;
  }
  const expirySeconds = expiryOf(connection, packet);
  if ((known === undefined || packet.cleanStart) && expirySeconds > 0 && broker.store.full) {
    refuseConnect(connection, ReasonCode.QUOTA_EXCEEDED, 'the store has no room for another session');
    return;
  }
  // [MQTT-3.1.4-3]
  known?.receiver?.takeOver();
  const { session, present } = sessions.open(clientId, username, packet.cleanStart, expirySeconds);
  session.will = will === null ? null : willOf(connection, packet);
  broker.identify(session, identity);
  sessions.store(session);
  connection.session = session;
  connection.loginEndsAtMs = endsAtMs;
  connection.credential = credential;
  session.receiver = connection;
  connection.state = 'connected';
  connection.inboundBefore = session.inboundCount;
  applyLimits(connection, packet);
  broker.connectionOpened(connection);
  const fits = connection.sendConnack(sessions.connackSequence(session), {
    type: PacketType.CONNACK,
    // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    sessionPresent: present && packet.protocolVersion !== 3,
    reasonCode: ReasonCode.SUCCESS,
    properties: packet.protocolVersion === 5 ? connackProperties(connection, packet, assigned) : {},
  });
  if (fits) session.attach(connection);
  else
    connection.fail(
      new ProtocolError(ReasonCode.PACKET_TOO_LARGE, 'the CONNACK is over the Maximum Packet Size'),
    );
}

/** Seconds that the session may outlive the connection: what the client asks for, up to our cap. */
function expiryOf(connection: Connection, packet: ConnectPacket): number {
  const { sessionExpiryMaxSeconds, sessionExpiry3xSeconds } = connection.door.limits;
  if (packet.protocolVersion !== 5) return packet.cleanStart ? 0 : sessionExpiry3xSeconds;
  return Math.min(packet.properties.sessionExpiryInterval ?? 0, sessionExpiryMaxSeconds);
}

function applyLimits(connection: Connection, packet: ConnectPacket): void {
  const { limits } = connection.door;
  const { receiveMaximum, topicAliasMaximum } = packet.properties;
  connection.frameBytesMax = limits.packetBytesMax;
  // [MQTT-3.3.4-9]
  connection.window = Math.min(receiveMaximum ?? RECEIVE_MAXIMUM_DEFAULT, limits.inflightMax);
  const aliases = Math.min(topicAliasMaximum ?? 0, limits.topicAliasMaximum);
  connection.aliases = aliases > 0 ? new TopicAliases(aliases) : null;
  // [MQTT-3.1.2-22] one and a half times the keep alive
  connection.silenceMaxMs = keepAliveOf(connection, packet) * 1_500;
}

/** The keep alive that holds, in seconds; 0: none. */
function keepAliveOf(connection: Connection, packet: ConnectPacket): number {
  const { keepAliveMaxSeconds } = connection.door.limits;
  const asked = packet.keepAliveSeconds;
  if (keepAliveMaxSeconds === 65_535) return asked;
  return asked === 0 ? keepAliveMaxSeconds : Math.min(asked, keepAliveMaxSeconds);
}

function connackProperties(connection: Connection, packet: ConnectPacket, assigned: boolean): Properties {
  const { limits } = connection.door;
  const { responseInformation } = connection.broker.settings;
  const keepAlive = keepAliveOf(connection, packet);
  const properties: Properties = {
    receiveMaximum: limits.receiveMaximum,
    maximumPacketSize: limits.packetBytesMax,
    topicAliasMaximum: limits.topicAliasMaximum,
    // [MQTT-4.12.0-5] [MQTT-4.12.0-6]
    ...connection.enhanced?.properties,
  };
  if (expiryOf(connection, packet) !== (packet.properties.sessionExpiryInterval ?? 0))
    properties.sessionExpiryInterval = expiryOf(connection, packet);
  // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
  if (assigned) properties.assignedClientIdentifier = connection.clientId;
  if (keepAlive !== packet.keepAliveSeconds) properties.serverKeepAlive = keepAlive;
  // [MQTT-3.2.2-9]
  if (limits.maximumQos < 2) properties.maximumQos = limits.maximumQos;
  if (!limits.retainAvailable) properties.retainAvailable = 0;
  if (!limits.wildcardSubscriptionAvailable) properties.wildcardSubscriptionAvailable = 0;
  if (!limits.subscriptionIdentifiersAvailable) properties.subscriptionIdentifierAvailable = 0;
  if (!limits.sharedSubscriptionAvailable) properties.sharedSubscriptionAvailable = 0;
  // [MQTT-3.1.2-28]
  if (packet.properties.requestResponseInformation === 1 && responseInformation !== '')
    properties.responseInformation = responseInformation;
  return properties;
}

/** The will as a message at rest; what a will has and a PUBLISH has not, the delay, stands beside it. */
function willOf(connection: Connection, packet: ConnectPacket): SessionWill {
  const will = packet.will!;
  const cap = connection.door.limits.messageExpiryMaxSeconds;
  const { willDelayInterval, messageExpiryInterval, ...forwarded } = will.properties;
  const properties = Buffer.alloc(propertiesLength(forwarded) + 4);
  // Encoded as a property section, whose length field is not part of what is forwarded.
  const end = writeProperties(properties, 0, forwarded);
  const start = end - propertiesLength(forwarded);
  return {
    delaySeconds: willDelayInterval ?? 0,
    expirySeconds: cap > 0 ? Math.min(messageExpiryInterval ?? cap, cap) : (messageExpiryInterval ?? -1),
    message: new Message({
      topic: will.topic,
      payload: Buffer.from(will.payload),
      qos: will.qos,
      retain: will.retain,
      properties: properties.subarray(start, end),
      publisherId: connection.clientId,
    }),
  };
}
