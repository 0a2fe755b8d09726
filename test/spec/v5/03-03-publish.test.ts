import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { publish, raw } from '../../support/packets.ts';

test('QoS 3 is malformed [MQTT-3.3.1-4]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0x36, 't', 0, 1, 0, 0x78));
  await client.expectDisconnect(0x81);
});

test('DUP with QoS 0 is malformed or a protocol error [MQTT-3.3.1-2]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0x38, 't', 0, 0x78));
  await client.expectDisconnect(0x81, 0x82);
});

test('DUP of the publisher is not passed on [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('t', 2);
  const client = await broker.connect();
  client.send(publish('t', 'one', { qos: 1, packetId: 1, dup: true }));
  client.send(publish('t', 'two', { qos: 2, packetId: 2, dup: true }));
  await watcher.receive('t', 'one', { dup: false, qos: 1 });
  await watcher.receive('t', 'two', { dup: false, qos: 2 });
});

for (const topic of ['#', '+', 'a/#', 'a/+/b', 'a+']) {
  test(`the topic name ${topic} closes the connection with a reason code [MQTT-3.3.2-2] [MQTT-4.7.0-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(publish(topic, 'x'));
    await client.expectDisconnect(0x81, 0x82, 0x90);
  });
}

test('an empty topic name without an alias is a protocol error [MQTT-4.7.3-1] [MQTT-3.3.2-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0x30, '', 0, 0x78));
  await client.expectDisconnect(0x82);
});

test('the topic a subscriber gets is the published one, which its filter matches [MQTT-3.3.2-3]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('a/+/c');
  const publisher = await broker.connect();
  publisher.send(publish('a/b/c', 'x', { properties: { topicAlias: 1 } }));
  publisher.send(publish('', 'y', { properties: { topicAlias: 1 } }));
  await watcher.receive('a/b/c', 'x');
  await watcher.receive('a/b/c', 'y');
});

test('QoS 0 is answered by nothing, QoS 1 by PUBACK, QoS 2 by PUBREC [MQTT-3.3.4-1]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect()).subscribe('t');
  const client = await broker.connect();
  client.send(publish('t', 'x'), publish('t', 'x', { qos: 1, packetId: 1 }));
  await client.expect('PUBACK', { packetId: 1, reasonCode: 0 });
  client.send(publish('t', 'x', { qos: 2, packetId: 2 }));
  await client.expect('PUBREC', { packetId: 2, reasonCode: 0 });
  await client.expectNothing();
});

test('overlapping subscriptions bring one copy, at the highest QoS, with all their identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe('a/b', 0, { subscriptionIdentifiers: [10] });
  await client.subscribe('a/#', 2, { subscriptionIdentifiers: [268_435_455] });
  await client.subscribe('a/+', 1);
  await (await broker.connect()).publish('a/b', 'x', { qos: 2 });
  const packet = await client.receiveAndAck('a/b', 'x', { qos: 2 });
  assert.deepEqual([...(packet.properties.subscriptionIdentifiers ?? [])].sort(), [10, 268_435_455]);
  await client.expectNothing();
});

test('a subscription without identifier brings none; a replaced one brings the new one [MQTT-3.3.4-3] [MQTT-3.8.4-3]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const publisher = await broker.connect();
  await client.subscribe('t', 0, { subscriptionIdentifiers: [1] });
  await client.subscribe('t', 0, { subscriptionIdentifiers: [2] });
  await publisher.publish('t', 'x');
  await client.receive('t', 'x', { properties: { subscriptionIdentifiers: [2] } });
  await client.subscribe('t', 0);
  await publisher.publish('t', 'y');
  await client.receive('t', 'y', { properties: {} });
});

test('retained and queued messages carry the identifier too [MQTT-3.3.4-3]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  await publisher.publish('t', 'kept', { qos: 1, retain: true });
  const options = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const before = await broker.connect(options);
  await before.subscribe('t', 1, { subscriptionIdentifiers: [5] });
  await before.receiveAndAck('t', 'kept', { properties: { subscriptionIdentifiers: [5] } });
  await before.drop();
  await publisher.publish('t', 'queued', { qos: 1 });
  const client = await broker.connect(options);
  await client.receive('t', 'queued', { properties: { subscriptionIdentifiers: [5] } });
});

test('a PUBLISH with a subscription identifier from a client is a protocol error [MQTT-3.3.4-6]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0x30, 't', 2, 0x0b, 1, 0x78));
  await client.expectDisconnect(0x82);
});

test('a refused PUBLISH gets 0x87 in PUBACK and PUBREC, and goes to nobody [MQTT-3.4.2-1] [MQTT-3.5.2-1]', async (t) => {
  const broker = await startBroker(t, {
    authorizer: { generation: 0, may: (_identity, action) => action !== 'publish' },
  });
  const watcher = await broker.connect();
  await watcher.subscribe('t', 2);
  const client = await broker.connect();
  client.send(publish('t', 'x', { qos: 1, packetId: 1 }));
  await client.expect('PUBACK', { packetId: 1, reasonCode: 0x87 });
  client.send(publish('t', 'x', { qos: 2, packetId: 2 }));
  await client.expect('PUBREC', { packetId: 2, reasonCode: 0x87 });
  client.send(publish('t', 'x'));
  await client.expectNothing();
  await watcher.expectNothing();
});

test('messages of one publisher arrive in their order [MQTT-4.6.0-5] [MQTT-4.6.0-6]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect({ properties: { receiveMaximum: 3 } });
  await watcher.subscribe('t', 1);
  const publisher = await broker.connect();
  for (let n = 0; n < 100; n++) await publisher.publish('t', String(n), { qos: 1 });
  for (let n = 0; n < 100; n++) await watcher.receiveAndAck('t', String(n), { qos: 1 });
  for (let n = 0; n < 100; n++) publisher.send(publish('t', String(n)));
  for (let n = 0; n < 100; n++) await watcher.receive('t', String(n), { qos: 0 });
});
