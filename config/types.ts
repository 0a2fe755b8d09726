/** The configuration as the rest of Sluice sees it: every value checked, every default filled in. Types only. */
import type { Limits } from '../src/limits.ts';

export type Scheme = 'mqtt' | 'mqtts' | 'ws' | 'wss' | 'unix';
export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** TLS of one listener. Paths are relative to the working directory. */
export interface TlsConfig {
  cert: string;
  key: string;
  ca?: string;
  minVersion: TlsVersion;
  maxVersion: TlsVersion;
  ciphers?: string;
  requestCert: boolean;
}

/** The limits a listener may set for its own connections. */
export type ListenerLimits = Pick<
  Limits,
  | 'connectionsMax'
  | 'packetBytesMax'
  | 'receiveMaximum'
  | 'topicAliasMaximum'
  | 'keepAliveMaxSeconds'
  | 'maximumQos'
>;

/** One door. */
export interface ListenerConfig {
  /** With the port and path that apply, also where the file left them out. */
  url: string;
  scheme: Scheme;
  /** Host name or address, IPv6 without brackets; empty for a unix socket. */
  host: string;
  /** 0 for a unix socket, or for a port of the system's choice. */
  port: number;
  /** URL path of a WebSocket listener, or the file of a unix socket; else empty. */
  path: string;
  /** Set for mqtts and wss. */
  tls?: TlsConfig;
  /** Permission bits of a unix socket, octal like "0660". */
  mode?: string;
  /** Origins a WebSocket listener lets in. Unset: the same host only. `*`: all. */
  origins?: string[];
  /** MQTT versions it speaks: 3 (3.1), 4 (3.1.1), 5 (5.0). */
  versions: (3 | 4 | 5)[];
  /** What this listener says differently from `Config.limits`. */
  limits: Partial<ListenerLimits>;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LogConfig {
  level: LogLevel;
  /** Empty: the log goes to standard output. */
  file: string;
  maxSizeBytes: number;
  maxFiles: number;
  pretty: 'auto' | 'always' | 'never';
}

/** Topics whose messages wait for their first subscriber. */
export interface HoldConfig {
  filter: string;
  messagesMax: number;
  bytesMax: number;
  /** 0: for ever. */
  expirySeconds: number;
}

export interface PersistenceConfig {
  enabled: boolean;
  dir: string;
  acknowledge: 'durable' | 'committed' | 'received';
  diskFreeBytesMin: number;
}

export interface Config {
  /** No file, loopback listeners, anonymous clients: what `sluice serve` does when it is given nothing. */
  localOnly: boolean;
  /** The listeners are the built-in ones, whose certificates are made when missing. */
  devCertificates: boolean;
  listeners: ListenerConfig[];
  auth: { allowAnonymous: boolean; passwordFile: string | null; aclFile: string | null };
  limits: Limits;
  payloadFormatCheck: boolean;
  queueQos0: boolean;
  queueWhenFull: 'drop-newest' | 'drop-oldest';
  hold: HoldConfig[];
  deniedPublish: 'drop' | 'disconnect';
  responseInformation: string;
  sys: { intervalSeconds: number };
  persistence: PersistenceConfig;
  log: LogConfig;
  shutdownGraceSeconds: number;
  /** Where each given key came from, e.g. `auth.aclFile` → `sluice.yaml:7`; keys at their default are absent. */
  sources: ReadonlyMap<string, string>;
}
