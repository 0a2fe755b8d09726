/** A run: rounds of publishing, subscribing and reconnecting, each ended by a kill, and at the end the reckoning. */
import { Random } from '../../codec/random-packets.ts';
import {
  CHURNED_FILTERS,
  CHURNERS,
  GUEST_FILTER,
  PUBLISHERS,
  type Publisher,
  RETAINED,
  SUBSCRIBERS,
  type Subscriber,
} from './cast.ts';
import type { ClientOptions, ConnectAsk, FaultClient } from './client.ts';
import type { History } from './history.ts';
import { inTime, Scene } from './scene.ts';
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
const ACTORS_MAX = 1_000;

export class Run {
  readonly #scene: Scene;
  readonly #seed: number;
  readonly #scale: Scale;
  readonly #guests: ClientOptions[] = [];
  #round = 0;

  constructor(stage: Stage, history: History, seed: number, scale: Scale) {
    this.#scene = new Scene(stage, history);
    this.#seed = seed;
    this.#scale = scale;
  }

  /** Plays it all. Rejects with what it takes to see the failure again, if a promise was broken. */
  async play(rounds: number): Promise<void> {
    await this.#scene.judge(this.#seed, this.#scale.mayRefuse ?? false, async () => {
      await this.#prepare();
      while (this.#round < rounds) await this.#playRound();
      await this.#finish();
    });
  }

  /** Without a kill: everybody gets the session and subscriptions that the rounds rest on. */
  async #prepare(): Promise<void> {
    const scene = this.#scene;
    await scene.start(this.#round);
    for (const options of [...PUBLISHERS, ...SUBSCRIBERS]) {
      const client = await scene.enter(options);
      if (!('filters' in options)) continue;
      for (const { filter, qos, identifier } of options.filters)
        await client.subscribe(filter, qos, identifier);
    }
    const publisher = scene.client(PUBLISHERS[0]);
    publisher.publish(scene.message(RETAINED.last, 1, 10, 'yes'));
    await scene.settle(publisher);
    await scene.end(this.#round);
  }

  async #playRound(): Promise<void> {
    this.#round++;
    const { stage, history } = this.#scene;
    const random = this.#random(0);
    if (random.chance(INTERRUPTED_STARTS)) await stage.interruptStart(random);
    await this.#scene.start(this.#round, false);
    const within = random.below(this.#scale.killWithin);
    const cancel = history.after(within, () => stage.kill());
    if (within === 0) stage.kill();
    const scripts = Promise.all([
      ...PUBLISHERS.map((publisher, index) => this.#publish(publisher, this.#random(10 + index))),
      ...SUBSCRIBERS.map((subscriber, index) => this.#listen(subscriber, this.#random(30 + index))),
      ...CHURNERS.map((churner, index) => this.#churn(churner, this.#random(50 + index))),
      this.#welcome(this.#random(70)),
      this.#scene.read(RETAINED),
    ]);
    await inTime(Promise.race([scripts, stage.quiet()]), `round ${this.#round}`);
    cancel();
    await this.#scene.end(this.#round);
    await inTime(scripts, `the end of round ${this.#round}`);
  }

  /** Everything comes to its end, and everybody gets what was kept for him. */
  async #finish(): Promise<void> {
    this.#round++;
    const scene = this.#scene;
    await scene.start(this.#round);
    const lasting = [...SUBSCRIBERS, ...CHURNERS, ...this.#guests];
    for (const options of [...PUBLISHERS, ...lasting]) await scene.enter(options);
    await inTime(scene.read(RETAINED), 'the reading of the retained messages');
    for (const client of scene.clients.values()) client.catchUp();
    for (const options of PUBLISHERS) await scene.settle(scene.client(options));
    for (const options of lasting) await scene.drain(scene.client(options), scene.client(PUBLISHERS[1]));
    await inTime(scene.read(RETAINED), 'the reading of the retained messages');
    await scene.end(this.#round);
  }

  async #publish(publisher: Publisher, random: Random): Promise<void> {
    const client = this.#scene.client(publisher);
    if (!(await this.#scene.connect(client))) return;
    const { messages, bytes } = this.#scale;
    const budget = Math.ceil(messages / publisher.share);
    // What is left from earlier rounds comes first.
    const fresh = Math.max(0, random.below(budget * 2) - client.unfinished);
    const { topics, qos, retain } = publisher;
    const batch = Array.from({ length: fresh }, () => {
      const retained = !retain ? 'no' : random.chance(CLEARS) ? 'cleared' : 'yes';
      return this.#scene.message(random.pick(topics), qos, random.below(bytes), retained);
    });
    client.publish(...batch);
    await client.idle();
  }

  async #listen(subscriber: Subscriber, random: Random): Promise<void> {
    if (subscriber.oneRoundIn === Number.POSITIVE_INFINITY) return;
    if (random.below(subscriber.oneRoundIn) > 0) return;
    const client = this.#scene.client(subscriber);
    if (await this.#later(random)) await this.#scene.connect(client);
  }

  /** Subscribes and unsubscribes at random, over sessions that are resumed, begun anew and given up. */
  async #churn(options: ClientOptions, random: Random): Promise<void> {
    const client = this.#scene.client(options);
    for (let visits = 1 + random.below(3); visits > 0; visits--) {
      if (!(await this.#scene.connect(client, this.#ask(client, random)))) return;
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

  #ask(client: FaultClient, random: Random): ConnectAsk {
    if (!random.chance(4)) return { cleanStart: false, lasting: true };
    if (client.version < 5) return { cleanStart: true, lasting: false };
    return { cleanStart: random.chance(2), lasting: random.chance(2) };
  }

  /** Somebody new comes, subscribes and goes, to find it all at the end. */
  async #welcome(random: Random): Promise<void> {
    const options: ClientOptions = { id: `g${this.#round}`, version: random.pick([4, 5] as const) };
    const client = this.#scene.client(options);
    if (!(await this.#later(random)) || !(await this.#scene.connect(client))) return;
    this.#guests.push(options);
    if (!(await client.subscribe(GUEST_FILTER, random.pick([1, 2] as const)))) return;
    if (random.chance(2)) client.leave(random.chance(2));
  }

  /** Some packets from the broker later; false when it has gone meanwhile. */
  async #later(random: Random): Promise<boolean> {
    const { stage, history } = this.#scene;
    if (random.chance(2)) return !stage.stopped;
    const count = 1 + random.below(Math.ceil(this.#scale.killWithin / 4));
    let cancel = (): void => {};
    const heard = new Promise<void>((resolve) => {
      cancel = history.after(count, resolve);
    });
    // Where nothing more is said, there is nothing to wait for.
    const silent = Promise.all(PUBLISHERS.map((publisher) => this.#scene.client(publisher).idle()));
    await Promise.race([heard, silent]);
    cancel();
    return !stage.stopped;
  }

  /** A source of its own for each actor of a round, so that what one of them does changes nothing for the others. */
  #random(actor: number): Random {
    const mixed =
      Math.imul(this.#seed * ACTORS_MAX + actor, 0x9e3779b1) ^ Math.imul(this.#round + 1, 0x85ebca6b);
    return new Random(mixed);
  }
}
