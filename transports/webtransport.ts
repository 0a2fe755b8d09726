/** The WebTransport door: `wt://`, MQTT over one stream of an HTTP/3 session. No standard says how; docs/webtransport.md does. */
import { lookup } from 'node:dns/promises';
import { ConfigError } from '../src/errors.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Doorkeeper, Visit } from '../src/interfaces/doorkeeper.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { Address, PeerInfo, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { Arrivals } from './arrival.ts';
import { formatListenUrl, type ListenUrl, listenFault, type OnError, parseListenUrl } from './listen-url.ts';
import { OriginRule } from './origin.ts';
import type { TlsOptions } from './tls/tls-options.ts';
import type { WatchTimes } from './tls/tls-watch.ts';
import { DoorCertificate } from './webtransport/door-certificate.ts';
import {
  type Engine,
  type EngineChoice,
  type EngineServer,
  type EngineSession,
  loadEngine,
  type SessionRequest,
} from './webtransport/engine.ts';
import { WebTransportSession } from './webtransport/webtransport-session.ts';

export const WEBTRANSPORT_PORTS = { wt: 8443 } as const;
export const WEBTRANSPORT_PATH_DEFAULT = '/mqtt';

const PROTOCOLS = ['mqtt'] as const;
/** A client that has a session needs no round trip more to open its stream. */
const STREAM_TIMEOUT_MS = 10_000;
/** Below the 16 384 connections that `rwebtransport` holds, so that it has room for those who are being refused. */
const SESSIONS_MAX = 8_192;
/** A third of the 30 s after which QUIC forgets a silent peer. */
const KEEP_ALIVE_MS = 10_000;
/** How long sessions that are closed may take to be gone before the engine is stopped. */
const STOP_TIMEOUT_MS = 1_000;

export interface WebTransportOptions {
  /** `wt://host[:port][/path]`; the port defaults to 8443, the path to `/mqtt`. */
  readonly url: string;
  /** Of it `cert` and `key` count, and who may read the key. */
  readonly tls: Pick<TlsOptions, 'cert' | 'key' | 'allowOpenFiles'>;
  /** Exact origins, or `*`. Default: pages from the same host name, on any port. */
  readonly origins?: readonly string[] | undefined;
  /** Default `auto`. */
  readonly engine?: EngineChoice | undefined;
  /** Without one everybody may knock. */
  readonly doorkeeper?: Doorkeeper | undefined;
  readonly sessionsMax?: number | undefined;
  readonly streamTimeoutMs?: number | undefined;
  readonly onError?: OnError | undefined;
  /** Hears which engine serves, of certificates, and when the door shuts by itself. */
  readonly log?: Log | undefined;
  /** For the dates of certificates. */
  readonly clock?: Clock | undefined;
  readonly watchTimes?: WatchTimes | undefined;
  /** For tests. */
  readonly load?: ((url: string, choice: EngineChoice) => Promise<Engine>) | undefined;
}

/** Accepts sessions on one path of an HTTP/3 server of its own. */
export class WebTransportTransport implements Transport {
  readonly #options: WebTransportOptions;
  readonly #listen: ListenUrl;
  readonly #origins: OriginRule;
  readonly #arrivals: Arrivals;
  readonly #certificate: DoorCertificate;
  readonly #sessions: Set<WebTransportSession>;
  #accept: (wire: Wire) => WireEvents;
  #engine: Engine | undefined;
  #server: EngineServer | undefined;
  #keepAlive: NodeJS.Timeout | undefined;
  #isClosing: boolean;
  /** Resolves when the engine has been started anew, with the newest certificate. */
  #restarting: Promise<void>;

  /** @throws ConfigError when the URL or the origins cannot be right */
  constructor(options: WebTransportOptions) {
    const { url, origins, onError } = options;
    const listen = parseListenUrl(url, WEBTRANSPORT_PORTS);
    this.#options = options;
    this.#listen = { ...listen, path: listen.path === '' ? WEBTRANSPORT_PATH_DEFAULT : listen.path };
    this.#origins = new OriginRule(url, origins);
    this.#arrivals = new Arrivals(url, { doorkeeper: options.doorkeeper }, onError);
    this.#certificate = new DoorCertificate(options, () => this.#restart());
    this.#sessions = new Set();
    this.#accept = () => {
      throw new Error('not listening');
    };
    this.#engine = undefined;
    this.#server = undefined;
    this.#keepAlive = undefined;
    this.#isClosing = false;
    this.#restarting = Promise.resolve();
  }

  /** Rejects with DoorUnavailable when no engine loads. */
  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const { url, engine = 'auto', load = loadEngine, log } = this.#options;
    this.#certificate.load();
    this.#accept = accept;
    this.#engine = await load(url, engine);
    this.#server = await this.#serve(this.#engine, this.#listen.port);
    const { port } = this.#server;
    this.#keepAlive = setInterval(() => {
      for (const session of this.#sessions) session.keepAlive();
    }, KEEP_ALIVE_MS);
    this.#keepAlive.unref();
    this.#certificate.start();
    log?.info('door.engine', { door: url, engine: this.#engine.name });
    return { url: formatListenUrl(this.#listen, port), port };
  }

  /** SHA-256 of the certificate in force in Base64: what a page gives as `serverCertificateHashes`. */
  get certificateHash(): string {
    return this.#certificate.hash;
  }

  /**
   * Puts a new certificate in force. No engine can change it while it serves: the door shuts and opens again, and its clients have
   * to come again. Where the files are those in force, nothing happens.
   * @throws ConfigError when the new files cannot be used: the old ones stay in force
   */
  reload(): void {
    this.#certificate.reload();
  }

  async close(graceMs: number): Promise<void> {
    if (this.#server === undefined) return;
    this.#isClosing = true;
    this.#certificate.stop();
    clearInterval(this.#keepAlive);
    await this.#restarting;
    for (const session of this.#sessions) if (!session.hasWire) session.abort();
    await this.#allGone(graceMs);
    for (const session of this.#sessions) session.abort();
    await this.#allGone(STOP_TIMEOUT_MS);
    const server = this.#server;
    this.#server = undefined;
    await server?.close();
  }

  async #serve(engine: Engine, port: number): Promise<EngineServer> {
    const { url, tls } = this.#options;
    const { path } = this.#listen;
    try {
      const { address } = await lookup(this.#listen.host);
      return await engine.serve({
        host: address,
        port,
        path,
        cert: tls.cert,
        key: tls.key,
        protocols: PROTOCOLS,
        judge: (request) => this.#judge(request),
        session: (session) => this.#arrive(session, engine),
        failed: (error) => this.#failed(error),
      });
    } catch (error) {
      throw listenFault(url, withCode(error as Error));
    }
  }

  /** HTTP status of the answer to a request. */
  #judge({ path, origin, authority }: SessionRequest): number {
    if (path.split('?', 1)[0] !== this.#listen.path) return 404;
    return this.#origins.allows(origin, authority === '' ? undefined : authority) ? 200 : 403;
  }

  #arrive(session: EngineSession, engine: Engine): void {
    const { url, onError, streamTimeoutMs = STREAM_TIMEOUT_MS, sessionsMax = SESSIONS_MAX } = this.#options;
    const { request } = session;
    const { address, port, origin } = request;
    const peer: PeerInfo = {
      door: url,
      address,
      port,
      secure: true,
      ...(origin === undefined ? {} : { origin }),
    };
    const parts = { session, peer, streamTimeoutMs, onError, accept: this.#accept };
    const arrived = new WebTransportSession(parts);
    const isFull = this.#isClosing || this.#sessions.size >= sessionsMax;
    const visit: Visit | null = isFull ? null : this.#arrivals.knock(address, () => arrived.evict());
    if (visit === null) {
      arrived.close(0);
      return;
    }
    this.#sessions.add(arrived);
    void arrived.gone.then(() => this.#sessions.delete(arrived));
    const status = engine.judgesRequests ? 200 : this.#judge(request);
    if (status === 200) {
      arrived.begin(visit, parts);
      return;
    }
    const asked = `path ${request.path}, origin ${origin ?? 'none'}, host ${request.authority || 'none'}`;
    onError?.(new Error(`WebTransport session refused with ${status} (${asked})`), address);
    arrived.refuse(visit, status);
  }

  /** Resolves when no session is left, or after `graceMs`. */
  async #allGone(graceMs: number): Promise<void> {
    if (this.#sessions.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([Promise.all([...this.#sessions].map(({ gone }) => gone)), late]);
    clearTimeout(timer);
  }

  #restart(): void {
    this.#restarting = this.#restarting.then(() => this.#startAnew());
  }

  /** The engine that serves stays until another has taken the new files. */
  async #startAnew(): Promise<void> {
    const engine = this.#engine;
    const server = this.#server;
    if (engine === undefined || server === undefined || this.#isClosing) return;
    try {
      await (await this.#serve(engine, 0)).close();
    } catch (error) {
      this.#certificate.refused(error as Error);
      return;
    }
    for (const session of this.#sessions) session.abort();
    await this.#allGone(STOP_TIMEOUT_MS);
    await server.close();
    try {
      this.#server = await this.#serve(engine, server.port);
      this.#certificate.inForce();
    } catch (error) {
      this.#failed(error as Error);
    }
  }

  /** The engine has died. Its sessions have heard so. */
  #failed(error: Error): void {
    const { url, log, onError } = this.#options;
    if (this.#isClosing) return;
    for (const session of this.#sessions) session.abort();
    if (log === undefined) onError?.(error);
    else log.error('door.unavailable', { door: url, problem: error.message });
  }
}

/** The system's error code, which engines give in words. */
function withCode(error: NodeJS.ErrnoException): NodeJS.ErrnoException {
  if (error instanceof ConfigError) throw error;
  const code = SYSTEM_ERRORS.find(([words]) => words.test(error.message))?.[1];
  return error.code === undefined && code !== undefined ? Object.assign(error, { code }) : error;
}

const SYSTEM_ERRORS: readonly (readonly [RegExp, string])[] = [
  [/address already in use|address in use/i, 'EADDRINUSE'],
  [/permission denied/i, 'EACCES'],
  [/cannot assign requested address/i, 'EADDRNOTAVAIL'],
];
