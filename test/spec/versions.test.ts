import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../support/broker.ts';
import { connect, publish, raw, subscribe } from '../support/packets.ts';

const VERSIONS = [3, 4, 5] as const;
const x = Buffer.from('x');

for (const from of VERSIONS) {
  for (const to of VERSIONS) {
    for (const qos of [0, 1, 2] as const) {
      test(`a QoS ${qos} message from version ${from} reaches version ${to}, live and retained`, async (t) => {
        const broker = await startBroker(t);
        const client = await broker.connect({ version: to });
        await client.subscribe('t', 2);
        const publisher = await broker.connect({ version: from });
        await publisher.publish('t', 'live', { qos, retain: true });
        await client.receiveAndAck('t', 'live', { qos, retain: false, dup: false });
        const late = await broker.connect({ version: to });
        await late.subscribe('t', 2);
        await late.receiveAndAck('t', 'live', { qos, retain: true, dup: false });
        await late.expectNothing();
      });
    }
  }
}

test('properties of a 5.0 message do not reach a 3.1.1 client', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ version: 4 });
  await client.subscribe('t');
  const properties = { contentType: 'text', messageExpiryInterval: 100, topicAlias: 1 };
  (await broker.connect()).send(publish('t', 'x', { properties }));
  await client.expectBytes(raw(0x30, 't', x));
});

test('a message to receivers of every version and QoS at once is right for each', async (t) => {
  const broker = await startBroker(t);
  const receivers = [];
  for (const version of VERSIONS) {
    for (const qos of [0, 1, 2] as const) {
      const client = await broker.connect({ version });
      await client.subscribe('t', qos);
      receivers.push({ client, version, qos });
    }
  }
  for (const version of VERSIONS) {
    for (const qos of [0, 1, 2] as const) {
      const properties = version === 5 ? { contentType: 'c' } : {};
      await (await broker.connect({ version })).publish('t', `${version} ${qos}`, { qos, properties });
      for (const receiver of receivers) {
        const lower = Math.min(qos, receiver.qos) as 0 | 1 | 2;
        const packet = await receiver.client.receiveAndAck('t', `${version} ${qos}`, { qos: lower });
        assert.deepEqual({ ...packet.properties }, receiver.version === 5 ? properties : {});
      }
    }
  }
});

test('a session begun in 3.1.1 goes on in 5.0, and back', async (t) => {
  const broker = await startBroker(t);
  const kept = { clientId: 'c', cleanStart: false };
  const first = await broker.connect({ ...kept, version: 4 });
  await first.subscribe('t', 1);
  await first.drop();
  const publisher = await broker.connect();
  await publisher.publish('t', 'one', { qos: 1, properties: { contentType: 'c' } });
  const second = await broker.connect({ ...kept, version: 5, properties: { sessionExpiryInterval: 100 } });
  assert.equal(second.connack.sessionPresent, true);
  await second.receiveAndAck('t', 'one', { properties: { contentType: 'c' } });
  await second.drop();
  await publisher.publish('t', 'two', { qos: 1, properties: { contentType: 'c' } });
  const third = await broker.connect({ ...kept, version: 4 });
  assert.equal(third.connack.sessionPresent, true);
  await third.receive('t', 'two', { qos: 1 });
});

test('MQTT 3.1: the CONNACK has no session present flag', async (t) => {
  const broker = await startBroker(t);
  const kept = { version: 3, clientId: 'c', cleanStart: false } as const;
  const first = await broker.connect(kept);
  await first.subscribe('t', 1);
  await first.drop();
  await (await broker.connect()).publish('t', 'x', { qos: 1 });
  const second = broker.client(3);
  second.send(connect(kept));
  await second.expectBytes(raw(0x20, 0, 0));
  await second.receive('t', 'x');
});

for (const clientId of ['', 'x'.repeat(24)]) {
  test(`MQTT 3.1: a client id of ${clientId.length} characters gets return code 2`, async (t) => {
    const client = (await startBroker(t)).client(3);
    client.send(connect({ version: 3, clientId }));
    await client.expectBytes(raw(0x20, 0, 2));
    await client.expectClosed();
  });
}

test('MQTT 3.1: DUP is allowed where a request is sent again', async (t) => {
  const client = await (await startBroker(t)).connect({ version: 3 });
  client.send(raw(0x8a, 0, 1, 't', 1));
  await client.expectBytes(raw(0x90, 0, 1, 1));
  client.send(raw(0x6a, 0, 9));
  await client.expectBytes(raw(0x70, 0, 9));
  client.send(raw(0xaa, 0, 2, 't'));
  await client.expectBytes(raw(0xb0, 0, 2));
});

test('MQTT 3.1 knows no failure code; a refused filter gets 0x80 as in 3.1.1', async (t) => {
  const broker = await startBroker(t, { authorizer: { generation: 0, may: () => false } });
  const client = await broker.connect({ version: 3 });
  client.send(subscribe(1, ['t']));
  await client.expectBytes(raw(0x90, 0, 1, 0x80));
});
