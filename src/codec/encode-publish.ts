/** PUBLISH and its acknowledgements (MQTT 5.0 sections 3.3 to 3.7). */

import type { Buffer } from 'node:buffer';
import type { AcknowledgePacket, ProtocolVersion, PublishPacket } from './packets.ts';
import { propertiesLength, propertySectionLength, writeProperties } from './properties.ts';
import { stringLength, Writer } from './writer.ts';

/** Encodes a PUBLISH; properties are left out in 3.x. RangeError for a packet identifier outside 1 to 65535 above QoS 0. */
export function encodePublish(packet: PublishPacket, version: ProtocolVersion): Buffer {
  const { qos, packetId, payload } = packet;
  if (qos > 0 && packetId === 0) throw new RangeError('a PUBLISH above QoS 0 must have a packet identifier');
  let length = stringLength(packet.topic) + (qos > 0 ? 2 : 0) + payload.length;
  if (version === 5) length += propertySectionLength(packet.properties, 3);
  const writer = new Writer(
    0x30 | (packet.dup && qos > 0 ? 8 : 0) | (qos << 1) | (packet.retain ? 1 : 0),
    length,
  );
  writer.string(packet.topic);
  if (qos > 0) writer.u16(packetId);
  if (version === 5) writer.offset = writeProperties(writer.buffer, writer.offset, packet.properties);
  writer.raw(payload);
  return writer.finish();
}

/** Encodes PUBACK, PUBREC, PUBREL or PUBCOMP, in the shortest form that says it all. 3.x carries no reason code. */
export function encodeAcknowledge(packet: AcknowledgePacket, version: ProtocolVersion): Buffer {
  const { type, packetId, reasonCode, properties } = packet;
  const properties5 = version === 5 ? propertiesLength(properties, type) : 0;
  let length = 2;
  if (properties5 > 0) length = 3 + propertySectionLength(properties);
  else if (version === 5 && reasonCode !== 0) length = 3;
  const writer = new Writer((type << 4) | (type === 6 ? 2 : 0), length);
  writer.u16(packetId);
  if (length > 2) writer.u8(reasonCode);
  if (length > 3) writer.offset = writeProperties(writer.buffer, writer.offset, properties);
  return writer.finish();
}
