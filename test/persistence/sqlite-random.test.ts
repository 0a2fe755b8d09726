/** Thousands of random operations: what the file holds afterwards is what a store in memory holds, and nothing is left over. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MemoryStore } from '../../persistence/memory.ts';
import type { SqliteStore } from '../../persistence/sqlite/store.ts';
import type {
  StoredDelivery,
  StoredMessage,
  StoredState,
  StoreOperation,
} from '../../src/interfaces/store.ts';
import { NO_EVENTS } from '../contract/store.ts';
import { beginSession, StoreFolder, storedDelivery, storedMessage } from '../support/store-folder.ts';

const SEEDS = [1, 2, 3, 4, 5];
const STEPS = 4_000;
const CLIENTS = ['a', 'b', 'c', 'ü'];
const TOPICS = ['t/1', 't/2', 't/ü'];

/** A generator of whole numbers that gives the same ones for the same seed (mulberry32). */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Makes operations that a broker could make, and knows which deliveries and retained messages there are. */
class RandomBroker {
  readonly #random: (below: number) => number;
  readonly #deliveries = new Map<string, StoredDelivery[]>();
  readonly #retained = new Map<string, StoredMessage>();
  #messages: StoredMessage[] = [];
  #position = 0;

  constructor(random: (below: number) => number) {
    this.#random = random;
  }

  /** Messages of an earlier run are not enqueued again: a broker has none after a restart. */
  restart(): void {
    this.#messages = [];
    for (const message of this.#retained.values()) this.#messages.push(message);
  }

  next(): StoreOperation | null {
    const clientId = this.#pick(CLIENTS);
    const waiting = this.#deliveries.get(clientId);
    const roll = this.#random(100);
    if (waiting === undefined || roll === 0) {
      if (waiting === undefined) this.#deliveries.set(clientId, []);
      return beginSession(clientId);
    }
    if (roll === 1) {
      this.#deliveries.delete(clientId);
      return { kind: 'session-end', clientId };
    }
    if (roll < 45) return this.#enqueue(clientId, waiting);
    if (roll < 75) return this.#moveOn(clientId, waiting);
    if (roll < 85) return this.#retain();
    const packetId = 1 + this.#random(5);
    if (roll < 90) return { kind: this.#random(2) === 0 ? 'inbound' : 'inbound-done', clientId, packetId };
    const filter = this.#pick(TOPICS);
    if (this.#random(3) === 0) return { kind: 'unsubscribe', clientId, filter };
    const options = { qos: 1, noLocal: false, retainAsPublished: true, retainHandling: 1 } as const;
    return { kind: 'subscribe', clientId, subscription: { filter, ...options, identifier: this.#random(9) } };
  }

  #enqueue(clientId: string, waiting: StoredDelivery[]): StoreOperation {
    const change =
      this.#random(3) === 0 ? { identifiers: [this.#random(99)], sharedFilter: '$share/g/#' } : {};
    const delivery = storedDelivery(++this.#position, this.#message(), change);
    waiting.push(delivery);
    return { kind: 'enqueue', clientId, delivery };
  }

  #moveOn(clientId: string, waiting: StoredDelivery[]): StoreOperation | null {
    if (waiting.length === 0) return null;
    const index = this.#random(Math.min(4, waiting.length));
    const delivery = waiting[index];
    if (delivery.packetId === 0) {
      waiting[index] = { ...delivery, packetId: 1 + this.#random(65_535) };
      return { kind: 'sent', clientId, delivery: waiting[index] };
    }
    if (!delivery.released && this.#random(3) === 0) {
      waiting[index] = { ...delivery, released: true };
      return { kind: 'released', clientId, delivery: waiting[index] };
    }
    waiting.splice(index, 1);
    return { kind: 'done', clientId, delivery };
  }

  #retain(): StoreOperation | null {
    const topic = this.#pick(TOPICS);
    const replaced = this.#retained.get(topic) ?? null;
    if (this.#random(4) === 0) {
      if (replaced === null) return null;
      this.#retained.delete(topic);
      return { kind: 'unretain', message: replaced };
    }
    const message = storedMessage(topic, { payload: this.#payload() });
    // So that some are retained and on their way at once.
    this.#messages.push(message);
    this.#retained.set(topic, message);
    return { kind: 'retain', message, replaced };
  }

  /** A new one, or one that was already given to others, also one of which nothing is left. */
  #message(): StoredMessage {
    if (this.#messages.length === 0 || this.#random(2) === 0)
      this.#messages.push(storedMessage(this.#pick(TOPICS), { payload: this.#payload() }));
    const back = this.#random(Math.min(20, this.#messages.length));
    return this.#messages[this.#messages.length - 1 - back];
  }

  /** Some are large, because those are read in another way. */
  #payload(): Buffer {
    return Buffer.alloc(this.#random(10) === 0 ? 6_000 : this.#random(60), this.#random(256));
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random(from.length)];
  }
}

function plainDelivery({ message, ...rest }: StoredDelivery): object {
  const { topic, payload } = message;
  return { ...rest, topic, payload: payload.toString('hex') };
}

const byText = (a: unknown, b: unknown): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

/** Everything that a store says of itself, in an order of its own. */
async function everything(state: StoredState, store: SqliteStore | MemoryStore): Promise<object> {
  const sessions = [];
  for (const { session, subscriptions, inFlight, queue, inbound } of [...state.sessions]) {
    const request = { clientId: session.clientId, after: 0, messagesMax: 1e6, bytesMax: 1e9 };
    sessions.push({
      session,
      subscriptions: [...subscriptions].sort(byText),
      inFlight: [...inFlight].map(plainDelivery),
      queue,
      inbound: [...inbound].sort((a, b) => a - b),
      waiting: (await store.page(request)).map(plainDelivery),
    });
  }
  const retained = [...state.retained].map(({ topic, payload }) => [topic, payload.toString('hex')]);
  return { sessions: sessions.sort(byText), retained: retained.sort(byText) };
}

async function run(folder: StoreFolder, seed: number): Promise<void> {
  const random = seeded(seed);
  const broker = new RandomBroker(random);
  const memory = new MemoryStore();
  let { store } = await folder.open();
  for (let step = 1; step <= STEPS; step++) {
    const operation = broker.next();
    if (operation !== null) {
      store.append(operation);
      memory.append(operation);
    }
    if (random(40) === 0) await nextTurn();
    if (step % 800 === 0) {
      await store.close();
      const next = await folder.open();
      store = next.store;
      const found = await everything(next.state, store);
      assert.deepEqual(
        found,
        await everything(await memory.open(NO_EVENTS), memory),
        `seed ${seed}, step ${step}`,
      );
      broker.restart();
    }
  }
  for (const clientId of CLIENTS) store.append({ kind: 'session-end', clientId });
  for (const message of (await memory.open(NO_EVENTS)).retained) store.append({ kind: 'unretain', message });
  await store.close();
  await emptied(folder);
}

/** Waits until what ended sessions left is removed, then looks that no row of anything is left. */
async function emptied(folder: StoreFolder): Promise<void> {
  while (folder.count('SELECT count(*) FROM ended') > 0) {
    const { store, heard } = await folder.open();
    // Each commit removes a part.
    for (const operation of [beginSession('x'), { kind: 'session-end', clientId: 'x' }] as const) {
      store.append(operation);
      await heard.until(() => store.durable === store.appended);
    }
    await store.close();
  }
  for (const table of ['session', 'subscription', 'message', 'delivery', 'inbound', 'retained'])
    assert.equal(folder.count(`SELECT count(*) FROM ${table}`), 0, table);
  assert.deepEqual(
    folder.query(
      "SELECT name FROM meta WHERE value <> 0 AND name NOT IN ('commit_number', 'lasting_ms', 'wall_ms')",
    ),
    [],
  );
}

describe('random operations', () => {
  for (const seed of SEEDS)
    it(`leave in the file what they leave in memory (seed ${seed})`, async () => {
      const folder = new StoreFolder();
      await run(folder, seed);
      await folder.remove();
    });
});
