/** A small store with some of everything in it, written by the broker's own store, for tests that damage, check and move it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { SystemClock } from '../../cli/system-clock.ts';
import { exportStore } from '../../persistence/sqlite/export.ts';
import { SqliteStore } from '../../persistence/sqlite/store.ts';
import type { StoredDelivery, StoredMessage, StoreOperation } from '../../src/interfaces/store.ts';
import { Random } from '../codec/random-packets.ts';

/** Files of a store, by name. */
export type Files = ReadonlyMap<string, Buffer>;

const CLIENTS = 12;

/** The payload that goes with a topic: whoever reads another has been given a wrong one. */
export function payloadOf(topic: string): Buffer {
  const random = new Random([...topic].reduce((sum, character) => sum * 31 + character.charCodeAt(0), 7));
  return Buffer.from(Array.from({ length: 10 + random.below(200) }, () => random.below(256)));
}

export interface SampleStore {
  /** As they were left by a process that was killed: part of the rows are in the log alone. */
  readonly files: Files;
  /** Topic of each delivery that ever was, by client id and position. */
  readonly topics: ReadonlyMap<string, string>;
}

/** Writes the store in a new folder below `parent`. */
export async function makeSampleStore(parent: string, seed = 1): Promise<SampleStore> {
  const dir = path.join(parent, `sample-${seed}`);
  const writer = new SampleWriter(seed);
  const first = await openStore(dir);
  for (let round = 0; round < 12; round++) await writer.appendRound(first, 40);
  await first.store.close();
  const second = await openStore(dir);
  writer.forgetHandles();
  for (let round = 0; round < 30; round++) await writer.appendRound(second, 8);
  // Not by way of this process: to close a file that is open here as well lets go of its locks.
  const left = path.join(parent, `left-${seed}`);
  execFileSync('cp', ['-r', dir, left]);
  await second.store.close();
  return { files: readFiles(left), topics: writer.topics };
}

/** The files of a folder. */
export function readFiles(dir: string): Files {
  return new Map(readdirSync(dir).map((name) => [name, readFileSync(path.join(dir, name))]));
}

/** Lays files into a new folder. */
export function layFiles(dir: string, files: Files): string {
  mkdirSync(dir, { mode: 0o700 });
  for (const [name, content] of files) writeFileSync(path.join(dir, name), content, { mode: 0o600 });
  return dir;
}

/** All lines of an export but the first, which says who wrote it and when. */
export async function exportLines(dir: string): Promise<string[]> {
  const parts: string[] = [];
  const write = (part: string): void => void parts.push(part);
  await exportStore(dir, write, { writtenBy: 'test' });
  return parts.join('').trimEnd().split('\n').slice(1);
}

/** A store, and whoever waits until all of it is durable. */
interface OpenStore {
  readonly store: SqliteStore;
  settled(): Promise<void>;
}

async function openStore(dir: string): Promise<OpenStore> {
  const store = new SqliteStore({ dir, clock: new SystemClock() });
  let waiting = Promise.withResolvers<void>();
  const durable = (): void => {
    waiting.resolve();
    waiting = Promise.withResolvers();
  };
  const failed = (error: Error): void => waiting.reject(error);
  const state = await store.open({ durable, full() {}, failed });
  for (const session of state.sessions) void session;
  for (const retained of state.retained) void retained;
  const settled = async (): Promise<void> => {
    while (store.durable < store.appended) await waiting.promise;
  };
  return { store, settled };
}

class SampleWriter {
  readonly topics = new Map<string, string>();
  readonly #random: Random;
  readonly #alive = new Map<string, StoredDelivery[]>();
  readonly #retained = new Map<string, StoredMessage>();
  readonly #positions = new Map<string, number>();
  #count = 0;
  #packetId = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  /** Another process reads messages anew: what it has not read has no handle. */
  forgetHandles(): void {
    this.#alive.clear();
    this.#retained.clear();
  }

  /** Appends some operations and waits until they are durable. */
  async appendRound({ store, settled }: OpenStore, operations: number): Promise<void> {
    for (let i = 0; i < operations; i++) {
      for (const operation of this.#operations()) store.append(operation);
    }
    await settled();
  }

  *#operations(): Generator<StoreOperation> {
    const random = this.#random;
    const clientId = `client-${random.below(CLIENTS)}`;
    if (!this.#alive.has(clientId)) yield* this.#session(clientId);
    const alive = this.#alive.get(clientId) ?? [];
    const kind = random.below(20);
    if (kind < 9) yield* this.#enqueue();
    else if (kind < 12) yield* this.#retain();
    else if (kind < 15) yield* this.#move(clientId, alive);
    else if (kind === 15) yield { kind: 'inbound', clientId, packetId: 1 + random.below(40) };
    else if (kind === 16) yield { kind: 'inbound-done', clientId, packetId: 1 + random.below(40) };
    else if (kind === 17) yield { kind: 'unsubscribe', clientId, filter: `f/${random.below(6)}/#` };
    else if (kind === 18) yield* this.#subscribe(clientId);
    else if (random.chance(6)) {
      this.#alive.delete(clientId);
      yield { kind: 'session-end', clientId };
    }
  }

  *#session(clientId: string): Generator<StoreOperation> {
    this.#alive.set(clientId, []);
    const will = this.#random.chance(2)
      ? null
      : { message: this.#message(), delaySeconds: 30, expirySeconds: -1 };
    const times = { expirySeconds: 3_600, disconnectedAtMs: -1_000 };
    yield {
      kind: 'session',
      session: { clientId, owner: this.#random.chance(2) ? null : 'alice', will, ...times },
    };
    yield* this.#subscribe(clientId);
  }

  *#subscribe(clientId: string): Generator<StoreOperation> {
    const filter = `${this.#random.chance(3) ? '$share/g/' : ''}f/${this.#random.below(6)}/#`;
    const subscription = {
      filter,
      qos: 1,
      noLocal: false,
      retainAsPublished: true,
      retainHandling: 2,
    } as const;
    yield {
      kind: 'subscribe',
      clientId,
      subscription: { ...subscription, identifier: this.#random.below(300) },
    };
  }

  /** One message to one to three sessions. */
  *#enqueue(): Generator<StoreOperation> {
    const message = this.#message();
    const clients = [...this.#alive.keys()].slice(0, 1 + this.#random.below(3));
    for (const clientId of clients) {
      const position = (this.#positions.get(clientId) ?? 0) + 1;
      this.#positions.set(clientId, position);
      this.topics.set(`${clientId}/${position}`, message.topic);
      const isPlain = this.#random.chance(2);
      const delivery: StoredDelivery = {
        position,
        message,
        qos: this.#random.chance(2) ? 1 : 2,
        retain: this.#random.chance(4),
        identifiers: isPlain ? null : [1, 1 + this.#random.below(1_000)],
        sharedFilter: this.#random.chance(5) ? '$share/g/f/1/#' : null,
        packetId: 0,
        released: false,
      };
      this.#alive.get(clientId)?.push(delivery);
      yield { kind: 'enqueue', clientId, delivery };
    }
  }

  *#move(clientId: string, alive: StoredDelivery[]): Generator<StoreOperation> {
    if (alive.length === 0) return;
    const index = this.#random.below(alive.length);
    const delivery = alive[index];
    if (delivery.packetId === 0) {
      alive[index] = { ...delivery, packetId: 1 + (this.#packetId++ % 65_535) };
      yield { kind: 'sent', clientId, delivery: alive[index] };
    } else {
      alive.splice(index, 1);
      yield { kind: 'done', clientId, delivery };
    }
  }

  *#retain(): Generator<StoreOperation> {
    const topic = `retained/${this.#random.below(30)}`;
    const known = this.#retained.get(topic);
    if (known !== undefined && this.#random.chance(3)) {
      this.#retained.delete(topic);
      yield { kind: 'unretain', message: known };
      return;
    }
    // After a second start only new topics are retained: what is there was not read.
    const fresh = known === undefined ? `${topic}/${this.#count}` : topic;
    const message = { ...this.#message(), topic: fresh, payload: payloadOf(fresh), retain: true };
    yield { kind: 'retain', message, replaced: known ?? null };
    if (known !== undefined) this.#retained.delete(topic);
    this.#retained.set(fresh, message);
  }

  #message(): StoredMessage {
    const topic = `t/${this.#count++}/ä`;
    const expiresAtMs = this.#random.chance(4) ? 1_000_000 + this.#random.below(1_000_000) : 0;
    const properties = this.#random.chance(3) ? Buffer.from([0x03, 0, 1, 0x74]) : Buffer.alloc(0);
    const rest = { retain: false, publisherId: 'publisher', storeHandle: 0, qos: 1 } as const;
    return { topic, payload: payloadOf(topic), properties, expiresAtMs, ...rest };
  }
}
