/** Certificate and key of a door whose TLS is in its engine: checked before the engine sees them, and watched. */
import type { Clock } from '../../src/interfaces/clock.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { OnError } from '../listen-url.ts';
import { DAY_MS, reportExpiry } from '../tls/tls-expiry.ts';
import { type LoadedTls, loadTls, nameOf, type TlsOptions } from '../tls/tls-options.ts';
import { FilesWatch, type WatchTimes } from '../tls/tls-watch.ts';

export interface DoorCertificateOptions {
  readonly url: string;
  readonly tls: TlsOptions;
  readonly onError?: OnError | undefined;
  readonly log?: Log | undefined;
  readonly clock?: Clock | undefined;
  readonly watchTimes?: WatchTimes | undefined;
}

/** `load`, `start`; at the end `stop`. */
export class DoorCertificate {
  readonly #options: DoorCertificateOptions;
  readonly #onNew: () => void;
  readonly #watch: FilesWatch;
  #loaded: LoadedTls | undefined;
  /** Fingerprint of the one that serves. */
  #serving: string | undefined;
  #stopDaily: (() => void) | undefined;

  /** @param onNew called when the files hold another certificate that can be used */
  constructor(options: DoorCertificateOptions, onNew: () => void) {
    const { cert, key } = options.tls;
    this.#options = options;
    this.#onNew = onNew;
    this.#watch = new FilesWatch([cert, key], () => this.#filesChanged(), options.watchTimes);
    this.#loaded = undefined;
    this.#serving = undefined;
    this.#stopDaily = undefined;
  }

  /** @throws ConfigError that names the option, the file and what would be right */
  load(): void {
    this.#watch.seen();
    const { url, tls } = this.#options;
    this.#loaded = loadTls(url, tls);
  }

  /** To be called when the door listens. */
  start(): void {
    this.inForce();
    this.#watch.start();
    this.#stopDaily = this.#options.clock?.every(DAY_MS, () => this.#reportExpiry());
  }

  stop(): void {
    this.#watch.stop();
    this.#stopDaily?.();
    this.#stopDaily = undefined;
  }

  /** @throws ConfigError when the new files cannot be used */
  reload(): void {
    this.load();
    if (this.#fingerprint() !== this.#serving) this.#onNew();
  }

  /** SHA-256 of the certificate in Base64. */
  get hash(): string {
    return Buffer.from((this.#fingerprint() ?? '').replaceAll(':', ''), 'hex').toString('base64');
  }

  /** The engine serves with what was loaded last. */
  inForce(): void {
    const { url: door, log } = this.#options;
    this.#serving = this.#fingerprint();
    for (const { certificate } of this.#loaded?.pairs ?? []) {
      log?.info('tls.loaded', {
        door,
        subject: nameOf(certificate),
        until: certificate.validToDate.toISOString(),
        fingerprint: certificate.fingerprint256,
      });
    }
    this.#reportExpiry();
  }

  /** The engine cannot do with the new files; the old ones stay in force. */
  refused(error: Error): void {
    const { url, log, onError } = this.#options;
    if (log === undefined) onError?.(error);
    else log.error('tls.refused', { door: url, problem: error.message });
  }

  #fingerprint(): string | undefined {
    return this.#loaded?.pairs[0].certificate.fingerprint256;
  }

  #filesChanged(): void {
    try {
      this.reload();
    } catch (error) {
      this.refused(error as Error);
    }
  }

  #reportExpiry(): void {
    const { url, log, clock } = this.#options;
    const now = clock?.wallNow() ?? Date.now();
    if (log !== undefined) reportExpiry(url, this.#loaded?.dated ?? [], now, log);
  }
}
