/** Turns what was measured at the doors into tables, and says by how much QUIC and WebTransport win or lose. */
import { renderTable, short } from '../report.ts';
import { BAD_NETWORK, type DoorReport, type DoorResult, LATE_MS, type LinkReport, titleOf } from './doors.ts';
import type { DoorName, Outcome } from './task.ts';

/** What each is instead of: with TLS, and for the same kind of client. */
const RIVALS: Readonly<Partial<Record<DoorName, DoorName>>> = { quic: 'tls', wt: 'wss' };

export function renderDoors(report: DoorReport): string {
  const { clean, lossy, link } = report;
  const parts = clean.length === 0 ? [] : [renderClean(clean)];
  if (link === null) return parts.join('');
  if (typeof link === 'string') parts.push(`The bad network could not be made, so it is left out: ${link}.`);
  else parts.push(renderLink(link), renderLossy(lossy), renderRivals(lossy));
  return parts.join('\n\n');
}

/** The run in the middle by rate; the lower one of two. */
export function medianOutcome({ runs }: DoorResult): Outcome | undefined {
  const sorted = runs.toSorted((a, b) => a.perSecond - b.perSecond);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

function renderClean(results: readonly DoorResult[]): string {
  const columns = [
    'loopback',
    'door',
    'rate/s',
    'MB/s',
    'CPU µs',
    'p50 ms',
    'p99 ms',
    'client CPU µs',
    'RSS MB',
    '',
  ];
  return renderTable([
    columns,
    ...results.map((result) => {
      const run = medianOutcome(result);
      const head = [result.scenario.title, titleOf(result.use)];
      if (run === undefined) return [...head, result.error?.split('\n')[0] ?? 'no result'];
      return [
        ...head,
        short(run.perSecond),
        megabytes(run),
        run.cpuUsPerMessage.toFixed(2),
        milliseconds(run.p50Ms),
        milliseconds(run.p99Ms),
        run.clientCpuUsPerMessage.toFixed(2),
        run.rssMb.toFixed(0),
        lost(result),
      ];
    }),
  ]);
}

function renderLossy(results: readonly DoorResult[]): string {
  const columns = [
    'bad network',
    'door',
    'rate/s',
    'MB/s',
    'p50 ms',
    'p90 ms',
    'p95 ms',
    'p99 ms',
    `in ${LATE_MS} ms`,
    'CPU µs',
    '',
  ];
  return renderTable([
    columns,
    ...results.map((result) => {
      const run = medianOutcome(result);
      const head = [result.scenario.title, titleOf(result.use)];
      if (run === undefined) return [...head, result.error?.split('\n')[0] ?? 'no result'];
      return [
        ...head,
        short(run.perSecond),
        megabytes(run),
        run.p50Ms.toFixed(0),
        run.p90Ms.toFixed(0),
        run.p95Ms.toFixed(0),
        run.p99Ms.toFixed(0),
        result.scenario.load.lateMs > 0 ? `${(run.inTimeShare * 100).toFixed(1)} %` : '',
        run.cpuUsPerMessage.toFixed(0),
        lost(result),
      ];
    }),
  ]);
}

function renderLink({ means, congestion, probed, counters }: LinkReport): string {
  const { lossShare, delayMs, rateMbit } = BAD_NETWORK;
  const by = means === 'netem' ? "the kernel's netem" : 'bench/doors/lossy-link.c (no netem in this kernel)';
  const there = 1 - probed.arrived / probed.sent;
  const back = 1 - probed.answered / probed.arrived;
  const wanted = `${delayMs} ms and ${percent(lossShare)} loss each way, ${rateMbit} Mbit/s, by ${by}; TCP and the QUIC client use ${congestion}`;
  const measured = `${probed.sent} datagrams: round trip ${probed.p50Ms.toFixed(2)} ms (p99 ${probed.p99Ms.toFixed(2)}), lost ${percent(there)} there and ${percent(back)} back`;
  if (counters === null) return `Bad network: ${wanted}.\nMeasured with ${measured}.`;
  const [fromBroker, fromClient] = counters;
  return `Bad network: ${wanted}.\nMeasured with ${measured}; the link itself counted ${fromClient.lost} and ${fromBroker.lost}.`;
}

/** What a number of each scenario is, as a multiple of the rival's. */
function renderRivals(results: readonly DoorResult[]): string {
  const lines: string[] = [];
  for (const result of results) {
    const rivalName = RIVALS[result.use.door];
    const rival = results.find(
      ({ scenario, use }) => scenario === result.scenario && use.door === rivalName && use.streams === 0,
    );
    const [mine, theirs] = [medianOutcome(result), rival && medianOutcome(rival)];
    if (mine === undefined || theirs === undefined) continue;
    const { about, title } = result.scenario;
    const said =
      about === 'bytes'
        ? `${mine.megabytesPerSecond.toFixed(2)} MB/s instead of ${theirs.megabytesPerSecond.toFixed(2)} (× ${(mine.megabytesPerSecond / theirs.megabytesPerSecond).toFixed(2)})`
        : (['p50Ms', 'p90Ms', 'p99Ms'] as const)
            .map(
              (key) =>
                `${key.slice(0, 3)} ${mine[key].toFixed(0)} ms instead of ${theirs[key].toFixed(0)} (× ${(mine[key] / theirs[key]).toFixed(2)})`,
            )
            .join(', ');
    lines.push(`${titleOf(result.use)} over ${rivalName}, ${title}: ${said}`);
  }
  return lines.join('\n');
}

function megabytes({ megabytesPerSecond }: Outcome): string {
  return megabytesPerSecond === 0 ? '' : megabytesPerSecond.toFixed(megabytesPerSecond < 10 ? 2 : 0);
}

function milliseconds(ms: number): string {
  return ms.toFixed(ms < 10 ? 2 : 0);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}

function lost({ runs }: DoorResult): string {
  const count = runs.reduce((sum, run) => sum + run.lost, 0);
  return count === 0 ? '' : `${count} LOST`;
}
