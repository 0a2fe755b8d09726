import type { ConnectPacket } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import { isValidUtf8 } from '../codec/utf8.ts';
import type { Connection } from '../connection/connection.ts';
import type { Attempt, RefusalReason, Verdict } from '../interfaces/auth.ts';
import { isValidTopicName } from '../topics/names.ts';
import { EnhancedAuthentication } from './authenticate.ts';
import { openSession } from './open-session.ts';
import { answerRefused, refuseConnect } from './refuse-connect.ts';

/** MQTT 3.1 allows a client id of 1 to 23 characters (3.1 section 3.1). */
const CLIENT_ID_31_MAX = 23;

const NO_DATA = new Uint8Array(0);

const REASON_OF_VERDICT = {
  'bad-credentials': ReasonCode.BAD_USER_NAME_OR_PASSWORD,
  'unknown-user': ReasonCode.BAD_USER_NAME_OR_PASSWORD,
  banned: ReasonCode.BANNED,
  throttled: ReasonCode.CONNECTION_RATE_EXCEEDED,
  'not-authorized': ReasonCode.NOT_AUTHORIZED,
  busy: ReasonCode.SERVER_BUSY,
  unavailable: ReasonCode.SERVER_UNAVAILABLE,
} as const satisfies Record<RefusalReason, number>;

/** What the client is told. Whether it is the user or the password that is not known is none of its business. */
const TEXT_OF_VERDICT: Record<RefusalReason, string> = {
  'bad-credentials': 'bad user name or password',
  'unknown-user': 'bad user name or password',
  'not-authorized': 'not authorized',
  banned: 'banned',
  throttled: 'too many failed logins, try later',
  busy: 'busy, try later',
  unavailable: 'logins cannot be checked now',
};

/**
 * A client wants in (MQTT 5.0 section 3.1). Checked first, then authenticated; until the verdict nothing that came
 * behind the CONNECT is looked at, and no other session is touched.
 * A refused login is answered with CONNACK and the close [MQTT-4.12.0-4].
 */
export function handleConnect(connection: Connection, packet: ConnectPacket): void {
  const { broker } = connection;
  connection.version = packet.protocolVersion;
  connection.packetBytesMax = packet.properties.maximumPacketSize ?? connection.packetBytesMax;
  connection.problemInformation = packet.properties.requestProblemInformation !== 0;
  const refusal = objection(connection, packet);
  if (refusal !== null) {
    refuseConnect(connection, refusal.reasonCode, refusal.reason);
    return;
  }
  const assigned = packet.clientId === '';
  connection.clientId = assigned ? broker.assignClientId() : packet.clientId;
  connection.username = packet.username;
  connection.state = 'authenticating';
  const { clientId, wire } = connection;
  const { username, password, protocolVersion } = packet;
  const attempt = { clientId, username, password, protocolVersion, peer: wire.peer };
  if (packet.properties.authenticationMethod !== undefined) {
    beginExchange(connection, packet, assigned, attempt);
    return;
  }
  const verdict = broker.authenticator.authenticate(attempt);
  if (!(verdict instanceof Promise)) {
    decide(connection, packet, assigned, verdict);
    return;
  }
  verdict
    .catch((error: unknown): Verdict => {
      broker.log.error('auth.error', { ...connection.logFields, error: String(error) });
      return { ok: false, reason: 'unavailable' };
    })
    .then((decided) => {
      if (connection.state !== 'authenticating') return;
      try {
        decide(connection, packet, assigned, decided);
      } catch (error) {
        connection.fail(error);
      }
      connection.watchInput();
    })
    .catch((error: unknown) => connection.fail(error));
}

/** Enhanced authentication (section 4.12): the CONNECT is decided when the exchange ends. */
function beginExchange(
  connection: Connection,
  packet: ConnectPacket,
  assigned: boolean,
  attempt: Attempt,
): void {
  const { authenticationMethod: method = '', authenticationData = NO_DATA } = packet.properties;
  const exchange = connection.broker.authenticator.exchange?.(method, attempt) ?? null;
  if (exchange === null) {
    // [MQTT-4.12.0-1]
    refuseConnect(
      connection,
      ReasonCode.BAD_AUTHENTICATION_METHOD,
      'that authentication method is not known',
    );
    return;
  }
  connection.enhanced = new EnhancedAuthentication(connection, method);
  connection.enhanced.begin(exchange, authenticationData, (verdict) =>
    decide(connection, packet, assigned, verdict),
  );
}

function decide(connection: Connection, packet: ConnectPacket, assigned: boolean, verdict: Verdict): void {
  if (!verdict.ok) {
    connection.broker.log.warn('auth.failed', { ...connection.logFields, reason: verdict.reason });
    answerRefused(connection, REASON_OF_VERDICT[verdict.reason], TEXT_OF_VERDICT[verdict.reason]);
    return;
  }
  connection.username = verdict.username;
  openSession(connection, packet, assigned, verdict);
}

interface Objection {
  readonly reasonCode: number;
  readonly reason: string;
}

/** What is wrong with a CONNECT before anyone looks at who sends it; null: nothing. */
function objection(connection: Connection, packet: ConnectPacket): Objection | null {
  const { door, broker } = connection;
  const { protocolVersion } = packet;
  if (!door.versions.includes(protocolVersion))
    return object(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 'this listener does not speak that version');
  const noRoom = broker.admission.objectionTo(connection);
  if (noRoom !== null) return noRoom;
  return objectionToClientId(connection, packet) ?? objectionToWill(connection, packet);
}

function objectionToClientId(connection: Connection, packet: ConnectPacket): Objection | null {
  const { clientId, protocolVersion, cleanStart } = packet;
  const { clientIdBytesMax } = connection.door.limits;
  const notValid = ReasonCode.CLIENT_IDENTIFIER_NOT_VALID;
  if (Buffer.byteLength(clientId) > clientIdBytesMax)
    return object(notValid, `the client id is longer than ${clientIdBytesMax} bytes`);
  if (protocolVersion === 3 && (clientId === '' || clientId.length > CLIENT_ID_31_MAX))
    return object(notValid, `MQTT 3.1 wants a client id of 1 to ${CLIENT_ID_31_MAX} characters`);
  // [MQTT-3.1.3-8] 3.1.1: without a client id there is no session to come back to
  if (protocolVersion === 4 && clientId === '' && !cleanStart)
    return object(notValid, 'an empty client id needs clean session 1');
  return null;
}

function objectionToWill(connection: Connection, packet: ConnectPacket): Objection | null {
  const { will } = packet;
  if (will === null) return null;
  const { limits } = connection.door;
  // [MQTT-3.2.2-12]
  if (will.qos > limits.maximumQos)
    return object(ReasonCode.QOS_NOT_SUPPORTED, `the will's QoS is over ${limits.maximumQos}`);
  // [MQTT-3.2.2-13]
  if (will.retain && !limits.retainAvailable)
    return object(ReasonCode.RETAIN_NOT_SUPPORTED, 'retained messages are switched off here');
  if (
    !isValidTopicName(will.topic, limits.topicLevelsMax) ||
    Buffer.byteLength(will.topic) > limits.topicBytesMax
  )
    return object(ReasonCode.TOPIC_NAME_INVALID, "the will's topic name is not valid here");
  const checkFormat =
    connection.broker.settings.payloadFormatCheck && will.properties.payloadFormatIndicator === 1;
  if (checkFormat && !isValidUtf8(will.payload, 0, will.payload.length))
    return object(
      ReasonCode.PAYLOAD_FORMAT_INVALID,
      "the will's payload is not the UTF-8 that it says it is",
    );
  return null;
}

function object(reasonCode: number, reason: string): Objection {
  return { reasonCode, reason };
}
