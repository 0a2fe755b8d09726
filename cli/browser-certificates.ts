/** Renews the certificates that pages trust by their hash (`sluice certs init --browser`): they hold for 13 days. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ListenerConfig } from '../config/types.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';

/** As in certificates.ts, which is loaded only when there is something to renew. */
const NAME = 'CN=Sluice browser certificate';
const DAY_MS = 86_400_000;
/** A page that was opened with the old hash cannot come back: so seldom, but with days in hand for a disk that is full. */
const RENEW_BEFORE_MS = 3 * DAY_MS;
const CHECK_MS = DAY_MS / 4;

/** Renews what is to be renewed, now and every six hours. What fails is logged. Returns what ends it. */
export async function keepBrowserCertificates(
  listeners: readonly ListenerConfig[],
  clock: Clock,
  log: Log,
): Promise<() => void> {
  const ours = listeners.filter(({ scheme, tls }) => scheme === 'wt' && read(tls?.cert ?? '') !== null);
  if (ours.length === 0) return () => {};
  const renew = () => renewBrowserCertificates(ours, clock.wallNow(), log);
  await renew();
  return clock.every(CHECK_MS, () => void renew());
}

/** @param now milliseconds since 1970 */
export async function renewBrowserCertificates(
  listeners: readonly ListenerConfig[],
  now: number,
  log: Log,
): Promise<void> {
  for (const { url, tls } of listeners) {
    const certificate = read(tls?.cert ?? '');
    if (certificate === null || tls === undefined) continue;
    if (certificate.validToDate.getTime() - now > RENEW_BEFORE_MS) continue;
    try {
      const { makeBrowserCertificate, namesOf } = await import('./certificates.ts');
      await makeBrowserCertificate(tls, namesOf(certificate), now);
      log.info('tls.renewed', { door: url, file: tls.cert });
    } catch (error) {
      log.error('tls.not_renewed', { door: url, file: tls.cert, problem: (error as Error).message });
    }
  }
}

/** A certificate of this kind; null: another, or none that can be read. */
function read(file: string): X509Certificate | null {
  try {
    const certificate = new X509Certificate(readFileSync(file));
    return certificate.subject === NAME && certificate.issuer === NAME ? certificate : null;
  } catch {
    // Whoever uses it will say what is wrong.
    return null;
  }
}
