/** SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.8 to 3.11). */

import type {
  Properties,
  ProtocolVersion,
  QoS,
  SubackPacket,
  SubscribePacket,
  SubscriptionRequest,
  UnsubackPacket,
  UnsubscribePacket,
} from './packets.ts';
import { EMPTY_PROPERTIES, type PropertyPlace, readProperties } from './properties.ts';
import type { Reader } from './reader.ts';
import { isReasonCodeAllowed } from './reason-codes.ts';
import { malformed, violation } from './refuse.ts';

/** Reads a SUBSCRIBE body. Whether a filter is well formed is left to the handler, which answers each by itself. */
export function decodeSubscribe(
  reader: Reader,
  version: ProtocolVersion,
  userPropertiesMax: number,
): SubscribePacket {
  const packetId = reader.packetId();
  const properties = propertiesOf(reader, 8, version, userPropertiesMax);
  // [MQTT-3.8.3-2]
  if (reader.remaining === 0) throw violation('SUBSCRIBE without a topic filter');
  const subscriptions: SubscriptionRequest[] = [];
  while (reader.remaining > 0) {
    const filter = reader.string('topic filter');
    const options = reader.u8('subscription options');
    subscriptions.push(version === 5 ? request5(filter, options) : request3(filter, options));
  }
  return { type: 8, packetId, properties, subscriptions };
}

function request3(filter: string, qos: number): SubscriptionRequest {
  // 3.1.1 [MQTT-3-8.3-4]
  if (qos > 2) throw malformed(`requested QoS byte is ${qos}, it must be 0 to 2`);
  return { filter, qos: qos as QoS, noLocal: false, retainAsPublished: false, retainHandling: 0 };
}

function request5(filter: string, options: number): SubscriptionRequest {
  // [MQTT-3.8.3-5]
  if ((options & 0xc0) !== 0) throw malformed('reserved subscription option bits are set');
  const qos = options & 3;
  if (qos === 3) throw violation('subscription with maximum QoS 3');
  const retainHandling = options >> 4;
  if (retainHandling === 3) throw violation('subscription with retain handling 3');
  const noLocal = (options & 4) !== 0;
  // [MQTT-3.8.3-4]
  if (noLocal && filter.startsWith('$share/')) throw violation('no local on a shared subscription');
  return {
    filter,
    qos: qos as QoS,
    noLocal,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

/** Reads a SUBACK body. */
export function decodeSuback(
  reader: Reader,
  version: ProtocolVersion,
  userPropertiesMax: number,
): SubackPacket {
  const packetId = reader.packetId();
  const properties = propertiesOf(reader, 9, version, userPropertiesMax);
  return { type: 9, packetId, properties, reasonCodes: readReasonCodes(reader, 9, version) };
}

/** Reads an UNSUBSCRIBE body. */
export function decodeUnsubscribe(
  reader: Reader,
  version: ProtocolVersion,
  userPropertiesMax: number,
): UnsubscribePacket {
  const packetId = reader.packetId();
  const properties = propertiesOf(reader, 10, version, userPropertiesMax);
  // [MQTT-3.10.3-2]
  if (reader.remaining === 0) throw violation('UNSUBSCRIBE without a topic filter');
  const filters: string[] = [];
  while (reader.remaining > 0) filters.push(reader.string('topic filter'));
  return { type: 10, packetId, properties, filters };
}

/** Reads an UNSUBACK body; in 3.x it has no codes. */
export function decodeUnsuback(
  reader: Reader,
  version: ProtocolVersion,
  userPropertiesMax: number,
): UnsubackPacket {
  const packetId = reader.packetId();
  const properties = propertiesOf(reader, 11, version, userPropertiesMax);
  const reasonCodes = version === 5 ? readReasonCodes(reader, 11, version) : [];
  return { type: 11, packetId, properties, reasonCodes };
}

function readReasonCodes(reader: Reader, type: 9 | 11, version: ProtocolVersion): number[] {
  if (reader.remaining === 0) throw violation(`packet type ${type} without a reason code`);
  const reasonCodes: number[] = [];
  while (reader.remaining > 0) {
    const code = reader.u8('reason code');
    // 3.1.1 [MQTT-3.9.3-2]
    const allowed = version === 5 ? isReasonCodeAllowed(code, type) : code <= 2 || code === 0x80;
    if (!allowed) throw violation(`packet type ${type} may not carry code 0x${code.toString(16)}`);
    reasonCodes.push(code);
  }
  return reasonCodes;
}

function propertiesOf(
  reader: Reader,
  where: PropertyPlace,
  version: ProtocolVersion,
  userPropertiesMax: number,
): Properties {
  return version === 5 ? readProperties(reader, where, undefined, userPropertiesMax) : EMPTY_PROPERTIES;
}
