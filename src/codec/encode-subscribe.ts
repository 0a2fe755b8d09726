/** SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.8 to 3.11). */

import type { Buffer } from 'node:buffer';
import type {
  Properties,
  ProtocolVersion,
  SubackPacket,
  SubscribePacket,
  SubscriptionRequest,
  UnsubackPacket,
  UnsubscribePacket,
} from './packets.ts';
import { type PropertyPlace, propertySectionLength, writeProperties } from './properties.ts';
import { stringLength, Writer } from './writer.ts';

/** Encodes a SUBSCRIBE; in 3.x only the QoS of each request has a form. */
export function encodeSubscribe(packet: SubscribePacket, version: ProtocolVersion): Buffer {
  let length = 0;
  for (const { filter } of packet.subscriptions) length += stringLength(filter) + 1;
  const writer = startPacket(0x82, packet.packetId, packet.properties, 8, length, version);
  for (const request of packet.subscriptions) {
    writer.string(request.filter);
    writer.u8(version === 5 ? subscriptionOptions(request) : request.qos);
  }
  return writer.finish();
}

function subscriptionOptions(request: SubscriptionRequest): number {
  const { qos, noLocal, retainAsPublished, retainHandling } = request;
  return qos | (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0) | (retainHandling << 4);
}

/** Encodes a SUBACK; `reasonCodes` are the 3.x return codes when `version` is. */
export function encodeSuback(packet: SubackPacket, version: ProtocolVersion): Buffer {
  const length = packet.reasonCodes.length;
  const writer = startPacket(0x90, packet.packetId, packet.properties, 9, length, version);
  writer.raw(Uint8Array.from(packet.reasonCodes));
  return writer.finish();
}

/** Encodes an UNSUBSCRIBE. */
export function encodeUnsubscribe(packet: UnsubscribePacket, version: ProtocolVersion): Buffer {
  let length = 0;
  for (const filter of packet.filters) length += stringLength(filter);
  const writer = startPacket(0xa2, packet.packetId, packet.properties, 10, length, version);
  for (const filter of packet.filters) writer.string(filter);
  return writer.finish();
}

/** Encodes an UNSUBACK; in 3.x the reason codes have no form. */
export function encodeUnsuback(packet: UnsubackPacket, version: ProtocolVersion): Buffer {
  const length = version === 5 ? packet.reasonCodes.length : 0;
  const writer = startPacket(0xb0, packet.packetId, packet.properties, 11, length, version);
  if (version === 5) writer.raw(Uint8Array.from(packet.reasonCodes));
  return writer.finish();
}

/** What the four have in common: packet identifier, properties in 5.0, then `payloadLength` bytes still to be written. */
function startPacket(
  firstByte: number,
  packetId: number,
  properties: Properties,
  where: PropertyPlace,
  payloadLength: number,
  version: ProtocolVersion,
): Writer {
  const length = 2 + (version === 5 ? propertySectionLength(properties, where) : 0) + payloadLength;
  const writer = new Writer(firstByte, length);
  writer.u16(packetId);
  if (version === 5) writer.offset = writeProperties(writer.buffer, writer.offset, properties);
  return writer;
}
