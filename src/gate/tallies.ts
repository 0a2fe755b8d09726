/** How many come from one host or one prefix, and how fast. */
import { Chain, type Link } from './chain.ts';

/** Hosts and prefixes remembered that nobody is connected from: only their rate is still of interest. About 200 bytes each. */
const IDLE_MAX = 20_000;
const MS_PER_SECOND = 1_000;

/** One host or one prefix. */
export class Tally implements Link {
  readonly key: string;
  /** Sockets of clients that have not logged in. */
  strangers = 0;
  /** All sockets that are counted here. */
  sockets = 0;
  /** Connects that may come at once, as of `countedAtMs`. */
  tokens: number;
  countedAtMs: number;
  previous: Link | null = null;
  next: Link | null = null;
  isIdle = false;

  constructor(key: string, tokens: number, nowMs: number) {
    this.key = key;
    this.tokens = tokens;
    this.countedAtMs = nowMs;
  }

  /** Takes one connect out of a bucket that fills with `perSecond` up to `burst`. False: it is empty. */
  take(perSecond: number, burst: number, nowMs: number): boolean {
    const filled = ((nowMs - this.countedAtMs) / MS_PER_SECOND) * perSecond;
    this.tokens = Math.min(burst, this.tokens + filled);
    this.countedAtMs = nowMs;
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }
}

/**
 * The tallies that somebody is counted in, and for a while those that somebody was. The former are as many as there are sockets; the
 * latter are bounded, and swept when their bucket must be full again.
 */
export class Tallies {
  readonly #byKey = new Map<string, Tally>();
  readonly #idle = new Chain<Tally>();
  readonly #burst: number;
  readonly #keepMs: number;

  /** @param perSecond 0: no rate is kept, so that nothing is remembered of who has gone */
  constructor(perSecond: number, burst: number) {
    this.#burst = burst;
    this.#keepMs = perSecond === 0 ? 0 : Math.ceil((burst / perSecond) * MS_PER_SECOND);
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** The tally of `key`, made when there is none. The caller counts somebody in it, or calls `release`. */
  of(key: string, nowMs: number): Tally {
    let tally = this.#byKey.get(key);
    if (tally === undefined) {
      tally = new Tally(key, this.#burst, nowMs);
      this.#byKey.set(key, tally);
    } else if (tally.isIdle) {
      tally.isIdle = false;
      this.#idle.remove(tally);
    }
    return tally;
  }

  /** Lets go of a tally when nobody is counted in it any more. */
  release(tally: Tally, nowMs: number): void {
    if (tally.sockets > 0 || tally.isIdle) return;
    if (this.#keepMs === 0) {
      this.#byKey.delete(tally.key);
      return;
    }
    tally.isIdle = true;
    this.#idle.push(tally);
    this.sweep(nowMs);
    if (this.#idle.size > IDLE_MAX) this.#forget(this.#idle.first!);
  }

  /** Forgets those whose bucket is full again. */
  sweep(nowMs: number): void {
    for (let tally = this.#idle.first; tally !== null; tally = this.#idle.first) {
      if (nowMs - tally.countedAtMs < this.#keepMs) return;
      this.#forget(tally);
    }
  }

  #forget(tally: Tally): void {
    this.#idle.remove(tally);
    this.#byKey.delete(tally.key);
  }
}
