/** One framed packet's bytes into a value, strictly: what the specification does not allow is refused with its code. */

import type { Buffer } from 'node:buffer';
import { DEFAULT_LIMITS } from '../limits.ts';
import { decodeConnack, decodeConnect } from './decode-connect.ts';
import { decodeAuth, decodeDisconnect } from './decode-disconnect.ts';
import { decodeAcknowledge, decodePublish } from './decode-publish.ts';
import { decodeSuback, decodeSubscribe, decodeUnsuback, decodeUnsubscribe } from './decode-subscribe.ts';
import { type Packet, PacketType, type ProtocolVersion } from './packets.ts';
import { Reader } from './reader.ts';
import { malformed, violation } from './refuse.ts';

export { UnsupportedVersionError } from './decode-connect.ts';

export type Sender = 'client' | 'server';

interface PacketRule {
  readonly name: string;
  /** The low half of the first byte; null where it varies (PUBLISH). */
  readonly flags: number | null;
  readonly client: boolean;
  readonly server: boolean;
  /** The first version that has the packet; for a server's DISCONNECT see `checkFixedHeader`. */
  readonly since: ProtocolVersion;
}

function rule(name: string, flags: number | null, senders: string, since: ProtocolVersion = 3): PacketRule {
  return { name, flags, client: senders.includes('client'), server: senders.includes('server'), since };
}

/** By packet type (sections 2.1.2 and 2.1.3). Type 0 is reserved. */
const PACKET_RULES: readonly (PacketRule | undefined)[] = [
  undefined,
  rule('CONNECT', 0, 'client'),
  rule('CONNACK', 0, 'server'),
  rule('PUBLISH', null, 'client server'),
  rule('PUBACK', 0, 'client server'),
  rule('PUBREC', 0, 'client server'),
  rule('PUBREL', 2, 'client server'),
  rule('PUBCOMP', 0, 'client server'),
  rule('SUBSCRIBE', 2, 'client'),
  rule('SUBACK', 0, 'server'),
  rule('UNSUBSCRIBE', 2, 'client'),
  rule('UNSUBACK', 0, 'server'),
  rule('PINGREQ', 0, 'client'),
  rule('PINGRESP', 0, 'server'),
  rule('DISCONNECT', 0, 'client server'),
  rule('AUTH', 0, 'client server', 5),
];

/**
 * Decodes the packet whose first byte is `firstByte` and whose body (after the Remaining Length) is `buffer[bodyStart, end)`.
 * A CONNECT is read in its own version, all else in `version`. With `sender`, what that side may not send is refused.
 * Strings and binary data are copies; the payload of a PUBLISH is a view of `buffer`.
 * Throws ProtocolError with the MQTT 5.0 code, and UnsupportedVersionError (0x84) for a CONNECT of another protocol.
 */
export function decodePacket(
  buffer: Buffer,
  firstByte: number,
  bodyStart: number,
  end: number,
  version: ProtocolVersion,
  sender?: Sender,
  userPropertiesMax: number = DEFAULT_LIMITS.userPropertiesMax,
): Packet {
  const { name } = checkFixedHeader(firstByte, version, sender);
  const reader = new Reader(buffer, bodyStart, end);
  const packet = decodeBody(reader, firstByte, version, sender, userPropertiesMax);
  if (reader.remaining > 0) throw malformed(`${name} has ${reader.remaining} bytes after its last field`);
  return packet;
}

function checkFixedHeader(
  firstByte: number,
  version: ProtocolVersion,
  sender: Sender | undefined,
): PacketRule {
  const type = firstByte >> 4;
  const found = PACKET_RULES[type];
  if (found === undefined || version < found.since) throw malformed(`packet type ${type} is reserved`);
  const allowed = sender === 'client' ? found.client : sender === 'server' ? found.server : true;
  const isServerDisconnect3 = sender === 'server' && type === PacketType.DISCONNECT && version < 5;
  if (!allowed || isServerDisconnect3) throw violation(`a ${sender} may not send ${found.name}`);
  let flags = firstByte & 15;
  // MQTT 3.1 sets DUP when it sends PUBREL, SUBSCRIBE or UNSUBSCRIBE again.
  if (version === 3 && found.flags === 2) flags &= 7;
  // [MQTT-2.1.3-1]
  if (found.flags !== null && flags !== found.flags)
    throw malformed(`${found.name} with reserved flags ${flags}`);
  return found;
}

function decodeBody(
  reader: Reader,
  firstByte: number,
  version: ProtocolVersion,
  sender: Sender | undefined,
  userPropertiesMax: number,
): Packet {
  const type = firstByte >> 4;
  switch (type) {
    case PacketType.CONNECT:
      return decodeConnect(reader, userPropertiesMax);
    case PacketType.CONNACK:
      return decodeConnack(reader, version, userPropertiesMax);
    case PacketType.PUBLISH:
      return decodePublish(reader, firstByte & 15, version, sender, userPropertiesMax);
    case PacketType.PUBACK:
    case PacketType.PUBREC:
    case PacketType.PUBREL:
    case PacketType.PUBCOMP:
      return decodeAcknowledge(reader, type, version, sender, userPropertiesMax);
    case PacketType.SUBSCRIBE:
      return decodeSubscribe(reader, version, userPropertiesMax);
    case PacketType.SUBACK:
      return decodeSuback(reader, version, userPropertiesMax);
    case PacketType.UNSUBSCRIBE:
      return decodeUnsubscribe(reader, version, userPropertiesMax);
    case PacketType.UNSUBACK:
      return decodeUnsuback(reader, version, userPropertiesMax);
    case PacketType.PINGREQ:
      return { type: PacketType.PINGREQ };
    case PacketType.PINGRESP:
      return { type: PacketType.PINGRESP };
    case PacketType.DISCONNECT:
      return decodeDisconnect(reader, version, sender, userPropertiesMax);
    default:
      return decodeAuth(reader, sender, userPropertiesMax);
  }
}
