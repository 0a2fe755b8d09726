import { PacketType, type UnsubscribePacket } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';

/** Ends subscriptions (MQTT 5.0 section 3.10). [MQTT-3.10.4-4] [MQTT-3.10.4-5] */
export function handleUnsubscribe(connection: Connection, packet: UnsubscribePacket): void {
  const { broker } = connection;
  const session = connection.session!;
  const reasonCodes = packet.filters.map((filter) => {
    // [MQTT-3.10.4-1] compared character by character
    if (!broker.router.unsubscribe(session, filter)) return ReasonCode.NO_SUBSCRIPTION_EXISTED;
    if (session.stored) broker.store.append({ kind: 'unsubscribe', clientId: session.clientId, filter });
    return ReasonCode.SUCCESS;
  });
  connection.sendWhenDurable(session.sequence, {
    type: PacketType.UNSUBACK,
    packetId: packet.packetId,
    properties: {},
    reasonCodes: connection.version === 5 ? reasonCodes : [],
  });
}
