/** A key set that is fetched from its issuer, kept for a while, and not believed for longer than that. */
import type { Clock } from '../../src/interfaces/clock.ts';
import { fetchBounded } from '../http/http-fetch.ts';
import { type JwtAlgorithm, type JwtKeys, KEY_SET_BYTES_MAX, parseKeySet } from './jwt-keys.ts';

/** Where keys come from. */
export interface JwtKeySource {
  /** The keys to verify with. A rejected promise: there are none that may be believed now. */
  keys(): JwtKeys | Promise<JwtKeys>;
  /** Asked when no key fits a token: newer keys, or null when there are none. Without it: never. */
  newer?(): Promise<JwtKeys | null>;
}

export interface RemoteKeyOptions {
  readonly url: string;
  /** How long fetched keys hold; they are fetched again, in the background, after half of it. */
  readonly cacheSeconds: number;
  readonly algorithms: readonly JwtAlgorithm[] | null;
  readonly clock: Pick<Clock, 'now'>;
  /** From the request to the last byte. */
  readonly timeoutMs?: number;
  readonly onLoaded?: () => void;
  readonly onError?: (error: Error) => void;
}

const TIMEOUT_MS = 5_000;
/** Between two requests that somebody's token caused: strangers can make up key ids as fast as they can send. */
const PAUSE_MS = 30_000;
/** Between two requests when the last one failed. */
const PAUSE_AFTER_FAILURE_MS = 5_000;

export class RemoteKeySet implements JwtKeySource {
  readonly #options: RemoteKeyOptions;
  readonly #cacheMs: number;
  #keys: JwtKeys | null = null;
  #loadedAtMs = 0;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #failure: Error | null = null;
  #pending: Promise<JwtKeys> | null = null;

  constructor(options: RemoteKeyOptions) {
    this.#options = options;
    this.#cacheMs = options.cacheSeconds * 1_000;
  }

  keys(): JwtKeys | Promise<JwtKeys> {
    const ageMs = this.#options.clock.now() - this.#loadedAtMs;
    const failure = this.#standingFailure();
    if (this.#keys === null || ageMs > this.#cacheMs)
      return failure === null ? this.#fetch() : Promise.reject(failure);
    if (ageMs > this.#cacheMs / 2 && failure === null) {
      // Told to `onError`; what is there holds for the other half.
      this.#fetch().catch(() => {});
    }
    return this.#keys;
  }

  async newer(): Promise<JwtKeys | null> {
    if (this.#pending !== null) return this.#pending;
    const pauseMs = this.#options.clock.now() - this.#askedAtMs;
    return pauseMs < PAUSE_MS ? null : this.#fetch();
  }

  /** The failure that stands for a while, in which no new request is made, or null. */
  #standingFailure(): Error | null {
    const isPausing = this.#options.clock.now() - this.#askedAtMs < PAUSE_AFTER_FAILURE_MS;
    return this.#pending === null && isPausing ? this.#failure : null;
  }

  /** One request at a time, whoever asks. */
  #fetch(): Promise<JwtKeys> {
    this.#pending ??= this.#request().finally(() => {
      this.#pending = null;
    });
    return this.#pending;
  }

  async #request(): Promise<JwtKeys> {
    const { url, clock, algorithms, timeoutMs = TIMEOUT_MS, onLoaded, onError } = this.#options;
    this.#askedAtMs = clock.now();
    try {
      const { status, text } = await fetchBounded({ url, timeoutMs, answerBytesMax: KEY_SET_BYTES_MAX });
      if (status !== 200) throw new Error(`${url}: status ${status} instead of 200`);
      this.#keys = parseKeySet(text, url, { algorithms });
    } catch (error) {
      this.#failure = error as Error;
      onError?.(this.#failure);
      throw error;
    }
    this.#failure = null;
    this.#loadedAtMs = this.#askedAtMs;
    onLoaded?.();
    return this.#keys;
  }
}
