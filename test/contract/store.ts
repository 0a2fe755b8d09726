/** What every Store keeps: what was appended is there after it was closed and opened again, in order, and nothing else. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type {
  PageRequest,
  Store,
  StoredDelivery,
  StoredMessage,
  StoredSession,
  StoredState,
  StoredSubscription,
  StoreEvents,
  StoreOperation,
} from '../../src/interfaces/store.ts';

/** A place that stores can be opened on, one after the other. */
export interface StorePlace {
  /** A store on what the last one left. */
  open(): Store;
  close(): Promise<void>;
}

export const NO_EVENTS: StoreEvents = { durable() {}, full() {}, failed() {} };

const SESSION: StoredSession = {
  clientId: 'c',
  owner: 'alice',
  expirySeconds: 3600,
  disconnectedAtMs: null,
  will: null,
};
const SUBSCRIPTION: StoredSubscription = {
  filter: 'a/+',
  qos: 1,
  noLocal: true,
  retainAsPublished: true,
  retainHandling: 2,
  identifier: 268_435_455,
};

function message(topic: string, payload = 'payload', change: Partial<StoredMessage> = {}): StoredMessage {
  return {
    topic,
    payload: Buffer.from(payload),
    qos: 1,
    retain: false,
    properties: Buffer.from([0x03, 0, 1, 0x74]),
    expiresAtMs: 0,
    publisherId: 'p',
    storeHandle: 0,
    ...change,
  };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function delivery(position: number, change: Partial<StoredDelivery> = {}): Mutable<StoredDelivery> {
  const base = { message: message(`t/${position}`), qos: 1, retain: false, identifiers: [1, 2] } as const;
  return { position, ...base, sharedFilter: null, packetId: 0, released: false, ...change };
}

/** A delivery on its way: the operations that say what becomes of it. */
class Course {
  readonly #delivery: Mutable<StoredDelivery>;

  constructor(position: number, change: Partial<StoredDelivery> = {}) {
    this.#delivery = delivery(position, change);
  }

  enqueue(): StoreOperation {
    return this.#now('enqueue', {});
  }
  sent(packetId: number): StoreOperation {
    return this.#now('sent', { packetId });
  }
  released(): StoreOperation {
    return this.#now('released', { released: true });
  }
  done(): StoreOperation {
    return this.#now('done', {});
  }

  #now(kind: 'enqueue' | 'sent' | 'released' | 'done', change: Partial<StoredDelivery>): StoreOperation {
    Object.assign(this.#delivery, change);
    return { kind, clientId: 'c', delivery: { ...this.#delivery } };
  }
}

function plainMessage({ storeHandle, ...fields }: StoredMessage): object {
  assert.equal(typeof storeHandle, 'number');
  const { topic, payload, qos, retain, properties, expiresAtMs, publisherId } = fields;
  return {
    topic,
    payload: payload.toString(),
    qos,
    retain,
    properties: [...properties],
    expiresAtMs,
    publisherId,
  };
}

function plainDelivery(each: StoredDelivery): object {
  const { position, qos, retain, identifiers, sharedFilter, packetId, released } = each;
  const options = {
    position,
    qos,
    retain,
    identifiers: identifiers && [...identifiers],
    sharedFilter,
    packetId,
    released,
  };
  return { ...options, message: plainMessage(each.message) };
}

function plainSession({ will, ...session }: StoredSession): object {
  return { ...session, will: will && { ...will, message: plainMessage(will.message) } };
}

/** What a store gives at start, as plain values. */
function plain(state: StoredState) {
  return {
    sessions: [...state.sessions].map((each) => ({
      session: plainSession(each.session),
      subscriptions: [...each.subscriptions],
      inFlight: [...each.inFlight].map(plainDelivery),
      queue: { ...each.queue },
      lastPosition: each.lastPosition,
      inbound: [...each.inbound],
    })),
    retained: [...state.retained].map(({ topic, payload }) => [topic, payload.toString()]),
  };
}

const about = (operation: object) => ({ clientId: 'c', ...operation }) as StoreOperation;
const BEGIN: StoreOperation = { kind: 'session', session: SESSION };
const NOTHING = {
  session: SESSION,
  subscriptions: [],
  inFlight: [],
  queue: { messages: 0, bytes: 0 },
  lastPosition: 0,
  inbound: [],
};
/** Topic `t/N`, payload and properties of `delivery`. */
const DELIVERY_BYTES = 3 + 7 + 4;

/** Some courses through the stages of a delivery, one beside the other. */
function courses(): StoreOperation[] {
  const [first, second, third, fourth] = [1, 2, 3, 4].map(
    (position) => new Course(position, position === 2 ? { qos: 2 } : {}),
  );
  return [
    BEGIN,
    first.enqueue(),
    second.enqueue(),
    third.enqueue(),
    fourth.enqueue(),
    first.sent(11),
    second.sent(12),
    third.sent(13),
    second.released(),
    first.done(),
  ];
}

const WILL = {
  message: message('will', 'gone', { qos: 2, retain: true }),
  delaySeconds: 30,
  expirySeconds: -1,
};

/** Each case: what is appended, and what is there afterwards. */
const CASES: { name: string; operations: StoreOperation[]; expected: object }[] = [
  {
    name: 'keeps a session with its owner, expiry and subscriptions',
    operations: [BEGIN, about({ kind: 'subscribe', subscription: SUBSCRIPTION })],
    expected: { ...NOTHING, subscriptions: [SUBSCRIPTION] },
  },
  {
    name: 'keeps a session without an owner, with its will',
    operations: [{ kind: 'session', session: { ...SESSION, owner: null, will: WILL } }],
    expected: { ...NOTHING, session: plainSession({ ...SESSION, owner: null, will: WILL }) },
  },
  {
    name: 'replaces a session without touching what belongs to it, and forgets what was unsubscribed',
    operations: [
      BEGIN,
      about({ kind: 'subscribe', subscription: SUBSCRIPTION }),
      about({ kind: 'subscribe', subscription: { ...SUBSCRIPTION, filter: 'b' } }),
      about({ kind: 'subscribe', subscription: { ...SUBSCRIPTION, filter: 'b', qos: 2, identifier: 0 } }),
      about({ kind: 'unsubscribe', filter: 'a/+' }),
      { kind: 'session', session: { ...SESSION, disconnectedAtMs: 5 } },
    ],
    expected: {
      ...NOTHING,
      session: { ...SESSION, disconnectedAtMs: 5 },
      subscriptions: [{ ...SUBSCRIPTION, filter: 'b', qos: 2, identifier: 0 }],
    },
  },
  {
    name: 'keeps deliveries with packet identifier and stage, counts those that wait, and forgets those that are done',
    operations: courses(),
    expected: {
      ...NOTHING,
      inFlight: [
        plainDelivery(delivery(2, { qos: 2, packetId: 12, released: true })),
        plainDelivery(delivery(3, { packetId: 13 })),
      ],
      queue: { messages: 1, bytes: DELIVERY_BYTES },
      lastPosition: 4,
    },
  },
  {
    name: 'keeps the options of a delivery',
    operations: [
      BEGIN,
      new Course(9, { qos: 2, retain: true, identifiers: null, sharedFilter: '$share/g/t/+' }).enqueue(),
      new Course(10, { qos: 0, identifiers: [268_435_455] }).enqueue(),
      new Course(11, { packetId: 7, message: message('ä/€', '') }).enqueue(),
    ],
    expected: {
      ...NOTHING,
      inFlight: [plainDelivery(delivery(11, { packetId: 7, message: message('ä/€', '') }))],
      queue: { messages: 2, bytes: 3 + 4 + 2 * (7 + 4) },
      lastPosition: 11,
    },
  },
  {
    name: 'keeps the identifiers of received QoS 2 messages until they are released',
    operations: [
      BEGIN,
      about({ kind: 'inbound', packetId: 1 }),
      about({ kind: 'inbound', packetId: 65_535 }),
      about({ kind: 'inbound', packetId: 65_535 }),
      about({ kind: 'inbound-done', packetId: 1 }),
    ],
    expected: { ...NOTHING, inbound: [65_535] },
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

    for (const { name: what, operations, expected } of CASES)
      it(`${what}, also in a store that was opened and closed between any two operations`, async () => {
        const at = place();
        for (const operation of operations) await withStore(at, (store) => store.append(operation));
        const state = await withStore(at, (_store, found) => plain(found));
        await at.close();
        assert.deepEqual(state, { sessions: [expected], retained: [] });
      });

    it('forgets everything about a session that has ended, and begins anew with the same client id', async () => {
      const end = about({ kind: 'session-end' });
      const gone = await reopened(place(), [...courses(), end]);
      assert.deepEqual(gone.sessions, []);
      const anew = await reopened(place(), [...courses(), end, BEGIN]);
      assert.deepEqual(anew.sessions, [NOTHING]);
    });

    it('keeps the last retained message of each topic', async () => {
      const [old, other, last] = [message('a', 'old'), message('b'), message('a', 'new')];
      const operations: StoreOperation[] = [
        { kind: 'retain', message: old, replaced: null },
        { kind: 'retain', message: other, replaced: null },
        { kind: 'retain', message: last, replaced: old },
        { kind: 'unretain', message: other },
      ];
      assert.deepEqual((await reopened(place(), operations)).retained, [['a', 'new']]);
    });

    it('keeps a message that is retained and on its way for as long as it is either', async () => {
      const both = message('a', 'both');
      const course = new Course(1, { message: both });
      const operations: StoreOperation[] = [
        BEGIN,
        course.enqueue(),
        { kind: 'retain', message: both, replaced: null },
        course.done(),
      ];
      assert.deepEqual((await reopened(place(), operations)).retained, [['a', 'both']]);
    });

    it('takes a message again that it had let go of', async () => {
      const again = message('t', 'again');
      const [first, second] = [new Course(1, { message: again }), new Course(2, { message: again })];
      const at = place();
      const page = await withStore(at, async (store) => {
        for (const operation of [BEGIN, first.enqueue()]) store.append(operation);
        await store.page(request({}));
        store.append(first.done());
        await store.page(request({}));
        store.append(second.enqueue());
        return await store.page(request({}));
      });
      await at.close();
      assert.deepEqual(page.map(plainDelivery), [plainDelivery(delivery(2, { message: again }))]);
    });

    it('ignores operations of a session that it does not have', async () => {
      const state = await reopened(place(), [
        new Course(1).enqueue(),
        about({ kind: 'inbound', packetId: 1 }),
      ]);
      assert.deepEqual(state.sessions, []);
    });

    it('reads a queue page by page, in order, without what has a packet identifier', async () => {
      const at = place();
      const pages = await withStore(at, async (store) => {
        for (const operation of courses()) store.append(operation);
        for (let position = 5; position <= 9; position++) store.append(new Course(position).enqueue());
        const first = await store.page(request({ messagesMax: 2 }));
        const rest = await store.page(request({ after: 5 }));
        const short = await store.page(request({ after: 5, bytesMax: DELIVERY_BYTES + 1 }));
        return { first, rest, short, none: await store.page(request({ after: 9 })) };
      });
      await at.close();
      const positions = (page: StoredDelivery[]): number[] => page.map((each) => each.position);
      assert.deepEqual(positions(pages.first), [4, 5]);
      assert.deepEqual(positions(pages.rest), [6, 7, 8, 9]);
      assert.deepEqual(positions(pages.short), [6, 7]);
      assert.deepEqual(pages.none, []);
      assert.deepEqual(plainDelivery(pages.first[0]), plainDelivery(delivery(4)));
    });

    it('has nothing to read for a session that it does not have', async () => {
      const at = place();
      assert.deepEqual(await withStore(at, (store) => store.page(request({}))), []);
      await at.close();
    });

    it('counts what was appended, and in the end all of it is durable', async () => {
      const at = place();
      const store = at.open();
      await store.open(NO_EVENTS);
      const before = store.appended;
      const kept = message('a');
      store.append({ kind: 'retain', message: kept, replaced: null });
      store.append({ kind: 'unretain', message: kept });
      assert.equal(store.appended, before + 2);
      assert.ok(store.durable <= store.appended);
      await store.close();
      assert.equal(store.durable, store.appended);
      await at.close();
    });
  });
}

function request(change: Partial<PageRequest>): PageRequest {
  return { clientId: 'c', after: 0, messagesMax: 100, bytesMax: 1_000_000, ...change };
}

/** What `use` makes of a store that is open at `place`. */
async function withStore<T>(
  place: StorePlace,
  use: (store: Store, state: StoredState) => T | Promise<T>,
): Promise<T> {
  const store = place.open();
  try {
    return await use(store, await store.open(NO_EVENTS));
  } finally {
    await store.close();
  }
}

async function reopened(place: StorePlace, operations: StoreOperation[]) {
  await withStore(place, (store) => {
    for (const operation of operations) store.append(operation);
  });
  const state = await withStore(place, (_store, found) => plain(found));
  await place.close();
  return state;
}
