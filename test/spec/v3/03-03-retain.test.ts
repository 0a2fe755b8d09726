import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { publish, raw } from '../../support/packets.ts';

const V = { version: 4 } as const;

for (const qos of [0, 1, 2] as const) {
  test(`a retained message at QoS ${qos} is stored with its QoS and goes to later subscribers with RETAIN 1 [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8]`, async (t) => {
    const broker = await startBroker(t);
    const publisher = await broker.connect(V);
    await publisher.publish('t', 'x', { qos, retain: true });
    await publisher.disconnect();
    const client = await broker.connect(V);
    await client.subscribe('t', 2);
    await client.receiveAndAck('t', 'x', { qos, retain: true, dup: false });
    await client.expectNothing();
  });
}

test('a new subscription gets the last message of every matching topic [MQTT-3.3.1-6]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect(V);
  await publisher.publish('a/1', 'old', { retain: true });
  await publisher.publish('a/1', 'one', { retain: true });
  await publisher.publish('a/2', 'two', { retain: true });
  await publisher.publish('b', 'three', { retain: true });
  const client = await broker.connect(V);
  await client.subscribe('a/+');
  const came = [];
  for (let n = 0; n < 2; n++) came.push(String((await client.expect('PUBLISH', { retain: true })).payload));
  assert.deepEqual(came.sort(), ['one', 'two']);
  await client.expectNothing();
});

test('a retained QoS 0 message takes the place of a retained QoS 1 message [MQTT-3.3.1-7]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'one', { qos: 1, retain: true });
  await publisher.publish('t', 'zero', { qos: 0, retain: true });
  const client = await broker.connect(V);
  await client.subscribe('t', 2);
  await client.receive('t', 'zero', { qos: 0, retain: true });
  await client.expectNothing();
});

test('a subscriber who is there already gets RETAIN 0 [MQTT-3.3.1-9]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('t', 0);
  await (await broker.connect(V)).publish('t', 'x', { retain: true });
  await client.expectBytes(raw(0x30, 't', 0x78));
});

test('an empty retained message is delivered, removes the stored one and is not stored [MQTT-3.3.1-10] [MQTT-3.3.1-11]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  const publisher = await broker.connect(V);
  await publisher.publish('t', 'x', { qos: 1, retain: true });
  await watcher.subscribe('t', 0);
  await watcher.receive('t', 'x', { retain: true });
  await publisher.publish('t', '', { qos: 1, retain: true });
  await watcher.expectBytes(raw(0x30, 't'));
  const late = await broker.connect(V);
  await late.subscribe('t', 1);
  await late.expectNothing();
});

test('RETAIN 0 neither stores, replaces nor removes [MQTT-3.3.1-12]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect(V);
  await publisher.publish('kept', 'x', { retain: true });
  publisher.send(publish('kept', 'y'), publish('kept', ''), publish('none', 'z'));
  const client = await broker.connect(V);
  await client.subscribe('#');
  await client.receive('kept', 'x', { retain: true });
  await client.expectNothing();
});

test('a retained message is delivered at the lower of its QoS and the granted one [MQTT-3.8.4-6]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect(V)).publish('t', 'x', { qos: 2, retain: true });
  const client = await broker.connect(V);
  await client.subscribe('t', 1);
  await client.receive('t', 'x', { qos: 1, retain: true });
});
