import type { DisconnectPacket } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';
import { ProtocolError } from '../errors.ts';

/** The client says goodbye (MQTT 5.0 section 3.14). [MQTT-3.14.4-3] reason code 0 drops the will; any other has it published. */
export function handleDisconnect(connection: Connection, packet: DisconnectPacket): void {
  const session = connection.session!;
  const expiry = packet.properties.sessionExpiryInterval;
  if (expiry !== undefined) {
    // Section 3.14.2.2.2: a session that was to end with its connection cannot be kept after all
    if (session.expirySeconds === 0 && expiry > 0)
      throw new ProtocolError(
        ReasonCode.PROTOCOL_ERROR,
        'DISCONNECT sets a session expiry that CONNECT did not',
      );
    const { sessionExpiryMaxSeconds } = connection.door.limits;
    connection.broker.sessions.setExpiry(session, Math.min(expiry, sessionExpiryMaxSeconds));
  }
  connection.willCancelled = packet.reasonCode === ReasonCode.SUCCESS;
  connection.endedBy = 'client';
  connection.close(packet.reasonCode);
}
