import { PacketType } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { PacketStream } from '../connection/packet-stream.ts';

/** The client has a QoS 2 message, or refuses it (MQTT 5.0 section 4.3.3). Answers PUBREL. [MQTT-4.3.3-4] */
export function handlePubrec(stream: PacketStream, packetId: number, reasonCode: number): void {
  if (stream.connection.session!.pubrec(packetId, reasonCode >= 0x80, stream)) return;
  if (reasonCode >= 0x80) return;
  // Only an answer lets the client forget a packet identifier that we no longer know.
  const code = stream.version === 5 ? ReasonCode.PACKET_IDENTIFIER_NOT_FOUND : ReasonCode.SUCCESS;
  stream.sendWhenDurable(0, { type: PacketType.PUBREL, packetId, reasonCode: code, properties: {} });
}
