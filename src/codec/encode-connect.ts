/** CONNECT and CONNACK (MQTT 5.0 sections 3.1 and 3.2). */

import type { Buffer } from 'node:buffer';
import type { ConnackPacket, ConnectPacket, ProtocolVersion, Will } from './packets.ts';
import { propertySectionLength, WILL_PROPERTIES, writeProperties } from './properties.ts';
import { binaryLength, stringLength, Writer } from './writer.ts';

/** Encodes a CONNECT in its own version. RangeError for a 3.x password without a user name, which has no form. */
export function encodeConnect(packet: ConnectPacket): Buffer {
  const { protocolVersion: version, will, username, password } = packet;
  if (version !== 5 && username === null && password !== null) {
    throw new RangeError('a 3.x CONNECT with a password must have a user name');
  }
  const protocolName = version === 3 ? 'MQIsdp' : 'MQTT';
  let length = stringLength(protocolName) + 4 + stringLength(packet.clientId);
  if (version === 5) length += propertySectionLength(packet.properties, 1);
  if (will !== null) length += willLength(will, version);
  if (username !== null) length += stringLength(username);
  if (password !== null) length += binaryLength(password);
  const writer = new Writer(0x10, length);
  writer.string(protocolName);
  writer.u8(version);
  writer.u8(connectFlags(packet));
  writer.u16(packet.keepAliveSeconds);
  if (version === 5) writer.offset = writeProperties(writer.buffer, writer.offset, packet.properties);
  writer.string(packet.clientId);
  if (will !== null) writeWill(writer, will, version);
  if (username !== null) writer.string(username);
  if (password !== null) writer.binary(password);
  return writer.finish();
}

function connectFlags(packet: ConnectPacket): number {
  let flags = packet.cleanStart ? 0x02 : 0;
  if (packet.will !== null) flags |= 0x04 | (packet.will.qos << 3) | (packet.will.retain ? 0x20 : 0);
  if (packet.password !== null) flags |= 0x40;
  if (packet.username !== null) flags |= 0x80;
  return flags;
}

function willLength(will: Will, version: ProtocolVersion): number {
  const properties = version === 5 ? propertySectionLength(will.properties, WILL_PROPERTIES) : 0;
  return properties + stringLength(will.topic) + binaryLength(will.payload);
}

function writeWill(writer: Writer, will: Will, version: ProtocolVersion): void {
  if (version === 5) writer.offset = writeProperties(writer.buffer, writer.offset, will.properties);
  writer.string(will.topic);
  writer.binary(will.payload);
}

/** Encodes a CONNACK; `reasonCode` is the 3.x return code when `version` is. MQTT 3.1 has no session present flag. */
export function encodeConnack(packet: ConnackPacket, version: ProtocolVersion): Buffer {
  const length = 2 + (version === 5 ? propertySectionLength(packet.properties, 2) : 0);
  const writer = new Writer(0x20, length);
  writer.u8(packet.sessionPresent && version !== 3 ? 1 : 0);
  writer.u8(packet.reasonCode);
  if (version === 5) writer.offset = writeProperties(writer.buffer, writer.offset, packet.properties);
  return writer.finish();
}
