import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { raw } from '../../support/packets.ts';

const V = { version: 4 } as const;

test('the will is published when the network breaks [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will', 2);
  const client = await broker.connect({ ...V, will: { topic: 'will', payload: 'gone', qos: 2 } });
  await client.drop();
  await watcher.receive('will', 'gone', { qos: 2, retain: false, dup: false });
});

test('the will is published when the client violates the protocol [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will');
  const client = await broker.connect({ ...V, will: { topic: 'will' } });
  client.send(raw(0x36, 't', 0, 1, 0x78));
  await client.expectClosed();
  await watcher.receive('will', 'will');
});

test('DISCONNECT discards the will [MQTT-3.14.4-3] [MQTT-3.1.2-8] [MQTT-3.1.2-10]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will');
  const client = await broker.connect({ ...V, will: { topic: 'will' } });
  client.send(raw(0xe0, ...[]));
  await client.expectClosed();
  await watcher.expectNothing();
});

test('a will is published once, not with the next connection of the session too [MQTT-3.1.2-10] [MQTT-3.1.2-12]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will');
  const first = await broker.connect({ ...V, clientId: 'c', cleanStart: false, will: { topic: 'will' } });
  await first.drop();
  await watcher.receive('will', 'will');
  const second = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await second.drop();
  await watcher.expectNothing();
});

test('without a will nothing is published when the connection ends [MQTT-3.1.2-12]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('#');
  await (await broker.connect(V)).drop();
  await watcher.expectNothing();
});

test('a will with retain 0 is not retained [MQTT-3.1.2-16]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ ...V, will: { topic: 'will', qos: 1 } });
  await client.drop();
  const late = await broker.connect(V);
  await late.subscribe('will', 1);
  await late.expectNothing();
});

test('a will with retain 1 is retained [MQTT-3.1.2-17]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will', 1);
  const client = await broker.connect({ ...V, will: { topic: 'will', qos: 1, retain: true } });
  await client.drop();
  await watcher.receive('will', 'will', { retain: false });
  const late = await broker.connect(V);
  await late.subscribe('will', 1);
  await late.receive('will', 'will', { retain: true, qos: 1 });
});
