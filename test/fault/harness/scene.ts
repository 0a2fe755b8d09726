/** What every fault test needs: a broker on a stage, clients that know what they did, and the reckoning at the end. */
import type { QoS } from '../../../src/codec/packets.ts';
import { check } from './check.ts';
import { type ClientOptions, type ConnectAsk, FaultClient } from './client.ts';
import { report } from './failure.ts';
import { History } from './history.ts';
import type { OutgoingMessage } from './messages.ts';
import type { Stage } from './stage.ts';

/** Generous: only a broker that hangs takes so long. */
const WATCHDOG_MS = 30_000;
const MARKER_BYTES = 10;

/** Retained topics that are read together. */
export interface RetainedTopics {
  readonly filter: string;
  readonly topics: readonly string[];
  /** A topic outside of `filter` whose message is never removed: a reader that has it has all the others. */
  readonly last: string;
}

export class Scene<S extends Stage = Stage> {
  readonly stage: S;
  readonly history: History;
  readonly clients = new Map<string, FaultClient>();
  readonly #numbers = new Map<string, number>();

  constructor(stage: S, history = new History()) {
    this.stage = stage;
    this.history = history;
  }

  /** Starts the broker; `calm`: on a disk without faults. */
  async start(round: number, calm = true): Promise<void> {
    await this.stage.start(calm);
    this.history.add({ kind: 'start', round });
  }

  /** Kills the broker if it still runs, and waits until everybody has noticed. */
  async end(round: number): Promise<void> {
    this.stage.kill();
    await this.stage.gone();
    await inTime(
      Promise.all([...this.clients.values()].map((client) => client.gone())),
      'the end of connections',
    );
    this.history.add({ kind: 'stop', round });
  }

  /** The client of this id, as it was left the last time. */
  client(options: ClientOptions): FaultClient {
    let client = this.clients.get(options.id);
    if (client === undefined) {
      client = new FaultClient(this.history, options, () => this.stage.stopped);
      this.clients.set(options.id, client);
    }
    return client;
  }

  /** Connects, to a lasting session unless told; false when the broker has gone. */
  async connect(
    client: FaultClient,
    ask: ConnectAsk = { cleanStart: false, lasting: true },
  ): Promise<boolean> {
    try {
      return await client.connect(await this.stage.dial(), ask);
    } catch (error) {
      if (this.stage.stopped) return false;
      throw error;
    }
  }

  /** As `connect`, and has to be let in. */
  async enter(options: ClientOptions, ask?: ConnectAsk): Promise<FaultClient> {
    const client = this.client(options);
    if (!(await inTime(this.connect(client, ask), `CONNACK for ${client.id}`)))
      throw new Error(`${client.id} was not let in`);
    return client;
  }

  /** The topic's next message. */
  message(
    topic: string,
    qos: QoS,
    bytes: number,
    retained: 'no' | 'yes' | 'cleared' = 'no',
  ): OutgoingMessage {
    const number = (this.#numbers.get(topic) ?? 0) + 1;
    this.#numbers.set(topic, number);
    return { topic, number, qos, retain: retained !== 'no', clear: retained === 'cleared', bytes };
  }

  /** Waits until a client's messages are acknowledged, all of them. */
  async settle(client: FaultClient): Promise<void> {
    if (!(await inTime(client.idle(), `the acknowledgements of ${client.id}`)))
      throw new Error(`the connection of ${client.id} ended before its messages were acknowledged`);
  }

  /** Has `publisher` send what comes behind everything that waits for the client, and waits for it. */
  async drain(client: FaultClient, publisher: FaultClient): Promise<void> {
    client.catchUp();
    const topic = `marker/${client.id}`;
    if (!(await inTime(client.subscribe(topic, 2), `SUBACK for ${topic}`)))
      throw new Error(`${client.id} got no SUBACK`);
    const since = this.history.length;
    const came = new Promise<void>((resolve) => {
      client.onMessage = (name) => {
        if (name === topic) resolve();
      };
    });
    publisher.publish(this.message(topic, 2, MARKER_BYTES));
    await inTime(came, `the end of what waits for ${client.id}`);
    this.history.add({ kind: 'drained', client: client.id, since });
    await inTime(client.ping(), 'PINGRESP');
  }

  /** Has somebody new ask for retained messages, and writes down what is there; nothing when the broker goes meanwhile. */
  async read({ filter, topics, last }: RetainedTopics): Promise<void> {
    const reader = this.client({ id: `reader${this.history.length}`, version: 5 });
    const found = new Map<string, number>();
    if (!(await this.connect(reader, { cleanStart: true, lasting: false }))) return;
    const whole = new Promise<boolean>((resolve) => {
      // What is published from now on comes too, but not as retained.
      reader.onMessage = (topic, number, { retain }) => {
        if (retain && !found.has(topic)) found.set(topic, number);
        if (topic === last) resolve(true);
      };
      void reader.gone().then(() => resolve(false));
    });
    const since = this.history.length;
    const subscribed = (await reader.subscribe(filter, 1)) && (await reader.subscribe(last, 1));
    if (!subscribed || !(await whole)) return;
    for (const topic of topics) {
      const number = found.get(topic) ?? null;
      this.history.add({ kind: 'retained', client: reader.id, topic, number, since });
    }
    reader.leave(true);
    this.clients.delete(reader.id);
  }

  /** Plays `act` and judges what came of it. Rejects with all it takes to find the reason, if it failed or a promise was broken. */
  async judge(seed: number, mayRefuse: boolean, act: () => Promise<void>): Promise<void> {
    let cause: unknown = null;
    try {
      await act();
    } catch (error) {
      cause = error;
    }
    const violations = check(this.history.events, mayRefuse);
    if (cause !== null || violations.length > 0) throw report(seed, this.history.events, violations, cause);
  }
}

/** Waits for `promise`; rejects when it hangs. */
export async function inTime<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const hangs = new Promise<never>((_resolve, reject) => {
    const problem = new Error(`${what}: still waiting after ${WATCHDOG_MS / 1000} s`);
    timer = setTimeout(() => reject(problem), WATCHDOG_MS);
  });
  try {
    return await Promise.race([promise, hangs]);
  } finally {
    clearTimeout(timer);
  }
}
