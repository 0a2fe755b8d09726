/** A run: rounds of publishing, subscribing and reconnecting, each ended by a kill, and at the end the reckoning. */
import { Random } from '../../codec/random-packets.ts';
import {
  ALL_RETAINED,
  CHURNED_FILTERS,
  CHURNERS,
  GUEST_FILTER,
  LAST_RETAINED,
  PUBLISHERS,
  type Publisher,
  RETAINED_TOPICS,
  SUBSCRIBERS,
  type Subscriber,
} from './cast.ts';
import { check } from './check.ts';
import { type ClientOptions, FaultClient } from './client.ts';
import { report } from './failure.ts';
import type { History } from './history.ts';
import type { OutgoingMessage } from './messages.ts';
import type { Stage } from './stage.ts';

export interface Scale {
  /** Messages that a publisher with share 1 has for a round. */
  readonly messages: number;
  /** Bytes of payload at most. */
  readonly bytes: number;
  /** The kill comes within so many packets from the broker. */
  readonly killWithin: number;
  /** The store has no room at times. */
  readonly mayRefuse?: boolean;
}

/** A start in so many is killed before the broker is ready. */
const INTERRUPTED_STARTS = 8;
/** One value of a retained topic in so many removes it. */
const CLEARS = 6;
/** Generous: only a broker that hangs takes so long. */
const WATCHDOG_MS = 30_000;
const ACTORS_MAX = 1_000;

export class Run {
  readonly history: History;
  readonly #stage: Stage;
  readonly #seed: number;
  readonly #scale: Scale;
  readonly #clients = new Map<string, FaultClient>();
  readonly #numbers = new Map<string, number>();
  readonly #guests: ClientOptions[] = [];
  #round = 0;

  constructor(stage: Stage, history: History, seed: number, scale: Scale) {
    this.#stage = stage;
    this.history = history;
    this.#seed = seed;
    this.#scale = scale;
  }

  /** Plays it all. Rejects with what it takes to see the failure again, if a promise was broken. */
  async play(rounds: number): Promise<void> {
    try {
      await this.#prepare();
      while (this.#round < rounds) await this.#playRound();
      await this.#finish();
    } catch (error) {
      throw report(this.#seed, this.history.events, check(this.history.events, this.#scale.mayRefuse), error);
    }
    const violations = check(this.history.events, this.#scale.mayRefuse);
    if (violations.length > 0) throw report(this.#seed, this.history.events, violations, null);
  }

  /** Without a kill: everybody gets the session and subscriptions that the rounds rest on. */
  async #prepare(): Promise<void> {
    await this.#start(true);
    for (const options of [...PUBLISHERS, ...SUBSCRIBERS]) {
      const client = this.#client(options);
      await this.#mustConnect(client);
      if (!('filters' in options)) continue;
      for (const { filter, qos, identifier } of options.filters)
        if (!(await client.subscribe(filter, qos, identifier))) throw new Error(`${options.id}: no SUBACK`);
    }
    const publisher = this.#clients.get(PUBLISHERS[0].id)!;
    publisher.publish(this.#message(LAST_RETAINED, { qos: 1, retain: true }, 10, false));
    if (!(await publisher.idle())) throw new Error('no PUBACK');
    await this.#end();
  }

  async #playRound(): Promise<void> {
    this.#round++;
    const random = this.#random(0);
    if (random.chance(INTERRUPTED_STARTS)) await this.#stage.interruptStart(random);
    await this.#start(false);
    const within = random.below(this.#scale.killWithin);
    const cancel = this.history.after(within, () => this.#stage.kill());
    if (within === 0) this.#stage.kill();
    const scripts = Promise.all([
      ...PUBLISHERS.map((publisher, index) => this.#publish(publisher, this.#random(10 + index))),
      ...SUBSCRIBERS.map((subscriber, index) => this.#listen(subscriber, this.#random(30 + index))),
      ...CHURNERS.map((churner, index) => this.#churn(churner, this.#random(50 + index))),
      this.#welcome(this.#random(70)),
      this.#read(),
    ]);
    await inTime(Promise.race([scripts, this.#stage.quiet()]), `round ${this.#round}`);
    cancel();
    await this.#end();
    await inTime(scripts, `the end of round ${this.#round}`);
  }

  /** Everything comes to its end, and everybody gets what was kept for him. */
  async #finish(): Promise<void> {
    this.#round++;
    await this.#start(true);
    const lasting = [...SUBSCRIBERS, ...CHURNERS, ...this.#guests];
    for (const options of [...PUBLISHERS, ...lasting]) await this.#mustConnect(this.#client(options));
    await inTime(this.#read(), 'the last reading of the retained messages');
    for (const client of this.#clients.values()) client.catchUp();
    for (const { id } of PUBLISHERS) {
      const done = await inTime(this.#clients.get(id)!.idle(), `the last acknowledgements of ${id}`);
      if (!done) throw new Error(`the connection of ${id} ended before its messages were acknowledged`);
    }
    for (const { id } of lasting) await this.#drain(this.#clients.get(id)!);
    await inTime(this.#read(), 'the last reading of the retained messages');
    await this.#end();
  }

  /** Sends a message that comes behind everything that waits for the client, and waits for it. */
  async #drain(client: FaultClient): Promise<void> {
    const topic = `marker/${client.id}`;
    if (!(await inTime(client.subscribe(topic, 2), `SUBACK for ${topic}`))) throw new Error('no SUBACK');
    const since = this.history.length;
    const came = new Promise<void>((resolve) => {
      client.onMessage = (name) => {
        if (name === topic) resolve();
      };
    });
    const { id } = PUBLISHERS[1];
    this.#clients.get(id)!.publish(this.#message(topic, { qos: 2, retain: false }, 10, false));
    await inTime(came, `the end of what waits for ${client.id}`);
    this.history.add({ kind: 'drained', client: client.id, since });
    await inTime(client.ping(), 'PINGRESP');
  }

  async #publish(publisher: Publisher, random: Random): Promise<void> {
    const client = this.#client(publisher);
    if (!(await this.#connect(client))) return;
    const { messages, bytes } = this.#scale;
    const budget = Math.ceil(messages / publisher.share);
    // What is left from earlier rounds comes first.
    const fresh = Math.max(0, random.below(budget * 2) - client.unfinished);
    const batch = Array.from({ length: fresh }, () => {
      const clear = publisher.retain && random.chance(CLEARS);
      return this.#message(random.pick(publisher.topics), publisher, random.below(bytes), clear);
    });
    client.publish(...batch);
    await client.idle();
  }

  async #listen(subscriber: Subscriber, random: Random): Promise<void> {
    if (subscriber.oneRoundIn === Number.POSITIVE_INFINITY) return;
    if (random.below(subscriber.oneRoundIn) > 0) return;
    const client = this.#client(subscriber);
    if (await this.#later(random)) await this.#connect(client);
  }

  /** Subscribes and unsubscribes at random, over sessions that are resumed, begun anew and given up. */
  async #churn(options: ClientOptions, random: Random): Promise<void> {
    const client = this.#client(options);
    for (let visits = 1 + random.below(3); visits > 0; visits--) {
      if (!(await this.#connect(client, this.#ask(client, random)))) return;
      for (let requests = random.below(5); requests > 0; requests--) {
        const filter = random.pick(CHURNED_FILTERS);
        const identifier = client.version === 5 ? random.below(3) : 0;
        const answered = random.chance(3)
          ? await client.unsubscribe(filter)
          : await client.subscribe(filter, random.pick([1, 2] as const), identifier);
        if (!answered || !(await this.#later(random))) return;
      }
      if (visits > 1) client.leave(random.chance(2));
    }
  }

  #ask(client: FaultClient, random: Random): { cleanStart: boolean; lasting: boolean } {
    if (!random.chance(4)) return { cleanStart: false, lasting: true };
    if (client.version < 5) return { cleanStart: true, lasting: false };
    return { cleanStart: random.chance(2), lasting: random.chance(2) };
  }

  /** Somebody new comes, subscribes and goes, to find it all at the end. */
  async #welcome(random: Random): Promise<void> {
    const id = `g${this.#round}`;
    const options: ClientOptions = { id, version: random.pick([4, 5] as const) };
    const client = this.#client(options);
    if (!(await this.#later(random)) || !(await this.#connect(client))) return;
    this.#guests.push(options);
    if (!(await client.subscribe(GUEST_FILTER, random.pick([1, 2] as const)))) return;
    if (random.chance(2)) client.leave(random.chance(2));
  }

  /** Asks for all retained messages, and writes down what is there. */
  async #read(): Promise<void> {
    const reader = this.#client({ id: `reader${this.history.length}`, version: 5 });
    const found = new Map<string, number>();
    if (!(await this.#connect(reader, { cleanStart: true, lasting: false }))) return;
    const last = new Promise<boolean>((resolve) => {
      // What is published from now on comes too, but not as retained.
      reader.onMessage = (topic, number, { retain }) => {
        if (retain && !found.has(topic)) found.set(topic, number);
        if (topic === LAST_RETAINED) resolve(true);
      };
      void reader.gone().then(() => resolve(false));
    });
    const since = this.history.length;
    const subscribed =
      (await reader.subscribe(ALL_RETAINED, 1)) && (await reader.subscribe(LAST_RETAINED, 1));
    if (!subscribed || !(await last)) return;
    for (const topic of RETAINED_TOPICS) {
      const number = found.get(topic) ?? null;
      this.history.add({ kind: 'retained', client: reader.id, topic, number, since });
    }
    reader.leave(true);
    this.#clients.delete(reader.id);
  }

  /** Some packets from the broker later; false when it has gone meanwhile. */
  async #later(random: Random): Promise<boolean> {
    if (random.chance(2)) return !this.#stage.stopped;
    const count = 1 + random.below(Math.ceil(this.#scale.killWithin / 4));
    let cancel = (): void => {};
    const heard = new Promise<void>((resolve) => {
      cancel = this.history.after(count, resolve);
    });
    // Where nothing more is said, there is nothing to wait for.
    const silent = Promise.all(PUBLISHERS.map(({ id }) => this.#clients.get(id)!.idle()));
    await Promise.race([heard, silent]);
    cancel();
    return !this.#stage.stopped;
  }

  async #start(calm: boolean): Promise<void> {
    await this.#stage.start(calm);
    this.history.add({ kind: 'start', round: this.#round });
  }

  async #end(): Promise<void> {
    this.#stage.kill();
    await Promise.all([...this.#clients.values()].map((client) => client.gone()));
    await this.#stage.gone();
    this.history.add({ kind: 'stop', round: this.#round });
  }

  async #connect(client: FaultClient, ask = { cleanStart: false, lasting: true }): Promise<boolean> {
    try {
      return await client.connect(await this.#stage.dial(), ask);
    } catch (error) {
      if (this.#stage.stopped) return false;
      throw error;
    }
  }

  async #mustConnect(client: FaultClient): Promise<void> {
    if (!(await inTime(this.#connect(client), `CONNACK for ${client.id}`)))
      throw new Error(`${client.id} was not let in`);
  }

  #client(options: ClientOptions): FaultClient {
    let client = this.#clients.get(options.id);
    if (client === undefined) {
      client = new FaultClient(this.history, options, () => this.#stage.stopped);
      this.#clients.set(options.id, client);
    }
    return client;
  }

  #message(
    topic: string,
    { qos, retain }: Pick<Publisher, 'qos' | 'retain'>,
    bytes: number,
    clear: boolean,
  ): OutgoingMessage {
    const number = (this.#numbers.get(topic) ?? 0) + 1;
    this.#numbers.set(topic, number);
    return { topic, number, qos, retain, clear, bytes };
  }

  /** A source of its own for each actor of a round, so that what one of them does changes nothing for the others. */
  #random(actor: number): Random {
    const mixed =
      Math.imul(this.#seed * ACTORS_MAX + actor, 0x9e3779b1) ^ Math.imul(this.#round + 1, 0x85ebca6b);
    return new Random(mixed);
  }
}

/** Waits for `promise`; rejects when it hangs. */
async function inTime<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const hangs = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${what}: still waiting after ${WATCHDOG_MS / 1000} s`)),
      WATCHDOG_MS,
    );
  });
  try {
    return await Promise.race([promise, hangs]);
  } finally {
    clearTimeout(timer);
  }
}
