import { PacketType } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';

/** CONNACK return codes of 3.x (3.1.1 section 3.2.2.3) for the reasons that have one. */
const RETURN_CODE_3X: ReadonlyMap<number, number> = new Map([
  [ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 1],
  [ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2],
  [ReasonCode.SERVER_UNAVAILABLE, 3],
  [ReasonCode.SERVER_BUSY, 3],
  [ReasonCode.QUOTA_EXCEEDED, 3],
  [ReasonCode.CONNECTION_RATE_EXCEEDED, 3],
  [ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4],
  [ReasonCode.NOT_AUTHORIZED, 5],
  [ReasonCode.BANNED, 5],
]);

/**
 * Answers CONNECT with why not, and closes (MQTT 5.0 section 3.1.4). A 3.x client is closed without an answer where its
 * version has no code. [MQTT-3.2.2-6] [MQTT-3.2.2-7]
 */
export function refuseConnect(connection: Connection, reasonCode: number, reason: string): void {
  connection.broker.log.info('client.refused', { ...connection.logFields, reasonCode, reason });
  answerRefused(connection, reasonCode, reason);
}

/** The same, for what has been logged under a name of its own. */
export function answerRefused(connection: Connection, reasonCode: number, reason: string): void {
  connection.broker.statistics.connectionsRefused++;
  const answer = connection.version === 5 ? reasonCode : RETURN_CODE_3X.get(reasonCode);
  if (answer !== undefined) {
    const properties =
      connection.version === 5 && connection.problemInformation ? { reasonString: reason } : {};
    connection.send({ type: PacketType.CONNACK, sessionPresent: false, reasonCode: answer, properties });
  }
  connection.close(reasonCode);
}
