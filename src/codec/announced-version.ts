/** The protocol level of a CONNECT, read before the packet is: a peer that is refused should be answered in its version. */

import type { Buffer } from 'node:buffer';

const PROTOCOL_NAME = [0, 4, 0x4d, 0x51, 0x54, 0x54];
const LEVEL_5 = 5;

/** True when the bytes begin a CONNECT of MQTT 5.0, whole or not (section 3.1.2). */
export function announcesV5(bytes: Buffer): boolean {
  if (bytes[0] !== 0x10) return false;
  let offset = 1;
  while (offset < 5 && bytes[offset] >= 0x80) offset++;
  offset++;
  return (
    PROTOCOL_NAME.every((byte, index) => bytes[offset + index] === byte) && bytes[offset + 6] === LEVEL_5
  );
}
