/** PUBLISH and its acknowledgements (MQTT 5.0 sections 3.3 to 3.7). */

import { ProtocolError } from '../errors.ts';
import { isValidTopicName } from '../topics/names.ts';
import type { AcknowledgePacket, Properties, ProtocolVersion, PublishPacket, QoS } from './packets.ts';
import { EMPTY_PROPERTIES, readProperties } from './properties.ts';
import type { Reader } from './reader.ts';
import { isReasonCodeAllowed, ReasonCode } from './reason-codes.ts';
import { malformed, violation } from './refuse.ts';

/** Reads a PUBLISH body; `flags` is the low half of the first byte. The payload is a view of the reader's buffer. */
export function decodePublish(
  reader: Reader,
  flags: number,
  version: ProtocolVersion,
  sender: 'client' | 'server' | undefined,
  userPropertiesMax: number,
): PublishPacket {
  const qos = (flags >> 1) & 3;
  // [MQTT-3.3.1-4]
  if (qos === 3) throw malformed('PUBLISH with QoS 3');
  const dup = (flags & 8) !== 0;
  // [MQTT-3.3.1-2]; MQTT 3.1 did not forbid it
  if (dup && qos === 0 && version !== 3) throw malformed('PUBLISH with DUP at QoS 0');
  const topic = reader.string('topic name');
  const packetId = qos > 0 ? reader.packetId() : 0;
  const properties =
    version === 5 ? readProperties(reader, 3, undefined, userPropertiesMax) : EMPTY_PROPERTIES;
  checkTopic(topic, version, properties);
  checkResponseTopic(properties);
  // [MQTT-3.3.4-6]
  if (sender === 'client' && properties.subscriptionIdentifiers !== undefined) {
    throw violation('a client sent a PUBLISH with a subscription identifier');
  }
  return {
    type: 3,
    dup,
    qos: qos as QoS,
    retain: (flags & 1) !== 0,
    topic,
    packetId,
    properties,
    payload: reader.rest(),
  };
}

/** A topic name, or in MQTT 5.0 an empty one that an alias stands for (section 3.3.2.1). */
function checkTopic(topic: string, version: ProtocolVersion, properties: Properties): void {
  if (topic === '' && version === 5) {
    if (properties.topicAlias === undefined)
      throw violation('PUBLISH with neither a topic name nor a topic alias');
    return;
  }
  // [MQTT-3.3.2-2] [MQTT-4.7.3-1]
  if (!isValidTopicName(topic, Number.POSITIVE_INFINITY)) {
    throw new ProtocolError(ReasonCode.TOPIC_NAME_INVALID, 'the topic name is empty or holds a wildcard');
  }
}

/** A Response Topic is a topic name [MQTT-3.3.2-13] without wildcards [MQTT-3.3.2-14]; 0x82 otherwise. */
export function checkResponseTopic(properties: Properties): void {
  const topic = properties.responseTopic;
  if (topic !== undefined && !isValidTopicName(topic, Number.POSITIVE_INFINITY)) {
    throw violation('the response topic is empty or holds a wildcard');
  }
}

/** Reads a PUBACK, PUBREC, PUBREL or PUBCOMP body. MQTT 5.0 may leave out a Success, and properties after any code. */
export function decodeAcknowledge(
  reader: Reader,
  type: 4 | 5 | 6 | 7,
  version: ProtocolVersion,
  sender: 'client' | 'server' | undefined,
  userPropertiesMax: number,
): AcknowledgePacket {
  const packetId = reader.packetId();
  if (version !== 5 || reader.remaining === 0) {
    return { type, packetId, reasonCode: 0, properties: EMPTY_PROPERTIES };
  }
  const reasonCode = reader.u8('reason code');
  if (!isReasonCodeAllowed(reasonCode, type, sender)) {
    throw violation(`packet type ${type} may not carry reason code 0x${reasonCode.toString(16)}`);
  }
  const properties =
    reader.remaining === 0 ? EMPTY_PROPERTIES : readProperties(reader, type, undefined, userPropertiesMax);
  return { type, packetId, reasonCode, properties };
}
