/** DISCONNECT and AUTH (MQTT 5.0 sections 3.14 and 3.15). */

import { Buffer } from 'node:buffer';
import type { AuthPacket, DisconnectPacket, ProtocolVersion } from './packets.ts';
import { propertiesLength, propertySectionLength, writeProperties } from './properties.ts';
import { Writer } from './writer.ts';

/** Encodes a DISCONNECT in its shortest form; in 3.x it is two bytes, whatever the reason. */
export function encodeDisconnect(packet: DisconnectPacket, version: ProtocolVersion): Buffer {
  const { reasonCode, properties } = packet;
  const hasProperties = version === 5 && propertiesLength(properties, 14) > 0;
  if (!hasProperties && (version !== 5 || reasonCode === 0)) return Buffer.from([0xe0, 0]);
  const writer = new Writer(0xe0, 1 + (hasProperties ? propertySectionLength(properties) : 0));
  writer.u8(reasonCode);
  if (hasProperties) writer.offset = writeProperties(writer.buffer, writer.offset, properties);
  return writer.finish();
}

/** Encodes an AUTH. RangeError in 3.x, which has none. */
export function encodeAuth(packet: AuthPacket, version: ProtocolVersion): Buffer {
  if (version !== 5) throw new RangeError(`AUTH has no form in version ${version}, only in 5`);
  const { reasonCode, properties } = packet;
  if (reasonCode === 0 && propertiesLength(properties, 15) === 0) return Buffer.from([0xf0, 0]);
  const writer = new Writer(0xf0, 1 + propertySectionLength(properties, 15));
  writer.u8(reasonCode);
  writer.offset = writeProperties(writer.buffer, writer.offset, properties);
  return writer.finish();
}
