import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuse, startBroker } from '../../support/broker.ts';
import { publish, pubrec, raw, subscribe, unsubscribe } from '../../support/packets.ts';

for (const flags of [0, 1, 3, 6, 0xa]) {
  test(`SUBSCRIBE with the flags ${flags} is malformed [MQTT-3.8.1-1] [MQTT-2.1.3-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0x80 | flags, 0, 1, 0, 't', 0));
    await client.expectDisconnect(0x81);
  });
  test(`UNSUBSCRIBE with the flags ${flags} is malformed [MQTT-3.10.1-1] [MQTT-2.1.3-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0xa0 | flags, 0, 1, 0, 't'));
    await client.expectDisconnect(0x81);
  });
}

test('SUBSCRIBE without a filter is a protocol error [MQTT-3.8.3-2]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0x82, 0, 1, 0));
  await client.expectDisconnect(0x81, 0x82);
});

test('UNSUBSCRIBE without a filter is a protocol error [MQTT-3.10.3-2]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0xa2, 0, 1, 0));
  await client.expectDisconnect(0x81, 0x82);
});

for (const options of [0x40, 0x80, 0xc0]) {
  test(`subscription options with the reserved bits ${options} are malformed [MQTT-3.8.3-5]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0x82, 0, 1, 0, 't', options));
    await client.expectDisconnect(0x81);
  });
}

for (const [what, options] of [
  ['QoS 3', 0x03],
  ['Retain Handling 3', 0x30],
] as const) {
  test(`subscription options with ${what} end the connection [MQTT-4.13.1-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0x82, 0, 1, 0, 't', options));
    await client.expectDisconnect(0x81, 0x82);
  });
}

test('with No Local own messages do not come back, others do [MQTT-3.8.3-3]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe({ filter: 't', qos: 1, noLocal: true });
  await client.publish('t', 'own', { qos: 1, retain: true });
  await client.expectNothing();
  await (await broker.connect()).publish('t', 'other', { qos: 1 });
  await client.receive('t', 'other');
});

test('No Local counts by client id: messages of an earlier connection do not come back either [MQTT-3.8.3-3]', async (t) => {
  const broker = await startBroker(t);
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const before = await broker.connect(kept);
  await before.subscribe({ filter: 't', qos: 1, noLocal: true });
  await before.drop();
  const again = await broker.connect(kept);
  await again.publish('t', 'own', { qos: 1 });
  await again.expectNothing();
});

test('without No Local own messages come back [MQTT-3.8.3-3]', async (t) => {
  const client = await (await startBroker(t)).connect();
  await client.subscribe('t');
  client.send(publish('t', 'own'));
  await client.receive('t', 'own');
});

test('No Local on a shared subscription is a protocol error [MQTT-3.8.3-4]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(subscribe(1, [{ filter: '$share/g/t', noLocal: true }]));
  await client.expectDisconnect(0x82);
});

test('SUBACK has the packet id and one code a filter, in their order [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2]', async (t) => {
  const broker = await startBroker(t, {
    authorizer: refuse('subscribe no'),
    limits: { wildcardSubscriptionAvailable: false, sharedSubscriptionAvailable: false },
  });
  const client = await broker.connect();
  client.send(subscribe(0x0102, [{ filter: 'two', qos: 2 }, 'zero', 'no', { filter: 'one', qos: 1 }]));
  await client.expect('SUBACK', { packetId: 0x0102, reasonCodes: [2, 0, 0x87, 1] });
  client.send(subscribe(3, ['a/#', 'a', '$share/g/t']));
  await client.expect('SUBACK', { packetId: 3, reasonCodes: [0xa2, 0, 0x9e] });
});

test('a subscription identifier where they are not available is refused [MQTT-3.9.3-2]', async (t) => {
  const broker = await startBroker(t, { limits: { subscriptionIdentifiersAvailable: false } });
  const client = await broker.connect();
  client.send(subscribe(1, ['t'], { subscriptionIdentifiers: [1] }));
  const packet = await client.next();
  const code = packet?.type === 9 ? packet.reasonCodes[0] : packet?.type === 14 ? packet.reasonCode : -1;
  if (code !== 0xa1)
    throw new Error(`SUBACK or DISCONNECT with 0xA1 expected, came ${JSON.stringify(packet)}`);
});

test('the same filter again replaces the subscription with its options [MQTT-3.8.4-3] [MQTT-3.8.4-4]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  await publisher.publish('t', 'kept', { qos: 2, retain: true });
  const client = await broker.connect();
  await client.subscribe({ filter: 't', qos: 2, retainAsPublished: true });
  await client.receiveAndAck('t', 'kept', { qos: 2, retain: true });
  await client.subscribe({ filter: 't', qos: 1 });
  await client.receiveAndAck('t', 'kept', { qos: 1, retain: true });
  await publisher.publish('t', 'x', { qos: 2, retain: true });
  await client.receiveAndAck('t', 'x', { qos: 1, retain: false });
  await client.expectNothing();
});

test('replacing a subscription loses no message in flight or waiting [MQTT-3.8.4-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ properties: { receiveMaximum: 1 } });
  await client.subscribe('t', 1);
  const publisher = await broker.connect();
  for (const payload of ['1', '2', '3']) await publisher.publish('t', payload, { qos: 1 });
  const first = await client.receive('t', '1');
  await client.subscribe('t', 1);
  client.send(raw(0x40, first.packetId >> 8, first.packetId & 255));
  await client.receiveAndAck('t', '2');
  await client.receiveAndAck('t', '3');
});

test('several filters in one SUBSCRIBE act like several SUBSCRIBEs [MQTT-3.8.4-5]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  await publisher.publish('a', 'kept a', { retain: true });
  await publisher.publish('b', 'kept b', { retain: true });
  const client = await broker.connect();
  client.send(subscribe(1, ['a', { filter: 'b', qos: 1 }, { filter: 'a', qos: 1 }]));
  await client.expect('SUBACK', { reasonCodes: [0, 1, 1] });
  for (const payload of ['kept a', 'kept b', 'kept a']) await client.receive(payload.slice(-1), payload);
  await publisher.publish('a', 'x', { qos: 1 });
  await client.receive('a', 'x', { qos: 1 });
  await client.expectNothing();
});

for (const [granted, published, delivered] of [
  [0, 2, 0],
  [1, 2, 1],
  [2, 2, 2],
  [2, 1, 1],
  [1, 0, 0],
] as const) {
  test(`published at QoS ${published}, granted ${granted}: delivered at ${delivered} [MQTT-3.8.4-8]`, async (t) => {
    const broker = await startBroker(t);
    const publisher = await broker.connect();
    await publisher.publish('t', 'kept', { qos: published, retain: true });
    const client = await broker.connect();
    await client.subscribe('t', granted);
    await client.receiveAndAck('t', 'kept', { qos: delivered, retain: true });
    await publisher.publish('t', 'x', { qos: published });
    await client.receiveAndAck('t', 'x', { qos: delivered });
    await client.expectNothing();
  });
}

test('filters to remove are compared character by character [MQTT-3.10.4-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe(['a/+', 'B']);
  client.send(unsubscribe(9, ['a/b', 'a/#', 'b', '+', '#', 'a/+/']));
  await client.expect('UNSUBACK', { reasonCodes: [0x11, 0x11, 0x11, 0x11, 0x11, 0x11] });
  const publisher = await broker.connect();
  await publisher.publish('a/b', 'x');
  await client.receive('a/b', 'x');
  client.send(unsubscribe(10, ['a/+']));
  await client.expect('UNSUBACK', { reasonCodes: [0] });
  await publisher.publish('a/b', 'z');
  await client.expectNothing();
});

test('after UNSUBSCRIBE nothing new is delivered or queued [MQTT-3.10.4-2]', async (t) => {
  const broker = await startBroker(t);
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const before = await broker.connect(kept);
  await before.subscribe('t', 1);
  await before.unsubscribe('t');
  const publisher = await broker.connect();
  await publisher.publish('t', 'x', { qos: 1 });
  await before.expectNothing();
  await before.drop();
  await publisher.publish('t', 'y', { qos: 1 });
  await (await broker.connect(kept)).expectNothing();
});

test('a delivery begun before UNSUBSCRIBE is completed [MQTT-3.10.4-3]', async (t) => {
  const broker = await startBroker(t);
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const before = await broker.connect(kept);
  await before.subscribe('t', 2);
  const publisher = await broker.connect();
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

test('UNSUBACK has the packet id and one code a filter, in their order [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe(['a', 'c']);
  client.send(unsubscribe(0x1111, ['a', 'b', 'c', 'a']));
  await client.expectBytes(raw(0xb0, 0x11, 0x11, 0, 0, 0x11, 0, 0x11));
  const publisher = await broker.connect();
  publisher.send(publish('a', 'x'), publish('c', 'x'));
  await client.expectNothing();
});

test('UNSUBSCRIBE stops retained messages that still wait for the window [MQTT-3.10.4-2]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  for (const topic of ['a/1', 'a/2', 'a/3']) await publisher.publish(topic, 'x', { qos: 1, retain: true });
  const client = await broker.connect({ properties: { receiveMaximum: 1 } });
  await client.subscribe('a/#', 1);
  const first = await client.expect('PUBLISH', { retain: true });
  await client.unsubscribe('a/#');
  client.send(raw(0x40, first.packetId >> 8, first.packetId & 255));
  await client.expectNothing();
});
