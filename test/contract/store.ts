/** What every Store keeps: what was appended is there after it was closed and opened again, in order, and nothing else. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type {
  Store,
  StoredDelivery,
  StoredMessage,
  StoredSession,
  StoredState,
  StoredSubscription,
  StoreOperation,
} from '../../src/interfaces/store.ts';

/** A place that stores can be opened on, one after the other. */
export interface StorePlace {
  /** A store on what the last one left. */
  open(): Store;
  close(): Promise<void>;
}

const SESSION: StoredSession = {
  clientId: 'c',
  owner: 'alice',
  expirySeconds: 3600,
  disconnectedAtWallMs: 0,
  will: null,
};
const SUBSCRIPTION: StoredSubscription = {
  filter: 'a/+',
  qos: 1,
  noLocal: true,
  retainAsPublished: true,
  retainHandling: 2,
  identifier: 7,
};

function message(topic: string, payload = 'payload'): StoredMessage {
  const properties = Buffer.from([0x03, 0, 1, 0x74]);
  return {
    topic,
    payload: Buffer.from(payload),
    qos: 1,
    retain: false,
    properties,
    expiresAtMs: 0,
    publisherId: 'p',
  };
}

function delivery(position: number, change: Partial<StoredDelivery> = {}): StoredDelivery {
  const base = { message: message(`t/${position}`), qos: 1, retain: false, identifiers: [1, 2] } as const;
  return { position, ...base, sharedFilter: null, packetId: 0, released: false, ...change };
}

/** What a store gives at start, as plain values. */
function plain(state: StoredState) {
  return {
    sessions: [...state.sessions].map(({ session, subscriptions, deliveries, inbound }) => ({
      session,
      subscriptions: [...subscriptions],
      deliveries: [...deliveries].map(({ position, packetId, released, message: { topic, payload } }) => ({
        position,
        packetId,
        released,
        topic,
        payload: payload.toString(),
      })),
      inbound: [...inbound],
    })),
    retained: [...state.retained].map(({ topic, payload }) => [topic, payload.toString()]),
  };
}

const about = (operation: object) => ({ clientId: 'c', ...operation }) as StoreOperation;

/** Each case: what is appended, and what is there afterwards. */
const CASES: { name: string; operations: StoreOperation[]; expected: object }[] = [
  {
    name: 'keeps a session with its owner, expiry and subscriptions',
    operations: [
      { kind: 'session', session: SESSION },
      about({ kind: 'subscribe', subscription: SUBSCRIPTION }),
    ],
    expected: { session: SESSION, subscriptions: [SUBSCRIPTION], deliveries: [], inbound: [] },
  },
  {
    name: 'replaces a session without touching what belongs to it, and forgets what was unsubscribed',
    operations: [
      { kind: 'session', session: SESSION },
      about({ kind: 'subscribe', subscription: SUBSCRIPTION }),
      about({ kind: 'subscribe', subscription: { ...SUBSCRIPTION, filter: 'b' } }),
      about({ kind: 'unsubscribe', filter: 'a/+' }),
      { kind: 'session', session: { ...SESSION, disconnectedAtWallMs: 5 } },
    ],
    expected: {
      session: { ...SESSION, disconnectedAtWallMs: 5 },
      subscriptions: [{ ...SUBSCRIPTION, filter: 'b' }],
      deliveries: [],
      inbound: [],
    },
  },
  {
    name: 'keeps deliveries in order, with packet identifier and stage, and forgets those that are done',
    operations: [
      { kind: 'session', session: SESSION },
      about({ kind: 'enqueue', delivery: delivery(1) }),
      about({ kind: 'enqueue', delivery: delivery(2, { qos: 2 }) }),
      about({ kind: 'enqueue', delivery: delivery(3) }),
      about({ kind: 'sent', position: 1, packetId: 11 }),
      about({ kind: 'sent', position: 2, packetId: 12 }),
      about({ kind: 'released', position: 2 }),
      about({ kind: 'done', position: 1 }),
    ],
    expected: {
      session: SESSION,
      subscriptions: [],
      deliveries: [
        { position: 2, packetId: 12, released: true, topic: 't/2', payload: 'payload' },
        { position: 3, packetId: 0, released: false, topic: 't/3', payload: 'payload' },
      ],
      inbound: [],
    },
  },
  {
    name: 'keeps the identifiers of received QoS 2 messages until they are released',
    operations: [
      { kind: 'session', session: SESSION },
      about({ kind: 'inbound', packetId: 1 }),
      about({ kind: 'inbound', packetId: 2 }),
      about({ kind: 'inbound-done', packetId: 1 }),
    ],
    expected: { session: SESSION, subscriptions: [], deliveries: [], inbound: [2] },
  },
];

/** Runs the suite; `place` makes an empty place for each test. */
export function storeContract(name: string, place: () => StorePlace): void {
  describe(`${name} keeps the store contract`, () => {
    for (const { name: what, operations, expected } of CASES)
      it(what, async () => {
        const state = await reopened(place(), operations);
        assert.deepEqual(state, { sessions: [expected], retained: [] });
      });

    it('forgets everything about a session that has ended', async () => {
      const { operations } = CASES[2];
      const state = await reopened(place(), [...operations, about({ kind: 'session-end' })]);
      assert.deepEqual(state.sessions, []);
    });

    it('keeps the last retained message of each topic', async () => {
      const operations: StoreOperation[] = [
        { kind: 'retain', message: message('a', 'old') },
        { kind: 'retain', message: message('b') },
        { kind: 'retain', message: message('a', 'new') },
        { kind: 'unretain', topic: 'b' },
      ];
      assert.deepEqual((await reopened(place(), operations)).retained, [['a', 'new']]);
    });

    it('ignores operations of a session that it does not have', async () => {
      const state = await reopened(place(), [about({ kind: 'enqueue', delivery: delivery(1) })]);
      assert.deepEqual(state.sessions, []);
    });

    it('counts what was appended, and in the end all of it is durable', async () => {
      const at = place();
      const store = at.open();
      await store.open(() => {});
      const before = store.appended;
      store.append({ kind: 'retain', message: message('a') });
      store.append({ kind: 'unretain', topic: 'a' });
      assert.equal(store.appended, before + 2);
      assert.ok(store.durable <= store.appended);
      await store.close();
      assert.equal(store.durable, store.appended);
      await at.close();
    });
  });
}

async function reopened(place: StorePlace, operations: StoreOperation[]) {
  const first = place.open();
  await first.open(() => {});
  for (const operation of operations) first.append(operation);
  await first.close();
  const second = place.open();
  const state = plain(await second.open(() => {}));
  await second.close();
  await place.close();
  return state;
}
