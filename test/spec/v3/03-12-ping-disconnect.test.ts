import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { disconnect, pingreq, publish, raw } from '../../support/packets.ts';

const V = { version: 4 } as const;

test('PINGREQ is answered by PINGRESP [MQTT-3.12.4-1]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(pingreq());
  await client.expectBytes(raw(0xd0));
});

test('DISCONNECT with reserved bits set is an error: the will is published [MQTT-3.14.1-1]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will');
  const client = await broker.connect({ ...V, will: { topic: 'will' } });
  client.send(raw(0xe8));
  await client.expectClosed();
  await watcher.receive('will', 'will');
});

test('a client that does not close after its DISCONNECT is closed, and what follows is not read [MQTT-3.14.4-1] [MQTT-3.14.4-2]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t');
  const client = await broker.connect(V);
  client.sendTogether(disconnect(), publish('t', 'x'));
  await client.expectClosed();
  await watcher.expectNothing();
});
