import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { puback, publish } from '../support/packets.ts';

const KEPT = { clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 1000 } };

async function withAbsentee(
  t: TestContext,
  queueWhenFull: 'drop-newest' | 'drop-oldest',
  limits: object,
): Promise<TestBroker> {
  const broker = await startBroker(t, { limits, settings: { queueWhenFull } });
  const client = await broker.connect(KEPT);
  await client.subscribe('t', 1);
  await client.drop();
  return broker;
}

test('a sender whose message no receiver has room for is told so, at QoS 1 and 2', async (t) => {
  const broker = await withAbsentee(t, 'drop-newest', { queueMessagesMax: 2 });
  const publisher = await broker.connect();
  await publisher.publish('t', '1', { qos: 1 });
  await publisher.publish('t', '2', { qos: 2 });
  publisher.send(publish('t', '3', { qos: 1, packetId: 11 }));
  await publisher.expect('PUBACK', { packetId: 11, reasonCode: 0x97 });
  publisher.send(publish('t', '4', { qos: 2, packetId: 12 }));
  await publisher.expect('PUBREC', { packetId: 12, reasonCode: 0x97 });
  assert.equal(broker.broker.statistics.publishDropped, 2);
  const client = await broker.connect(KEPT);
  await client.receiveAndAck('t', '1');
  await client.receiveAndAck('t', '2');
  await client.expectNothing();
});

test('a message that somebody takes is acknowledged, whoever else has no room for it', async (t) => {
  const broker = await withAbsentee(t, 'drop-newest', { queueMessagesMax: 1 });
  const publisher = await broker.connect();
  await publisher.publish('t', '1', { qos: 1 });
  const online = await broker.connect();
  await online.subscribe('t', 1);
  publisher.send(publish('t', '2', { qos: 1, packetId: 11 }));
  await publisher.expect('PUBACK', { packetId: 11, reasonCode: 0 });
  await online.receive('t', '2');
});

test('a 3.1.1 sender has no answer for a full queue, and goes on', async (t) => {
  const broker = await withAbsentee(t, 'drop-newest', { queueMessagesMax: 1 });
  const publisher = await broker.connect({ version: 4 });
  await publisher.publish('t', '1', { qos: 1 });
  await publisher.publish('t', '2', { qos: 1 });
  assert.equal(broker.broker.statistics.publishDropped, 1);
});

test('where the oldest messages give way, the newest come', async (t) => {
  const broker = await withAbsentee(t, 'drop-oldest', { queueMessagesMax: 3 });
  const publisher = await broker.connect();
  for (const payload of ['1', '2', '3', '4', '5']) await publisher.publish('t', payload, { qos: 1 });
  assert.equal(broker.broker.statistics.publishDropped, 2);
  assert.equal(broker.broker.statistics.queuedMessages, 3);
  const client = await broker.connect(KEPT);
  for (const payload of ['3', '4', '5']) await client.receiveAndAck('t', payload);
  await client.expectNothing();
});

test('a large message makes as many give way as it needs, and one over the whole bound is refused', async (t) => {
  const broker = await withAbsentee(t, 'drop-oldest', { queueBytesMax: 100 });
  const publisher = await broker.connect();
  for (let number = 1; number <= 4; number++)
    await publisher.publish('t', `${number}`.repeat(20), { qos: 1 });
  await publisher.publish('t', '5'.repeat(50), { qos: 1 });
  publisher.send(publish('t', '6'.repeat(100), { qos: 1, packetId: 11 }));
  await publisher.expect('PUBACK', { packetId: 11, reasonCode: 0x97 });
  const client = await broker.connect(KEPT);
  await client.receiveAndAck('t', '3'.repeat(20));
  await client.receiveAndAck('t', '4'.repeat(20));
  await client.receiveAndAck('t', '5'.repeat(50));
  await client.expectNothing();
});

test('the oldest give way in a queue that is in the store alone, too', async (t) => {
  const broker = await withAbsentee(t, 'drop-oldest', { queueMessagesMax: 2_500 });
  const publisher = await broker.connect();
  for (let number = 1; number <= 3_000; number++) {
    publisher.send(publish('t', `${number}`, { qos: 1, packetId: number }));
    if (number % 20 === 0) await publisher.rest();
  }
  const client = await broker.connect(KEPT);
  const payloads: string[] = [];
  for (let count = 0; count < 2_500; count++) {
    const packet = await client.expect('PUBLISH');
    payloads.push(Buffer.from(packet.payload).toString());
    client.send(puback(packet.packetId));
  }
  assert.deepEqual([payloads[0], payloads[2_499]], ['501', '3000']);
  await client.expectNothing();
});

test('30 000 retained messages reach a QoS 1 subscriber whole, through its window', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect({ version: 4 });
  for (let number = 1; number <= 30_000; number++) {
    publisher.send(publish(`r/${number}`, 'x', { qos: 1, packetId: number, retain: true }));
    if (number % 500 === 0) await publisher.rest();
  }
  const client = await broker.connect({ ...KEPT, properties: { ...KEPT.properties, receiveMaximum: 100 } });
  await client.subscribe('r/#', 1);
  const topics = new Set<string>();
  for (let count = 0; count < 30_000; count++) {
    const { topic, packetId } = await client.expect('PUBLISH', { qos: 1, retain: true });
    topics.add(topic);
    client.send(puback(packetId));
  }
  assert.equal(topics.size, 30_000);
  await client.expectNothing();
});
