import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MemoryStore } from '../../persistence/memory.ts';
import type { Store } from '../../src/interfaces/store.ts';
import { type BrokerOptions, refuse, startBroker, type TestBroker } from '../support/broker.ts';
import { HeldStore } from '../support/held-store.ts';
import { puback, publish, pubrec } from '../support/packets.ts';

const RULE = { filter: 'jobs/#', messagesMax: 5, bytesMax: 1_000, expirySeconds: 60 };
const KEPT = { clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 1000 } };

function start(
  t: TestContext,
  options: BrokerOptions & { rule?: Partial<typeof RULE> } = {},
): Promise<TestBroker> {
  const { rule, ...rest } = options;
  return startBroker(t, { ...rest, settings: { hold: [{ ...RULE, ...rule }] } });
}

test('messages that nobody gets are held, in order, for the first subscriber, and nobody gets them twice', async (t) => {
  const broker = await start(t);
  const publisher = await broker.connect();
  await publisher.publish('jobs/1', 'a', { qos: 1 });
  await publisher.publish('jobs/2', 'b', { qos: 2 });
  await publisher.publish('jobs/1', 'c');
  await publisher.publish('other', 'not held', { qos: 1 }).catch(() => {});
  await publisher.rest();
  assert.equal(broker.broker.statistics.heldMessages, 3);
  const first = await broker.connect();
  await first.subscribe('jobs/+', 2);
  await first.receiveAndAck('jobs/1', 'a', { qos: 1, retain: false });
  const { packetId } = await first.receive('jobs/2', 'b', { qos: 2 });
  await first.receive('jobs/1', 'c', { qos: 0 });
  first.send(pubrec(packetId));
  await first.expect('PUBREL', { packetId });
  const second = await broker.connect();
  await second.subscribe('jobs/#', 2);
  await second.expectNothing();
  assert.equal(broker.broker.statistics.heldMessages, 0);
  assert.equal(broker.broker.statistics.heldBytes, 0);
});

test('a subscriber takes what it selects, and the rest stays', async (t) => {
  const broker = await start(t);
  const publisher = await broker.connect();
  for (const topic of ['jobs/1', 'jobs/2', 'jobs']) await publisher.publish(topic, 'x', { qos: 1 });
  const one = await broker.connect();
  await one.subscribe([{ filter: 'jobs/1', qos: 1 }], 1, { subscriptionIdentifiers: [9] });
  await one.receiveAndAck('jobs/1', 'x', {
    properties: { messageExpiryInterval: 60, subscriptionIdentifiers: [9] },
  });
  await one.expectNothing();
  const rest = await broker.connect();
  await rest.subscribe('#', 1);
  await rest.receiveAndAck('jobs/2', 'x');
  await rest.receiveAndAck('jobs', 'x');
});

test('with a subscriber nothing is held; when the last one has left, holding starts again', async (t) => {
  const broker = await start(t);
  const publisher = await broker.connect();
  const subscriber = await broker.connect();
  await subscriber.subscribe('jobs/#', 1);
  await publisher.publish('jobs/1', 'live', { qos: 1 });
  await subscriber.receiveAndAck('jobs/1', 'live');
  assert.equal(broker.broker.statistics.heldMessages, 0);
  await subscriber.unsubscribe('jobs/#');
  await publisher.publish('jobs/1', 'held', { qos: 1 });
  assert.equal(broker.broker.statistics.heldMessages, 1);
  await subscriber.subscribe('jobs/#', 1);
  await subscriber.receiveAndAck('jobs/1', 'held');
});

test('a session that is away is a subscriber', async (t) => {
  const broker = await start(t);
  const away = await broker.connect(KEPT);
  await away.subscribe('jobs/#', 1);
  await away.drop();
  await (await broker.connect()).publish('jobs/1', 'x', { qos: 1 });
  assert.equal(broker.broker.statistics.heldMessages, 0);
  await (await broker.connect(KEPT)).receive('jobs/1', 'x');
});

test('a message over the bounds is refused with 0x97, and what is held stays', async (t) => {
  const broker = await start(t, { rule: { messagesMax: 1 } });
  const publisher = await broker.connect();
  await publisher.publish('jobs/1', 'held', { qos: 1 });
  publisher.send(publish('jobs/1', 'over', { qos: 1, packetId: 11 }));
  await publisher.expect('PUBACK', { packetId: 11, reasonCode: 0x97 });
  await publisher.publish('jobs/1', 'over');
  assert.equal(broker.broker.statistics.publishDropped, 2);
  const subscriber = await broker.connect();
  await subscriber.subscribe('jobs/#', 1);
  await subscriber.receiveAndAck('jobs/1', 'held');
  await subscriber.expectNothing();
});

test('a message is held no longer than the rule says, or than it lives itself', async (t) => {
  const broker = await start(t);
  const publisher = await broker.connect();
  await publisher.publish('jobs/short', 'x', { qos: 1, properties: { messageExpiryInterval: 10 } });
  await publisher.publish('jobs/long', 'x', { qos: 1, properties: { messageExpiryInterval: 100 } });
  await broker.advanceSeconds(30);
  assert.equal(broker.broker.statistics.heldMessages, 1);
  const subscriber = await broker.connect();
  await subscriber.subscribe('jobs/+', 1);
  await subscriber.receiveAndAck('jobs/long', 'x', { properties: { messageExpiryInterval: 30 } });
  await publisher.publish('none', 'x');
  await subscriber.unsubscribe('jobs/+');
  await publisher.publish('jobs/none', 'x', { qos: 1 });
  await broker.advanceSeconds(61);
  assert.equal(broker.broker.statistics.heldMessages, 0);
});

test('who may not receive a message is no subscriber to it', async (t) => {
  const broker = await start(t, { authorizer: refuse('receive jobs/secret') });
  const publisher = await broker.connect();
  await publisher.publish('jobs/secret', 'x', { qos: 1 });
  await publisher.publish('jobs/open', 'x', { qos: 1 });
  const subscriber = await broker.connect();
  await subscriber.subscribe('jobs/#', 1);
  await subscriber.receiveAndAck('jobs/open', 'x');
  await subscriber.expectNothing();
  assert.equal(broker.broker.statistics.heldMessages, 1);
});

test('a retained message is not held as well: its subscriber gets it once', async (t) => {
  const broker = await start(t);
  await (await broker.connect()).publish('jobs/1', 'x', { qos: 1, retain: true });
  const subscriber = await broker.connect();
  await subscriber.subscribe('jobs/#', 1);
  await subscriber.receiveAndAck('jobs/1', 'x', { retain: true });
  await subscriber.expectNothing();
});

test('with No Local a publisher does not get its own held messages', async (t) => {
  const broker = await start(t);
  const publisher = await broker.connect();
  await publisher.publish('jobs/1', 'x', { qos: 1 });
  await publisher.subscribe([{ filter: 'jobs/#', qos: 1, noLocal: true }], 1);
  await publisher.expectNothing();
  assert.equal(broker.broker.statistics.heldMessages, 1);
});

test('a member of a shared subscription is a subscriber', async (t) => {
  const broker = await start(t);
  await (await broker.connect()).publish('jobs/1', 'x', { qos: 1 });
  const member = await broker.connect();
  await member.subscribe('$share/g/jobs/#', 1);
  await member.receiveAndAck('jobs/1', 'x');
});

test('what a subscriber left behind unsent, without a session to come back to, waits for the next', async (t) => {
  const broker = await start(t);
  const publisher = await broker.connect();
  for (const payload of ['1', '2', '3']) await publisher.publish('jobs/1', payload, { qos: 1 });
  const hasty = await broker.connect({ clientId: 'hasty', properties: { receiveMaximum: 1 } });
  await hasty.subscribe('jobs/#', 1);
  await hasty.receive('jobs/1', '1');
  await hasty.drop();
  const next = await broker.connect();
  await next.subscribe('jobs/#', 1);
  await next.receiveAndAck('jobs/1', '2');
  await next.receiveAndAck('jobs/1', '3');
  await next.expectNothing();
});

async function restarted(t: TestContext, store: Store, rule: Partial<typeof RULE> = {}): Promise<TestBroker> {
  return await start(t, { store, rule });
}

test('after a restart what is held is still held, in order, also by a rule that is gone', async (t) => {
  for (const rule of [{}, { filter: 'else' }]) {
    const store = new MemoryStore();
    const before = await start(t, { store });
    const publisher = await before.connect();
    await publisher.publish('jobs/1', 'a', { qos: 1 });
    await publisher.publish('jobs/2', 'b', { qos: 2 });
    await before.stop();
    const after = await restarted(t, store, rule);
    assert.equal(after.broker.statistics.heldMessages, 2);
    const subscriber = await after.connect();
    await subscriber.subscribe('jobs/#', 2);
    await subscriber.receiveAndAck('jobs/1', 'a');
    await subscriber.receiveAndAck('jobs/2', 'b');
    await after.stop();
    const last = await restarted(t, store);
    assert.equal(last.broker.statistics.heldMessages, 0);
  }
});

test('a publisher is acknowledged when the store has what is held', async (t) => {
  const store = new HeldStore();
  const broker = await start(t, { store });
  const publisher = await broker.connect();
  store.hold();
  publisher.send(publish('jobs/1', 'x', { qos: 1, packetId: 1 }));
  await publisher.expectNothing();
  store.release();
  await publisher.expect('PUBACK', { packetId: 1, reasonCode: 0 });
});

test('a held message leaves when its move is durable: a crash before that neither doubles nor loses it', async (t) => {
  const store = new HeldStore();
  const broker = await start(t, { store });
  await (await broker.connect()).publish('jobs/1', 'x', { qos: 1 });
  const hasty = await broker.connect();
  store.hold();
  await hasty.subscribe('jobs/#', 0).catch(() => {});
  assert.deepEqual(await hasty.rest(), []);
  const after = await restarted(t, store.crash());
  const next = await after.connect(KEPT);
  await next.subscribe('jobs/#', 1);
  const { packetId } = await next.receive('jobs/1', 'x');
  next.send(puback(packetId));
  await next.expectNothing();
});
