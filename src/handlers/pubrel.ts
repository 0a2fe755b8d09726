import { PacketType } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';

const PUBCOMP = 0x70;

/** The client lets go of a QoS 2 message it sent (MQTT 5.0 section 4.3.3). Answers PUBCOMP. [MQTT-4.3.3-11] */
export function handlePubrel(connection: Connection, packetId: number): void {
  const known = connection.session!.releaseInbound(packetId);
  if (known || connection.version !== 5) {
    if (known && connection.inboundBefore > 0) connection.inboundBefore--;
    connection.sendAck(PUBCOMP, packetId, connection.session!.sequence);
    return;
  }
  connection.send({
    type: PacketType.PUBCOMP,
    packetId,
    reasonCode: ReasonCode.PACKET_IDENTIFIER_NOT_FOUND,
    properties: {},
  });
}
