import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuse, startBroker } from '../../support/broker.ts';
import { pubcomp, publish, pubrec, raw, subscribe, unsubscribe } from '../../support/packets.ts';

const V = { version: 4 } as const;

for (const flags of [0, 1, 3, 6, 0xa]) {
  test(`SUBSCRIBE with the flags ${flags} closes the connection [MQTT-3.8.1-1]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(raw(0x80 | flags, 0, 1, 't', 0));
    await client.expectClosed();
  });
  test(`UNSUBSCRIBE with the flags ${flags} closes the connection [MQTT-3.10.1-1]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(raw(0xa0 | flags, 0, 1, 't'));
    await client.expectClosed();
  });
}

test('a server without wildcard subscriptions refuses such filters and grants others [MQTT-3.8.3-2]', async (t) => {
  const broker = await startBroker(t, { limits: { wildcardSubscriptionAvailable: false } });
  const client = await broker.connect(V);
  client.send(subscribe(1, ['a/#', '+/b', 'a/b']));
  await client.expectBytes(raw(0x90, 0, 1, 0x80, 0x80, 0));
});

test('SUBSCRIBE without a filter closes the connection [MQTT-3.8.3-3]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(raw(0x82, 0, 1));
  await client.expectClosed();
});

for (const options of [3, 4, 0x10, 0x80]) {
  test(`SUBSCRIBE with the QoS byte ${options} closes the connection [MQTT-3.8.3-4]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(raw(0x82, 0, 1, 't', options));
    await client.expectClosed();
  });
}

test('SUBACK has the packet id and one code a filter, in their order [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2]', async (t) => {
  const client = await (await startBroker(t, { authorizer: refuse('subscribe no') })).connect(V);
  const filters = [
    { filter: 'two', qos: 2 },
    { filter: 'zero', qos: 0 },
    { filter: 'no', qos: 1 },
    { filter: 'one', qos: 1 },
  ] as const;
  client.send(subscribe(0x0102, filters));
  await client.expectBytes(raw(0x90, 1, 2, 2, 0, 0x80, 1));
});

test('a refused filter brings no messages [MQTT-3.8.4-5]', async (t) => {
  const broker = await startBroker(t, { authorizer: refuse('subscribe no') });
  const client = await broker.connect(V);
  client.send(subscribe(1, ['no']));
  await client.expectBytes(raw(0x90, 0, 1, 0x80));
  await (await broker.connect(V)).publish('no', 'x');
  await client.expectNothing();
});

test('several filters in one SUBSCRIBE act like several SUBSCRIBEs [MQTT-3.8.4-4]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect(V);
  await publisher.publish('a', 'kept a', { retain: true });
  await publisher.publish('b', 'kept b', { retain: true });
  const client = await broker.connect(V);
  client.send(subscribe(1, ['a', { filter: 'b', qos: 1 }, { filter: 'a', qos: 1 }]));
  await client.expect('SUBACK', { reasonCodes: [0, 1, 1] });
  for (const payload of ['kept a', 'kept b', 'kept a']) await client.receive(payload.slice(-1), payload);
  await publisher.publish('a', 'x', { qos: 1 });
  await client.receive('a', 'x', { qos: 1 });
  await client.expectNothing();
});

test('the same filter again replaces the subscription and brings retained messages again [MQTT-3.8.4-3]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'kept', { qos: 1, retain: true });
  const client = await broker.connect(V);
  await client.subscribe('t', 0);
  await client.receive('t', 'kept', { qos: 0, retain: true });
  await client.subscribe('t', 1);
  await client.receiveAndAck('t', 'kept', { qos: 1, retain: true });
  await publisher.publish('t', 'x', { qos: 1 });
  await client.receiveAndAck('t', 'x', { qos: 1 });
  await client.expectNothing();
});

test('replacing a subscription loses no message in flight [MQTT-3.8.4-3]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect(V);
  const client = await broker.connect(V);
  await client.subscribe('t', 2);
  await publisher.publish('t', 'x', { qos: 2 });
  const { packetId } = await client.receive('t', 'x', { qos: 2 });
  await client.subscribe('t', 0);
  client.send(pubrec(packetId));
  await client.expect('PUBREL', { packetId });
  client.send(pubcomp(packetId));
});

for (const [granted, published, delivered] of [
  [0, 2, 0],
  [1, 2, 1],
  [2, 2, 2],
  [2, 1, 1],
  [1, 0, 0],
] as const) {
  test(`published at QoS ${published}, granted ${granted}: delivered at ${delivered} [MQTT-3.8.4-6]`, async (t) => {
    const broker = await startBroker(t);
    const client = await broker.connect(V);
    await client.subscribe('t', granted);
    await (await broker.connect(V)).publish('t', 'x', { qos: published });
    await client.receive('t', 'x', { qos: delivered });
    await client.expectNothing();
  });
}

test('UNSUBSCRIBE without a filter closes the connection [MQTT-3.10.3-2]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(raw(0xa2, 0, 1));
  await client.expectClosed();
});

test('filters to remove are compared character by character [MQTT-3.10.4-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe(['a/+', 'B']);
  await client.unsubscribe('a/b', 'a/#', 'b', '+', '#', 'a/+/');
  const publisher = await broker.connect(V);
  await publisher.publish('a/b', 'x');
  await client.receive('a/b', 'x');
  await publisher.publish('B', 'y');
  await client.receive('B', 'y');
  await client.unsubscribe('a/+');
  await publisher.publish('a/b', 'z');
  await client.expectNothing();
});

test('after UNSUBSCRIBE nothing new is delivered or queued [MQTT-3.10.4-2]', async (t) => {
  const broker = await startBroker(t);
  const kept = { ...V, clientId: 'c', cleanStart: false };
  const before = await broker.connect(kept);
  await before.subscribe('t', 1);
  await before.unsubscribe('t');
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'x', { qos: 1 });
  await before.expectNothing();
  await before.drop();
  await publisher.publish('t', 'y', { qos: 1 });
  await (await broker.connect(kept)).expectNothing();
});

test('a delivery begun before UNSUBSCRIBE is completed [MQTT-3.10.4-3]', async (t) => {
  const broker = await startBroker(t);
  const kept = { ...V, clientId: 'c', cleanStart: false };
  const before = await broker.connect(kept);
  await before.subscribe('t', 2);
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  const one = await before.receive('t', 'one');
  const two = await before.receive('t', 'two');
  await before.unsubscribe('t');
  before.send(pubrec(two.packetId));
  await before.expect('PUBREL', { packetId: two.packetId });
  await before.drop();
  const client = await broker.connect(kept);
  const resent = await client.rest();
  const publishes = resent.filter((packet) => packet.type === 3);
  assert.deepEqual(
    publishes.map(({ packetId, dup }) => [packetId, dup]),
    [[one.packetId, true]],
  );
  assert.deepEqual(
    resent.flatMap((packet) => (packet.type === 6 ? [packet.packetId] : [])),
    [two.packetId],
  );
});

test('UNSUBACK comes even when nothing was removed, one for all filters [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(unsubscribe(0x1111, ['none', 'of', 'these']));
  await client.expectBytes(raw(0xb0, 0x11, 0x11));
  await client.expectNothing();
});

test('one UNSUBSCRIBE removes all its filters [MQTT-3.10.4-6]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe(['a', 'b', 'c']);
  await client.unsubscribe('a', 'none', 'c');
  const publisher = await broker.connect(V);
  publisher.send(publish('a', 'x'), publish('b', 'x'), publish('c', 'x'));
  await client.receive('b', 'x');
  await client.expectNothing();
});
