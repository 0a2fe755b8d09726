/** Says in time that something of a listener's TLS files ends. */
import type { Log } from '../../src/interfaces/log.ts';
import type { Dated } from './tls-options.ts';

export const DAY_MS = 86_400_000;
const WARN_BEFORE_MS = 30 * DAY_MS;
/** What lives for less than 90 days is renewed later than 30 days before its end: warn in the last third of its life. */
const WARN_PART = 1 / 3;

/**
 * Logs `tls.expired` (error), `tls.expires_soon` and `tls.not_yet_valid` (warnings) for what is or is about to be.
 * @param door the listener's URL
 * @param nowMs milliseconds since 1970
 */
export function reportExpiry(door: string, dated: readonly Dated[], nowMs: number, log: Log): void {
  for (const { what, file, subject, from, until } of dated) {
    if (from > nowMs) log.warn('tls.not_yet_valid', { door, what, file, subject, from: isoOf(from) });
    if (until - nowMs > Math.min(WARN_BEFORE_MS, (until - from) * WARN_PART)) continue;
    const fields = { door, what, file, subject, until: isoOf(until) };
    if (until <= nowMs) log.error('tls.expired', { ...fields, effect: EFFECTS[what] });
    else log.warn('tls.expires_soon', { ...fields, daysLeft: Math.floor((until - nowMs) / DAY_MS) });
  }
}

const EFFECTS: Readonly<Record<Dated['what'], string>> = {
  certificate: 'clients refuse it',
  authority: 'client certificates it signed are refused',
  crl: 'client certificates are refused until there is a new list',
  ocsp: 'it is not stapled until there is a new one',
};

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}
