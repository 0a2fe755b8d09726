/**
 * `npm run bench -- strangers`: what clients that are logged in notice of strangers. The time from publisher to subscriber, alone, beside
 * an attack on another broker, and beside the same on their own.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { type RunningBroker, startBroker } from './brokers.ts';
import { type Measured, runLoad } from './load.ts';
import { cpuSeconds, rssMb } from './process.ts';
import type { Kind } from './stranger.ts';

/** What an ordinary fleet sends; at full speed the queue of the generator itself would be what is measured. */
const MESSAGES_PER_SECOND = 2_000;
const LOAD = ['--qos', '1', '--pubs', '10', '--pwin', '10', '--rate', String(MESSAGES_PER_SECOND)];
/** Before anything is measured: so that the budget of strangers is full, or as many give up each second as come. */
const LEAD_SECONDS = 2;
/** Handshakes are given ten seconds. */
const HANDSHAKE_LEAD_SECONDS = 11;

const TCP = 'mqtt://127.0.0.1:0';
const TLS = 'mqtts://127.0.0.1:0';
/** Another loopback address, so that the URLs differ. */
const APART = 'mqtts://127.0.0.2:0';
const DOORS = [TCP, TLS, APART];

interface Attack {
  readonly title: string;
  readonly kind: Kind;
  readonly door: string;
  readonly connectsPerSecond: number;
  readonly leadSeconds?: number;
}

const HELLO = { kind: 'hello', connectsPerSecond: 100, leadSeconds: HANDSHAKE_LEAD_SECONDS } as const;

const ATTACKS: readonly Attack[] = [
  { title: 'sockets that say nothing', kind: 'silent', door: TCP, connectsPerSecond: 1_000 },
  { title: 'CONNECT at a byte a second', kind: 'slow', door: TCP, connectsPerSecond: 1_000 },
  { title: 'garbage', kind: 'garbage', door: TCP, connectsPerSecond: 1_000 },
  { ...HELLO, title: 'TLS handshakes left half open', door: TLS },
  { ...HELLO, title: 'the same, at a door of its own process', door: APART },
  { title: 'wrong passwords', kind: 'guess', door: TCP, connectsPerSecond: 500 },
];

/** One attack, and a client's messages beside it: medians of all rounds. Latencies in microseconds. */
export interface StrangersRun {
  readonly attack: string;
  readonly connectsPerSecond: number;
  readonly alone: Latencies;
  /** Beside the same attack on another broker: what the machine, which attacker and generator share with the broker, makes of it. */
  readonly elsewhere: Latencies;
  readonly beside: Latencies;
  /** CPU of the broker beside the attack less that alone, over the connections made meanwhile, in microseconds. */
  readonly cpuUsPerConnect: number;
  readonly rssMb: number;
  readonly lost: number;
}

interface Latencies {
  readonly p50Us: number;
  readonly p99Us: number;
}

type Load = Measured & { readonly cpuSeconds: number };

/** Runs each attack `rounds` times, in turns with the same load alone and with the same attack on another broker. */
export async function measureStrangers(
  binary: string,
  login: readonly string[],
  seconds: number,
  rounds: number,
): Promise<StrangersRun[]> {
  const options = { open: false, doors: DOORS, listenerOf: { [APART]: { isolate: true } } };
  const broker = await startBroker('sluice', options);
  const other = await startBroker('sluice', options);
  try {
    const args = ['--port', String(broker.port), ...login, ...LOAD, '--seconds', String(seconds)];
    const measure = async (): Promise<Load> => {
      const before = cpuSeconds(broker.pid);
      const run = await runLoad(binary, args);
      return { ...run, cpuSeconds: cpuSeconds(broker.pid) - before };
    };
    await measure();
    const runs: StrangersRun[] = [];
    for (const attack of ATTACKS) {
      const alone: Load[] = [];
      const elsewhere: Load[] = [];
      const beside: Load[] = [];
      let connects = 0;
      for (let round = 0; round < rounds; round++) {
        alone.push(await measure());
        const stopOther = await begin(other, attack);
        elsewhere.push(await measure());
        await stopOther();
        const stop = await begin(broker, attack);
        beside.push(await measure());
        connects += ((await stop()) * seconds) / (seconds + (attack.leadSeconds ?? LEAD_SECONDS));
      }
      runs.push({
        attack: attack.title,
        connectsPerSecond: connects / rounds / seconds,
        alone: medians(alone),
        elsewhere: medians(elsewhere),
        beside: medians(beside),
        cpuUsPerConnect: ((cpuOf(beside) - cpuOf(alone)) * 1e6) / connects,
        rssMb: rssMb(broker.pid),
        lost: beside.reduce((sum, { lost, unacknowledged }) => sum + lost + unacknowledged, 0),
      });
    }
    return runs;
  } finally {
    await Promise.all([broker.stop(), other.stop()]);
  }
}

function medians(loads: readonly Load[]): Latencies {
  const median = (values: number[]): number => values.sort((a, b) => a - b)[(values.length - 1) >> 1];
  return {
    p50Us: median(loads.map(({ p50Us }) => p50Us)),
    p99Us: median(loads.map(({ p99Us }) => p99Us)),
  };
}

function cpuOf(loads: readonly Load[]): number {
  return loads.reduce((sum, load) => sum + load.cpuSeconds, 0);
}

/** Starts the attack; the answer ends it and tells how many connections it made. */
async function begin(broker: RunningBroker, attack: Attack): Promise<() => Promise<number>> {
  const script = path.join(import.meta.dirname, './stranger.ts');
  const port = broker.ports[DOORS.indexOf(attack.door)];
  const { hostname } = new URL(attack.door);
  const args = [script, attack.kind, hostname, String(port), String(attack.connectsPerSecond)];
  const child = spawn(
    '/bin/sh',
    ['-c', 'ulimit -n "$(ulimit -H -n)"; exec nice -n 19 "$@"', 'sh', process.execPath, ...args],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await new Promise((resolve) => setTimeout(resolve, (attack.leadSeconds ?? LEAD_SECONDS) * 1_000));
  return async () => {
    child.stdin.end();
    await ended;
    process.removeListener('exit', kill);
    return Number(output);
  };
}
