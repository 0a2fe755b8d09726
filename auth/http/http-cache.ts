/** Remembers logins that a service has accepted, for a short while, without keeping anybody's password. */
import { createHmac, randomBytes } from 'node:crypto';
import type { Accepted } from '../../src/interfaces/auth.ts';
import type { Clock } from '../../src/interfaces/clock.ts';

/** Logins remembered, and the bytes of the answers they came with. */
export const CACHE_ENTRIES_MAX = 10_000;
export const CACHE_BYTES_MAX = 8_388_608;

interface Entry {
  readonly verdict: Accepted;
  readonly endsAtMs: number;
  readonly bytes: number;
}

/** By HMAC with a key that only this process knows: what a stolen heap holds cannot be tried against a list of passwords. */
export class LoginCache {
  readonly #key = randomBytes(32);
  readonly #keepMs: number;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #entriesMax: number;
  /** Oldest first: all are kept equally long. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(keepSeconds: number, clock: Pick<Clock, 'now'>, entriesMax = CACHE_ENTRIES_MAX) {
    this.#keepMs = keepSeconds * 1_000;
    this.#clock = clock;
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @param credentials everything that the verdict may depend on */
  get(credentials: string): Accepted | undefined {
    const key = this.#keyOf(credentials);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (this.#clock.now() < entry.endsAtMs) return entry.verdict;
    this.#delete(key, entry);
    return undefined;
  }

  /** @param bytes what the verdict takes in memory, about */
  set(credentials: string, verdict: Accepted, bytes: number): void {
    const key = this.#keyOf(credentials);
    const before = this.#entries.get(key);
    if (before !== undefined) this.#delete(key, before);
    const keptUntilMs = this.#clock.now() + this.#keepMs;
    const endsAtMs = Math.min(keptUntilMs, verdict.endsAtMs ?? keptUntilMs);
    this.#entries.set(key, { verdict, endsAtMs, bytes });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= this.#entriesMax && this.#bytes <= CACHE_BYTES_MAX) break;
      this.#delete(oldest, entry);
    }
  }

  #delete(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }

  #keyOf(credentials: string): string {
    return createHmac('sha256', this.#key).update(credentials).digest('base64');
  }
}
