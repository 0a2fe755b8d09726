/**
 * The load client of `npm run bench -- doors`, a process of its own: `node load.ts TASK`, where TASK is a Task as JSON; prints an Outcome.
 * The same code for every door: doors differ in dial.ts alone.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { type Dial, diallerFor } from './dial.ts';
import { MqttClient } from './mqtt-client.ts';
import { PublishTemplate, STAMP_BYTES } from './packets.ts';
import { Samples, usageOfTree } from './samples.ts';
import type { Outcome, Task } from './task.ts';

/** Packets of one write. */
const BATCH_MAX = 100;
/** Where there are many messages, one in so many is timed. */
const TIMED_EVERY = 16;
const LEFT_BEHIND_MS = 5_000;
const TOPIC = 'bench/doors';
/** Instead of a time stamp. */
const NOT_TIMED = -1;

/** What is counted while a load runs. */
interface Counters {
  sent: number;
  done: number;
  late: number;
  bytes: number;
  readonly latencies: Samples;
}

/** A load that runs until it is told to stop; counters begin anew with `restart`. */
interface Load {
  readonly counters: Counters;
  /** Of one message: published and received, or published and acknowledged. */
  readonly countedTwice: boolean;
  readonly failed: Promise<never>;
  /** No more is sent. Resolves when what is under way is there, or will not come. */
  stop(): Promise<void>;
  close(): void;
}

function newCounters(): Counters {
  return { sent: 0, done: 0, late: 0, bytes: 0, latencies: new Samples() };
}

function restart(counters: Counters): void {
  // What is under way belongs to what comes.
  counters.sent -= counters.done;
  counters.done = 0;
  counters.late = 0;
  counters.bytes = 0;
  counters.latencies.clear();
}

/** Resolves when all that was sent is there, or nothing has come for a while. */
async function leftBehind(counters: Counters): Promise<void> {
  for (let seen = -1; counters.done < counters.sent && seen !== counters.done; ) {
    seen = counters.done;
    for (let ms = 0; ms < LEFT_BEHIND_MS && counters.done < counters.sent; ms += 10) await wait(10);
  }
}

async function startForward(task: Task, dial: Dial): Promise<Load> {
  const { target, window, pairs, payloadBytes } = task;
  const counters = newCounters();
  const timedEvery = payloadBytes > 1_000 ? 1 : TIMED_EVERY;
  const clients: MqttClient[] = [];
  const fills: (() => void)[] = [];
  let isRunning = false;
  for (let pair = 0; pair < pairs; pair += 1) {
    const topic = `${TOPIC}/${pair}`;
    const template = new PublishTemplate(topic, 0, payloadBytes);
    const batchMax = Math.min(BATCH_MAX, Math.ceil(window / 2));
    let underWay = 0;
    const publisher = await MqttClient.open(dial, `p${pair}`, target, {});
    const fill = (): void => {
      while (isRunning && underWay < window) {
        // Small steps would make small writes.
        if (window - underWay < batchMax) return;
        publisher.streams[0].write(template.copies(batchMax, performance.now()));
        underWay += batchMax;
        counters.sent += batchMax;
      }
    };
    const subscriber = await MqttClient.open(dial, `s${pair}`, target, {
      published: (stampMs) => {
        underWay -= 1;
        counters.done += 1;
        counters.bytes += payloadBytes;
        if (counters.done % timedEvery === 0) counters.latencies.add(performance.now() - stampMs);
      },
      chunk: fill,
    });
    await subscriber.subscribe(topic, 0);
    clients.push(publisher, subscriber);
    fills.push(fill);
  }
  isRunning = true;
  for (const fill of fills) fill();
  const stopSending = (): void => {
    isRunning = false;
  };
  return { counters, countedTwice: true, ...ending(clients, counters, stopSending) };
}

async function startAcknowledge(task: Task, dial: Dial): Promise<Load> {
  const { target, window, payloadBytes } = task;
  const counters = newCounters();
  const template = new PublishTemplate(TOPIC, 1, payloadBytes);
  const sentAt = new Float64Array(65_536);
  let packetId = 0;
  let free = window;
  let isRunning = false;
  const client = await MqttClient.open(dial, 'p', target, {
    acknowledged: (id) => {
      free += 1;
      counters.done += 1;
      counters.latencies.add(performance.now() - sentAt[id]);
    },
    chunk: () => publish(),
  });
  function publish(): void {
    if (!isRunning || free === 0) return;
    const now = performance.now();
    client.streams[0].write(template.copies(free, now, packetId + 1));
    for (; free > 0; free -= 1) {
      packetId = (packetId % 65_535) + 1;
      sentAt[packetId] = now;
      counters.sent += 1;
    }
  }
  isRunning = true;
  publish();
  const stopSending = (): void => {
    isRunning = false;
  };
  return { counters, countedTwice: false, ...ending([client], counters, stopSending) };
}

async function startConnect(task: Task, dial: Dial): Promise<Load> {
  const counters = newCounters();
  let isStopped = false;
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_resolve, reject) => {
    fail = reject;
  });
  const lane = async (name: number): Promise<void> => {
    for (let round = 0; !isStopped; round += 1) {
      const startedAt = performance.now();
      counters.sent += 1;
      const client = await MqttClient.open(dial, `c${name}-${round}`, task.target, {});
      counters.done += 1;
      counters.latencies.add(performance.now() - startedAt);
      client.close();
    }
  };
  const lanes = Promise.all(Array.from({ length: task.window }, (_, name) => lane(name)));
  lanes.catch(fail);
  const stop = async (): Promise<void> => {
    isStopped = true;
    await lanes;
  };
  return { counters, countedTwice: false, failed, stop, close: () => {} };
}

async function startPaced(task: Task, dial: Dial): Promise<Load> {
  const { pairs, perSecond, largePerSecond } = task;
  const counters = newCounters();
  const opening = Array.from({ length: pairs }, (_, name) => openPacedPair(task, dial, name, counters));
  const opened = await Promise.all(opening);
  const startedAt = performance.now();
  const messages = new Metronome(startedAt, perSecond * pairs, (index, dueAt) => {
    counters.sent += 1;
    opened[index % pairs].send(dueAt);
  });
  const large = new Metronome(startedAt, largePerSecond * pairs, (index) =>
    opened[index % pairs].sendLarge(),
  );
  const timer = setInterval(() => {
    large.catchUp();
    messages.catchUp();
  }, 1);
  const clients = opened.flatMap((pair) => pair.clients);
  return { counters, countedTwice: true, ...ending(clients, counters, () => clearInterval(timer)) };
}

interface PacedPair {
  readonly clients: readonly MqttClient[];
  /** To the next topic in turn. */
  send(stampMs: number): void;
  sendLarge(): void;
}

async function openPacedPair(task: Task, dial: Dial, name: number, counters: Counters): Promise<PacedPair> {
  const { target, topics, streams, lateMs, payloadBytes, largeBytes, largePerSecond } = task;
  const published = (stampMs: number): void => {
    if (stampMs === NOT_TIMED) return;
    const ms = performance.now() - stampMs;
    counters.done += 1;
    counters.latencies.add(ms);
    if (ms > lateMs) counters.late += 1;
  };
  const [publisher, subscriber] = await Promise.all([
    MqttClient.open(dial, `p${name}`, target, {}, streams),
    MqttClient.open(dial, `s${name}`, target, { published }, streams),
  ]);
  const streamOf = (client: MqttClient, topic: number) =>
    client.streams[streams === 0 ? 0 : 1 + (topic % streams)];
  const topicOf = (topic: number) => `${TOPIC}/${name}/${topic}`;
  const subscribing = Array.from({ length: topics }, (_, topic) =>
    subscriber.subscribe(topicOf(topic), 1, streamOf(subscriber, topic)),
  );
  await Promise.all(subscribing);
  // The last topic is that of the large ones.
  const small = largePerSecond === 0 ? topics : topics - 1;
  const templates = Array.from(
    { length: small },
    (_, topic) => new PublishTemplate(topicOf(topic), 1, payloadBytes),
  );
  const large = new PublishTemplate(topicOf(topics - 1), 1, Math.max(largeBytes, STAMP_BYTES));
  let packetId = 0;
  let turn = 0;
  const publish = (topic: number, template: PublishTemplate, stampMs: number): void => {
    packetId = (packetId % 65_535) + 1;
    streamOf(publisher, topic).write(template.copies(1, stampMs, packetId));
  };
  return {
    clients: [publisher, subscriber],
    send: (stampMs) => {
      publish(turn, templates[turn], stampMs);
      turn = (turn + 1) % small;
    },
    sendLarge: () => publish(topics - 1, large, NOT_TIMED),
  };
}

/** Beats at given moments; beats that are late are told when they were due, so that a client that is late does not hide it. */
class Metronome {
  readonly #startedAt: number;
  readonly #perSecond: number;
  readonly #beat: (index: number, dueAt: number) => void;
  #next: number;

  constructor(startedAt: number, perSecond: number, beat: (index: number, dueAt: number) => void) {
    this.#startedAt = startedAt;
    this.#perSecond = perSecond;
    this.#beat = beat;
    this.#next = 0;
  }

  catchUp(): void {
    for (; this.#perSecond > 0; this.#next += 1) {
      const dueAt = this.#startedAt + (this.#next * 1_000) / this.#perSecond;
      if (dueAt > performance.now()) return;
      this.#beat(this.#next, dueAt);
    }
  }
}

/** How a load over these clients ends. */
function ending(
  clients: readonly MqttClient[],
  counters: Counters,
  stopSending: () => void,
): Pick<Load, 'failed' | 'stop' | 'close'> {
  return {
    failed: Promise.race(clients.map((client) => client.failed())),
    stop: async () => {
      stopSending();
      await leftBehind(counters);
    },
    close: () => {
      for (const client of clients) client.close();
    },
  };
}

const STARTS = {
  forward: startForward,
  acknowledge: startAcknowledge,
  connect: startConnect,
  paced: startPaced,
} as const;

async function measure(task: Task): Promise<Outcome> {
  const load = await STARTS[task.kind](task, diallerFor(task.target));
  const { counters } = load;
  await Promise.race([load.failed, wait(task.warmUpSeconds * 1_000)]);
  restart(counters);
  const before = usageOfTree(task.brokerPid);
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  await Promise.race([load.failed, wait(task.seconds * 1_000)]);
  const seconds = (performance.now() - startedAt) / 1_000;
  const after = usageOfTree(task.brokerPid);
  const { user, system } = process.cpuUsage(cpuBefore);
  const { done, bytes } = counters;
  const messages = done * (load.countedTwice ? 2 : 1);
  await Promise.race([load.failed, load.stop()]);
  load.close();
  const [p50Ms, p90Ms, p95Ms, p99Ms] = counters.latencies.percentiles(0.5, 0.9, 0.95, 0.99);
  const { sent } = counters;
  return {
    perSecond: done / seconds,
    count: counters.done,
    p50Ms,
    p90Ms,
    p95Ms,
    p99Ms,
    inTimeShare: (counters.done - counters.late) / sent,
    lost: sent - counters.done,
    megabytesPerSecond: bytes / 1e6 / seconds,
    cpuUsPerMessage: ((after.cpuSeconds - before.cpuSeconds) * 1e6) / messages,
    clientCpuUsPerMessage: (user + system) / messages,
    rssMb: after.rssMb,
  };
}

try {
  const outcome = await measure(JSON.parse(process.argv[2]) as Task);
  process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`, () => process.exit(1));
}
