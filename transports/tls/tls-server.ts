/**
 * What every door with TLS has in common, `mqtts` and `wss` alike: certificates by name, who is let in with which client
 * certificate, stapling, session tickets, and new files put in force without dropping anyone.
 */
import { randomBytes, type X509Certificate } from 'node:crypto';
import type { TlsOptions as NodeTlsOptions, SecureContext, Server, TLSSocket } from 'node:tls';
import type { Clock } from '../../src/interfaces/clock.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { OnError } from '../listen-url.ts';
import { identityOf } from './certificate-identity.ts';
import { DAY_MS, reportExpiry } from './tls-expiry.ts';
import {
  filesOf,
  HANDSHAKE_TIMEOUT_SECONDS,
  type LoadedTls,
  loadTls,
  nameOf,
  type RequestCert,
  requestCertOf,
  TICKET_KEYS_BYTES,
  type TlsOptions,
} from './tls-options.ts';
import { FilesWatch, type WatchTimes } from './tls-watch.ts';

export interface ServerTlsOptions {
  /** The listener. */
  readonly url: string;
  readonly tls: TlsOptions;
  /** Protocol names for ALPN (RFC 7301), best first. */
  readonly protocols: readonly string[];
  /** Hears of refused certificates where there is no `log`. */
  readonly onError?: OnError | undefined;
  /** Hears of certificates loaded, refused and about to expire. */
  readonly log?: Log | undefined;
  /** Without it nobody looks daily at the dates, and ticket keys change only when the files do. */
  readonly clock?: Clock | undefined;
  readonly watchTimes?: WatchTimes | undefined;
}

/** Somebody whose handshake is done and whose certificate, if one was asked for, holds up. */
export interface TlsClient {
  /** From the certificate; undefined: it names nobody. */
  readonly username: string | undefined;
}

/** TLS of one listener: `load`, `attach` to a server, `start`; at the end `stop`. */
export class ServerTls {
  readonly #options: ServerTlsOptions;
  readonly #requestCert: RequestCert;
  readonly #clients: WeakMap<object, TlsClient>;
  readonly #watch: FilesWatch;
  #loaded: LoadedTls | null = null;
  #server: Server | null = null;
  #stopDaily: (() => void) | null = null;
  /** When the next revocation list expires, in milliseconds since 1970. */
  #crlEndsAt: number = Number.POSITIVE_INFINITY;

  constructor(options: ServerTlsOptions) {
    this.#options = options;
    this.#requestCert = requestCertOf(options.tls);
    this.#clients = new WeakMap();
    this.#watch = new FilesWatch(filesOf(options.tls), () => this.#filesChanged(), options.watchTimes);
  }

  /** What a client may take for its handshake, from its first byte; and for that byte. */
  get handshakeTimeoutMs(): number {
    return (this.#options.tls.handshakeTimeoutSeconds ?? HANDSHAKE_TIMEOUT_SECONDS) * 1_000;
  }

  /**
   * Reads the files.
   * @returns options for `tls.createServer` or `https.createServer`
   * @throws ConfigError that names the option, the file and what would be right
   */
  load(): NodeTlsOptions {
    this.#watch.seen();
    const loaded = loadTls(this.#options.url, this.#options.tls);
    this.#use(loaded);
    const options: NodeTlsOptions = {
      ...loaded.server,
      // A client that offers other protocols only is told no_application_protocol, as RFC 7301 asks: it is at the wrong door, or
      // somebody has led it here (ALPACA). One that offers none, as most MQTT clients do, is served.
      ALPNProtocols: [...this.#options.protocols],
    };
    if (loaded.pairs.length > 1) {
      options.SNICallback = (name, done) => done(null, this.#contextFor(name));
    }
    return options;
  }

  /** Puts the server, made with the options of `load`, under this control. */
  attach(server: Server): void {
    this.#server = server;
    const { tls } = this.#options;
    if (tls.ocspResponse === undefined && !tls.sni?.some((entry) => entry.ocspResponse !== undefined)) return;
    server.on('OCSPRequest', (certificate, _issuer, done) => done(null, this.#stapleFor(certificate)!));
  }

  /** To be called when the listener listens: watches files and dates from now on. */
  start(): void {
    const { clock } = this.#options;
    this.#tellLoaded();
    this.#watch.start();
    this.#stopDaily = clock?.every(DAY_MS, () => this.#daily()) ?? null;
  }

  stop(): void {
    this.#watch.stop();
    this.#stopDaily?.();
    this.#stopDaily = null;
  }

  /**
   * Reads all files again, for handshakes to come; connections that are open stay, and sessions begun before are not resumed.
   * @throws ConfigError when anything of the new files cannot be used: then all the old ones stay in force
   */
  reload(): void {
    if (this.#server === null) return;
    this.#watch.seen();
    const loaded = loadTls(this.#options.url, this.#options.tls);
    this.#server.setSecureContext(loaded.server);
    this.#use(loaded);
    this.#tellLoaded();
  }

  /**
   * Decides on a client whose handshake is done, anew or resumed.
   * @param address who it is, for the log
   * @returns null: the client is refused, the socket destroyed, and the log told why
   */
  admit(socket: TLSSocket, address: string): TlsClient | null {
    const judged = this.#judge(socket);
    if (typeof judged === 'object') {
      this.#clients.set(socket, judged);
      return judged;
    }
    this.#tellRefused(judged, socket.getPeerX509Certificate(), address);
    socket.destroy();
    return null;
  }

  /** The name in the certificate of a client that `admit` let in. */
  usernameOf(socket: object): string | undefined {
    return this.#clients.get(socket)?.username;
  }

  #use(loaded: LoadedTls): void {
    this.#loaded = loaded;
    this.#noteCrlEnd(this.#now());
  }

  /** The client, or why it is refused. */
  #judge(socket: TLSSocket): TlsClient | string {
    if (this.#requestCert === 'none') return { username: undefined };
    const certificate = socket.getPeerX509Certificate();
    // First of all: in a resumed TLS 1.3 session OpenSSL has nothing against a client without one.
    if (certificate === undefined) {
      return this.#requestCert === 'required' ? 'it shows no certificate' : { username: undefined };
    }
    if (!socket.authorized) return verifyProblem(String(socket.authorizationError));
    // OpenSSL does not verify a resumed session again; what can have ended since is looked at here.
    if (certificate.validToDate.getTime() <= this.#now()) return 'its certificate has expired';
    if (this.#crlHasEnded() && socket.isSessionReused()) {
      return 'it resumed a session from before a revocation list expired';
    }
    const field = this.#options.tls.useCertAsUsername ?? false;
    if (field === false) return { username: undefined };
    const identity = identityOf(certificate.raw, field);
    return identity.ok
      ? { username: identity.name }
      : `its certificate gives no user name: ${identity.problem}`;
  }

  /** Whether a revocation list has expired since this was asked last; then nobody can resume what was begun before. */
  #crlHasEnded(): boolean {
    const now = this.#now();
    if (now < this.#crlEndsAt) return false;
    this.#noteCrlEnd(now);
    this.#changeTicketKeys();
    return true;
  }

  #noteCrlEnd(now: number): void {
    const ends = (this.#loaded?.dated ?? []).filter(({ what, until }) => what === 'crl' && until > now);
    this.#crlEndsAt = Math.min(...ends.map(({ until }) => until));
  }

  #changeTicketKeys(): void {
    this.#server?.setTicketKeys(randomBytes(TICKET_KEYS_BYTES));
  }

  /** Exact names go before wildcards. Undefined: the default certificate. Never throws. */
  #contextFor(asked: string): SecureContext | undefined {
    const pairs = this.#loaded?.pairs ?? [];
    const name = asked.toLowerCase();
    const dot = name.indexOf('.');
    const parent = dot > 0 ? `*${name.slice(dot)}` : null;
    const found = pairs.find((pair) => pair.name === name) ?? pairs.find((pair) => pair.name === parent);
    return found?.context ?? undefined;
  }

  /** The OCSP response for a certificate, while it holds. Never throws. */
  #stapleFor(certificate: Buffer): Buffer | null {
    const pair = this.#loaded?.pairs.find(({ certificate: { raw } }) => raw.equals(certificate));
    const now = this.#now();
    if (!pair?.staple || pair.staple.from > now || pair.staple.until <= now) return null;
    return pair.staple.der;
  }

  #filesChanged(): void {
    try {
      this.reload();
    } catch (error) {
      const { url, log, onError } = this.#options;
      if (log === undefined) onError?.(error as Error);
      else log.error('tls.refused', { door: url, problem: (error as Error).message });
    }
  }

  #daily(): void {
    const { url, log } = this.#options;
    // Whoever steals a key can read what was said under its tickets: a day's talk, not a year's.
    this.#changeTicketKeys();
    if (log !== undefined) reportExpiry(url, this.#loaded?.dated ?? [], this.#now(), log);
  }

  #tellLoaded(): void {
    const { url: door, log } = this.#options;
    const loaded = this.#loaded;
    if (log === undefined || loaded === null) return;
    for (const { name, certificate } of loaded.pairs) {
      log.info('tls.loaded', {
        door,
        ...(name === null ? {} : { name }),
        subject: nameOf(certificate),
        until: certificate.validToDate.toISOString(),
        fingerprint: certificate.fingerprint256,
      });
    }
    for (const problem of loaded.warnings) log.warn('tls.not_stapled', { door, problem });
    reportExpiry(door, loaded.dated, this.#now(), log);
  }

  #tellRefused(problem: string, certificate: X509Certificate | undefined, address: string): void {
    const { url: door, log, onError } = this.#options;
    if (log === undefined) {
      onError?.(new Error(`TLS client refused: ${problem}`), address);
      return;
    }
    const whose =
      certificate === undefined ? {} : { subject: nameOf(certificate), serial: certificate.serialNumber };
    log.warn('tls.client_refused', { door, address, problem, ...whose });
  }

  #now(): number {
    return this.#options.clock?.wallNow() ?? Date.now();
  }
}

/** What OpenSSL had against a certificate, in words where its own name for it is no help. */
function verifyProblem(code: string): string {
  const words = Object.hasOwn(VERIFY_PROBLEMS, code)
    ? VERIFY_PROBLEMS[code]
    : 'its certificate does not verify';
  return `${words} (${code})`;
}

const VERIFY_PROBLEMS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate, or one it depends on, has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  CERT_REVOKED: 'its certificate is revoked',
  CRL_HAS_EXPIRED: 'the revocation list of its authority has expired',
  CRL_NOT_YET_VALID: 'the revocation list of its authority is not valid yet',
  UNABLE_TO_GET_CRL: 'there is no revocation list of its authority',
  CRL_SIGNATURE_FAILURE: 'the revocation list is not signed by the authority it names',
  INVALID_PURPOSE: 'its certificate is not for TLS clients',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is signed by an authority that is not in tls.ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by an authority that is not in tls.ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by an authority that is not in tls.ca',
  CERT_SIGNATURE_FAILURE: 'its certificate is not signed by the authority it names',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by an authority that is not in tls.ca',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by itself',
};
