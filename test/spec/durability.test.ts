import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { HeldStore } from '../support/held-store.ts';
import {
  connect,
  disconnect,
  pingreq,
  puback,
  pubcomp,
  publish,
  pubrec,
  pubrel,
  subscribe,
} from '../support/packets.ts';

const kept = { clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 1000 } };

async function startHeld(t: TestContext): Promise<{ broker: TestBroker; store: HeldStore }> {
  const store = new HeldStore();
  return { store, broker: await startBroker(t, { store }) };
}

test('PUBACK waits until the message is durable for a session that is to keep it', async (t) => {
  const { broker, store } = await startHeld(t);
  await (await broker.connect(kept)).subscribe('t', 1);
  const publisher = await broker.connect();
  store.hold();
  publisher.send(publish('t', 'x', { qos: 1, packetId: 1 }));
  await publisher.expectNothing();
  store.release();
  await publisher.expect('PUBACK', { packetId: 1, reasonCode: 0 });
});

test('PUBACK waits until a retained message is durable', async (t) => {
  const { broker, store } = await startHeld(t);
  const publisher = await broker.connect();
  store.hold();
  publisher.send(publish('t', 'x', { qos: 1, packetId: 1, retain: true }));
  await publisher.expectNothing();
  store.release();
  await publisher.expect('PUBACK', { packetId: 1 });
});

test('acknowledgements leave in the order of the messages, whatever waits for the store', async (t) => {
  const { broker, store } = await startHeld(t);
  await (await broker.connect(kept)).subscribe('t', 1);
  const publisher = await broker.connect();
  store.hold();
  publisher.send(publish('t', 'x', { qos: 1, packetId: 1 }), publish('other', 'x', { qos: 1, packetId: 2 }));
  publisher.send(publish('t', 'x', { qos: 2, packetId: 3 }), pingreq());
  await publisher.expect('PINGRESP');
  await publisher.expectNothing();
  store.release();
  await publisher.expect('PUBACK', { packetId: 1 });
  await publisher.expect('PUBACK', { packetId: 2 });
  await publisher.expect('PUBREC', { packetId: 3 });
});

test('PUBREC and PUBCOMP of a session that is kept wait for its packet ids to be durable', async (t) => {
  const { broker, store } = await startHeld(t);
  const publisher = await broker.connect(kept);
  store.hold();
  publisher.send(publish('t', 'x', { qos: 2, packetId: 1 }));
  await publisher.expectNothing();
  store.release();
  await publisher.expect('PUBREC', { packetId: 1 });
  store.hold();
  publisher.send(pubrel(1));
  await publisher.expectNothing();
  store.release();
  await publisher.expect('PUBCOMP', { packetId: 1, reasonCode: 0 });
});

test('PUBREL waits until the store knows that PUBREC came', async (t) => {
  const { broker, store } = await startHeld(t);
  const client = await broker.connect(kept);
  await client.subscribe('t', 2);
  await (await broker.connect()).publish('t', 'x', { qos: 2 });
  const { packetId } = await client.receive('t', 'x');
  store.hold();
  client.send(pubrec(packetId));
  await client.expectNothing();
  store.release();
  await client.expect('PUBREL', { packetId });
});

test('SUBACK and UNSUBACK of a session that is kept wait for the store', async (t) => {
  const { broker, store } = await startHeld(t);
  const client = await broker.connect(kept);
  store.hold();
  client.send(subscribe(1, ['t']));
  await client.expectNothing();
  store.release();
  await client.expect('SUBACK', { packetId: 1 });
});

test('nothing waits where no session is kept and nothing retained', async (t) => {
  const { broker, store } = await startHeld(t);
  store.hold();
  const client = await broker.connect();
  await client.subscribe('t', 2);
  await (await broker.connect()).publish('t', 'x', { qos: 2 });
  await client.receiveAndAck('t', 'x', { qos: 2 });
});

test('5.0:[MQTT-3.2.0-1] 3.1.1:[MQTT-3.2.0-1] while CONNACK waits for the store nothing else is sent', async (t) => {
  const { broker, store } = await startHeld(t);
  const before = await broker.connect(kept);
  await before.subscribe('t/#', 2);
  const publisher = await broker.connect();
  await publisher.publish('t', 'one', { qos: 2 });
  const { packetId } = await before.receive('t', 'one');
  before.send(pubrec(packetId));
  await before.expect('PUBREL');
  await before.drop();
  await publisher.publish('t', 'two', { qos: 1 });
  store.hold();
  const client = broker.client();
  client.send(connect(kept));
  publisher.send(publish('t/live', 'three'));
  client.send(pingreq());
  await client.expectNothing();
  store.release();
  await client.expect('CONNACK', { sessionPresent: true });
});

test('a crash loses no acknowledged message', async (t) => {
  const { broker, store } = await startHeld(t);
  const before = await broker.connect(kept);
  await before.subscribe('t', 2);
  await before.drop();
  const publisher = await broker.connect();
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  store.hold();
  publisher.send(publish('t', 'three', { qos: 1, packetId: 9 }));
  await publisher.expectNothing();
  const after = await startBroker(t, { store: store.crash() });
  const client = await after.connect(kept);
  assert.equal(client.connack.sessionPresent, true);
  await client.receiveAndAck('t', 'one', { qos: 1 });
  await client.receiveAndAck('t', 'two', { qos: 2 });
  await client.expectNothing();
});

test('a crash does not repeat a QoS 2 message to a subscriber that has it', async (t) => {
  const { broker, store } = await startHeld(t);
  const subscriber = { ...kept, clientId: 'subscriber' };
  const before = await broker.connect(subscriber);
  await before.subscribe('t', 2);
  const publisher = await broker.connect(kept);
  store.hold();
  publisher.send(publish('t', 'first', { qos: 1, packetId: 1 }), publish('t', 'x', { qos: 2, packetId: 2 }));
  const came = (await before.rest()).filter((packet) => packet.type === 3);
  const after = await startBroker(t, { store: store.crash() });
  const again = await after.connect(kept);
  again.send(publish('t', 'x', { qos: 2, packetId: 2, dup: true }));
  const client = await after.connect(subscriber);
  came.push(...(await client.rest()).filter((packet) => packet.type === 3));
  // To the subscriber a packet id that it knows is the same message.
  const ids = came.filter((packet) => packet.qos === 2).map((packet) => packet.packetId);
  assert.equal(new Set(ids).size, 1, `the message came with the packet ids ${ids}`);
});

test('after a crash no other message has the packet id of a QoS 2 message that the subscriber holds', async (t) => {
  const { broker, store } = await startHeld(t);
  const before = await broker.connect(kept);
  await before.subscribe('t', 2);
  store.hold();
  (await broker.connect()).send(publish('t', 'x', { qos: 2, packetId: 1 }));
  const held = (await before.rest()).filter((packet) => packet.type === 3);
  const after = await startBroker(t, { store: store.crash() });
  const client = await after.connect(kept);
  await (await after.connect()).publish('t', 'other', { qos: 2 });
  const other = await client.receive('t', 'other', { qos: 2 });
  // The subscriber waits for a PUBREL and would take the new message for the old one.
  assert.ok(!held.some((packet) => packet.packetId === other.packetId), `packet id ${other.packetId} again`);
});

test('a crash after PUBREC does not send the PUBLISH again, whatever was durable', async (t) => {
  const { broker, store } = await startHeld(t);
  const before = await broker.connect(kept);
  await before.subscribe('t', 2);
  await (await broker.connect()).publish('t', 'x', { qos: 2 });
  const { packetId } = await before.receive('t', 'x');
  store.hold();
  before.send(pubrec(packetId));
  const sent = await before.rest();
  const after = await startBroker(t, { store: store.crash() });
  const client = await after.connect(kept);
  // PUBREL never left, so that the subscriber still knows the id: the PUBLISH may come again, with DUP and that id.
  assert.deepEqual(sent, []);
  await client.receive('t', 'x', { packetId, dup: true });
  client.send(pubrec(packetId));
  await client.expect('PUBREL', { packetId, reasonCode: 0 });
  client.send(pubcomp(packetId));
});

test('an acknowledgement that was not durable leads to a repetition of QoS 1, not to a loss', async (t) => {
  const { broker, store } = await startHeld(t);
  const before = await broker.connect(kept);
  await before.subscribe('t', 1);
  await (await broker.connect()).publish('t', 'x', { qos: 1 });
  const { packetId } = await before.receive('t', 'x');
  store.hold();
  before.send(puback(packetId));
  await before.expectNothing();
  const after = await startBroker(t, { store: store.crash() });
  await (await after.connect(kept)).receive('t', 'x', { packetId, dup: true });
});

test('5.0:[MQTT-3.1.2-4] CONNACK waits until the session that the client gave up is gone for good', async (t) => {
  const { broker, store } = await startHeld(t);
  await (await broker.connect(kept)).drop();
  store.hold();
  const again = broker.client();
  again.send(connect({ clientId: 'kept', cleanStart: true }));
  await again.expectNothing();
  store.release();
  await again.expect('CONNACK', { sessionPresent: false });
});

test('CONNACK waits until a session that ended before is gone for good', async (t) => {
  const { broker, store } = await startHeld(t);
  const first = await broker.connect(kept);
  store.hold();
  first.send(disconnect(0, { sessionExpiryInterval: 0 }));
  await first.expectClosed();
  const again = broker.client();
  again.send(connect({ clientId: 'kept', cleanStart: false }));
  await again.expectNothing();
  const other = broker.client();
  other.send(connect({ clientId: 'other', cleanStart: true }));
  await other.expect('CONNACK', { sessionPresent: false });
  store.release();
  await again.expect('CONNACK', { sessionPresent: false });
});
