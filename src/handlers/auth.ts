import { ReasonCode } from '../codec/reason-codes.ts';
import { ProtocolError } from '../errors.ts';

/** AUTH without an authentication method in CONNECT is a protocol error (MQTT 5.0 section 4.12). [MQTT-4.12.0-6] */
export function handleAuth(): never {
  throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'AUTH without an authentication method in CONNECT');
}
