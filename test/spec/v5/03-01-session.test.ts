import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { pubcomp, publish, pubrec, pubrel } from '../../support/packets.ts';

const kept = (seconds: number) =>
  ({ clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: seconds } }) as const;

test('a session goes on with its subscriptions and waiting messages [MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-3.1.3-2] [MQTT-4.5.0-1]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept(100));
  await before.subscribe('t', 2);
  await before.drop();
  const publisher = await broker.connect();
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  const client = await broker.connect(kept(100));
  assert.equal(client.connack.sessionPresent, true);
  await client.receiveAndAck('t', 'one', { qos: 1, dup: false });
  await client.receiveAndAck('t', 'two', { qos: 2, dup: false });
  await publisher.publish('t', 'three', { qos: 1 });
  await client.receive('t', 'three');
});

test('a session is discarded when its expiry has passed after the close, not before [MQTT-4.1.0-2] [MQTT-3.1.2-23]', async (t) => {
  const broker = await startBroker(t);
  const first = await broker.connect(kept(100));
  await first.subscribe('t', 1);
  await first.drop();
  await broker.advanceSeconds(95);
  const second = await broker.connect(kept(100));
  assert.equal(second.connack.sessionPresent, true);
  await second.drop();
  await broker.advanceSeconds(105);
  const third = await broker.connect(kept(100));
  assert.equal(third.connack.sessionPresent, false);
  await (await broker.connect()).publish('t', 'x', { qos: 1 });
  await third.expectNothing();
});

test('without a Session Expiry Interval the session ends with the connection [MQTT-4.1.0-2] [MQTT-3.1.2-6]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect({ clientId: 'c' });
  await before.subscribe('t', 1);
  await before.drop();
  const client = await broker.connect({ clientId: 'c', cleanStart: false });
  assert.equal(client.connack.sessionPresent, false);
});

test('a session lasts while its connection is open, beyond its expiry [MQTT-4.1.0-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(kept(10));
  await client.subscribe('t', 1);
  await broker.advanceSeconds(1000);
  await (await broker.connect()).publish('t', 'x', { qos: 1 });
  await client.receive('t', 'x');
});

test('DISCONNECT can shorten the expiry [MQTT-4.1.0-2]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept(1000));
  await before.disconnect(0, { sessionExpiryInterval: 10 });
  await broker.advanceSeconds(15);
  assert.equal((await broker.connect(kept(1000))).connack.sessionPresent, false);
});

test('a lower limit for the expiry is told and counts [MQTT-4.1.0-2]', async (t) => {
  const broker = await startBroker(t, { limits: { sessionExpiryMaxSeconds: 50 } });
  const before = await broker.connect(kept(1000));
  assert.equal(before.connack.properties.sessionExpiryInterval, 50);
  await before.drop();
  await broker.advanceSeconds(55);
  assert.equal((await broker.connect(kept(1000))).connack.sessionPresent, false);
});

test('Clean Start 1 drops the session, in a takeover too [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept(100));
  await before.subscribe('t', 1);
  const client = await broker.connect({ ...kept(100), cleanStart: true });
  assert.equal(client.connack.sessionPresent, false);
  await before.expectDisconnect(0x8e);
  await (await broker.connect()).publish('t', 'x', { qos: 1 });
  await client.expectNothing();
});

test('unacknowledged messages and PUBRELs are sent again in order, with DUP and their packet ids [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.6.0-1]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept(100));
  await before.subscribe('t', 2);
  const publisher = await broker.connect();
  for (const [payload, qos] of [
    ['one', 1],
    ['two', 2],
    ['three', 2],
    ['four', 1],
  ] as const) {
    await publisher.publish('t', payload, { qos });
  }
  const one = await before.receive('t', 'one');
  const two = await before.receive('t', 'two');
  const three = await before.receive('t', 'three');
  const four = await before.receive('t', 'four');
  before.send(pubrec(two.packetId));
  await before.expect('PUBREL', { packetId: two.packetId });
  await before.drop();
  const client = await broker.connect(kept(100));
  const resent = await client.rest();
  // The specification orders the PUBLISH packets among themselves; the PUBREL may come anywhere.
  assert.deepEqual(
    resent.flatMap((packet) => (packet.type === 6 ? [packet.packetId] : [])),
    [two.packetId],
  );
  assert.deepEqual(
    resent.filter((packet) => packet.type === 3).map(({ packetId, qos, dup }) => [packetId, qos, dup]),
    [
      [one.packetId, 1, true],
      [three.packetId, 2, true],
      [four.packetId, 1, true],
    ],
  );
  assert.equal(resent.length, 4);
});

test('after PUBREL the PUBLISH is not sent again; after PUBCOMP nothing is [MQTT-4.3.3-6] [MQTT-4.3.3-5] [MQTT-4.4.0-1]', async (t) => {
  const broker = await startBroker(t);
  const first = await broker.connect(kept(100));
  await first.subscribe('t', 2);
  await (await broker.connect()).publish('t', 'x', { qos: 2 });
  const { packetId } = await first.receive('t', 'x');
  first.send(pubrec(packetId));
  await first.expect('PUBREL', { packetId });
  await first.drop();
  const second = await broker.connect(kept(100));
  await second.expect('PUBREL', { packetId, reasonCode: 0 });
  await second.expectNothing();
  second.send(pubcomp(packetId));
  await second.drop();
  await (await broker.connect(kept(100))).expectNothing();
});

test('nothing is sent again on an open connection [MQTT-4.4.0-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe('t', 2);
  await (await broker.connect()).publish('t', 'x', { qos: 2 });
  const { packetId } = await client.receive('t', 'x');
  await broker.advanceSeconds(3600);
  await client.expectNothing();
  client.send(pubrec(packetId));
  await client.expect('PUBREL', { packetId });
  await broker.advanceSeconds(3600);
  await client.expectNothing();
});

test('a QoS 2 exchange of the publisher goes on in its next connection [MQTT-4.3.3-10] [MQTT-4.1.0-1]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('t', 2);
  const before = await broker.connect(kept(100));
  before.send(publish('t', 'x', { qos: 2, packetId: 9 }));
  await before.expect('PUBREC', { packetId: 9, reasonCode: 0 });
  await watcher.receiveAndAck('t', 'x');
  await before.drop();
  const client = await broker.connect(kept(100));
  client.send(publish('t', 'x', { qos: 2, packetId: 9, dup: true }));
  await client.expect('PUBREC', { packetId: 9 });
  client.send(pubrel(9));
  await client.expect('PUBCOMP', { packetId: 9, reasonCode: 0 });
  await watcher.expectNothing();
});
