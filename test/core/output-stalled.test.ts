/** Readers that stand still: what they cost, and whom they hold up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../support/broker.ts';
import { pingreq, publish, subscribe } from '../support/packets.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import { settle, type TestClient } from '../support/test-client.ts';

const OUT_BYTES_MAX = 1_048_576;
const BIG = 'x'.repeat(65_536);

/** What the broker keeps for this client, as it counts it itself. */
function waitingBytes(broker: Awaited<ReturnType<typeof startBroker>>, clientId: string): number {
  const found = [...broker.broker.connections].find((each) => each.clientId === clientId);
  return found?.out.waitingBytes ?? 0;
}

test('ten readers that stand still cost at most outBytesMax each, and everybody else goes on', async (t) => {
  const broker = await startBroker(t);
  const { statistics } = broker.broker;
  const stalled: TestClient[] = [];
  for (let count = 0; count < 10; count++) {
    const reader = await broker.connect({ clientId: `stalled-${count}` });
    await reader.subscribe('flood');
    reader.stall();
    stalled.push(reader);
  }
  const reader = await broker.connect();
  await reader.subscribe('flood');
  const sender = await broker.connect();
  for (let count = 0; count < 60; count++) {
    sender.send(publish('flood', BIG));
    await reader.receive('flood', BIG);
  }
  sender.send(pingreq());
  await sender.expect('PINGRESP');
  for (let count = 0; count < 10; count++) {
    const waiting = waitingBytes(broker, `stalled-${count}`);
    assert.ok(waiting > OUT_BYTES_MAX / 2, `${waiting} bytes wait`);
    assert.ok(waiting <= OUT_BYTES_MAX, `${waiting} bytes wait, more than ${OUT_BYTES_MAX}`);
  }
  assert.ok(statistics.publishDropped >= 10 * 40, `${statistics.publishDropped} dropped`);
  // It is not lost for good: whoever reads again is served again.
  stalled[0].read();
  await stalled[0].receive('flood', BIG);
});

test('the input of a client that does not read its answers to PINGREQ is stopped', async (t) => {
  const broker = await startBroker(t, { limits: { outBytesMax: 4_096 } });
  const client = await broker.connect({ clientId: 'pinger' });
  client.stall();
  const pings = Array.from({ length: 1_000 }, () => pingreq());
  for (let count = 0; count < 20; count++) {
    client.sendTogether(...pings);
    await settle();
  }
  // Two bytes each; one chunk is answered before the bound is seen.
  assert.ok(waitingBytes(broker, 'pinger') <= 4_096 + 2 * 2_000);
  assert.ok(client.unsentBytes >= 2 * 15_000, `${client.unsentBytes} bytes are left with the client`);
  client.read();
  await settle();
  assert.equal((await client.rest()).length, 20_000);
});

test('the input of a client that does not read its answers to SUBSCRIBE is stopped', async (t) => {
  const broker = await startBroker(t, { limits: { outBytesMax: 4_096 } });
  const client = await broker.connect({ clientId: 'subscriber' });
  client.stall();
  for (let count = 0; count < 2_000; count++) client.send(subscribe(1 + count, [{ filter: `a/${count}` }]));
  await settle();
  const waiting = waitingBytes(broker, 'subscriber');
  // Below the bound only because a packet of acknowledgement is not much.
  for (let round = 0; round < 5; round++) {
    for (let count = 0; count < 2_000; count++) client.send(subscribe(1 + count, [{ filter: `a/${count}` }]));
    await settle();
  }
  assert.ok(waitingBytes(broker, 'subscriber') <= Math.max(waiting, 4_096 + 16));
  assert.ok(client.unsentBytes > 0);
});

test('a reader that takes nothing for stalledReaderSeconds is disconnected, logged and counted', async (t) => {
  const log = new RecordedLog();
  const broker = await startBroker(t, { log, limits: { stalledReaderSeconds: 20, outBytesMax: 4_096 } });
  const reader = await broker.connect({ clientId: 'stalled', keepAliveSeconds: 5 });
  await reader.subscribe('a');
  reader.stall();
  const sender = await broker.connect();
  // So much that its input is stopped: not its silence is what ends it.
  for (let count = 0; count < 30; count++) sender.send(publish('a', BIG));
  reader.send(pingreq());
  reader.send(pingreq());
  assert.ok(reader.unsentBytes > 0, 'its input is stopped');
  await settle();
  await broker.advanceSeconds(19);
  assert.equal(reader.ending, undefined);
  await broker.advanceSeconds(2);
  assert.equal(reader.ending, 'abort by core');
  assert.equal(broker.broker.statistics.readersStalled, 1);
  const [line] = log.of('client.stalled');
  assert.equal(line.fields.clientId, 'stalled');
  assert.ok((line.fields.waitingBytes as number) > 0);
  assert.equal(waitingBytes(broker, 'stalled'), 0);
  await sender.publish('a', 'goes on', { qos: 1 });
});

test('a reader that is slow but takes something now and then is kept', async (t) => {
  const broker = await startBroker(t, { limits: { stalledReaderSeconds: 20 } });
  const reader = await broker.connect();
  await reader.subscribe('a');
  reader.stall();
  const sender = await broker.connect();
  for (let count = 0; count < 10; count++) sender.send(publish('a', BIG));
  await settle();
  for (let round = 0; round < 5; round++) {
    await broker.advanceSeconds(15);
    reader.takeOneWrite();
    await settle();
  }
  assert.equal(reader.ending, undefined);
});

test('QoS 1 messages of a slow reader wait in its queue, and QoS 0 does not keep them there', async (t) => {
  const broker = await startBroker(t);
  const reader = await broker.connect({ clientId: 'slow' });
  await reader.subscribe('a', 1);
  const { session, out } = [...broker.broker.connections].find((each) => each.clientId === 'slow')!;
  reader.stall();
  const sender = await broker.connect();
  const send = async (qos: 0 | 1, messages: number): Promise<void> => {
    for (let count = 1; count <= messages; count++)
      sender.send(publish('a', BIG, qos === 0 ? {} : { qos, packetId: count }));
    await settle();
  };
  await send(0, 15);
  const before = out.waitingBytes;
  await send(1, 5);
  assert.equal(out.waitingBytes, before);
  assert.equal(session!.waiting, 5);
  // It takes one write a round, and QoS 0 comes twice as fast.
  for (let round = 0; round < 40; round++) {
    await send(0, 2);
    reader.takeOneWrite();
    await settle();
  }
  assert.equal(session!.waiting, 0);
});

test('a big message is written in parts, so that a reader of it is seen to make progress', async (t) => {
  const broker = await startBroker(t, { limits: { stalledReaderSeconds: 20 } });
  const reader = await broker.connect();
  await reader.subscribe('a');
  reader.stall();
  const huge = 'y'.repeat(1_000_000);
  const sender = await broker.connect();
  sender.send(publish('a', huge));
  await settle();
  for (let round = 0; round < 15; round++) {
    await broker.advanceSeconds(15);
    reader.takeOneWrite();
    await settle();
  }
  assert.equal(reader.ending, undefined);
  reader.read();
  await settle();
  await reader.receive('a', huge);
});
