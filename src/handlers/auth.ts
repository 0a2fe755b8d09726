import type { AuthPacket } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';
import { ProtocolError } from '../errors.ts';
import type { RefusalReason, Verdict } from '../interfaces/auth.ts';
import type { EnhancedAuthentication } from './authenticate.ts';

const NO_DATA = new Uint8Array(0);

/** DISCONNECT has fewer reason codes than CONNACK; what it has none for is 0x87. */
const REASON_OF_VERDICT: Partial<Record<RefusalReason, number>> = {
  busy: ReasonCode.SERVER_BUSY,
  throttled: ReasonCode.CONNECTION_RATE_EXCEEDED,
};

/**
 * Enhanced authentication goes on, or begins again (MQTT 5.0 section 3.15). Throws ProtocolError without an authentication
 * method in CONNECT, with another one, or out of turn. [MQTT-4.12.0-7] [MQTT-4.12.1-1]
 */
export function handleAuth(connection: Connection, packet: AuthPacket): void {
  const { enhanced } = connection;
  if (enhanced === null)
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'AUTH without an authentication method in CONNECT');
  const { authenticationMethod, authenticationData = NO_DATA } = packet.properties;
  if (authenticationMethod !== enhanced.method)
    throw new ProtocolError(
      ReasonCode.PROTOCOL_ERROR,
      'AUTH with another authentication method than CONNECT',
    );
  // [MQTT-4.12.0-3]
  if (packet.reasonCode === ReasonCode.CONTINUE_AUTHENTICATION) enhanced.proceed(authenticationData);
  else reauthenticate(connection, enhanced, authenticationData);
}

/** Section 4.12.1: the client shows its credential anew; meanwhile everything else goes on. */
function reauthenticate(connection: Connection, enhanced: EnhancedAuthentication, data: Uint8Array): void {
  if (enhanced.underWay)
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'an authentication begins inside another');
  const { broker, clientId, username, wire } = connection;
  const attempt = { clientId, username, password: null, protocolVersion: 5, peer: wire.peer } as const;
  const exchange = broker.authenticator.exchange?.(enhanced.method, attempt) ?? null;
  if (exchange === null) {
    // The method was known at CONNECT: the configuration has changed.
    connection.disconnect(ReasonCode.BAD_AUTHENTICATION_METHOD, 'that authentication method is not known');
    return;
  }
  enhanced.begin(exchange, data, (verdict) => conclude(connection, enhanced, verdict));
}

function conclude(connection: Connection, enhanced: EnhancedAuthentication, verdict: Verdict): void {
  const { broker, session, username } = connection;
  if (session === null) return;
  if (!verdict.ok || verdict.username !== username) {
    const reason = verdict.ok ? 'not-authorized' : verdict.reason;
    broker.log.warn('auth.failed', { ...connection.logFields, reason, again: true });
    // [MQTT-4.12.1-2]
    connection.disconnect(REASON_OF_VERDICT[reason] ?? ReasonCode.NOT_AUTHORIZED, 're-authentication failed');
    return;
  }
  broker.identify(session, { ...session.identity, grants: verdict.grants ?? null });
  connection.loginEndsAtMs = verdict.endsAtMs ?? 0;
  connection.credential = verdict.credential ?? null;
  broker.log.info('auth.renewed', connection.logFields);
  enhanced.send(ReasonCode.SUCCESS);
}
