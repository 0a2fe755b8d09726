import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Properties } from '../../../src/codec/packets.ts';
import { startBroker } from '../../support/broker.ts';
import { connect, publish, subscribe } from '../../support/packets.ts';

test('CONNACK comes once, first, with reserved bits 0 [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.2.2-1]', async (t) => {
  const broker = await startBroker(t);
  const client = broker.client();
  client.sendTogether(connect(), publish('t', 'x', { qos: 1, packetId: 1 }));
  const frame = await client.nextBytes();
  assert.equal(frame?.[0], 0x20);
  assert.equal(frame?.[2], 0);
  assert.equal(frame?.[3], 0);
  await client.expect('PUBACK');
  await client.expectNothing();
});

test('Clean Start 1: session present 0, though there was a session [MQTT-3.2.2-2] [MQTT-3.1.2-4] [MQTT-3.1.4-4]', async (t) => {
  const broker = await startBroker(t);
  const kept = { clientId: 'c', properties: { sessionExpiryInterval: 100 } };
  const before = await broker.connect(kept);
  await before.subscribe('t', 1);
  await before.drop();
  const client = await broker.connect({ ...kept, cleanStart: true });
  assert.equal(client.connack.sessionPresent, false);
  await (await broker.connect()).publish('t', 'x', { qos: 1 });
  await client.expectNothing();
});

test('Clean Start 0: session present tells whether there was state [MQTT-3.2.2-3] [MQTT-3.1.2-5] [MQTT-3.1.2-6]', async (t) => {
  const broker = await startBroker(t);
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const first = await broker.connect(kept);
  assert.equal(first.connack.sessionPresent, false);
  await first.drop();
  const second = await broker.connect(kept);
  assert.equal(second.connack.sessionPresent, true);
});

for (const [reason, code] of [
  ['bad-credentials', 0x86],
  ['not-authorized', 0x87],
  ['unavailable', 0x88],
  ['busy', 0x89],
] as const) {
  test(`the verdict ${reason} is refused with ${code}, session present 0, then the close [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-3.1.4-2] [MQTT-4.13.2-1] [MQTT-4.12.0-4]`, async (t) => {
    let open = true;
    const broker = await startBroker(t, {
      authenticator: { authenticate: () => (open ? { ok: true, username: null } : { ok: false, reason }) },
    });
    const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
    await (await broker.connect(kept)).drop();
    open = false;
    const client = broker.client();
    client.send(connect({ ...kept, username: 'u', password: 'p' }));
    await client.expect('CONNACK', { reasonCode: code, sessionPresent: false });
    await client.expectClosed();
  });
}

for (const maximumQos of [0, 1] as const) {
  test(`Maximum QoS ${maximumQos} is told, and subscriptions at any QoS are accepted [MQTT-3.2.2-9] [MQTT-3.2.2-10]`, async (t) => {
    const broker = await startBroker(t, { limits: { maximumQos } });
    const client = await broker.connect();
    assert.equal(client.connack.properties.maximumQos, maximumQos);
    client.send(
      subscribe(1, [
        { filter: 'a', qos: 0 },
        { filter: 'b', qos: 1 },
        { filter: 'c', qos: 2 },
      ]),
    );
    await client.expect('SUBACK', { reasonCodes: [0, Math.min(1, maximumQos), maximumQos] });
  });

  test(`a PUBLISH above Maximum QoS ${maximumQos} ends the connection with 0x9B [MQTT-3.2.2-11]`, async (t) => {
    const client = await (await startBroker(t, { limits: { maximumQos } })).connect();
    client.send(publish('t', 'x', { qos: maximumQos === 0 ? 1 : 2, packetId: 1 }));
    await client.expectDisconnect(0x9b);
  });

  test(`a will above Maximum QoS ${maximumQos} is refused with 0x9B [MQTT-3.2.2-12]`, async (t) => {
    const client = (await startBroker(t, { limits: { maximumQos } })).client();
    client.send(connect({ will: { topic: 'will', qos: 2 } }));
    await client.expect('CONNACK', { reasonCode: 0x9b });
    await client.expectClosed();
  });
}

test('with Maximum QoS 2 the property is absent [MQTT-3.2.2-9]', async (t) => {
  const client = await (await startBroker(t)).connect();
  assert.equal(client.connack.properties.maximumQos, undefined);
});

test('a retained will is refused with 0x9A when messages are not retained [MQTT-3.2.2-13]', async (t) => {
  const client = (await startBroker(t, { limits: { retainAvailable: false } })).client();
  client.send(connect({ will: { topic: 'will', retain: true } }));
  await client.expect('CONNACK', { reasonCode: 0x9a });
  await client.expectClosed();
});

test('a retained PUBLISH ends the connection with 0x9A when messages are not retained [MQTT-3.2.2-14]', async (t) => {
  const client = await (await startBroker(t, { limits: { retainAvailable: false } })).connect();
  assert.equal(client.connack.properties.retainAvailable, 0);
  client.send(publish('t', 'x', { retain: true }));
  await client.expectDisconnect(0x9a);
});

test('a packet above the Maximum Packet Size told in CONNACK ends the connection with 0x95 [MQTT-3.2.2-15]', async (t) => {
  const client = await (await startBroker(t, { limits: { packetBytesMax: 1000 } })).connect();
  assert.equal(client.connack.properties.maximumPacketSize, 1000);
  client.send(publish('t', 'x'.repeat(900)));
  await client.expectNothing();
  client.send(publish('t', 'x'.repeat(1000)));
  await client.expectDisconnect(0x95);
});

test('an alias above the Topic Alias Maximum told in CONNACK ends the connection with 0x94 [MQTT-3.2.2-17] [MQTT-3.3.2-9]', async (t) => {
  const client = await (await startBroker(t, { limits: { topicAliasMaximum: 3 } })).connect();
  assert.equal(client.connack.properties.topicAliasMaximum, 3);
  client.send(publish('t', 'x', { properties: { topicAlias: 4 } }));
  await client.expectDisconnect(0x94);
});

test('without a Topic Alias Maximum any alias ends the connection with 0x94 [MQTT-3.2.2-18]', async (t) => {
  const client = await (await startBroker(t, { limits: { topicAliasMaximum: 0 } })).connect();
  assert.ok(!client.connack.properties.topicAliasMaximum);
  client.send(publish('t', 'x', { properties: { topicAlias: 1 } }));
  await client.expectDisconnect(0x94);
});

test('no reason string makes CONNACK larger than the client allows [MQTT-3.2.2-19] [MQTT-3.1.2-24]', async (t) => {
  const broker = await startBroker(t, {
    authenticator: { authenticate: () => ({ ok: false, reason: 'not-authorized' }) },
  });
  const client = broker.client();
  client.send(connect({ properties: { maximumPacketSize: 5 } }));
  const frame = await client.nextBytes();
  assert.equal(frame?.toString('hex'), '2003008700');
});

test('what is available is told only where it differs from the default', async (t) => {
  const broker = await startBroker(t, {
    limits: {
      wildcardSubscriptionAvailable: false,
      sharedSubscriptionAvailable: false,
      subscriptionIdentifiersAvailable: false,
      receiveMaximum: 7,
    },
  });
  const { properties } = (await broker.connect()).connack;
  const told: Properties = {
    wildcardSubscriptionAvailable: 0,
    sharedSubscriptionAvailable: 0,
    subscriptionIdentifierAvailable: 0,
    receiveMaximum: 7,
  };
  for (const [name, value] of Object.entries(told))
    assert.equal(properties[name as keyof Properties], value, name);
});
