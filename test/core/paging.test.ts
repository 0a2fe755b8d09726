import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MemoryStore } from '../../persistence/memory.ts';
import { QUEUE_FRONT_MESSAGES_MAX } from '../../src/limits.ts';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { puback, publish } from '../support/packets.ts';
import { settle, type TestClient } from '../support/test-client.ts';

const KEPT = { clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 1000 } };
const LIMITS = { queueMessagesMax: 1_000_000 };
const LONG = QUEUE_FRONT_MESSAGES_MAX * 3 + 7;

/** A broker with a session that is away. */
async function withAbsentee(t: TestContext, store = new MemoryStore()): Promise<TestBroker> {
  const broker = await startBroker(t, { store, limits: LIMITS });
  const client = await broker.connect(KEPT);
  await client.subscribe('t/#', 1);
  await client.drop();
  return broker;
}

/** Publishes `t/FIRST` to `t/LAST` at QoS 1, and waits until all are acknowledged. */
async function publishAll(publisher: TestClient, first: number, last: number): Promise<void> {
  for (let number = first; number <= last; number++) {
    publisher.send(publish(`t/${number}`, 'x', { qos: 1, packetId: (number % 60_000) + 1 }));
    if (number % 20 === 0 || number === last) await publisher.rest();
  }
}

/** Takes `count` messages, acknowledging each; the numbers in their topics. */
async function take(client: TestClient, count: number): Promise<number[]> {
  const numbers: number[] = [];
  while (numbers.length < count) {
    const packet = await client.expect('PUBLISH');
    numbers.push(Number(packet.topic.slice(2)));
    client.send(puback(packet.packetId));
  }
  return numbers;
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

test('a queue longer than its part in memory reaches the client whole and in order, with what comes meanwhile behind it', async (t) => {
  const broker = await withAbsentee(t);
  const publisher = await broker.connect();
  await publishAll(publisher, 1, LONG);
  assert.equal(broker.broker.statistics.queuedMessages, LONG);
  const client = await broker.connect(KEPT);
  assert.deepEqual(await take(client, 50), range(1, 50));
  await publishAll(publisher, LONG + 1, LONG + 60);
  assert.deepEqual(await take(client, LONG + 10), range(51, LONG + 60));
  await client.expectNothing();
  assert.equal(broker.broker.statistics.queuedMessages, 0);
  assert.equal(broker.broker.statistics.queuedBytes, 0);
});

test('a client that leaves in the midst of a long queue gets the rest later, unacknowledged ones first', async (t) => {
  const broker = await withAbsentee(t);
  await publishAll(await broker.connect(), 1, LONG);
  const first = await broker.connect({ ...KEPT, properties: { ...KEPT.properties, receiveMaximum: 10 } });
  assert.deepEqual(await take(first, 700), range(1, 700));
  await first.drop();
  const second = await broker.connect(KEPT);
  const again = await second.expect('PUBLISH', { topic: 't/701', dup: true });
  second.send(puback(again.packetId));
  assert.deepEqual(await take(second, LONG - 701), range(702, LONG));
  await second.expectNothing();
});

test('a long queue comes whole and in order after a restart', async (t) => {
  const store = new MemoryStore();
  const before = await withAbsentee(t, store);
  await publishAll(await before.connect(), 1, LONG);
  await before.stop();
  const after = await startBroker(t, { store, limits: LIMITS });
  assert.equal(after.broker.statistics.queuedMessages, LONG);
  await publishAll(await after.connect(), LONG + 1, LONG + 5);
  const client = await after.connect(KEPT);
  assert.deepEqual(await take(client, LONG + 5), range(1, LONG + 5));
  await client.expectNothing();
});

test('a session resumed without an expiry still gets what waits in the store, and then is gone from it', async (t) => {
  const store = new MemoryStore();
  const broker = await withAbsentee(t, store);
  await publishAll(await broker.connect(), 1, LONG);
  const client = await broker.connect({ ...KEPT, properties: {} });
  assert.deepEqual(await take(client, LONG), range(1, LONG));
  await client.disconnect();
  const { sessions } = await store.open({ durable() {}, full() {}, failed() {} });
  assert.deepEqual([...sessions], []);
});

test('a session that ends while a page is on its way is no trouble', async (t) => {
  const broker = await withAbsentee(t);
  await publishAll(await broker.connect(), 1, LONG);
  const client = await broker.connect(KEPT);
  await take(client, 400);
  await client.drop();
  const other = await broker.connect({ ...KEPT, cleanStart: true });
  await settle();
  await other.expectNothing();
  assert.equal(broker.broker.statistics.queuedMessages, 0);
  assert.equal(broker.broker.statistics.queuedBytes, 0);
});
