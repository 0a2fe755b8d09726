import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { publish, raw } from '../../support/packets.ts';

const kept = { clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 10_000 } };

test('the properties of a message reach every subscriber unaltered, user properties in order [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]', async (t) => {
  const broker = await startBroker(t);
  const away = await broker.connect(kept);
  await away.subscribe('t', 1);
  await away.drop();
  const one = await broker.connect();
  const two = await broker.connect();
  await one.subscribe('t', 0);
  await two.subscribe('#', 2);
  const properties = {
    payloadFormatIndicator: 1,
    contentType: 'text/plain; charset=utf-8',
    responseTopic: 'back/\u00e9',
    correlationData: Buffer.from([0, 255, 1]),
    userProperties: [
      ['z', '1'],
      ['a', ''],
      ['z', '1'],
      ['', 'empty'],
      ['z', '0'],
    ] as [string, string][],
  };
  await (await broker.connect()).publish('t', 'x', { qos: 1, retain: true, properties });
  const late = await broker.connect();
  await late.subscribe('t', 1);
  for (const client of [one, two, late, await broker.connect(kept)]) {
    const packet = await client.receive('t', 'x');
    const came = {
      ...packet.properties,
      correlationData: Buffer.from(packet.properties.correlationData ?? []),
    };
    assert.deepEqual(came, properties);
  }
});

test('payload format 0 is sent on as 0, and absent as absent [MQTT-3.3.2-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe('t');
  client.send(raw(0x30, 't', 2, 0x01, 0, 0x78), raw(0x30, 't', 0, 0x78));
  await client.expectBytes(raw(0x30, 't', 2, 0x01, 0, 0x78));
  await client.expectBytes(raw(0x30, 't', 0, 0x78));
});

for (const topic of ['a/#', '+', 'a/+/b']) {
  test(`a response topic ${topic} closes the connection with a reason code [MQTT-3.3.2-14]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(publish('t', 'x', { properties: { responseTopic: topic } }));
    await client.expectDisconnect(0x81, 0x82, 0x90);
  });
}

test('a message that expired before its delivery is deleted [MQTT-3.3.2-5]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept);
  await before.subscribe('t', 1);
  await before.drop();
  const publisher = await broker.connect();
  await publisher.publish('t', 'short', { qos: 1, properties: { messageExpiryInterval: 10 } });
  await publisher.publish('t', 'long', { qos: 1, properties: { messageExpiryInterval: 100 } });
  await publisher.publish('t', 'ever', { qos: 1 });
  await broker.advanceSeconds(11);
  const client = await broker.connect(kept);
  await client.receive('t', 'long');
  await client.receive('t', 'ever', { properties: {} });
  await client.expectNothing();
});

test('a message that expires while the window is full is deleted [MQTT-3.3.2-5]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ properties: { receiveMaximum: 1 } });
  await client.subscribe('t', 1);
  const publisher = await broker.connect();
  await publisher.publish('t', 'first', { qos: 1 });
  await publisher.publish('t', 'short', { qos: 1, properties: { messageExpiryInterval: 10 } });
  await publisher.publish('t', 'last', { qos: 1 });
  await broker.advanceSeconds(11);
  await client.receiveAndAck('t', 'first');
  await client.receiveAndAck('t', 'last');
  await client.expectNothing();
});

test('the expiry sent on is what is left [MQTT-3.3.2-6]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept);
  await before.subscribe('t', 1);
  await before.drop();
  const live = await broker.connect();
  await live.subscribe('t', 1);
  await (await broker.connect()).publish('t', 'x', { qos: 1, properties: { messageExpiryInterval: 100 } });
  await live.receive('t', 'x', { properties: { messageExpiryInterval: 100 } });
  await broker.advanceSeconds(40);
  await (await broker.connect(kept)).receive('t', 'x', { properties: { messageExpiryInterval: 60 } });
});

test('a retained message expires, and tells what is left before that [MQTT-3.3.2-5] [MQTT-3.3.2-6]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect()).publish('t', 'x', {
    retain: true,
    properties: { messageExpiryInterval: 100 },
  });
  await broker.advanceSeconds(30);
  const client = await broker.connect();
  await client.subscribe('t');
  await client.receive('t', 'x', { retain: true, properties: { messageExpiryInterval: 70 } });
  await broker.advanceSeconds(71);
  await client.subscribe('t');
  await client.expectNothing();
});

test('a topic alias stands for its topic, and can be given another [MQTT-3.3.2-12]', async (t) => {
  const broker = await startBroker(t, { limits: { topicAliasMaximum: 2 } });
  const client = await broker.connect();
  await client.subscribe('#');
  const publisher = await broker.connect();
  const send = (topic: string, topicAlias: number) =>
    publisher.send(publish(topic, 'x', { properties: { topicAlias } }));
  send('one', 1);
  send('two', 2);
  send('', 1);
  send('', 2);
  send('three', 1);
  send('', 1);
  for (const topic of ['one', 'two', 'one', 'two', 'three', 'three']) {
    const packet = await client.receive(topic, 'x');
    assert.equal(packet.properties.topicAlias, undefined);
  }
});

test('a topic alias is unknown in the next connection of the session [MQTT-3.3.2-7]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept);
  before.send(publish('t', 'x', { properties: { topicAlias: 1 } }));
  await before.drop();
  const client = await broker.connect(kept);
  client.send(publish('', 'x', { properties: { topicAlias: 1 } }));
  await client.expectDisconnect(0x82);
});

test('topic alias 0 ends the connection with 0x94 [MQTT-3.3.2-8]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0x30, 't', 3, 0x23, 0, 0, 0x78));
  await client.expectDisconnect(0x94);
});

test('aliases towards the client stay within its maximum, and decode to the right topics [MQTT-3.1.2-26] [MQTT-3.3.2-11] [MQTT-3.3.2-8]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ properties: { topicAliasMaximum: 2 } });
  await client.subscribe('#', 1);
  const publisher = await broker.connect();
  const aliases = new Map<number, string>();
  for (const topic of ['one', 'two', 'three', 'one', 'one', 'three', 'two', 'three']) {
    await publisher.publish(topic, topic, { qos: 1 });
    const packet = await client.expect('PUBLISH');
    const alias = packet.properties.topicAlias;
    if (alias !== undefined) {
      assert.ok(alias >= 1 && alias <= 2);
      if (packet.topic !== '') aliases.set(alias, packet.topic);
    }
    assert.equal(packet.topic === '' ? aliases.get(alias ?? 0) : packet.topic, topic);
    client.send(raw(0x40, packet.packetId >> 8, packet.packetId & 255));
  }
});

test('without a Topic Alias Maximum the client gets no aliases [MQTT-3.1.2-27]', async (t) => {
  const broker = await startBroker(t);
  const publisher = await broker.connect();
  for (const properties of [{}, { topicAliasMaximum: 0 }]) {
    const client = await broker.connect({ properties });
    await client.subscribe('t');
    for (let n = 0; n < 5; n++) {
      await publisher.publish('t', 'x');
      await client.expectBytes(raw(0x30, 't', 0, 0x78));
    }
  }
});

test('the aliases given to a client are forgotten with its connection [MQTT-3.3.2-7]', async (t) => {
  const broker = await startBroker(t);
  const options = { ...kept, properties: { ...kept.properties, topicAliasMaximum: 5 } };
  const before = await broker.connect(options);
  await before.subscribe('t', 1);
  const publisher = await broker.connect();
  for (let n = 0; n < 3; n++) await publisher.publish('t', 'x', { qos: 1 });
  await before.drop();
  const client = await broker.connect(options);
  const packet = await client.expect('PUBLISH');
  assert.equal(packet.topic, 't');
});

test('a message too large for the client defines no alias [MQTT-3.1.2-25] [MQTT-3.1.2-26]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ properties: { topicAliasMaximum: 5, maximumPacketSize: 60 } });
  await client.subscribe('t', 1);
  const publisher = await broker.connect();
  for (const qos of [0, 1] as const) await publisher.publish('t', 'x'.repeat(100), { qos });
  await publisher.publish('t', 'fits');
  await client.receive('t', 'fits');
});
