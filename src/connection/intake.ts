import type { Limits } from '../limits.ts';

/** A token bucket that holds a second's worth. What is taken beyond it is owed, and paid back by time. */
class Bucket {
  readonly perSecond: number;
  #tokens: number;
  #atMs: number;

  constructor(perSecond: number, nowMs: number) {
    this.perSecond = perSecond;
    this.#tokens = perSecond;
    this.#atMs = nowMs;
  }

  take(count: number): void {
    this.#tokens -= count;
  }

  refill(nowMs: number): void {
    const earned = ((nowMs - this.#atMs) / 1000) * this.perSecond;
    this.#tokens = Math.min(this.perSecond, this.#tokens + earned);
    this.#atMs = nowMs;
  }

  get full(): boolean {
    return this.#tokens >= this.perSecond;
  }

  /** Milliseconds until nothing is owed any more; 0: nothing is. */
  get debtMs(): number {
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.perSecond) * 1000;
  }
}

/** What became of a chunk: `begins` when it is the first that is held back after a time within the rates. */
export type IntakeResult = 'within' | 'begins' | 'held-back' | 'too-long';

/**
 * How much one client may send. Counted once for each chunk that was read, never for each message; a client that is over is
 * not read from until the buckets are paid back, which the sweep looks at.
 */
export class Intake {
  readonly #messages: Bucket | null;
  readonly #bytes: Bucket | null;
  readonly #filters: Bucket | null;
  readonly #buckets: readonly Bucket[];
  readonly #graceMs: number;
  /** Since when it has been held back again and again; 0: it keeps within the rates. */
  #overSinceMs = 0;
  /** True while nothing is to be read. */
  heldBack = false;

  /** Null where no rate is limited. */
  static of(limits: Limits, nowMs: number): Intake | null {
    const { messagesPerSecondMax, bytesPerSecondMax, subscribesPerSecondMax } = limits;
    if (messagesPerSecondMax + bytesPerSecondMax + subscribesPerSecondMax === 0) return null;
    return new Intake(limits, nowMs);
  }

  private constructor(limits: Limits, nowMs: number) {
    const bucket = (perSecond: number): Bucket | null =>
      perSecond > 0 ? new Bucket(perSecond, nowMs) : null;
    this.#messages = bucket(limits.messagesPerSecondMax);
    this.#bytes = bucket(limits.bytesPerSecondMax);
    this.#filters = bucket(limits.subscribesPerSecondMax);
    this.#buckets = [this.#messages, this.#bytes, this.#filters].filter((each) => each !== null);
    this.#graceMs = limits.rateGraceSeconds * 1000;
  }

  /** Topic filters of a SUBSCRIBE; what becomes of it `take` says at the end of the chunk. */
  takeFilters(count: number): void {
    this.#filters?.take(count);
  }

  /**
   * PUBLISH packets and bytes of a chunk. `too-long`: the client has been held back for `rateGraceSeconds` and still sends
   * more than it may, or what it sent in one go would take longer than that to pay back.
   */
  take(messages: number, bytes: number, nowMs: number): IntakeResult {
    this.#refill(nowMs);
    this.#messages?.take(messages);
    this.#bytes?.take(bytes);
    let debtMs = 0;
    for (const bucket of this.#buckets) debtMs = Math.max(debtMs, bucket.debtMs);
    if (debtMs === 0) return 'within';
    const begins = this.#overSinceMs === 0;
    if (begins) this.#overSinceMs = nowMs;
    this.heldBack = true;
    const isTooLong = this.#graceMs > 0 && nowMs - this.#overSinceMs + debtMs > this.#graceMs;
    return isTooLong ? 'too-long' : begins ? 'begins' : 'held-back';
  }

  /** Lets time pay back. True when input may go on. */
  release(nowMs: number): boolean {
    this.#refill(nowMs);
    this.heldBack = this.#buckets.some((bucket) => bucket.debtMs > 0);
    return !this.heldBack;
  }

  #refill(nowMs: number): void {
    let full = true;
    for (const bucket of this.#buckets) {
      bucket.refill(nowMs);
      full &&= bucket.full;
    }
    // A second without anything owed: whatever comes now is a new beginning.
    if (full) this.#overSinceMs = 0;
  }
}

/** Connections that a listener may take a second; null: no limit. */
export class ConnectRate {
  readonly #bucket: Bucket;

  static of({ connectsPerSecondMax }: Limits, nowMs: number): ConnectRate | null {
    return connectsPerSecondMax > 0 ? new ConnectRate(connectsPerSecondMax, nowMs) : null;
  }

  private constructor(perSecond: number, nowMs: number) {
    this.#bucket = new Bucket(perSecond, nowMs);
  }

  /** True when one more may come in now; those that may not cost nothing. */
  take(nowMs: number): boolean {
    this.#bucket.refill(nowMs);
    this.#bucket.take(1);
    if (this.#bucket.debtMs === 0) return true;
    this.#bucket.take(-1);
    return false;
  }
}
