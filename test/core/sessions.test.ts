import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStore } from '../../persistence/memory.ts';
import { startBroker } from '../support/broker.ts';
import { publish, subscribe } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';

test('a delayed will that was published is not published again after a restart [MQTT-3.1.2-10]', async (t) => {
  const store = new MemoryStore();
  const first = await startBroker(t, { store });
  const dying = await first.connect({
    clientId: 'dying',
    will: { topic: 'gone', properties: { willDelayInterval: 5 } },
    properties: { sessionExpiryInterval: 1_000 },
  });
  const witness = await first.connect();
  await witness.subscribe('gone');
  await dying.drop();
  await first.advanceSeconds(10);
  await witness.receive('gone', 'will');
  await first.stop();

  const second = await startBroker(t, { store });
  const later = await second.connect();
  await later.subscribe('gone');
  await second.advanceSeconds(20);
  await later.expectNothing();
});

test('an expired message of a shared subscription is not handed to another member [MQTT-3.3.2-5]', async (t) => {
  const broker = await startBroker(t);
  const away = await broker.connect({ clientId: 'away', properties: { sessionExpiryInterval: 20 } });
  await away.subscribe('$share/g/a', 1);
  await away.drop();
  const sender = await broker.connect();
  await sender.publish('a', 'stale', { qos: 1, properties: { messageExpiryInterval: 5 } });
  const member = await broker.connect();
  await member.subscribe('$share/g/a', 1);
  await broker.advanceSeconds(30);
  await member.expectNothing();
});

test('a member that comes back to an emptied shared group gets what its old session leaves', async (t) => {
  const broker = await startBroker(t);
  const away = await broker.connect({ clientId: 'away', properties: { sessionExpiryInterval: 20 } });
  await away.subscribe('$share/g/a', 1);
  const sender = await broker.connect();
  await sender.publish('a', 'unacknowledged', { qos: 1 });
  await away.receive('a', 'unacknowledged');
  await away.unsubscribe('$share/g/a');
  const member = await broker.connect();
  await member.subscribe('$share/g/a', 1);
  await away.drop();
  await broker.advanceSeconds(30);
  await member.receiveAndAck('a', 'unacknowledged', { qos: 1 });
});

test('counters come back to where they were when clients come and go', async (t) => {
  const broker = await startBroker(t);
  const { statistics, sessions } = broker.broker;
  for (let round = 0; round < 3; round++) {
    const options = { clientId: 'a', properties: { sessionExpiryInterval: 10 } };
    const first = await broker.connect({ ...options, will: { topic: 'a', qos: 1 } });
    await first.subscribe(['a', '$share/g/a', 'a/#'], 1);
    const second = await broker.connect({ ...options, cleanStart: round === 1 });
    second.send(subscribe(1, ['a', '$share/g/a']), publish('a', 'own', { qos: 1, packetId: 2 }));
    await settle();
    await second.drop();
    await broker.advanceSeconds(15);
  }
  await settle();
  const { connected, subscriptions, sharedSubscriptions, queuedMessages, queuedBytes } = statistics;
  assert.deepEqual(
    { connected, subscriptions, sharedSubscriptions, queuedMessages, queuedBytes, sessions: sessions.size },
    {
      connected: 0,
      subscriptions: 0,
      sharedSubscriptions: 0,
      queuedMessages: 0,
      queuedBytes: 0,
      sessions: 0,
    },
  );
});

test('a resumed 3.x session is kept as long as a new one', async (t) => {
  const broker = await startBroker(t, { limits: { sessionExpiryMaxSeconds: 100 } });
  const options = { version: 4, clientId: 'a', cleanStart: false } as const;
  for (const present of [false, true, true]) {
    const client = await broker.connect(options);
    assert.equal(client.connack.sessionPresent, present);
    await client.drop();
    await broker.advanceSeconds(200);
  }
});
