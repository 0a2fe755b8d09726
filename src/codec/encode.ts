/** A packet value into bytes. What has no form in the format is the caller's defect: RangeError. */

import { Buffer } from 'node:buffer';
import { encodeConnack, encodeConnect } from './encode-connect.ts';
import { encodeAuth, encodeDisconnect } from './encode-disconnect.ts';
import { encodeAcknowledge, encodePublish } from './encode-publish.ts';
import { encodeSuback, encodeSubscribe, encodeUnsuback, encodeUnsubscribe } from './encode-subscribe.ts';
import { type Packet, PacketType, type ProtocolVersion } from './packets.ts';

export { encodePublish } from './encode-publish.ts';

/**
 * Encodes `packet` for a peer that speaks `version`; a CONNECT goes in its own. Fields the version lacks are left out,
 * and codes are written as they are: the caller chooses 3.x return codes for 3.x.
 */
export function encodePacket(packet: Packet, version: ProtocolVersion): Buffer {
  switch (packet.type) {
    case PacketType.CONNECT:
      return encodeConnect(packet);
    case PacketType.CONNACK:
      return encodeConnack(packet, version);
    case PacketType.PUBLISH:
      return encodePublish(packet, version);
    case PacketType.PUBACK:
    case PacketType.PUBREC:
    case PacketType.PUBREL:
    case PacketType.PUBCOMP:
      return encodeAcknowledge(packet, version);
    case PacketType.SUBSCRIBE:
      return encodeSubscribe(packet, version);
    case PacketType.SUBACK:
      return encodeSuback(packet, version);
    case PacketType.UNSUBSCRIBE:
      return encodeUnsubscribe(packet, version);
    case PacketType.UNSUBACK:
      return encodeUnsuback(packet, version);
    case PacketType.PINGREQ:
      return Buffer.from([0xc0, 0]);
    case PacketType.PINGRESP:
      return Buffer.from([0xd0, 0]);
    case PacketType.DISCONNECT:
      return encodeDisconnect(packet, version);
    case PacketType.AUTH:
      return encodeAuth(packet, version);
  }
}

/**
 * Encodes `packet` into at most `maxBytes`, the receiver's Maximum Packet Size. To fit, the reason string goes first and
 * the user properties next [MQTT-3.2.2-19] [MQTT-3.2.2-20]; a PUBLISH keeps all its properties [MQTT-3.3.2-17].
 * Null: it does not fit and must not be sent [MQTT-3.1.2-24].
 */
export function encodeWithin(packet: Packet, version: ProtocolVersion, maxBytes: number): Buffer | null {
  const whole = encodePacket(packet, version);
  if (whole.length <= maxBytes) return whole;
  if (version !== 5 || !('properties' in packet) || !mayDropProperties(packet.type)) return null;
  const { reasonString: _, ...brief } = packet.properties;
  const withoutReason = encodePacket({ ...packet, properties: brief }, version);
  if (withoutReason.length <= maxBytes) return withoutReason;
  const { userProperties: __, ...bare } = brief;
  const withoutBoth = encodePacket({ ...packet, properties: bare }, version);
  return withoutBoth.length <= maxBytes ? withoutBoth : null;
}

/** The packets that only report: for these the specification says what to leave out. */
function mayDropProperties(type: Packet['type']): boolean {
  return (
    type !== PacketType.CONNECT &&
    type !== PacketType.PUBLISH &&
    type !== PacketType.SUBSCRIBE &&
    type !== PacketType.UNSUBSCRIBE
  );
}
