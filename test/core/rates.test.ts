/** What one client may send a second, and how many may come in: held back first, then refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { connect, pingreq, publish, subscribe } from '../support/packets.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import { settle } from '../support/test-client.ts';

const MESSAGE_RATE_TOO_HIGH = 0x96;
const CONNECTION_RATE_EXCEEDED = 0x9f;

/** Lets time pass in steps of the sweep, with what arrives meanwhile; says how many messages that were. */
async function pass(broker: TestBroker, seconds: number): Promise<number> {
  const before = broker.broker.statistics.publishReceived;
  for (let step = 0; step < seconds * 2; step++) await broker.advanceSeconds(0.5);
  return broker.broker.statistics.publishReceived - before;
}

test('a client over messagesPerSecondMax is held back to it, and loses nothing', async (t) => {
  const log = new RecordedLog();
  const broker = await startBroker(t, { log, limits: { messagesPerSecondMax: 10 } });
  const reader = await broker.connect();
  await reader.subscribe('a');
  const sender = await broker.connect({ clientId: 'sender', keepAliveSeconds: 6 });
  for (let count = 0; count < 200; count++) sender.send(publish('a', String(count)));
  assert.ok(sender.unsentBytes > 0, 'it is not read from');
  let most = 0;
  for (let second = 0; second < 25; second++) most = Math.max(most, await pass(broker, 1));
  assert.ok(most <= 11, `${most} messages in one second`);
  assert.equal(sender.ending, undefined);
  const received = await reader.rest();
  assert.equal(received.length, 200);
  assert.equal(log.of('client.held_back').length, 1);
  assert.equal(broker.broker.statistics.clientsHeldBack, 1);
});

test('other clients are not held back with it', async (t) => {
  const broker = await startBroker(t, { limits: { messagesPerSecondMax: 10 } });
  const noisy = await broker.connect();
  for (let count = 0; count < 100; count++) noisy.send(publish('a', 'x'));
  const other = await broker.connect();
  for (let count = 0; count < 5; count++) await other.publish('b', 'y', { qos: 1 });
});

test('bytesPerSecondMax counts every byte, PINGREQ too', async (t) => {
  const broker = await startBroker(t, { limits: { bytesPerSecondMax: 1_000 } });
  const client = await broker.connect();
  for (let count = 0; count < 1_500; count++) client.send(pingreq());
  assert.ok(client.unsentBytes >= 1_900, `${client.unsentBytes} bytes were not read`);
  await pass(broker, 4);
  assert.equal(client.unsentBytes, 0);
  assert.equal((await client.rest()).length, 1_500);
});

test('subscribesPerSecondMax counts topic filters', async (t) => {
  const broker = await startBroker(t, { limits: { subscribesPerSecondMax: 10 } });
  const client = await broker.connect();
  const filters = Array.from({ length: 15 }, (_, index) => ({ filter: `a/${index}` }));
  client.send(subscribe(1, filters));
  client.send(pingreq());
  assert.equal((await client.rest()).length, 1);
  await broker.advanceSeconds(1);
  await client.expect('PINGRESP');
});

test('a client that goes on for longer than rateGraceSeconds hears 0x96', async (t) => {
  const log = new RecordedLog();
  const broker = await startBroker(t, { log, limits: { messagesPerSecondMax: 10, rateGraceSeconds: 5 } });
  const sender = await broker.connect({ clientId: 'sender' });
  for (let count = 0; count < 200; count++) sender.send(publish('a', String(count)));
  await pass(broker, 4);
  assert.equal(sender.ending, undefined);
  await pass(broker, 3);
  await sender.expectDisconnect(MESSAGE_RATE_TOO_HIGH);
  assert.equal(broker.broker.statistics.clientsOverRate, 1);
  assert.equal(log.of('client.over_rate')[0].fields.clientId, 'sender');
});

test('a burst that would take longer than rateGraceSeconds to pay back ends a connection at once', async (t) => {
  const broker = await startBroker(t, { limits: { messagesPerSecondMax: 10, rateGraceSeconds: 5 } });
  const sender = await broker.connect();
  sender.sendTogether(...Array.from({ length: 100 }, () => publish('a', 'x')));
  await sender.expectDisconnect(MESSAGE_RATE_TOO_HIGH);
  const old = await broker.connect({ version: 4 });
  old.sendTogether(...Array.from({ length: 100 }, () => publish('a', 'x')));
  await old.expectClosed();
});

test('with rateGraceSeconds 0 a client is held back for ever', async (t) => {
  const broker = await startBroker(t, { limits: { messagesPerSecondMax: 10, rateGraceSeconds: 0 } });
  const sender = await broker.connect();
  for (let count = 0; count < 2_000; count++) sender.send(publish('a', 'x'));
  await pass(broker, 150);
  assert.equal(sender.ending, undefined);
  assert.ok(sender.unsentBytes > 0);
});

test('a client that keeps to the rate after it was over it is not disconnected later', async (t) => {
  const broker = await startBroker(t, { limits: { messagesPerSecondMax: 10, rateGraceSeconds: 5 } });
  const sender = await broker.connect();
  for (let count = 0; count < 30; count++) sender.send(publish('a', 'x'));
  for (let second = 0; second < 30; second++) {
    await pass(broker, 1);
    for (let count = 0; count < 3; count++) sender.send(publish('a', 'x'));
  }
  await broker.advanceSeconds(1);
  assert.equal(sender.ending, undefined);
  assert.equal(sender.unsentBytes, 0);
});

test('a listener over connectsPerSecondMax refuses with 0x9F, and takes others a second later', async (t) => {
  const broker = await startBroker(t, { limits: { connectsPerSecondMax: 5 } });
  for (let count = 0; count < 5; count++) await broker.connect();
  const late = broker.client(5);
  late.send(connect({ clientId: 'late' }));
  await late.expectRefused(CONNECTION_RATE_EXCEEDED);
  const late3 = broker.client(4);
  late3.send(connect({ clientId: 'late3', version: 4 }));
  await late3.expectRefused(3);
  await broker.advanceSeconds(1);
  for (let count = 0; count < 5; count++) await broker.connect();
});

test('of connections over the rate that send nothing only a hundred stay', async (t) => {
  const broker = await startBroker(t, { limits: { connectsPerSecondMax: 1 } });
  await broker.connect();
  const silent = Array.from({ length: 300 }, () => broker.client(5));
  await settle();
  assert.equal(silent.filter((each) => !each.closed).length, 100);
});
