import { PacketType, type UnsubscribePacket } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { PacketStream } from '../connection/packet-stream.ts';

/** Ends subscriptions (MQTT 5.0 section 3.10). [MQTT-3.10.4-4] [MQTT-3.10.4-5] */
export function handleUnsubscribe(stream: PacketStream, packet: UnsubscribePacket): void {
  const { broker, connection } = stream;
  const session = connection.session!;
  const reasonCodes = packet.filters.map((filter) => {
    // [MQTT-3.10.4-1] compared character by character
    if (!broker.router.unsubscribe(session, filter)) return ReasonCode.NO_SUBSCRIPTION_EXISTED;
    if (session.stored) broker.store.append({ kind: 'unsubscribe', clientId: session.clientId, filter });
    return ReasonCode.SUCCESS;
  });
  stream.sendWhenDurable(session.sequence, {
    type: PacketType.UNSUBACK,
    packetId: packet.packetId,
    properties: {},
    reasonCodes: connection.version === 5 ? reasonCodes : [],
  });
}
