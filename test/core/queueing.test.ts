import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePacket } from '../../src/codec/encode.ts';
import { startBroker } from '../support/broker.ts';
import { connect, publish } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';
import { SteppedStore } from './stepped-store.ts';

test('an error of one client leaves nobody else without acknowledgements', async (t) => {
  const store = new SteppedStore();
  let broken = false;
  const authorizer = {
    generation: 0,
    may(_: unknown, action: string) {
      if (broken && action === 'receive') throw new Error('defect');
      return true;
    },
  };
  const broker = await startBroker(t, { store, authorizer: authorizer });
  const back = broker.client();
  back.send(connect({ clientId: 'back', properties: { sessionExpiryInterval: 100 } }));
  store.moveTo();
  await back.expect('CONNACK');
  const subscribed = back.subscribe('a', 1);
  store.moveTo();
  await subscribed;
  await back.drop();
  await settle();
  const sender = await broker.connect();
  sender.send(publish('a', 'kept', { qos: 1, packetId: 1 }));
  await settle();
  store.moveTo();
  await sender.expect('PUBACK', { packetId: 1 });
  const again = broker.client();
  again.send(connect({ clientId: 'back', cleanStart: false, properties: { sessionExpiryInterval: 100 } }));
  await settle();
  sender.send(publish('b', 'value', { qos: 1, retain: true, packetId: 2 }));
  await settle();
  broken = true;
  try {
    store.moveTo();
  } catch {}
  broken = false;
  store.moveTo();
  await sender.expect('PUBACK', { packetId: 2 });
});

test('queueing QoS 0 does not lose it for a connected client without a kept session', async (t) => {
  const broker = await startBroker(t, { settings: { queueQos0: true } });
  const receiver = broker.client();
  receiver.send(connect({ clientId: 'r', properties: { receiveMaximum: 1 } }));
  await receiver.expect('CONNACK');
  await receiver.subscribe('a', 1);
  const sender = await broker.connect();
  await sender.publish('a', 'one', { qos: 1 });
  await sender.publish('a', 'two', { qos: 1 });
  sender.send(publish('a', 'zero', { properties: { contentType: 'x' } }));
  await receiver.expect('PUBLISH');
  await receiver.expect('PUBLISH', { qos: 0 });
});

test('a run of QoS 0 does not overtake QoS 0 that was queued', async (t) => {
  const broker = await startBroker(t, { settings: { queueQos0: true } });
  const options = { clientId: 'r', properties: { sessionExpiryInterval: 100, receiveMaximum: 1 } };
  const first = broker.client();
  first.send(connect(options));
  await first.expect('CONNACK');
  await first.subscribe('a', 1);
  await first.drop();
  await settle();
  const sender = await broker.connect();
  await sender.publish('a', 'one', { qos: 1 });
  await sender.publish('a', 'two', { qos: 1 });
  sender.send(publish('a', 'early'));
  await settle();
  const second = broker.client();
  second.send(connect({ ...options, cleanStart: false }));
  await second.expect('CONNACK');
  const one = await second.expect('PUBLISH', { qos: 1 });
  sender.send(publish('a', 'late'));
  await settle();
  const next = (await second.expect('PUBLISH').catch(() => null)) as { payload: Buffer } | null;
  assert.notEqual(next === null ? '' : Buffer.from(next.payload).toString(), 'late');
  void one;
});

test('a QoS 2 PUBLISH that waited for the store is counted once', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { store });
  const receiver = broker.client();
  receiver.send(connect({ clientId: 'r', properties: { sessionExpiryInterval: 100 } }));
  store.moveTo();
  await receiver.expect('CONNACK');
  const subscribed = receiver.subscribe('a', 2);
  store.moveTo();
  await subscribed;
  const sender = await broker.connect();
  const before = broker.broker.statistics.messagesSent;
  sender.send(publish('a', 'waits', { qos: 2, packetId: 1 }));
  await settle();
  store.moveTo();
  await receiver.expect('PUBLISH');
  await sender.expect('PUBREC');
  assert.equal(broker.broker.statistics.messagesSent - before, 2);
});

test('a door with its own userPropertiesMax holds it for PUBLISH too', async (t) => {
  const broker = await startBroker(t, { limits: { userPropertiesMax: 5 } });
  const door = broker.broker.door('x', { limits: { userPropertiesMax: 1 } });
  const events: string[] = [];
  const wire = {
    peer: { door: 'x', address: 'x', port: 0, secure: false },
    write: () => true,
    pause() {},
    resume() {},
    end: () => void events.push('end'),
    abort() {},
  };
  const connection = broker.broker.accept(wire, door);
  connection.data(encodePacket(connect({ clientId: 'd' }), 5));
  const userProperties: [string, string][] = [
    ['a', 'b'],
    ['c', 'd'],
  ];
  connection.data(encodePacket(publish('a', 'v', { properties: { userProperties } }), 5));
  await settle();
  assert.ok(events.includes('end'), events.join());
});
