/**
 * `npm run bench -- strangers`: what clients that are logged in notice of strangers. The time from publisher to subscriber, alone and
 * beside each attack in turn, at one broker.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { type RunningBroker, startBroker } from './brokers.ts';
import { runLoad } from './load.ts';
import { cpuSeconds, rssMb } from './process.ts';
import type { Kind } from './stranger.ts';

/** What an ordinary fleet sends; at full speed the queue of the generator itself would be what is measured. */
const MESSAGES_PER_SECOND = 2_000;
const LOAD = ['--qos', '1', '--pubs', '10', '--pwin', '10', '--rate', String(MESSAGES_PER_SECOND)];
/** Before anything is measured: so that the budget of strangers is full. */
const LEAD_SECONDS = 2;

interface Attack {
  readonly title: string;
  readonly kind: Kind;
  readonly door: 'mqtt' | 'mqtts';
  readonly connectsPerSecond: number;
}

const ATTACKS: readonly Attack[] = [
  { title: 'sockets that say nothing', kind: 'silent', door: 'mqtt', connectsPerSecond: 1_000 },
  { title: 'CONNECT at a byte a second', kind: 'slow', door: 'mqtt', connectsPerSecond: 1_000 },
  { title: 'garbage', kind: 'garbage', door: 'mqtt', connectsPerSecond: 1_000 },
  { title: 'TLS handshakes left half open', kind: 'hello', door: 'mqtts', connectsPerSecond: 100 },
  { title: 'wrong passwords', kind: 'guess', door: 'mqtt', connectsPerSecond: 500 },
];

/** One attack, and a client's messages beside it. Latencies in microseconds. */
export interface StrangersRun {
  readonly attack: string;
  readonly connectsPerSecond: number;
  readonly aloneP50Us: number;
  readonly aloneP99Us: number;
  readonly besideP50Us: number;
  readonly besideP99Us: number;
  /** CPU of the broker beside the attack less that alone, over the connections made meanwhile, in microseconds. */
  readonly cpuUsPerConnect: number;
  readonly rssMb: number;
  readonly lost: number;
}

/** Runs each attack once, in turns with the same load alone. */
export async function measureStrangers(
  binary: string,
  login: readonly string[],
  seconds: number,
): Promise<StrangersRun[]> {
  const runs: StrangersRun[] = [];
  const config = { limits: { connectTimeoutSeconds: 10 } };
  const broker = await startBroker('sluice', {
    open: false,
    doors: ['mqtt://127.0.0.1:0', 'mqtts://127.0.0.1:0'],
    config,
  });
  try {
    const args = ['--port', String(broker.port), ...login, ...LOAD, '--seconds', String(seconds)];
    const measure = async () => {
      const before = cpuSeconds(broker.pid);
      const run = await runLoad(binary, args);
      return { ...run, cpu: cpuSeconds(broker.pid) - before };
    };
    await measure();
    for (const attack of ATTACKS) {
      const alone = await measure();
      const stop = await begin(broker, attack);
      const beside = await measure();
      const opened = await stop();
      const connects = (opened * seconds) / (seconds + LEAD_SECONDS);
      runs.push({
        attack: attack.title,
        connectsPerSecond: connects / seconds,
        aloneP50Us: alone.p50Us,
        aloneP99Us: alone.p99Us,
        besideP50Us: beside.p50Us,
        besideP99Us: beside.p99Us,
        cpuUsPerConnect: ((beside.cpu - alone.cpu) * 1e6) / connects,
        rssMb: rssMb(broker.pid),
        lost: beside.lost + beside.unacknowledged,
      });
    }
  } finally {
    await broker.stop();
  }
  return runs;
}

/** Starts the attack; the answer ends it and tells how many connections it made. */
async function begin(broker: RunningBroker, attack: Attack): Promise<() => Promise<number>> {
  const script = path.join(import.meta.dirname, './stranger.ts');
  const args = [script, attack.kind, String(broker.portOf(attack.door)), String(attack.connectsPerSecond)];
  const child = spawn(
    '/bin/sh',
    ['-c', 'ulimit -n "$(ulimit -H -n)"; exec "$@"', 'sh', process.execPath, ...args],
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
  await new Promise((resolve) => setTimeout(resolve, LEAD_SECONDS * 1_000));
  return async () => {
    child.stdin.end();
    await ended;
    process.removeListener('exit', kill);
    return Number(output);
  };
}
