/** The two ways a packet is refused (MQTT 5.0 section 1.2). The caller throws what these return. */

import { ProtocolError } from '../errors.ts';
import { ReasonCode } from './reason-codes.ts';

/** The packet cannot be parsed according to the specification: 0x81. */
export function malformed(message: string): ProtocolError {
  return new ProtocolError(ReasonCode.MALFORMED_PACKET, message);
}

/** The packet parses, but holds what the protocol does not allow: 0x82. */
export function violation(message: string): ProtocolError {
  return new ProtocolError(ReasonCode.PROTOCOL_ERROR, message);
}
