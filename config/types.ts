/** The configuration as the rest of Sluice sees it: every value checked, every default filled in. Types only. */
import type { FlappingLimits, Limits, StrangerLimits, ThrottleLimits } from '../src/limits.ts';

export type Scheme = 'mqtt' | 'mqtts' | 'ws' | 'wss' | 'wt' | 'quic' | 'unix';
export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** TLS of one listener. Paths are relative to the working directory. */
export interface TlsConfig {
  cert: string;
  key: string;
  ca?: string;
  crl?: string[];
  sni?: SniConfig[];
  ocspResponse?: string;
  minVersion: TlsVersion;
  maxVersion: TlsVersion;
  ciphers?: string;
  requestCert: 'none' | 'optional' | 'required';
  useCertAsUsername: false | 'cn' | 'san-dns' | 'san-email' | 'san-uri';
  handshakeTimeoutSeconds: number;
  /** `Config.allowOpenFiles`. */
  allowOpenFiles?: boolean;
}

/** A certificate for the clients that ask for `name` (in lower case; `*.` in front for one more label). */
export interface SniConfig {
  name: string;
  cert: string;
  key: string;
  ocspResponse?: string;
}

/** The limits a listener may set for its own connections. */
export type ListenerLimits = Pick<
  Limits,
  | 'connectionsMax'
  | 'packetBytesMax'
  | 'receiveMaximum'
  | 'dataStreamsMax'
  | 'topicAliasMaximum'
  | 'keepAliveMaxSeconds'
  | 'maximumQos'
  | 'connectsPerSecondMax'
  | 'messagesPerSecondMax'
  | 'bytesPerSecondMax'
  | 'subscribesPerSecondMax'
  | 'rateGraceSeconds'
>;

/** A way to log in. */
export type LoginMethod = 'certificate' | 'ticket' | 'jwt' | 'password' | 'http' | 'scram';

/** Tokens; at most one of the four that say where the key is. */
export interface JwtConfig {
  secretFile: string | null;
  publicKeyFile: string | null;
  jwksFile: string | null;
  jwksUrl: string | null;
  jwksCacheSeconds: number;
  issuer: string | null;
  audience: string[] | null;
  /** Null: all that fit the key. */
  algorithms: string[] | null;
  usernameClaim: string;
  aclClaim: string;
  clockToleranceSeconds: number;
}

/** A login service. */
export interface HttpLoginConfig {
  url: string | null;
  timeoutSeconds: number;
  concurrencyMax: number;
  cacheSeconds: number;
}

/** Tickets for web pages; with `mintUrl` also the service that makes them. */
export interface TicketsConfig {
  keyFile: string | null;
  secondsMax: number;
  mintUrl: string | null;
  mintTokenFile: string | null;
}

/** How clients log in, and what they may do then. */
export interface AuthConfig {
  allowAnonymous: boolean;
  passwordFile: string | null;
  aclFile: string | null;
  /** Rules that are tried out beside `aclFile`. */
  aclShadowFile: string | null;
  /** Null: what is set up, in the usual order. */
  chain: LoginMethod[] | null;
  allowPlainHttp: boolean;
  jwt: JwtConfig;
  http: HttpLoginConfig;
  tickets: TicketsConfig;
  /** `Config.allowOpenFiles`. */
  allowOpenFiles: boolean;
}

/** What a listener says differently. */
export interface ListenerAuth {
  chain?: LoginMethod[];
  allowAnonymous?: boolean;
  passwordFile?: string;
  aclFile?: string;
}

/** An HTTP/3 library, or the first that loads. */
export type WebTransportEngine = 'auto' | 'fails-components' | 'rwebtransport';

/** One door. */
export interface ListenerConfig {
  /** With the port and path that apply, also where the file left them out. */
  url: string;
  scheme: Scheme;
  /** Host name or address, IPv6 without brackets; empty for a unix socket. */
  host: string;
  /** 0 for a unix socket, or for a port of the system's choice. */
  port: number;
  /** URL path of a WebSocket or WebTransport listener, or the file of a unix socket; else empty. */
  path: string;
  /** Set for mqtts, wss, quic and wt; of wt only `cert` and `key` count. */
  tls?: TlsConfig;
  /** Which HTTP/3 library serves a wt listener. Unset: the first that loads. */
  engine?: WebTransportEngine;
  /** Whether the door runs in a process of its own. Unset: wt and quic do, mqtts does not. */
  isolate?: boolean;
  /** Memory that process may have, in bytes. */
  engineMemoryMaxBytes?: number;
  /** Permission bits of a unix socket, octal like "0660". */
  mode?: string;
  /** Origins a WebSocket or WebTransport listener lets in. Unset: the same host only. `*`: all. */
  origins?: string[];
  /** Networks that clients may come from. Unset: all. */
  allow?: string[];
  /** Networks that they may not come from; goes before `allow`. */
  deny?: string[];
  /** Networks of proxies that are believed. */
  trustedProxies?: string[];
  /** Every connection begins with a PROXY header. */
  proxyProtocol?: boolean;
  /** MQTT versions it speaks: 3 (3.1), 4 (3.1.1), 5 (5.0). */
  versions: (3 | 4 | 5)[];
  /** What this listener says differently from `Config.auth`; unset: nothing. */
  auth?: ListenerAuth;
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
  auth: AuthConfig;
  limits: Limits;
  /** 0: to be worked out from what the machine has. */
  memoryMaxBytes: number;
  overload: { eventLoopDelayMsMax: number };
  /** Who the broker becomes once its doors are open; null: nobody else. */
  user: string | null;
  group: string | null;
  /** Secrets may be readable by others than their owner. */
  allowOpenFiles: boolean;
  strangers: StrangerLimits;
  throttle: ThrottleLimits & { enabled: boolean };
  bans: { file: string };
  flapping: FlappingLimits;
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
