/** TLS 1.3 inside QUIC: the files of a listener as the engine wants them, new ones put in force, and who a client's certificate says he is. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { ConfigError } from '../../src/errors.ts';
import type { Clock } from '../../src/interfaces/clock.ts';
import type { Log } from '../../src/interfaces/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { OnError } from '../listen-url.ts';
import { identityOf } from '../tls/certificate-identity.ts';
import { DAY_MS, reportExpiry } from '../tls/tls-expiry.ts';
import {
  filesOf,
  HANDSHAKE_TIMEOUT_SECONDS,
  type LoadedTls,
  loadTls,
  nameOf,
  requestCertOf,
  type TlsOptions,
} from '../tls/tls-options.ts';
import { FilesWatch, type WatchTimes } from '../tls/tls-watch.ts';
import { DATAGRAM_BYTES_MAX, type Quiche, type QuicheConfig, type QuicheConnection } from './quiche.ts';

/** As registered for ALPN. */
export const PROTOCOL = 'mqtt';

/** Longer than one and a half times the longest keep alive of MQTT (65 535 s): that decides, not QUIC. */
const IDLE_TIMEOUT_MS = 100_000_000;
/**
 * What a client may send on a stream ahead of what the core has read: all that a stranger can make the engine keep, for each of his streams.
 * Windows grow for those who are read quickly, to the second number.
 */
const STREAM_BYTES_MAX = 16_384;
const STREAM_WINDOW_BYTES_MAX = 1_048_576;
/**
 * All streams of a connection together have no bound of their own. The engine renews one only when nearly all of it was read, and what
 * waits in streams that the core has paused never is: they would stop the others for good.
 */
const CONNECTION_BYTES_MAX = Number.MAX_SAFE_INTEGER;
const CONNECTION_WINDOW_BYTES_MAX = 2 * STREAM_WINDOW_BYTES_MAX;
/** Such streams are refused. */
const UNIDIRECTIONAL_STREAMS_MAX = 1;
/** A stream is not seen, and cannot be refused, before a byte of it may come. */
const REFUSED_STREAM_BYTES_MAX = 1_024;
/** The smallest number that RFC 9000 allows: ids of clients that move, and moving is not served. */
const CONNECTION_IDS_MAX = 2;
/** What TLS 1.3 knows, without SHA-1. */
const SIGNATURE_ALGORITHMS = [
  'ed25519',
  'ecdsa_secp256r1_sha256',
  'ecdsa_secp384r1_sha384',
  'rsa_pss_rsae_sha256',
  'rsa_pss_rsae_sha384',
  'rsa_pss_rsae_sha512',
].join(':');

export interface QuicTlsOptions {
  readonly url: string;
  readonly tls: TlsOptions;
  /** Bidirectional streams that a client may have open beside its first. */
  readonly dataStreamsMax?: number | undefined;
  readonly onError?: OnError | undefined;
  /** Hears of certificates loaded, refused and about to expire. */
  readonly log?: Log | undefined;
  /** Without it nobody looks daily at the dates. */
  readonly clock?: Clock | undefined;
  readonly watchTimes?: WatchTimes | undefined;
}

/**
 * Checks what only this door cannot do.
 * @throws ConfigError that names the option
 */
export function checkQuicTls(url: string, tls: TlsOptions): void {
  const refuse = (option: string, problem: string, remedy: string): never => {
    throw new ConfigError(`${url} tls.${option}`, problem, remedy);
  };
  if (requestCertOf(tls) === 'optional') {
    const remedy = 'Use required or none; two listeners on two ports can offer both';
    refuse('requestCert', 'optional cannot be had with QUIC', remedy);
  }
  if (tls.maxVersion === 'TLSv1.2') refuse('maxVersion', 'QUIC is TLS 1.3', 'Leave it out, or set TLSv1.3');
  const remedy = 'Leave it out here, or serve those clients by mqtts';
  const absent = 'the QUIC engine has no such thing';
  for (const option of ['crl', 'ciphers', 'ocspResponse'] as const) {
    if (tls[option] !== undefined) refuse(option, absent, remedy);
  }
  if ((tls.sni?.length ?? 0) > 0) refuse('sni', absent, 'Name one certificate with all names in tls.cert');
}

/** TLS of one listener: `load`, then `start`; at the end `stop`. */
export class QuicTls {
  readonly #options: QuicTlsOptions;
  readonly #watch: FilesWatch;
  #quiche: Quiche | null = null;
  #config: QuicheConfig | null = null;
  #loaded: LoadedTls | null = null;
  #stopDaily: (() => void) | null = null;

  constructor(options: QuicTlsOptions) {
    this.#options = options;
    this.#watch = new FilesWatch(filesOf(options.tls), () => this.#filesChanged(), options.watchTimes);
  }

  get handshakeTimeoutMs(): number {
    return (this.#options.tls.handshakeTimeoutSeconds ?? HANDSHAKE_TIMEOUT_SECONDS) * 1_000;
  }

  /** For connections to come. */
  get config(): QuicheConfig {
    return this.#config!;
  }

  /**
   * Reads the files.
   * @throws ConfigError that names the option, the file and what would be right
   */
  load(quiche: Quiche): void {
    const { url, tls } = this.#options;
    this.#watch.seen();
    const loaded = loadTls(url, { ...tls, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' });
    this.#config = this.#configure(quiche, loaded);
    this.#loaded = loaded;
    this.#quiche = quiche;
  }

  /** To be called when the listener listens: watches files and dates from now on. */
  start(): void {
    this.#tellLoaded();
    this.#watch.start();
    this.#stopDaily = this.#options.clock?.every(DAY_MS, () => this.#tellExpiry()) ?? null;
  }

  stop(): void {
    this.#watch.stop();
    this.#stopDaily?.();
    this.#stopDaily = null;
  }

  /**
   * Reads all files again, for connections to come; those that are open stay.
   * @throws ConfigError when anything of the new files cannot be used: then all the old ones stay in force
   */
  reload(): void {
    if (this.#quiche === null) return;
    this.load(this.#quiche);
    this.#tellLoaded();
  }

  /**
   * Decides on a client whose handshake is done.
   * @returns null: he is refused, and the log was told why; else the user name in his certificate, undefined without one
   */
  admit(connection: QuicheConnection, address: string): { readonly username: string | undefined } | null {
    const { tls } = this.#options;
    if (requestCertOf(tls) === 'none') return { username: undefined };
    const der = connection.peerCertChain()?.[0];
    if (der === undefined) return this.#refuse('it shows no certificate', null, address);
    const certificate = new X509Certificate(der);
    // A resumed session is not verified again; what can have ended since is looked at here.
    if (certificate.validToDate.getTime() <= this.#now()) {
      return this.#refuse('its certificate has expired', certificate, address);
    }
    const field = tls.useCertAsUsername ?? false;
    if (field === false) return { username: undefined };
    const identity = identityOf(der, field);
    if (identity.ok) return { username: identity.name };
    return this.#refuse(`its certificate gives no user name: ${identity.problem}`, certificate, address);
  }

  #configure(quiche: Quiche, { server }: LoadedTls): QuicheConfig {
    const { url, tls } = this.#options;
    const secret = { key: server.key as string, passphrase: tls.passphrase ?? '' };
    const key = createPrivateKey(secret).export({ type: 'pkcs8', format: 'pem' });
    const asks = requestCertOf(tls) === 'required';
    const ca = asks ? Buffer.from(server.ca as string) : null;
    const certificates = Buffer.from(server.cert as string);
    try {
      const config = quiche.Config.withBoringSslCtx(
        asks,
        false,
        ca,
        [Buffer.from(key)],
        [certificates],
        SIGNATURE_ALGORITHMS,
      );
      setTransport(config, this.#options.dataStreamsMax ?? DEFAULT_LIMITS.dataStreamsMax);
      return config;
    } catch (error) {
      const remedy = 'Use an RSA key of 2048 bits or more, P-256 or P-384';
      throw new ConfigError(`${url} tls.cert`, `the engine refuses it (${(error as Error).message})`, remedy);
    }
  }

  #refuse(problem: string, certificate: X509Certificate | null, address: string): null {
    const { url: door, log, onError } = this.#options;
    if (log === undefined) {
      onError?.(new Error(`TLS client refused: ${problem}`), address);
      return null;
    }
    const whose =
      certificate === null ? {} : { subject: nameOf(certificate), serial: certificate.serialNumber };
    log.warn('tls.client_refused', { door, address, problem, ...whose });
    return null;
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

  #tellLoaded(): void {
    const { url: door, log } = this.#options;
    for (const { certificate } of this.#loaded?.pairs ?? []) {
      log?.info('tls.loaded', {
        door,
        subject: nameOf(certificate),
        until: certificate.validToDate.toISOString(),
        fingerprint: certificate.fingerprint256,
      });
    }
    this.#tellExpiry();
  }

  #tellExpiry(): void {
    const { url, log } = this.#options;
    if (log !== undefined) reportExpiry(url, this.#loaded?.dated ?? [], this.#now(), log);
  }

  #now(): number {
    return this.#options.clock?.wallNow() ?? Date.now();
  }
}

/** Early data is never enabled: whoever recorded a CONNECT could send it again (RFC 9001, 9.2). */
function setTransport(config: QuicheConfig, dataStreamsMax: number): void {
  config.grease(true);
  config.setApplicationProtos([PROTOCOL]);
  config.setMaxIdleTimeout(IDLE_TIMEOUT_MS);
  config.setMaxRecvUdpPayloadSize(DATAGRAM_BYTES_MAX);
  config.setMaxSendUdpPayloadSize(DATAGRAM_BYTES_MAX);
  config.setInitialMaxData(CONNECTION_BYTES_MAX);
  config.setInitialMaxStreamDataBidiLocal(0);
  config.setInitialMaxStreamDataBidiRemote(STREAM_BYTES_MAX);
  config.setInitialMaxStreamDataUni(REFUSED_STREAM_BYTES_MAX);
  config.setInitialMaxStreamsBidi(1 + dataStreamsMax);
  config.setInitialMaxStreamsUni(UNIDIRECTIONAL_STREAMS_MAX);
  config.setMaxStreamWindow(STREAM_WINDOW_BYTES_MAX);
  config.setMaxConnectionWindow(CONNECTION_WINDOW_BYTES_MAX);
  config.setActiveConnectionIdLimit(CONNECTION_IDS_MAX);
  config.setDisableActiveMigration(true);
  config.enableDgram(false, 0, 0);
}
