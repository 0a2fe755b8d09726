import { test } from 'node:test';
import { startBroker } from '../support/broker.ts';
import { connect, publish } from '../support/packets.ts';
import { SteppedStore } from './stepped-store.ts';

const KEPT = { sessionExpiryInterval: 100 };

test('acknowledgements leave step by step as the store moves on, in order', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { store });
  const client = await broker.connect();
  for (const packetId of [1, 2, 3]) client.send(publish('a', 'value', { qos: 1, retain: true, packetId }));
  await client.expectNothing();
  for (const packetId of [1, 2, 3]) {
    store.moveTo(packetId);
    await client.expect('PUBACK', { packetId });
    await client.expectNothing();
  }
});

test('what touches no kept session and no retained message does not wait for what others stored', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { store });
  const receiver = await broker.connect();
  await receiver.subscribe('a', 2);
  const sender = await broker.connect();
  const other = await broker.connect();
  other.send(publish('kept', 'value', { qos: 1, retain: true, packetId: 9 }));
  await other.expectNothing();
  await sender.publish('a', 'one', { qos: 1 });
  await receiver.receiveAndAck('a', 'one', { qos: 1 });
  await sender.publish('a', 'two', { qos: 2 });
  await receiver.receiveAndAck('a', 'two', { qos: 2 });
});

test('an alias is not used before the packet that defines it has left [MQTT-3.3.2-7]', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { store });
  const receiver = broker.client();
  receiver.send(connect({ clientId: 'r', properties: { ...KEPT, topicAliasMaximum: 5 } }));
  store.moveTo();
  await receiver.expect('CONNACK');
  const subscribed = receiver.subscribe('a', 2);
  store.moveTo();
  await subscribed;
  const sender = await broker.connect();
  sender.send(publish('a', 'waits', { qos: 2, packetId: 1 }), publish('a', 'at once'));
  await receiver.receive('a', 'at once', { qos: 0 });
});
