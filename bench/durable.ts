/**
 * `npm run bench -- durable`: QoS 1 to a session that is away, acknowledged when it is on the disk; then a million messages
 * that wait: what they cost in memory, and how fast their client gets them.
 */
import { type RunningBroker, startBroker } from './brokers.ts';
import { type Measured, runLoad } from './load.ts';
import { rssMb } from './process.ts';
import { RawClient } from './raw-client.ts';

/** Both brokers keep whatever comes: what is dropped costs nothing. */
const NO_LIMITS = { queueMessagesMax: 100_000_000, queueBytesMax: 100_000_000_000 };
const CLIENT = 'away';
const TOPIC = 'bench/all';
const WINDOW = 1_000;
const QUEUED_MESSAGES = 1_000_000;

/** One broker, and what it was told of the disk. */
interface Candidate {
  readonly broker: 'sluice' | 'mosquitto';
  readonly acknowledges: string;
  start(): Promise<RunningBroker>;
}

const CANDIDATES: readonly Candidate[] = [
  sluice('durable', 'after fsync'),
  sluice('committed', 'when the kernel has it'),
  {
    broker: 'mosquitto',
    acknowledges: 'at once; all written anew every second',
    start: () => startBroker('mosquitto', { open: false, persistent: true }),
  },
];

function sluice(acknowledge: string, acknowledges: string): Candidate {
  // What it says when it stops is read.
  const log = { level: 'info', file: '' };
  const config = { limits: NO_LIMITS, persistence: { acknowledge }, log };
  return { broker: 'sluice', acknowledges, start: () => startBroker('sluice', { open: false, config }) };
}

export interface DurableRun {
  readonly broker: 'sluice' | 'mosquitto';
  readonly acknowledges: string;
  readonly run: Measured;
  /** Messages that share a commit, on average; null: not known. */
  readonly messagesPerCommit: number | null;
}

/** What a long queue costs. */
export interface QueueCost {
  readonly messages: number;
  /** What the broker grew by while they gathered, in MB. */
  readonly growthMb: number;
  /** What it had grown by when all had been read, in MB. */
  readonly growthAfterMb: number;
  readonly readPerSecond: number;
}

/** Publishes to the absent session of each broker in turn, `repeat` times. */
export async function measureDurable(
  binary: string,
  login: readonly string[],
  seconds: number,
  repeat: number,
  brokers: readonly string[],
): Promise<DurableRun[]> {
  const runs: DurableRun[] = [];
  for (let round = 0; round < repeat; round += 1) {
    for (const { broker, acknowledges, start } of CANDIDATES) {
      if (!brokers.includes(broker)) continue;
      const running = await start();
      let stopped = false;
      try {
        await leaveSession(running);
        const load = ['--port', String(running.port), '--pid', String(running.pid), ...login];
        const qos1 = [...load, '--qos', '1', '--nosub', '--pwin', String(WINDOW)];
        await runLoad(binary, [...qos1, '--seconds', '1']);
        const run = await runLoad(binary, [...qos1, '--seconds', String(seconds)]);
        stopped = true;
        await running.stop();
        runs.push({ broker, acknowledges, run, messagesPerCommit: messagesPerCommit(running.output()) });
      } finally {
        if (!stopped) await running.stop();
      }
    }
  }
  return runs;
}

/** Lets a million messages gather for one session of Sluice, and then read. */
export async function measureQueue(binary: string, login: readonly string[]): Promise<QueueCost> {
  const running = await CANDIDATES[0].start();
  try {
    await leaveSession(running);
    const load = ['--port', String(running.port), '--pid', String(running.pid), ...login];
    const qos1 = [...load, '--qos', '1', '--nosub', '--pwin', String(WINDOW)];
    // Warm first, or the compiler's memory would be counted as the queue's.
    await runLoad(binary, [...qos1, '--count', '100000']);
    await drain(running, 100_000);
    const before = rssMb(running.pid);
    await runLoad(binary, [...qos1, '--count', String(QUEUED_MESSAGES)]);
    const growthMb = rssMb(running.pid) - before;
    const startedAt = performance.now();
    await drain(running, QUEUED_MESSAGES);
    const readPerSecond = QUEUED_MESSAGES / ((performance.now() - startedAt) / 1000);
    return { messages: QUEUED_MESSAGES, growthMb, growthAfterMb: rssMb(running.pid) - before, readPerSecond };
  } finally {
    await running.stop();
  }
}

/** From what Sluice logs when it closes its store. */
function messagesPerCommit(output: string): number | null {
  const line = output.split('\n').find((each) => each.includes('store.closed'));
  if (line === undefined) return null;
  const { operations, commits } = JSON.parse(line) as { operations: number; commits: number };
  return operations / commits;
}

async function leaveSession(running: RunningBroker): Promise<void> {
  const client = await RawClient.open(running.port, CLIENT, true);
  await client.subscribe([TOPIC], 1);
  client.close();
}

async function drain(running: RunningBroker, messages: number): Promise<void> {
  const client = await RawClient.open(running.port, CLIENT, true);
  await client.receive(messages);
  client.close();
}
