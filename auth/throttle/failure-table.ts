/** Counts failures by key and says when the next try may be made. Bounded, without a timer. */
import type { Clock } from '../../src/interfaces/clock.ts';
import { RecentTable } from './recent-table.ts';

export interface FailureTableOptions {
  readonly clock: Clock;
  /** The longest delay after a failure, in milliseconds. */
  readonly delayMaxMs: number;
  readonly keysMax: number;
}

interface Failures {
  count: number;
  /** Monotonic milliseconds before which nobody may try who is over the allowance. */
  untilMs: number;
  lastMs: number;
}

/** The first delay; each further failure doubles it. A second is nothing to a person and a thousand guesses to a program. */
const DELAY_MIN_MS = 1_000;
/** Quiet for this long, failures are forgotten; never sooner than twice the longest delay. */
const FORGET_MS = 3_600_000;
/** 2^30 seconds is longer than any delay that can be configured; beyond it the shift would turn over. */
const DOUBLINGS_MAX = 30;

export class FailureTable {
  readonly #clock: Clock;
  readonly #delayMaxMs: number;
  readonly #forgetMs: number;
  readonly #entries: RecentTable<Failures>;

  constructor(options: FailureTableOptions) {
    this.#clock = options.clock;
    this.#delayMaxMs = options.delayMaxMs;
    this.#forgetMs = Math.max(FORGET_MS, 2 * options.delayMaxMs);
    this.#entries = new RecentTable(options.keysMax);
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#entries.size;
  }

  /** Failures that are not forgotten. */
  count(key: string): number {
    return this.#find(key)?.count ?? 0;
  }

  /** Whether a try may be made now: below the allowance always, from then on when the delay is over. */
  isOpen(key: string, allowance: number): boolean {
    const entry = this.#find(key);
    return entry === undefined || entry.count < allowance || this.#clock.now() >= entry.untilMs;
  }

  /**
   * Takes the one try that is due after a delay, so that nobody makes another beside it. True when there was one to take:
   * give it back with `release` when the try comes to no failure.
   */
  take(key: string, allowance: number): boolean {
    const entry = this.#find(key);
    if (entry === undefined || entry.count < allowance) return false;
    entry.untilMs = this.#clock.now() + this.#delayMs(entry.count - allowance);
    return true;
  }

  /** The next may try at once. */
  release(key: string): void {
    const entry = this.#find(key);
    if (entry !== undefined) entry.untilMs = this.#clock.now();
  }

  /** One failure more. */
  fail(key: string, allowance: number): void {
    const now = this.#clock.now();
    const count = this.count(key) + 1;
    const untilMs = count < allowance ? now : now + this.#delayMs(count - allowance);
    this.#entries.touch(key, { count, untilMs, lastMs: now });
  }

  /** Takes `count` failures back. */
  forgive(key: string, count: number): void {
    const entry = this.#find(key);
    if (entry === undefined || count === 0) return;
    if (entry.count <= count) this.#entries.delete(key);
    else entry.count -= count;
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  #delayMs(overAllowance: number): number {
    return Math.min(DELAY_MIN_MS * 2 ** Math.min(overAllowance, DOUBLINGS_MAX), this.#delayMaxMs);
  }

  #find(key: string): Failures | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || this.#clock.now() - entry.lastMs < this.#forgetMs) return entry;
    this.#entries.delete(key);
    return undefined;
  }
}
