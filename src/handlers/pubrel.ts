import { PacketType } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { PacketStream } from '../connection/packet-stream.ts';

const PUBCOMP = 0x70;

/** The client lets go of a QoS 2 message it sent (MQTT 5.0 section 4.3.3). Answers PUBCOMP. [MQTT-4.3.3-11] */
export function handlePubrel(stream: PacketStream, packetId: number): void {
  const { connection } = stream;
  const known = connection.session!.releaseInbound(packetId);
  if (known || connection.version !== 5) {
    if (known && connection.inboundBefore > 0) connection.inboundBefore--;
    stream.sendAck(PUBCOMP, packetId, connection.session!.sequence);
    return;
  }
  stream.send({
    type: PacketType.PUBCOMP,
    packetId,
    reasonCode: ReasonCode.PACKET_IDENTIFIER_NOT_FOUND,
    properties: {},
  });
}
