import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { connect, publish, raw } from '../../support/packets.ts';

const V = { version: 4 } as const;
const KEPT = { version: 4, clientId: 'kept', cleanStart: false } as const;

test('clean session 0 without a stored session makes one: session present 0 [MQTT-3.1.2-4] [MQTT-3.2.2-3]', async (t) => {
  const client = (await startBroker(t)).client(4);
  client.send(connect(KEPT));
  await client.expectBytes(raw(0x20, 0, 0));
});

test('clean session 0 goes on with the stored subscriptions: session present 1 [MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.1.3-2]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(KEPT);
  await before.subscribe('t', 1);
  await before.disconnect();
  const client = broker.client(4);
  client.send(connect(KEPT));
  await client.expectBytes(raw(0x20, 1, 0));
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  await client.receive('t', 'x', { qos: 1, dup: false });
});

test('messages at QoS 1 and 2 wait for a disconnected session, in order [MQTT-3.1.2-5] [MQTT-4.5.0-1] [MQTT-4.1.0-1]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(KEPT);
  await before.subscribe('t/#', 2);
  await before.drop();
  const publisher = await broker.connect(V);
  await publisher.publish('t/1', 'one', { qos: 1 });
  await publisher.publish('t/2', 'two', { qos: 2 });
  await publisher.publish('t/3', 'three', { qos: 1 });
  const client = await broker.connect(KEPT);
  await client.receive('t/1', 'one', { qos: 1, dup: false });
  await client.receive('t/2', 'two', { qos: 2, dup: false });
  await client.receive('t/3', 'three', { qos: 1, dup: false });
  await client.expectNothing();
});

test('the session outlives several connections, however they end [MQTT-4.1.0-1] [MQTT-3.1.2-4]', async (t) => {
  const broker = await startBroker(t);
  const first = await broker.connect(KEPT);
  await first.subscribe('t', 1);
  await first.drop();
  await (await broker.connect(KEPT)).disconnect();
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'x', { qos: 1 });
  const third = await broker.connect(KEPT);
  await third.receiveAndAck('t', 'x');
  await third.expectNothing();
});

test('a session lasts while its connection is open, however long [MQTT-4.1.0-2] [MQTT-4.1.0-1]', async (t) => {
  const broker = await startBroker(t, { limits: { sessionExpiry3xSeconds: 60 } });
  const client = await broker.connect(KEPT);
  await client.subscribe('t', 1);
  await broker.advanceSeconds(1000);
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  await client.receive('t', 'x');
});

test('clean session 1 drops the stored session: session present 0, no subscription, no message [MQTT-3.1.2-6] [MQTT-3.1.4-3] [MQTT-3.2.2-1]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(KEPT);
  await before.subscribe('t', 1);
  await before.disconnect();
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'queued', { qos: 1 });
  const client = broker.client(4);
  client.send(connect({ ...KEPT, cleanStart: true }));
  await client.expectBytes(raw(0x20, 0, 0));
  await publisher.publish('t', 'live', { qos: 1 });
  await client.expectNothing();
});

test('nothing of a clean session is used again [MQTT-3.1.2-6] [MQTT-3.2.2-3]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect({ ...KEPT, cleanStart: true });
  await before.subscribe('t', 1);
  await before.disconnect();
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  const client = broker.client(4);
  client.send(connect(KEPT));
  await client.expectBytes(raw(0x20, 0, 0));
  await client.expectNothing();
});

test('a clean session that takes over a stored one leaves nothing of it [MQTT-3.1.2-6] [MQTT-3.1.4-3]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(KEPT);
  await before.subscribe('t', 1);
  const clean = await broker.connect({ ...KEPT, cleanStart: true });
  await before.expectClosed();
  await clean.disconnect();
  const client = broker.client(4);
  client.send(connect(KEPT));
  await client.expectBytes(raw(0x20, 0, 0));
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  await client.expectNothing();
});

test('a stored session goes on in the connection that takes it over [MQTT-3.1.4-2] [MQTT-3.1.2-4] [MQTT-3.2.2-2]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(KEPT);
  await before.subscribe('t', 1);
  const client = broker.client(4);
  client.send(connect(KEPT));
  await before.expectClosed();
  await client.expectBytes(raw(0x20, 1, 0));
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  await client.receive('t', 'x');
});

test('retained messages stay when the session that published them ends [MQTT-3.1.2-7]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect({ ...KEPT });
  await publisher.publish('t', 'x', { qos: 1, retain: true });
  await publisher.disconnect();
  await (await broker.connect({ ...KEPT, cleanStart: true })).disconnect();
  const client = await broker.connect(V);
  await client.subscribe('t', 1);
  await client.receive('t', 'x', { retain: true });
});

test('unacknowledged messages are sent again in order, with DUP and their packet ids [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-2.3.1-3] [MQTT-4.6.0-1]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(KEPT);
  await before.subscribe('t', 2);
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  await publisher.publish('t', 'three', { qos: 1 });
  const one = await before.receive('t', 'one', { dup: false });
  const two = await before.receive('t', 'two', { dup: false });
  const three = await before.receive('t', 'three', { dup: false });
  await before.drop();
  const client = await broker.connect(KEPT);
  await client.receive('t', 'one', { dup: true, packetId: one.packetId, qos: 1 });
  await client.receive('t', 'two', { dup: true, packetId: two.packetId, qos: 2 });
  await client.receive('t', 'three', { dup: true, packetId: three.packetId, qos: 1 });
  await client.expectNothing();
});

test('what was acknowledged is not sent again [MQTT-4.4.0-1]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(KEPT);
  await before.subscribe('t', 2);
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  await before.receiveAndAck('t', 'one');
  await before.receiveAndAck('t', 'two');
  await before.drop();
  await (await broker.connect(KEPT)).expectNothing();
});

test('nothing is sent again on an open connection, however long the acknowledgement takes [MQTT-4.4.0-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('t', 1);
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  await client.receive('t', 'x');
  await broker.advanceSeconds(3600);
  await client.expectNothing();
});

test('a QoS 2 exchange of the publisher goes on in its next connection [MQTT-4.3.3-2] [MQTT-4.1.0-1]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t', 2);
  const before = await broker.connect(KEPT);
  before.send(publish('t', 'x', { qos: 2, packetId: 9 }));
  await before.expectBytes(raw(0x50, 0, 9));
  await watcher.receiveAndAck('t', 'x');
  await before.drop();
  const client = await broker.connect(KEPT);
  client.send(publish('t', 'x', { qos: 2, packetId: 9, dup: true }));
  await client.expectBytes(raw(0x50, 0, 9));
  await watcher.expectNothing();
  client.send(raw(0x62, 0, 9));
  await client.expectBytes(raw(0x70, 0, 9));
  await watcher.expectNothing();
});
