/** DISCONNECT and AUTH (MQTT 5.0 sections 3.14 and 3.15). */

import type { AuthPacket, DisconnectPacket, ProtocolVersion } from './packets.ts';
import { EMPTY_PROPERTIES, readProperties } from './properties.ts';
import type { Reader } from './reader.ts';
import { isReasonCodeAllowed } from './reason-codes.ts';
import { violation } from './refuse.ts';

/** Reads a DISCONNECT body: empty in 3.x; in 5.0 Normal disconnection and empty properties may be left out. */
export function decodeDisconnect(
  reader: Reader,
  version: ProtocolVersion,
  sender: 'client' | 'server' | undefined,
  userPropertiesMax: number,
): DisconnectPacket {
  if (version !== 5 || reader.remaining === 0)
    return { type: 14, reasonCode: 0, properties: EMPTY_PROPERTIES };
  const reasonCode = readReasonCode(reader, 14, sender);
  const properties =
    reader.remaining === 0 ? EMPTY_PROPERTIES : readProperties(reader, 14, undefined, userPropertiesMax);
  // [MQTT-3.14.2-2]
  if (sender === 'server' && properties.sessionExpiryInterval !== undefined) {
    throw violation('a server sent a DISCONNECT with a session expiry interval');
  }
  if (sender === 'client' && properties.serverReference !== undefined) {
    throw violation('a client sent a DISCONNECT with a server reference');
  }
  return { type: 14, reasonCode, properties };
}

/** Reads an AUTH body: only a Success without properties may leave it out, all else names its method (0x82). */
export function decodeAuth(
  reader: Reader,
  sender: 'client' | 'server' | undefined,
  userPropertiesMax: number,
): AuthPacket {
  if (reader.remaining === 0) {
    if (sender === 'client') throw violation('a client sent an AUTH with reason code 0x0');
    return { type: 15, reasonCode: 0, properties: EMPTY_PROPERTIES };
  }
  const reasonCode = readReasonCode(reader, 15, sender);
  const properties = readProperties(reader, 15, undefined, userPropertiesMax);
  if (properties.authenticationMethod === undefined) throw violation('AUTH without an authentication method');
  return { type: 15, reasonCode, properties };
}

function readReasonCode(reader: Reader, type: 14 | 15, sender: 'client' | 'server' | undefined): number {
  const code = reader.u8('reason code');
  if (!isReasonCodeAllowed(code, type, sender)) {
    const who = sender === undefined ? '' : ` from a ${sender}`;
    throw violation(`packet type ${type}${who} may not carry reason code 0x${code.toString(16)}`);
  }
  return code;
}
