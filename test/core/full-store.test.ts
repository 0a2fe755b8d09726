import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { HeldStore } from '../support/held-store.ts';
import { connect, puback, publish, subscribe } from '../support/packets.ts';

const KEPT = { clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 1000 } };

/** A broker with a session that is away, a message waiting for it, and a store that is full. */
async function startFull(t: TestContext): Promise<{ broker: TestBroker; store: HeldStore }> {
  const store = new HeldStore();
  const broker = await startBroker(t, { store });
  const client = await broker.connect(KEPT);
  await client.subscribe('t', 2);
  await client.drop();
  await (await broker.connect()).publish('t', 'before', { qos: 1 });
  store.fill(true);
  return { broker, store };
}

test('while the store is full, what it would have to keep is refused with 0x97, and the rest goes on', async (t) => {
  const { broker, store } = await startFull(t);
  const appended = store.appended;
  const publisher = await broker.connect();
  publisher.send(publish('t', '1', { qos: 1, packetId: 1 }));
  await publisher.expect('PUBACK', { packetId: 1, reasonCode: 0x97 });
  publisher.send(publish('t', '2', { qos: 2, packetId: 2 }));
  await publisher.expect('PUBREC', { packetId: 2, reasonCode: 0x97 });
  publisher.send(publish('other', '3', { qos: 1, packetId: 3, retain: true }));
  await publisher.expect('PUBACK', { packetId: 3, reasonCode: 0x97 });
  assert.equal(store.appended, appended);
  assert.equal(broker.broker.statistics.publishRefused, 3);
  const online = await broker.connect();
  await online.subscribe('live', 1);
  await publisher.publish('live', '4', { qos: 1 });
  await online.receive('live', '4');
});

test('while the store is full, waiting messages are read and done with', async (t) => {
  const { broker, store } = await startFull(t);
  const client = await broker.connect(KEPT);
  await client.receiveAndAck('t', 'before');
  await client.expectNothing();
  const found = await store.crash().open({ durable() {}, full() {}, failed() {} });
  assert.deepEqual(
    [...found.sessions].map(({ queue, inFlight }) => [queue.messages, [...inFlight].length]),
    [[0, 0]],
  );
});

test('while the store is full, it takes no new sessions and no new subscriptions', async (t) => {
  const { broker } = await startFull(t);
  const client = await broker.connect(KEPT);
  client.send(
    subscribe(9, [
      { filter: 'new', qos: 1 },
      { filter: 't', qos: 1 },
    ]),
  );
  await client.receive('t', 'before').then(({ packetId }) => client.send(puback(packetId)));
  await client.expect('SUBACK', { packetId: 9, reasonCodes: [0x97, 1] });
  const stranger = broker.client();
  stranger.send(connect({ ...KEPT, clientId: 'new' }));
  await stranger.expectRefused(0x97);
  const old = broker.client(4);
  old.send(connect({ clientId: 'old', cleanStart: false, version: 4 }));
  await old.expectRefused(3);
  await broker.connect({ clientId: 'without a session to keep' });
});

test('a 3.1.1 sender gets no acknowledgement while the store is full, and is cut off when there is room, so that it sends again', async (t) => {
  const { broker, store } = await startFull(t);
  const publisher = await broker.connect({ version: 4, clientId: 'old' });
  publisher.send(publish('t', 'after', { qos: 1, packetId: 1 }));
  await publisher.expectNothing();
  const bystander = await broker.connect({ version: 4 });
  store.fill(false);
  await publisher.expectClosed();
  await bystander.expectNothing();
  const again = await broker.connect({ version: 4, clientId: 'old' });
  again.send(publish('t', 'after', { qos: 1, packetId: 1, dup: true }));
  await again.expect('PUBACK', { packetId: 1 });
  const client = await broker.connect(KEPT);
  await client.receiveAndAck('t', 'before');
  await client.receiveAndAck('t', 'after');
});

test('a store that fails is told to whoever runs the broker, and nothing more is acknowledged', async (t) => {
  const { broker, store } = await startFull(t);
  store.fill(false);
  const publisher = await broker.connect();
  store.fail(new Error('no disk'));
  publisher.send(publish('t', 'lost', { qos: 1, packetId: 1 }));
  await publisher.expectNothing();
  assert.deepEqual(broker.storeFailures, ['no disk']);
});
