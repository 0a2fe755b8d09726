import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { raw } from '../../support/packets.ts';

test('the will is published when the network breaks [MQTT-3.1.2-7] [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will', 2);
  const client = await broker.connect({ will: { topic: 'will', payload: 'gone', qos: 2 } });
  await client.drop();
  await watcher.receive('will', 'gone', { qos: 2, retain: false, dup: false });
});

test('the will is published after a protocol error, and after DISCONNECT 0x04 [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const one = await broker.connect({ will: { topic: 'will', payload: 'one' } });
  one.send(raw(0x36, 't', 0, 1, 0, 0x78));
  await one.expectDisconnect(0x81);
  await watcher.receive('will', 'one');
  const two = await broker.connect({ will: { topic: 'will', payload: 'two' } });
  await two.disconnect(0x04);
  await watcher.receive('will', 'two');
});

test('DISCONNECT 0x00 discards the will [MQTT-3.14.4-3] [MQTT-3.1.2-8] [MQTT-3.1.2-10]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const client = await broker.connect({
    clientId: 'c',
    will: { topic: 'will' },
    properties: { sessionExpiryInterval: 10 },
  });
  await client.disconnect(0);
  await broker.advanceSeconds(20);
  await watcher.expectNothing();
});

test('a will is published once [MQTT-3.1.2-10]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  await (await broker.connect({ ...kept, will: { topic: 'will' } })).drop();
  await watcher.receive('will', 'will');
  await (await broker.connect(kept)).drop();
  await broker.advanceSeconds(200);
  await watcher.expectNothing();
});

test('a will with a delay is published when the delay has passed, not before [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const client = await broker.connect({
    will: { topic: 'will', properties: { willDelayInterval: 30 } },
    properties: { sessionExpiryInterval: 100 },
  });
  await client.drop();
  await broker.advanceSeconds(28);
  await watcher.expectNothing();
  await broker.advanceSeconds(4);
  await watcher.receive('will', 'will');
  await broker.advanceSeconds(100);
  await watcher.expectNothing();
});

test('a will with a delay is published at the end of the session, if that comes first [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const will = { topic: 'will', properties: { willDelayInterval: 1000 } };
  await (await broker.connect({ will, properties: { sessionExpiryInterval: 10 } })).drop();
  await watcher.expectNothing();
  await broker.advanceSeconds(13);
  await watcher.receive('will', 'will');
  await (await broker.connect({ will })).drop();
  await watcher.receive('will', 'will');
});

test('Clean Start 1 ends the old session, so that its delayed will is published [MQTT-3.1.2-8] [MQTT-3.1.2-4]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const client = await broker.connect({
    clientId: 'c',
    will: { topic: 'will', properties: { willDelayInterval: 50 } },
    properties: { sessionExpiryInterval: 100 },
  });
  await client.drop();
  await broker.connect({ clientId: 'c', cleanStart: true });
  await watcher.receive('will', 'will');
});

test('a connection within the delay cancels the will [MQTT-3.1.3-9] [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const will = { topic: 'will', properties: { willDelayInterval: 30 } };
  await (await broker.connect({ ...kept, will })).drop();
  await broker.advanceSeconds(20);
  const again = await broker.connect(kept);
  await broker.advanceSeconds(100);
  await again.expectNothing();
  await watcher.expectNothing();
});

test('a takeover within the delay cancels the will too; without a delay it is published [MQTT-3.1.3-9] [MQTT-3.1.4-3]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const first = await broker.connect({
    ...kept,
    will: { topic: 'will', properties: { willDelayInterval: 30 } },
  });
  const second = await broker.connect({ ...kept, will: { topic: 'will', payload: 'second' } });
  await first.expectDisconnect(0x8e);
  await broker.advanceSeconds(60);
  await watcher.expectNothing();
  await broker.connect(kept);
  await second.expectDisconnect(0x8e);
  await watcher.receive('will', 'second');
});

test('the properties of the will reach the subscriber, user properties in order, the delay does not [MQTT-3.1.3-10] [MQTT-3.1.2-9]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const userProperties: [string, string][] = [
    ['b', '1'],
    ['a', '2'],
    ['b', '1'],
  ];
  const properties = {
    userProperties,
    contentType: 'text',
    responseTopic: 'back',
    payloadFormatIndicator: 1,
  };
  await (
    await broker.connect({ will: { topic: 'will', properties: { ...properties, willDelayInterval: 0 } } })
  ).drop();
  const packet = await watcher.receive('will', 'will');
  assert.deepEqual({ ...packet.properties }, properties);
});

test('a will with retain 0 is not retained [MQTT-3.1.2-14]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect({ will: { topic: 'will', qos: 1 } })).drop();
  const late = await broker.connect();
  await late.subscribe('will', 1);
  await late.expectNothing();
});

test('a will with retain 1 is retained [MQTT-3.1.2-15]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect({ will: { topic: 'will', qos: 1, retain: true } })).drop();
  const late = await broker.connect();
  await late.subscribe('will', 1);
  await late.receive('will', 'will', { retain: true, qos: 1 });
});

for (const reasonCode of [0x04, 0x80, 0x83]) {
  test(`the will is published after DISCONNECT ${reasonCode} [MQTT-3.1.2-8]`, async (t) => {
    const broker = await startBroker(t);
    const watcher = await broker.connect();
    await watcher.subscribe('will');
    await (await broker.connect({ will: { topic: 'will' } })).disconnect(reasonCode);
    await watcher.receive('will', 'will');
  });
}
