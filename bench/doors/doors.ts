/** `npm run bench -- doors`: the same loads over every door, on the loopback and over a bad network. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type ChildBroker, startChildBroker } from '../../test/support/child-broker.ts';
import { PASSWORD, passwordLine, USER } from '../brokers.ts';
import { Link, type LinkCounters, type LinkOptions } from './link.ts';
import type { Probed } from './probe.ts';
import type { Congestion, DoorName, Outcome, Task } from './task.ts';

const LOAD_CLIENT = path.join(import.meta.dirname, './load.ts');
const PROBE = path.join(import.meta.dirname, './probe.ts');
/** A client that takes this long hangs. */
const CLIENT_MS_MAX = 90_000;
const PROBE_PORT = 7;
const PROBES = 10_000;

export const DOOR_NAMES: readonly DoorName[] = ['tcp', 'tls', 'ws', 'wss', 'wt', 'quic'];
const SCHEMES = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss', wt: 'wt', quic: 'quic' } as const;
/** Doors whose connections can have data streams, and how many of them are used: one for each topic. */
const STREAM_DOORS: readonly DoorName[] = ['wt', 'quic'];
const STREAMS = 8;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const LOOPBACK = '127.0.0.1';

/** What the bad network is like. */
export const BAD_NETWORK = { lossShare: 0.02, delayMs: 25, rateMbit: 50, queueBytes: 312_500 } as const;

type Load = Omit<Task, 'target' | 'brokerPid' | 'streams' | 'seconds' | 'warmUpSeconds'>;

export interface DoorScenario {
  readonly name: string;
  readonly title: string;
  readonly load: Load;
  /** What a reader looks at first. */
  readonly about: 'messages' | 'bytes' | 'latency';
}

const NOTHING = {
  payloadBytes: 64,
  window: 0,
  pairs: 1,
  topics: 1,
  perSecond: 0,
  lateMs: 0,
  largePerSecond: 0,
  largeBytes: 0,
} as const;
/** Less than what the broker keeps for a slow reader before it drops QoS 0. */
const LARGE = { ...NOTHING, kind: 'forward', payloadBytes: 65_536, window: 8 } as const;

export const CLEAN_SCENARIOS: readonly DoorScenario[] = [
  {
    name: 'forward',
    title: '1 → 1 QoS 0, 64 B',
    about: 'messages',
    load: { ...NOTHING, kind: 'forward', window: 1_000 },
  },
  { name: 'large', title: '1 → 1 QoS 0, 64 KB', about: 'bytes', load: LARGE },
  {
    name: 'ack-1',
    title: 'QoS 1, 1 under way',
    about: 'messages',
    load: { ...NOTHING, kind: 'acknowledge', window: 1 },
  },
  {
    name: 'ack-100',
    title: 'QoS 1, 100 under way',
    about: 'messages',
    load: { ...NOTHING, kind: 'acknowledge', window: 100 },
  },
  { name: 'connect', title: 'connect', about: 'messages', load: { ...NOTHING, kind: 'connect', window: 8 } },
];

/** On the bad network a message takes 50 ms, and some 110 where a packet of it was lost. */
export const LATE_MS = 75;
/** Five publishers and their subscribers, QoS 1. */
const TELEMETRY = {
  ...NOTHING,
  kind: 'paced',
  pairs: 5,
  topics: 8,
  perSecond: 100,
  lateMs: LATE_MS,
} as const;

export const LOSSY_SCENARIOS: readonly DoorScenario[] = [
  {
    name: 'cold',
    title: 'connect, cold',
    about: 'latency',
    load: { ...NOTHING, kind: 'connect', window: 16 },
  },
  {
    name: 'telemetry',
    title: '100/s, 8 topics',
    about: 'latency',
    load: TELEMETRY,
  },
  {
    name: 'mixed',
    title: '100/s beside 64 KB',
    about: 'latency',
    load: { ...TELEMETRY, largePerSecond: 2, largeBytes: 65_536 },
  },
  { name: 'bulk', title: '64 KB, QoS 0', about: 'bytes', load: { ...LARGE, pairs: 4 } },
];

export const DOOR_SCENARIO_NAMES = [...CLEAN_SCENARIOS, ...LOSSY_SCENARIOS].map(({ name }) => name);

/** A line of the tables: a door, and how it is used. */
export interface DoorUse {
  readonly door: DoorName;
  readonly streams: number;
}

export interface DoorResult {
  readonly scenario: DoorScenario;
  readonly use: DoorUse;
  readonly runs: readonly Outcome[];
  readonly error?: string;
}

export interface LinkReport {
  readonly means: Link['means'];
  readonly congestion: Congestion;
  readonly probed: Probed;
  /** While it was probed; null: not counted. */
  readonly counters: readonly [LinkCounters, LinkCounters] | null;
}

export interface DoorReport {
  readonly clean: readonly DoorResult[];
  readonly lossy: readonly DoorResult[];
  /** A text: why there was none. Null: none was wanted. */
  readonly link: LinkReport | string | null;
}

export interface DoorPlan {
  /** Names of scenarios. */
  readonly scenarios: readonly string[];
  readonly doors: readonly DoorName[];
  readonly seconds: number;
  readonly repeat: number;
  readonly means: LinkOptions['means'];
  readonly congestion: Congestion;
}

export function titleOf({ door, streams }: DoorUse): string {
  return streams === 0 ? door : `${door}, ${streams} streams`;
}

/** @param print hears of each run as it ends */
export async function measureDoors(plan: DoorPlan, print: (line: string) => void): Promise<DoorReport> {
  const chosen = (all: readonly DoorScenario[]) => all.filter(({ name }) => plan.scenarios.includes(name));
  // As after an end in order: children and namespaces go.
  const interrupted = (): void => process.exit(130);
  for (const signal of SIGNALS) process.once(signal, interrupted);
  try {
    const clean = await runScenarios(chosen(CLEAN_SCENARIOS), plan, null, print);
    return { clean, ...(await measureLossy(chosen(LOSSY_SCENARIOS), plan, print)) };
  } finally {
    for (const signal of SIGNALS) process.removeListener(signal, interrupted);
  }
}

async function measureLossy(
  scenarios: readonly DoorScenario[],
  plan: DoorPlan,
  print: (line: string) => void,
): Promise<Omit<DoorReport, 'clean'>> {
  if (scenarios.length === 0) return { lossy: [], link: null };
  let link: Link | undefined;
  try {
    link = await Link.open({ ...BAD_NETWORK, means: plan.means, congestion: plan.congestion });
    const report = await probe(link, plan);
    return { lossy: await runScenarios(scenarios, plan, link, print), link: report };
  } catch (error) {
    return { lossy: [], link: (error as Error).message };
  } finally {
    link?.close();
  }
}

/** A broker for each door, so that none is served by code that another has warmed; those that have nothing to do cost nothing. */
async function runScenarios(
  scenarios: readonly DoorScenario[],
  plan: DoorPlan,
  link: Link | null,
  print: (line: string) => void,
): Promise<DoorResult[]> {
  const brokers = new Map<DoorName, ChildBroker>();
  if (scenarios.length === 0) return [];
  try {
    for (const door of plan.doors) brokers.set(door, await startBroker(door, link));
    const results: DoorResult[] = [];
    for (const scenario of scenarios) {
      const uses = usesOf(scenario, plan);
      const outcomes = uses.map((): Outcome[] => []);
      const errors = new Map<DoorUse, string>();
      for (let round = 0; round < plan.repeat; round += 1) {
        for (const [index, use] of uses.entries()) {
          const task = taskOf(scenario, use, brokers.get(use.door)!, plan, link);
          try {
            const outcome = await runClient(task, link);
            outcomes[index].push(outcome);
            print(`${scenario.title}: ${titleOf(use)} ${Math.round(outcome.perSecond)}/s`);
          } catch (error) {
            errors.set(use, (error as Error).message);
            print(`${scenario.title}: ${titleOf(use)} failed: ${(error as Error).message}`);
          }
        }
      }
      for (const [index, use] of uses.entries()) {
        const error = errors.get(use);
        results.push({ scenario, use, runs: outcomes[index], ...(error === undefined ? {} : { error }) });
      }
    }
    return results;
  } finally {
    for (const broker of brokers.values()) await broker.stop();
  }
}

/** Several streams where a load has several topics and a door has streams. */
function usesOf({ load }: DoorScenario, { doors }: DoorPlan): DoorUse[] {
  const uses = doors.map((door) => ({ door, streams: 0 }));
  const several = load.kind === 'paced' ? doors.filter((door) => STREAM_DOORS.includes(door)) : [];
  return [...uses, ...several.map((door) => ({ door, streams: STREAMS }))];
}

function startBroker(door: DoorName, link: Link | null): Promise<ChildBroker> {
  const path = /^(ws|wss|wt)$/.test(door) ? '/mqtt' : '';
  return startChildBroker({
    doors: [`${SCHEMES[door]}://${link?.host(0) ?? LOOPBACK}:0${path}`],
    passwordLines: [passwordLine()],
    acl: `user ${USER}\nallow readwrite bench/#\n`,
    config: {
      // All clients come from one address, and as often as they can.
      strangers: { perAddressMax: 0, perPrefixMax: 0, connectsPerSecondPerAddressMax: 0 },
      flapping: { connectsMax: 0 },
    },
    ...(link === null ? {} : { through: link.at(0) }),
  });
}

function taskOf(
  scenario: DoorScenario,
  { door, streams }: DoorUse,
  broker: ChildBroker,
  { seconds, congestion }: DoorPlan,
  link: Link | null,
): Task {
  const target = {
    door,
    host: link?.host(0) ?? LOOPBACK,
    port: broker.port(SCHEMES[door]),
    caFile: broker.caFile,
    certificateFile: path.join(broker.directory, 'certs', 'webtransport.pem'),
    user: USER,
    password: PASSWORD,
    congestion,
  };
  // Chance needs more time.
  const times = link === null ? 1 : 2.5;
  const duration = { seconds: seconds * times, warmUpSeconds: Math.min(seconds, 0.4) * times };
  return { ...scenario.load, ...duration, target, streams, brokerPid: broker.pid };
}

async function runClient(task: Task, link: Link | null): Promise<Outcome> {
  const command = [process.execPath, LOAD_CLIENT, JSON.stringify(task)];
  return JSON.parse(await run(link === null ? command : [...link.at(1), ...command])) as Outcome;
}

/** Is the link what it is meant to be? */
async function probe(link: Link, { congestion }: DoorPlan): Promise<LinkReport> {
  const address = [link.host(0), String(PROBE_PORT)];
  const [file, ...args] = [...link.at(0), process.execPath, PROBE, 'echo', ...address];
  const echo = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const kill = (): void => void echo.kill('SIGKILL');
  process.once('exit', kill);
  try {
    await new Promise((resolve) => echo.stdout.once('data', resolve));
    const command = [...link.at(1), process.execPath, PROBE, 'ask', ...address, String(PROBES)];
    const probed = JSON.parse(await run(command)) as Probed;
    return { means: link.means, congestion, probed, counters: await link.counters() };
  } finally {
    process.removeListener('exit', kill);
    kill();
  }
}

/** Resolves with what it printed. Rejects with what it complained of. */
function run([file, ...args]: readonly string[]): Promise<string> {
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const late = new AbortController();
  wait(CLIENT_MS_MAX, undefined, { signal: late.signal }).then(kill, () => {});
  let out = '';
  let problem = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    problem += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      late.abort();
      process.removeListener('exit', kill);
      if (code === 0) resolve(out);
      else reject(new Error(problem.trim() || `the client ended with ${code}`));
    });
  });
}
