import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { publish, raw } from '../../support/packets.ts';

test('a retained message takes the place of the earlier one and goes to new subscribers [MQTT-3.3.1-5] [MQTT-3.3.1-9]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  await publisher.publish('t', 'old', { qos: 2, retain: true, properties: { contentType: 'old' } });
  await publisher.publish('t', 'new', { qos: 1, retain: true });
  await publisher.drop();
  const client = await broker.connect();
  await client.subscribe('t', 2);
  await client.receiveAndAck('t', 'new', { qos: 1, retain: true, dup: false, properties: {} });
  await client.expectNothing();
});

test('an empty retained message is delivered, removes the stored one and is not stored [MQTT-3.3.1-6] [MQTT-3.3.1-7]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  await publisher.publish('t', 'x', { retain: true });
  const watcher = await broker.connect();
  await watcher.subscribe({ filter: 't', qos: 0, retainHandling: 2 });
  await publisher.publish('t', '', { retain: true });
  await watcher.expectBytes(raw(0x30, 't', 0));
  const late = await broker.connect();
  await late.subscribe('t');
  await late.expectNothing();
});

test('RETAIN 0 neither stores, replaces nor removes [MQTT-3.3.1-8]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  await publisher.publish('kept', 'x', { retain: true });
  publisher.send(publish('kept', 'y'), publish('kept', ''), publish('none', 'z'));
  const client = await broker.connect();
  await client.subscribe('#');
  await client.receive('kept', 'x', { retain: true });
  await client.expectNothing();
});

test('Retain Handling 0 brings retained messages at every SUBSCRIBE [MQTT-3.3.1-9] [MQTT-3.8.4-4]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect()).publish('t', 'x', { retain: true });
  const client = await broker.connect();
  for (let n = 0; n < 3; n++) {
    await client.subscribe({ filter: 't', retainHandling: 0 });
    await client.receive('t', 'x', { retain: true });
  }
  await client.expectNothing();
});

test('Retain Handling 1 brings retained messages to a new subscription only [MQTT-3.3.1-10]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect()).publish('t', 'x', { retain: true });
  const client = await broker.connect();
  await client.subscribe({ filter: 't', retainHandling: 1 });
  await client.receive('t', 'x', { retain: true });
  await client.subscribe({ filter: 't', retainHandling: 1 });
  await client.expectNothing();
  await client.unsubscribe('t');
  await client.subscribe({ filter: 't', retainHandling: 1 });
  await client.receive('t', 'x', { retain: true });
});

test('Retain Handling 1 in a resumed session knows that the subscription was there [MQTT-3.3.1-10]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect()).publish('t', 'x', { retain: true });
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const before = await broker.connect(kept);
  await before.subscribe({ filter: 't', retainHandling: 1 });
  await before.receive('t', 'x', { retain: true });
  await before.drop();
  const client = await broker.connect(kept);
  await client.subscribe({ filter: 't', retainHandling: 1 });
  await client.expectNothing();
});

test('Retain Handling 2 brings no retained messages [MQTT-3.3.1-11]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  await publisher.publish('t', 'x', { retain: true });
  const client = await broker.connect();
  await client.subscribe({ filter: 't', retainHandling: 2 });
  await client.expectNothing();
  await publisher.publish('t', 'live');
  await client.receive('t', 'live');
});

test('Retain As Published 0 clears RETAIN on delivery [MQTT-3.3.1-12]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe({ filter: 't', retainAsPublished: false });
  const publisher = await broker.connect();
  publisher.send(publish('t', 'x', { retain: true }), publish('t', 'y'));
  await client.receive('t', 'x', { retain: false });
  await client.receive('t', 'y', { retain: false });
});

test('Retain As Published 1 keeps RETAIN as it was published [MQTT-3.3.1-13]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe({ filter: 't', retainAsPublished: true });
  const publisher = await broker.connect();
  publisher.send(publish('t', 'x', { retain: true }), publish('t', 'y'));
  await client.receive('t', 'x', { retain: true });
  await client.receive('t', 'y', { retain: false });
});

test('Retain As Published counts for queued messages too [MQTT-3.3.1-12] [MQTT-3.3.1-13]', async (t) => {
  const broker = await startBroker(t);
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const before = await broker.connect(kept);
  await before.subscribe([
    { filter: 'as', qos: 1, retainAsPublished: true },
    { filter: 'not', qos: 1 },
  ]);
  await before.drop();
  const publisher = await broker.connect();
  await publisher.publish('as', 'x', { qos: 1, retain: true });
  await publisher.publish('not', 'x', { qos: 1, retain: true });
  const client = await broker.connect(kept);
  await client.receive('as', 'x', { retain: true });
  await client.receive('not', 'x', { retain: false });
});

test('retained messages that waited for the window come after a reconnect of the session [MQTT-3.3.1-9]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  for (const topic of ['a/1', 'a/2', 'a/3']) await publisher.publish(topic, 'x', { qos: 1, retain: true });
  const kept = {
    clientId: 'c',
    cleanStart: false,
    properties: { sessionExpiryInterval: 100, receiveMaximum: 1 },
  };
  const before = await broker.connect(kept);
  await before.subscribe('a/#', 1);
  const topics = [(await before.expect('PUBLISH', { retain: true })).topic];
  await before.drop();
  const client = await broker.connect(kept);
  for (let packet = await client.next(); packet !== null; packet = await client.next()) {
    if (packet.type !== 3) continue;
    topics.push(packet.topic);
    client.send(raw(0x40, packet.packetId >> 8, packet.packetId & 255));
  }
  assert.deepEqual([...new Set(topics)].sort(), ['a/1', 'a/2', 'a/3']);
});
