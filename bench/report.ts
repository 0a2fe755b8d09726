/** Turns measurements into a table and compares them with the goals. */
import type { BrokerName } from './brokers.ts';
import type { DurableRun, QueueCost } from './durable.ts';
import type { Garbage } from './garbage.ts';
import type { Measured } from './load.ts';
import {
  CONNECTS_PER_SECOND_MIN,
  DURABLE_PER_SECOND_MIN,
  DURABLE_TIMES_MOSQUITTO_MIN,
  GARBAGE_BYTES_MAX,
  IDLE_KB_MAX,
  QUEUED_MILLION_MB_MAX,
  type Scenario,
  STRANGERS_P99_RATIO_MAX,
  SUBSCRIPTIONS_COST_RATIO_MAX,
} from './scenarios.ts';
import type { StartUp } from './startup.ts';
import type { StrangersRun } from './strangers.ts';
import type { PublishCost } from './subscriptions.ts';

/** All runs of one scenario against one broker; `error` when there was no result. */
export interface Result {
  readonly scenario: Scenario;
  readonly broker: BrokerName;
  readonly runs: readonly Measured[];
  readonly error?: string;
}

export interface Goal {
  readonly what: string;
  readonly measured: number;
  readonly goal: string;
  readonly met: boolean;
}

/** What the scenario is about, per second. */
export function rateOf(scenario: Scenario, run: Measured): number {
  if (scenario.measures === 'idle') return run.connectsPerSecond;
  return scenario.measures === 'published' ? run.publishedPerSecond : run.receivedPerSecond;
}

/** The run in the middle by rate; the lower one of two. */
export function medianRun(result: Result): Measured | undefined {
  const sorted = result.runs.toSorted((a, b) => rateOf(result.scenario, a) - rateOf(result.scenario, b));
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

/** Sluice's median rate over Mosquitto's; undefined where one of them did not run. */
function timesMosquitto(results: readonly Result[], result: Result): number | undefined {
  const other = results.find(
    ({ broker, scenario }) => broker === 'mosquitto' && scenario === result.scenario,
  );
  const [mine, theirs] = [medianRun(result), other && medianRun(other)];
  if (mine === undefined || theirs === undefined) return undefined;
  return rateOf(result.scenario, mine) / rateOf(result.scenario, theirs);
}

const COLUMNS = [
  'scenario',
  'broker',
  'rate/s',
  'range',
  'CPU µs',
  'p50 µs',
  'p99 µs',
  'RSS MB',
  '× Mosq.',
  'goal',
  '',
];

/** One line for each scenario and broker. */
export function renderResults(results: readonly Result[]): string {
  const rows = results.map((result) => rowOf(results, result));
  return renderTable([COLUMNS, ...rows]);
}

function rowOf(results: readonly Result[], result: Result): string[] {
  const { scenario, broker } = result;
  const run = medianRun(result);
  if (run === undefined) return [scenario.title, broker, result.error?.split('\n')[0] ?? 'no result'];
  const rates = result.runs.map((one) => rateOf(scenario, one));
  const range = rates.length > 1 ? `${short(Math.min(...rates))}–${short(Math.max(...rates))}` : '';
  const times = timesMosquitto(results, result);
  const goal = broker === 'sluice' ? scenario.timesMosquittoMin : undefined;
  const remarks: string[] = [];
  if (goal !== undefined && times !== undefined) remarks.push(times >= goal ? 'met' : 'MISSED');
  if (scenario.measures === 'idle') remarks.push(`${run.kbPerConnection.toFixed(2)} KB each`);
  const lost = result.runs.reduce((sum, one) => sum + one.lost + one.unacknowledged, 0);
  if (lost > 0) remarks.push(`${lost} LOST`);
  return [
    scenario.title,
    broker,
    short(rateOf(scenario, run)),
    range,
    run.cpuUsPerMessage.toFixed(2),
    run.p50Us.toFixed(0),
    run.p99Us.toFixed(0),
    run.rssMb.toFixed(0),
    times === undefined ? '' : times.toFixed(2),
    goal === undefined ? '' : `≥ ${goal}`,
    remarks.join(', '),
  ];
}

/** Sluice against every goal that this run can judge. */
export function judge(
  results: readonly Result[],
  garbage: readonly Garbage[],
  costs: readonly PublishCost[],
): Goal[] {
  const goals: Goal[] = [];
  for (const result of results.filter(({ broker }) => broker === 'sluice')) {
    const { scenario } = result;
    const times = timesMosquitto(results, result);
    const run = medianRun(result);
    if (scenario.timesMosquittoMin !== undefined && times !== undefined) {
      goals.push(atLeast(`${scenario.title}, times Mosquitto`, times, scenario.timesMosquittoMin));
    }
    if (scenario.measures === 'idle' && run !== undefined) {
      goals.push(atMost('KB for an idle connection', run.kbPerConnection, IDLE_KB_MAX));
      goals.push(
        atLeast('connects a second without password', run.connectsPerSecond, CONNECTS_PER_SECOND_MIN),
      );
    }
  }
  for (const { scenario, bytesPerMessage } of garbage) {
    goals.push(atMost(`bytes of garbage per message, ${scenario}`, bytesPerMessage, GARBAGE_BYTES_MAX));
  }
  if (costs.length > 1) {
    const ratio = costs[costs.length - 1].cpuUsPerPublish / costs[0].cpuUsPerPublish;
    goals.push(
      atMost('publish cost with the most subscriptions over the fewest', ratio, SUBSCRIPTIONS_COST_RATIO_MAX),
    );
  }
  return goals;
}

/** Sluice's median of the runs that wait for the disk, and Mosquitto's of all. */
function durableRates(runs: readonly DurableRun[]): { sluice: number; mosquitto: number | undefined } {
  const median = (of: readonly DurableRun[]): number | undefined => {
    const rates = of.map(({ run }) => run.publishedPerSecond).sort((a, b) => a - b);
    return rates[Math.floor((rates.length - 1) / 2)];
  };
  const mine = runs.filter(({ broker }) => broker === 'sluice');
  const durable = mine.filter(({ acknowledges }) => acknowledges === mine[0].acknowledges);
  return { sluice: median(durable)!, mosquitto: median(runs.filter(({ broker }) => broker === 'mosquitto')) };
}

/** Sluice's store against its goals. */
export function judgeDurable(runs: readonly DurableRun[], queue: QueueCost | null): Goal[] {
  const goals: Goal[] = [];
  if (runs.length > 0) {
    const { sluice, mosquitto } = durableRates(runs);
    goals.push(atLeast('durable messages a second', sluice, DURABLE_PER_SECOND_MIN));
    if (mosquitto !== undefined)
      goals.push(atLeast('durable, times Mosquitto', sluice / mosquitto, DURABLE_TIMES_MOSQUITTO_MIN));
  }
  if (queue !== null)
    goals.push(
      atMost(`MB for ${short(queue.messages)} queued messages`, queue.growthMb, QUEUED_MILLION_MB_MAX),
    );
  return goals;
}

/** Sluice's time to its first door. */
export function judgeStartUp(startUps: readonly StartUp[]): Goal[] {
  return startUps.map(({ what, seconds, secondsMax }) =>
    atMost(`seconds to start with ${what}`, seconds, secondsMax),
  );
}

/** What clients that are logged in notice of strangers. */
export function judgeStrangers(runs: readonly StrangersRun[]): Goal[] {
  return runs.map(({ attack, elsewhere, beside }) =>
    atMost(
      `p99 beside ${attack}, over that elsewhere`,
      beside.p99Us / elsewhere.p99Us,
      STRANGERS_P99_RATIO_MAX,
    ),
  );
}

export function renderStrangers(runs: readonly StrangersRun[]): string {
  const rows = runs.map(({ attack, connectsPerSecond, alone, elsewhere, beside, ...run }) => [
    attack,
    short(connectsPerSecond),
    ...[alone, elsewhere, beside].map(({ p50Us }) => p50Us.toFixed(0)),
    ...[alone, elsewhere, beside].map(({ p99Us }) => p99Us.toFixed(0)),
    run.cpuUsPerConnect.toFixed(0),
    run.rssMb.toFixed(0),
    run.lost > 0 ? `${run.lost} LOST` : '',
  ]);
  const latencies = ['p50 µs alone', 'elsewhere', 'here', 'p99 µs alone', 'elsewhere', 'here'];
  return renderTable([['attack', 'connects/s', ...latencies, 'CPU µs/connect', 'RSS MB', ''], ...rows]);
}

export function renderDurable(runs: readonly DurableRun[], queue: QueueCost | null): string {
  const rows = runs.map(({ broker, acknowledges, run, messagesPerCommit }) => [
    `QoS 1 to an absent session`,
    broker,
    acknowledges,
    short(run.publishedPerSecond),
    run.cpuUsPerMessage.toFixed(2),
    run.p50Us.toFixed(0),
    run.p99Us.toFixed(0),
    run.rssMb.toFixed(0),
    messagesPerCommit?.toFixed(0) ?? '',
  ]);
  const measures = ['rate/s', 'CPU µs', 'p50 µs', 'p99 µs', 'RSS MB', 'a commit'];
  const columns = ['scenario', 'broker', 'acknowledges', ...measures];
  const table = renderTable([columns, ...rows]);
  if (queue === null) return table;
  const { messages, growthMb, growthAfterMb, readPerSecond } = queue;
  return `${table}\n${short(messages)} queued messages: ${growthMb.toFixed(0)} MB more memory, read at ${short(readPerSecond)}/s, ${growthAfterMb.toFixed(0)} MB more after that`;
}

function atLeast(what: string, measured: number, min: number): Goal {
  return { what, measured, goal: `≥ ${min}`, met: measured >= min };
}

function atMost(what: string, measured: number, max: number): Goal {
  return { what, measured, goal: `≤ ${max}`, met: measured <= max };
}

export function renderGoals(goals: readonly Goal[]): string {
  const rows = goals.map(({ what, measured, goal, met }) => [
    what,
    measured.toFixed(2),
    goal,
    met ? 'met' : 'MISSED',
  ]);
  return renderTable([['goal', 'measured', 'wanted', ''], ...rows]);
}

/** Pads columns to equal width; the first two are left-aligned, as is a last remark. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, at) =>
    Math.max(...rows.map((row) => (row[at] ?? '').length)),
  );
  const last = columns - 1;
  const lines = rows.map((row) =>
    row
      .map((cell, at) => (at < 1 || at === last ? cell.padEnd(widths[at]) : cell.padStart(widths[at])))
      .join('  '),
  );
  return lines.map((line) => line.trimEnd()).join('\n');
}

/** With `k` or `M` where it is large. */
export function short(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  return value >= 1e4 ? `${(value / 1e3).toFixed(0)} k` : value.toFixed(0);
}
