/** Data streams that stand still: what they cost, and whom they hold up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReasonCode } from '../../src/codec/reason-codes.ts';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { pingreq, puback, publish } from '../support/packets.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import { settle, type TestClient } from '../support/test-client.ts';

const { QUOTA_EXCEEDED } = ReasonCode;

/** Its connection, as the broker sees it. */
function connectionOf({ broker }: TestBroker, clientId: string) {
  return [...broker.connections].find((each) => each.clientId === clientId)!;
}

/** A client with a stalled stream that subscribes to `s`, and a sender. */
async function stalledStream(broker: TestBroker): Promise<[TestClient, TestClient, TestClient]> {
  const client = await broker.connect({ clientId: 'stalled' });
  const stream = client.openStream();
  await stream.subscribe('s', 1);
  await stream.subscribe('$share/g/x', 1);
  await client.subscribe('c', 1);
  stream.stall();
  return [client, stream, await broker.connect()];
}

const BIG = 'x'.repeat(65_536);
const MEGABYTE = 1_048_576;

test('a stream that stands still has its share of the output, and the control stream goes on', async (t) => {
  const broker = await startBroker(t);
  const [client, stream, sender] = await stalledStream(broker);
  for (let count = 0; count < 20; count++) sender.send(publish('s', BIG));
  await settle();
  const { heldBytes } = connectionOf(broker, 'stalled');
  assert.ok(heldBytes <= MEGABYTE / 4 && heldBytes > MEGABYTE / 8, `${heldBytes} bytes`);
  await sender.publish('c', 'alive');
  await client.receive('c', 'alive');
  client.send(pingreq());
  await client.expect('PINGRESP');
  await client.publish('a', 'x', { qos: 1 });
  stream.read();
  await stream.receive('s', BIG);
});

test('a shared subscription on a stream that stands still leaves its turn to others', async (t) => {
  const broker = await startBroker(t);
  const [, , sender] = await stalledStream(broker);
  const other = await broker.connect();
  await other.subscribe('$share/g/x', 1);
  for (let count = 0; count < 5; count++) sender.send(publish('s', BIG));
  await settle();
  for (const text of ['1', '2', '3']) {
    await sender.publish('x', text, { qos: 1 });
    await other.receiveAndAck('x', text);
  }
});

test('what is acknowledged while it waits to be sent again is not sent again', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const [one, two] = [client.openStream(), client.openStream()];
  await one.subscribe('a', 1);
  await client.subscribe('flood', 0);
  const sender = await broker.connect();
  for (const text of ['1', '2']) await sender.publish('a', text, { qos: 1 });
  const { packetId } = await one.receive('a', '1');
  await one.receive('a', '2');
  client.stall();
  for (let count = 0; count < 5; count++) sender.send(publish('flood', BIG));
  await settle();
  one.endStream();
  await settle();
  two.send(puback(packetId));
  client.read();
  for (let count = 0; count < 5; count++) await client.receive('flood', BIG);
  await client.receiveAndAck('a', '2', { dup: true });
  await client.expectNothing();
});

test('all streams that stand still have outBytesMax together', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ clientId: 'stalled' });
  for (let count = 0; count < 10; count++) {
    const stream = client.openStream();
    await stream.subscribe(`s/${count}`);
    stream.stall();
  }
  const sender = await broker.connect();
  for (let count = 0; count < 100; count++) sender.send(publish(`s/${count % 10}`, BIG));
  await settle();
  const { heldBytes } = connectionOf(broker, 'stalled');
  assert.ok(heldBytes <= MEGABYTE && heldBytes > MEGABYTE / 2, `${heldBytes} bytes`);
});

test('a stream that stands still for stalledReaderSeconds is reset, and what waited comes on the control stream', async (t) => {
  const log = new RecordedLog();
  const broker = await startBroker(t, { log, limits: { stalledReaderSeconds: 20 } });
  const [client, stream, sender] = await stalledStream(broker);
  for (let count = 1; count <= 9; count++) sender.send(publish('s', BIG, { qos: 1, packetId: count }));
  await settle();
  const { session } = connectionOf(broker, 'stalled');
  assert.ok(session!.waiting > 0);
  await broker.advanceSeconds(10);
  await client.expectNothing();
  await broker.advanceSeconds(11);
  await stream.expectReset(QUOTA_EXCEEDED);
  assert.equal(log.of('stream.stalled').length, 1);
  // All nine, in order; those that were under way with DUP.
  const dups: boolean[] = [];
  for (let count = 0; count < 9; count++) dups.push((await client.receiveAndAck('s', BIG)).dup);
  assert.deepEqual(
    dups,
    dups.toSorted((a, b) => Number(b) - Number(a)),
  );
  assert.ok(dups[0] && !dups[8]);
  await client.expectNothing();
});

test('the input of a stream whose answers are not read is stopped, and that of the others is not', async (t) => {
  const broker = await startBroker(t, { limits: { outBytesMax: 4_096 } });
  const client = await broker.connect({ clientId: 'stalled' });
  const [one, two] = [client.openStream(), client.openStream()];
  one.stall();
  for (let count = 0; count < 20; count++) {
    one.sendTogether(...Array.from({ length: 200 }, () => publish('a', '', { qos: 1, packetId: 1 })));
    await settle();
  }
  assert.ok(one.unsentBytes > 0);
  await two.publish('a', 'x', { qos: 1 });
  await client.publish('a', 'x', { qos: 1 });
  one.read();
  await settle();
  assert.equal(one.unsentBytes, 0);
});
