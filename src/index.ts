/** The broker as a library: the core, its seams and its limits. */
export { Broker, type BrokerOptions, type DoorOptions } from './broker/broker.ts';
export type { BrokerSettings } from './broker/settings.ts';
export type { Door } from './connection/door.ts';
export { ConfigError, ProtocolError } from './errors.ts';
export type { Attempt, Authenticator, Authorizer, Identity, Verdict } from './interfaces/auth.ts';
export type { Clock } from './interfaces/clock.ts';
export type { Log } from './interfaces/log.ts';
export type { Store } from './interfaces/store.ts';
export type { Address, PeerInfo, Transport, Wire, WireEvents } from './interfaces/transport.ts';
export { DEFAULT_LIMITS, type Limits } from './limits.ts';
