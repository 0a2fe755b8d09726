/** Beyond what event loop and memory allow: refused, shed, disconnected, and back again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { connect, publish } from '../support/packets.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import { settle } from '../support/test-client.ts';

const SERVER_BUSY = 0x89;
const QUOTA_EXCEEDED = 0x97;
const MEMORY_MAX_BYTES = 1_000_000_000;
const BIG = 'x'.repeat(65_000);

interface Measured {
  delayMs: number;
  memoryBytes: number;
  heapFraction: number;
}

async function start(
  t: Parameters<typeof startBroker>[0],
  sysIntervalSeconds = 0,
): Promise<{ broker: TestBroker; now: Measured; log: RecordedLog }> {
  const now: Measured = { delayMs: 1, memoryBytes: 1_000, heapFraction: 0.1 };
  const log = new RecordedLog();
  const source = {
    eventLoopDelayMs: () => now.delayMs,
    memory: () => ({ bytes: now.memoryBytes, heapFraction: now.heapFraction }),
  };
  const overload = { source, eventLoopDelayMsMax: 200, memoryMaxBytes: MEMORY_MAX_BYTES };
  const broker = await startBroker(t, { log, overload, settings: { sysIntervalSeconds } });
  return { broker, now, log };
}

/** The steps that the log tells of. */
function steps(log: RecordedLog): unknown[] {
  return log.of('overload.step').map(({ fields }) => fields.step);
}

test('a single pause of the event loop is no overload', async (t) => {
  const { broker, now, log } = await start(t);
  now.delayMs = 900;
  await broker.advanceSeconds(0.5);
  now.delayMs = 1;
  await broker.advanceSeconds(5);
  assert.deepEqual(steps(log), []);
});

test('an event loop that stays late takes one step a second, and each is taken back by itself', async (t) => {
  const { broker, now, log } = await start(t);
  now.delayMs = 300;
  await broker.advanceSeconds(1);
  assert.deepEqual(steps(log), [1]);
  await broker.advanceSeconds(5);
  assert.deepEqual(steps(log), [1, 2, 3]);
  assert.equal(log.of('overload.step')[2].level, 'warn');
  assert.equal(log.of('overload.step')[2].fields.cause, 'delay');
  // Not far enough below the limit to be sure.
  now.delayMs = 190;
  await broker.advanceSeconds(10);
  assert.deepEqual(steps(log), [1, 2, 3]);
  now.delayMs = 10;
  await broker.advanceSeconds(2);
  assert.deepEqual(steps(log), [1, 2, 3, 2]);
  await broker.advanceSeconds(4);
  assert.deepEqual(steps(log), [1, 2, 3, 2, 1, 0]);
  assert.equal(broker.broker.statistics.overloadSteps, 3);
});

test('a late event loop refuses new connections with 0x89, and those that are in stay in', async (t) => {
  const { broker, now } = await start(t);
  const inside = await broker.connect();
  now.delayMs = 300;
  await broker.advanceSeconds(1);
  const late = broker.client(5);
  late.send(connect({ clientId: 'late' }));
  await late.expectRefused(SERVER_BUSY);
  const late3 = broker.client(4);
  late3.send(connect({ clientId: 'late3', version: 4 }));
  await late3.expectRefused(3);
  await inside.publish('a', 'b', { qos: 1 });
  now.delayMs = 1;
  await broker.advanceSeconds(2);
  await broker.connect();
  assert.equal(broker.broker.statistics.overloadRefused, 2);
});

test('of connections refused for overload that send no CONNECT only a hundred are kept', async (t) => {
  const { broker, now } = await start(t);
  now.memoryBytes = 0.87 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(0.5);
  const silent = Array.from({ length: 300 }, () => broker.client(5));
  await settle();
  assert.equal(silent.filter((each) => !each.closed).length, 100);
});

test('memory near its limit refuses new connections with 0x97', async (t) => {
  const { broker, now, log } = await start(t);
  now.memoryBytes = 0.82 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(0.5);
  assert.deepEqual(steps(log), [1]);
  assert.equal(log.of('overload.step')[0].fields.cause, 'memory');
  const late = broker.client(5);
  late.send(connect({ clientId: 'late' }));
  await late.expectRefused(QUOTA_EXCEEDED);
  // Below where the step began, and not yet far enough.
  now.memoryBytes = 0.77 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(10);
  assert.deepEqual(steps(log), [1]);
  now.memoryBytes = 0.7 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(2);
  assert.deepEqual(steps(log), [1, 0]);
});

test('a heap near the end of what V8 may have counts as memory', async (t) => {
  const { broker, now, log } = await start(t);
  now.heapFraction = 0.87;
  await broker.advanceSeconds(0.5);
  assert.deepEqual(steps(log), [2]);
});

test('at step 2 a slow consumer gets no more QoS 0, and a quick one gets all', async (t) => {
  const { broker, now } = await start(t);
  const slow = await broker.connect({ clientId: 'slow' });
  await slow.subscribe('a');
  const quick = await broker.connect();
  await quick.subscribe('a');
  const sender = await broker.connect();
  slow.stall();
  sender.send(publish('a', BIG));
  await quick.receive('a', BIG);
  now.memoryBytes = 0.87 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(0.5);
  const held = [...broker.broker.connections].find((each) => each.clientId === 'slow')!.out.waitingBytes;
  for (let count = 0; count < 5; count++) {
    sender.send(publish('a', BIG));
    await quick.receive('a', BIG);
  }
  const heldNow = [...broker.broker.connections].find((each) => each.clientId === 'slow')!.out.waitingBytes;
  assert.equal(heldNow, held);
  assert.equal(broker.broker.statistics.publishDropped, 5);
  assert.equal(slow.ending, undefined);
});

test('while memory is short QoS 1 for a slow session without a store is refused, not queued', async (t) => {
  const { broker, now } = await start(t);
  const slow = await broker.connect({ properties: { receiveMaximum: 1 } });
  await slow.subscribe('a', 1);
  const sender = await broker.connect();
  await sender.publish('a', '1', { qos: 1 });
  await sender.publish('a', '2', { qos: 1 });
  now.memoryBytes = 0.87 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(0.5);
  sender.send(publish('a', '3', { qos: 1, packetId: 9 }));
  await sender.expect('PUBACK', { packetId: 9, reasonCode: QUOTA_EXCEEDED });
  now.memoryBytes = 0;
  await broker.advanceSeconds(6);
  await sender.publish('a', '4', { qos: 1 });
  await slow.receiveAndAck('a', '1');
  await slow.receiveAndAck('a', '2');
  await slow.receiveAndAck('a', '4');
});

test('while memory is short no more is retained, and what is retained may be replaced by what is as small', async (t) => {
  const { broker, now } = await start(t);
  const sender = await broker.connect();
  await sender.publish('a', '1', { qos: 1, retain: true });
  now.memoryBytes = 0.87 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(0.5);
  sender.send(publish('b', '1', { qos: 1, retain: true, packetId: 9 }));
  await sender.expect('PUBACK', { packetId: 9, reasonCode: QUOTA_EXCEEDED });
  sender.send(publish('a', '2', { qos: 1, retain: true, packetId: 10 }));
  await sender.expect('PUBACK', { packetId: 10 });
  assert.equal(broker.broker.router.retained.get('a')?.payload.toString(), '2');
});

test('at step 3 the one that makes the broker keep most goes, one each time, and who keeps up stays', async (t) => {
  const { broker, now, log } = await start(t);
  const slow = [];
  for (const name of ['some', 'most', 'least']) {
    const client = await broker.connect({ clientId: name });
    await client.subscribe(name);
    await client.subscribe('all');
    client.stall();
    slow.push(client);
  }
  const quick = await broker.connect();
  await quick.subscribe('all');
  const sender = await broker.connect();
  for (const name of ['some', 'most', 'most', 'all']) sender.send(publish(name, BIG));
  await settle();
  now.memoryBytes = 0.96 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(0.5);
  assert.deepEqual(
    slow.map((each) => each.closed),
    [false, true, false],
  );
  await broker.advanceSeconds(0.5);
  assert.deepEqual(
    slow.map((each) => each.closed),
    [true, true, false],
  );
  // What the last one makes us keep is no more than a message.
  await broker.advanceSeconds(5);
  assert.deepEqual(
    slow.map((each) => each.closed),
    [true, true, false],
  );
  assert.equal(quick.ending, undefined);
  assert.equal(broker.broker.statistics.overloadDisconnected, 2);
  assert.deepEqual(
    log.of('overload.disconnected').map(({ fields }) => fields.clientId),
    ['most', 'some'],
  );
  assert.deepEqual(
    log.of('client.disconnected').map(({ fields }) => fields.reasonCode),
    [QUOTA_EXCEEDED, QUOTA_EXCEEDED],
  );
});

test('a flood makes memory be looked at before the next sweep', async (t) => {
  const { broker, now, log } = await start(t);
  const sender = await broker.connect();
  now.memoryBytes = 0.87 * MEMORY_MAX_BYTES;
  for (let count = 0; count < 300; count++) sender.send(publish('a', BIG));
  assert.deepEqual(steps(log), [2]);
});

test('$SYS tells of the step and of what it did', async (t) => {
  const { broker, now } = await start(t, 1);
  const reader = await broker.connect();
  await reader.subscribe('$SYS/broker/overload/step');
  await reader.receive('$SYS/broker/overload/step', '0');
  now.memoryBytes = 0.87 * MEMORY_MAX_BYTES;
  await broker.advanceSeconds(1);
  await reader.receive('$SYS/broker/overload/step', '2');
});

test('without a source nothing is watched', async (t) => {
  const broker = await startBroker(t);
  await broker.advanceSeconds(5);
  assert.equal(broker.broker.overload.step, 0);
});
