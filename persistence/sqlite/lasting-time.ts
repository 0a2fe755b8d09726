/**
 * The time that expiries are written in. It runs with the monotonic clock while the store is open, and with the wall clock while it is
 * not, so that setting the wall clock (by hand, or after a start without a battery-backed clock) makes nothing expire early or late.
 */
import type { Clock } from '../../src/interfaces/clock.ts';
import type { MetaName } from './schema.ts';

/** Both clocks at one moment, in milliseconds. */
export interface Clocks {
  readonly lastingMs: number;
  readonly wallMs: number;
}

/** The wall clock was set when it has moved by more than this against the other: a leap second, or a day's drift, is less. */
const SET_MS = 1_000;
/** What `meta` takes. */
const INTEGER_MAX = 2 ** 46 - 1;

/** What a store says of its clocks in `meta`; both zero when it is new or was imported, whose times are those of the wall clock. */
export function clocksOf(meta: Readonly<Record<MetaName, number>>): Clocks {
  return { lastingMs: meta.lasting_ms, wallMs: meta.wall_ms };
}

/**
 * Lasting time minus `clock.now()`, in whole milliseconds, for a store that is opened now. A wall clock that is behind what it was counts as no time away:
 * what lasts too long is better than what is gone too early.
 */
export function offsetAtOpen({ lastingMs, wallMs }: Clocks, clock: Clock): number {
  return Math.round(lastingMs + Math.max(0, clock.wallNow() - wallMs) - clock.now());
}

export function clocksNow(offsetMs: number, clock: Clock): Clocks {
  return { lastingMs: whole(clock.now() + offsetMs), wallMs: whole(clock.wallNow()) };
}

/** Whether the wall clock was set between two moments. */
export function isSet(a: Clocks, b: Clocks): boolean {
  return Math.abs(a.wallMs - a.lastingMs - (b.wallMs - b.lastingMs)) > SET_MS;
}

/** What to take from lasting time to get wall-clock milliseconds, as the store has seen both last. */
export function lastingMinusWall({ lastingMs, wallMs }: Clocks): number {
  return lastingMs - wallMs;
}

function whole(ms: number): number {
  return Math.min(INTEGER_MAX, Math.max(0, Math.floor(ms)));
}
