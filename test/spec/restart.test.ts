import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStore } from '../../persistence/memory.ts';
import { startBroker } from '../support/broker.ts';
import { puback, publish, pubrec, pubrel } from '../support/packets.ts';

const kept = { clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 1000 } };

test('after a restart a session has its subscriptions, with their options', async (t) => {
  const store = new MemoryStore();
  const before = await startBroker(t, { store });
  const first = await before.connect(kept);
  await first.subscribe([{ filter: 't/+', qos: 1, retainAsPublished: true, noLocal: true }], 1, {
    subscriptionIdentifiers: [7],
  });
  await first.subscribe('gone', 1);
  await first.unsubscribe('gone');
  await before.stop();
  const after = await startBroker(t, { store });
  const client = await after.connect(kept);
  assert.equal(client.connack.sessionPresent, true);
  await client.publish('t/own', 'x', { qos: 1 });
  const publisher = await after.connect();
  await publisher.publish('gone', 'x', { qos: 1 });
  await publisher.publish('t/1', 'x', { qos: 2, retain: true });
  await client.receive('t/1', 'x', { qos: 1, retain: true, properties: { subscriptionIdentifiers: [7] } });
  await client.expectNothing();
});

test('after a restart waiting and unacknowledged messages come, in order and with their packet ids', async (t) => {
  const store = new MemoryStore();
  const before = await startBroker(t, { store });
  const first = await before.connect({
    ...kept,
    properties: { sessionExpiryInterval: 1000, receiveMaximum: 3 },
  });
  await first.subscribe('t', 2);
  const publisher = await before.connect();
  for (const [payload, qos] of [
    ['acked', 1],
    ['one', 1],
    ['released', 2],
    ['two', 2],
    ['waiting', 1],
  ] as const) {
    await publisher.publish('t', payload, { qos, properties: { contentType: payload } });
  }
  first.send(puback((await first.receive('t', 'acked')).packetId));
  const one = await first.receive('t', 'one');
  const released = await first.receive('t', 'released');
  const two = await first.receive('t', 'two');
  first.send(pubrec(released.packetId));
  await first.expect('PUBREL');
  await before.stop();
  const after = await startBroker(t, { store });
  const client = await after.connect(kept);
  const packets = await client.rest();
  assert.deepEqual(
    packets.flatMap((packet) => (packet.type === 6 ? [packet.packetId] : [])),
    [released.packetId],
  );
  const publishes = packets.filter((packet) => packet.type === 3);
  assert.deepEqual(
    publishes.map((packet) => [
      Buffer.from(packet.payload).toString(),
      packet.dup,
      packet.properties.contentType,
    ]),
    [
      ['one', true, 'one'],
      ['two', true, 'two'],
      ['waiting', false, 'waiting'],
    ],
  );
  assert.deepEqual([publishes[0].packetId, publishes[1].packetId], [one.packetId, two.packetId]);
  const ids = new Set([...publishes.map((packet) => packet.packetId), released.packetId]);
  assert.equal(ids.size, 4);
});

test('after a restart a QoS 2 message is not taken twice', async (t) => {
  const store = new MemoryStore();
  const before = await startBroker(t, { store });
  const watcher = { ...kept, clientId: 'watcher' };
  await (await before.connect(watcher)).subscribe('t', 1);
  const first = await before.connect(kept);
  first.send(publish('t', 'x', { qos: 2, packetId: 5 }));
  await first.expect('PUBREC', { packetId: 5 });
  await before.stop();
  const after = await startBroker(t, { store });
  const client = await after.connect(kept);
  client.send(publish('t', 'x', { qos: 2, packetId: 5, dup: true }));
  await client.expect('PUBREC', { packetId: 5 });
  client.send(pubrel(5));
  await client.expect('PUBCOMP', { packetId: 5, reasonCode: 0 });
  const seen = await after.connect(watcher);
  await seen.receiveAndAck('t', 'x');
  await seen.expectNothing();
});

test('after a restart retained messages are there, removed ones are not', async (t) => {
  const store = new MemoryStore();
  const before = await startBroker(t, { store });
  const publisher = await before.connect();
  await publisher.publish('a', 'old', { qos: 1, retain: true });
  await publisher.publish('a', 'new', { qos: 1, retain: true, properties: { contentType: 'c' } });
  await publisher.publish('b', 'x', { qos: 1, retain: true });
  await publisher.publish('b', '', { qos: 1, retain: true });
  await before.stop();
  const client = await (await startBroker(t, { store })).connect();
  await client.subscribe('#', 1);
  await client.receive('a', 'new', { retain: true, qos: 1, properties: { contentType: 'c' } });
  await client.expectNothing();
});

test('a session that was not to be kept is gone after a restart', async (t) => {
  const store = new MemoryStore();
  const before = await startBroker(t, { store });
  await (await before.connect({ clientId: 'c' })).subscribe('t', 1);
  await before.stop();
  const client = await (await startBroker(t, { store })).connect({ clientId: 'c', cleanStart: false });
  assert.equal(client.connack.sessionPresent, false);
});

test('a session dropped by Clean Start stays dropped after a restart', async (t) => {
  const store = new MemoryStore();
  const before = await startBroker(t, { store });
  const first = await before.connect(kept);
  await first.subscribe('t', 1);
  await first.drop();
  await (await before.connect({ clientId: 'kept', cleanStart: true })).drop();
  await before.stop();
  const client = await (await startBroker(t, { store })).connect(kept);
  assert.equal(client.connack.sessionPresent, false);
});

test('a will that waits for its delay is published after a restart', async (t) => {
  const store = new MemoryStore();
  const before = await startBroker(t, { store });
  const will = { topic: 'will', qos: 1 as const, properties: { willDelayInterval: 100 } };
  await (await before.connect({ ...kept, will })).drop();
  await before.stop();
  const after = await startBroker(t, { store });
  const watcher = await after.connect();
  await watcher.subscribe('will', 1);
  await after.advanceSeconds(110);
  await watcher.receive('will', 'will');
});

test('two brokers in one process know nothing of each other', async (t) => {
  const one = await startBroker(t);
  const two = await startBroker(t);
  const here = await one.connect({ clientId: 'same' });
  const there = await two.connect({ clientId: 'same' });
  await here.subscribe('#');
  await there.subscribe('#');
  await one.connect({ clientId: 'other' }).then((client) => client.publish('t', 'one', { retain: true }));
  await here.receive('t', 'one');
  await there.expectNothing();
});

test('a broker that stops says so: 0x8B in 5.0, the close in 3.1.1', async (t) => {
  const broker = await startBroker(t);
  const five = await broker.connect();
  const four = await broker.connect({ version: 4 });
  await broker.stop();
  assert.equal((await five.expect('DISCONNECT')).reasonCode, 0x8b);
  assert.equal(await four.nextBytes(), null);
  assert.equal(four.closed, true);
});
