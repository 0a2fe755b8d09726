/** `npm run bench -- startup`: how long Sluice takes from its start to its first door with much in its store. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { SystemClock } from '../cli/system-clock.ts';
import { SqliteStore } from '../persistence/sqlite/store.ts';
import type { StoredMessage, StoreOperation } from '../src/interfaces/store.ts';
import { startBroker } from './brokers.ts';
import { rssMb } from './process.ts';

const NO_EVENTS = { durable() {}, full() {}, failed() {} };
/** Operations handed over in one turn of the event loop. */
const OPERATIONS_A_TURN = 10_000;

interface Content {
  readonly what: string;
  readonly secondsMax: number;
  operations(): Iterable<StoreOperation>;
}

const CONTENTS: readonly Content[] = [
  { what: 'nothing', secondsMax: 1, operations: () => [] },
  {
    what: '1 M retained messages, 100 k sessions with a subscription',
    secondsMax: 10,
    *operations() {
      for (let index = 0; index < 1_000_000; index++)
        yield { kind: 'retain', message: message(`site/${index % 1000}/device/${index}`), replaced: null };
      for (let index = 0; index < 100_000; index++) yield* session(`client-${index}`, `site/${index}/+`);
    },
  },
  {
    what: '1 M queued messages of one session',
    secondsMax: 2,
    *operations() {
      yield* session('away', 'jobs/#');
      for (let position = 1; position <= 1_000_000; position++) {
        const options = { qos: 1, retain: false, identifiers: null, sharedFilter: null } as const;
        const delivery = { ...options, position, message: message('jobs/all'), packetId: 0, released: false };
        yield { kind: 'enqueue', clientId: 'away', delivery };
      }
    },
  },
];

export interface StartUp {
  readonly what: string;
  readonly seconds: number;
  readonly secondsMax: number;
  readonly rssMb: number;
}

/** Fills a store for each content, then starts a broker on it. */
export async function measureStartUp(): Promise<StartUp[]> {
  const results: StartUp[] = [];
  for (const { what, secondsMax, operations } of CONTENTS) {
    const directory = mkdtempSync(path.join(tmpdir(), 'sluice-startup-'));
    const dir = path.join(directory, 'data');
    try {
      await fill(dir, operations());
      const startedAt = performance.now();
      const broker = await startBroker('sluice', { open: true, config: { persistence: { dir } } });
      const seconds = (performance.now() - startedAt) / 1000;
      results.push({ what, seconds, secondsMax, rssMb: rssMb(broker.pid) });
      await broker.stop();
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
  return results;
}

async function fill(dir: string, operations: Iterable<StoreOperation>): Promise<void> {
  const store = new SqliteStore({ dir, clock: new SystemClock() });
  await store.open(NO_EVENTS);
  let appended = 0;
  for (const operation of operations) {
    store.append(operation);
    appended++;
    if (appended % OPERATIONS_A_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await store.close();
}

function* session(clientId: string, filter: string): Iterable<StoreOperation> {
  const about = { owner: null, expirySeconds: 86_400, disconnectedAtMs: performance.now(), will: null };
  yield { kind: 'session', session: { clientId, ...about } };
  const options = { noLocal: false, retainAsPublished: false, retainHandling: 0, identifier: 0 } as const;
  yield { kind: 'subscribe', clientId, subscription: { filter, qos: 1, ...options } };
}

function message(topic: string): StoredMessage {
  const none = { properties: Buffer.alloc(0), expiresAtMs: 0, publisherId: 'bench', storeHandle: 0 };
  return { topic, payload: Buffer.alloc(64, 'x'), qos: 1, retain: false, ...none };
}
