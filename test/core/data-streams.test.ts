/** Data streams: further streams of one connection, whose packets belong to its one session (docs/quic.md). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Packet } from '../../src/codec/packets.ts';
import { ReasonCode } from '../../src/codec/reason-codes.ts';
import { startBroker } from '../support/broker.ts';
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
  unsubscribe,
} from '../support/packets.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import { settle } from '../support/test-client.ts';
import { SteppedStore } from './stepped-store.ts';

const { QUOTA_EXCEEDED, PROTOCOL_ERROR, MALFORMED_PACKET, PACKET_TOO_LARGE, TOPIC_ALIAS_INVALID } =
  ReasonCode;
const KEPT = { sessionExpiryInterval: 100 };

test('acknowledgements of every kind return on the stream of the packet they answer', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const [one, two] = [client.openStream(), client.openStream()];
  one.send(publish('a', 'x', { qos: 1, packetId: 1 }));
  two.send(publish('a', 'x', { qos: 2, packetId: 2 }));
  client.send(publish('a', 'x', { qos: 2, packetId: 3 }));
  await one.expect('PUBACK', { packetId: 1 });
  await two.expect('PUBREC', { packetId: 2 });
  await client.expect('PUBREC', { packetId: 3 });
  two.send(pubrel(2));
  client.send(pubrel(3));
  await two.expect('PUBCOMP', { packetId: 2, reasonCode: 0 });
  await client.expect('PUBCOMP', { packetId: 3, reasonCode: 0 });
  one.send(subscribe(4, [{ filter: 'b' }]));
  await one.expect('SUBACK', { packetId: 4 });
  two.send(unsubscribe(5, ['b']));
  await two.expect('UNSUBACK', { packetId: 5, reasonCodes: [0] });
  for (const each of [client, one, two]) await each.expectNothing();
});

test('a subscription is served on the stream that it was made on, at QoS 0, 1 and 2', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const stream = client.openStream();
  await stream.subscribe('on/stream', 2);
  await client.subscribe('on/control', 2);
  const sender = await broker.connect();
  for (const qos of [0, 1, 2] as const) {
    await sender.publish('on/stream', `s${qos}`, { qos });
    await sender.publish('on/control', `c${qos}`, { qos });
    await stream.receiveAndAck('on/stream', `s${qos}`, { qos });
    await client.receiveAndAck('on/control', `c${qos}`, { qos });
  }
  // Neighbours in one chunk go the same way.
  sender.sendTogether(...['1', '2', '3'].map((text) => publish('on/stream', text)));
  for (const text of ['1', '2', '3']) await stream.receive('on/stream', text);
  await client.expectNothing();
});

test('packet identifiers are one space for all streams, and the window is one', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ properties: { receiveMaximum: 2 } });
  const stream = client.openStream();
  await client.subscribe('c', 1);
  await stream.subscribe('s', 1);
  const sender = await broker.connect();
  for (const topic of ['c', 's', 'c']) await sender.publish(topic, topic, { qos: 1 });
  const first = await client.receive('c', 'c');
  const second = await stream.receive('s', 's');
  assert.notEqual(first.packetId, second.packetId);
  await client.expectNothing();
  stream.send(puback(second.packetId));
  await client.receive('c', 'c');
});

test('the Receive Maximum of the broker counts the messages of all streams, and the connection ends beyond it', async (t) => {
  const broker = await startBroker(t, { limits: { receiveMaximum: 2 } });
  const client = await broker.connect();
  const [one, two] = [client.openStream(), client.openStream()];
  one.send(publish('a', 'x', { qos: 2, packetId: 1 }));
  two.send(publish('a', 'x', { qos: 2, packetId: 2 }));
  await one.expect('PUBREC');
  await two.expect('PUBREC');
  one.send(publish('a', 'x', { qos: 2, packetId: 3 }));
  await client.expectDisconnect(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED);
  assert.ok(one.closed && two.closed);
});

test('a message that filters of several streams match comes once, on the stream opened last', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const [one, two] = [client.openStream(), client.openStream()];
  await two.subscribe('a/+', 0, { subscriptionIdentifiers: [2] });
  await one.subscribe('a/b', 1, { subscriptionIdentifiers: [1] });
  await client.subscribe('#', 0);
  const sender = await broker.connect();
  await sender.publish('a/b', 'x', { qos: 1 });
  const { properties, packetId } = await two.receive('a/b', 'x', { qos: 1 });
  assert.deepEqual([...(properties.subscriptionIdentifiers ?? [])].sort(), [1, 2]);
  for (const each of [client, one, two]) await each.expectNothing();
  // The last of those that are left.
  two.send(puback(packetId));
  two.endStream();
  await sender.publish('a/b', 'z');
  await one.receive('a/b', 'z');
  // The same filter again, on another stream: the subscription moves.
  await client.subscribe('a/b', 0);
  await sender.publish('a/b', 'y');
  await client.receive('a/b', 'y');
});

test('retained, held and shared messages go to the stream of the subscription', async (t) => {
  const hold = [{ filter: 'h', messagesMax: 5, bytesMax: 1_000, expirySeconds: 0 }];
  const broker = await startBroker(t, { settings: { hold } });
  const sender = await broker.connect();
  await sender.publish('r', 'kept', { retain: true, qos: 1 });
  await sender.publish('h', 'held', { qos: 1 });
  const client = await broker.connect();
  const stream = client.openStream();
  await stream.subscribe('r', 1);
  await stream.receiveAndAck('r', 'kept', { retain: true });
  await stream.subscribe('h', 1);
  await stream.receiveAndAck('h', 'held');
  await stream.subscribe('$share/g/s', 1);
  await sender.publish('s', 'shared', { qos: 1 });
  await stream.receiveAndAck('s', 'shared');
  await client.expectNothing();
});

for (const packet of [pingreq(), disconnect(), connect(), Buffer.from([0xf0, 0])]) {
  const type = packet instanceof Uint8Array ? 15 : packet.type;
  test(`a packet of type ${type} ends its data stream alone`, async (t) => {
    const log = new RecordedLog();
    const broker = await startBroker(t, { log });
    const client = await broker.connect();
    const [one, two] = [client.openStream(), client.openStream()];
    one.send(packet);
    await one.expectReset(PROTOCOL_ERROR);
    await two.publish('a', 'x', { qos: 1 });
    await client.publish('a', 'x', { qos: 1 });
    const { dataStreams, dataStreamsFailed, protocolErrors } = broker.broker.statistics;
    assert.deepEqual([dataStreams, dataStreamsFailed, protocolErrors], [1, 1, 1]);
    const [{ fields }] = log.of('stream.protocol_error');
    assert.equal(fields.error, `packet type ${type} on a data stream`);
  });
}

test('what is malformed, too large or has an unknown alias ends its data stream alone, with that reason', async (t) => {
  const broker = await startBroker(t, { limits: { packetBytesMax: 1_000, topicAliasMaximum: 5 } });
  const client = await broker.connect();
  const bad: [Buffer | Packet, number][] = [
    [Buffer.from([0x36, 3, 0, 1, 0x61]), MALFORMED_PACKET],
    [Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff]), MALFORMED_PACKET],
    [publish('a', 'x'.repeat(1_000)), PACKET_TOO_LARGE],
    [publish('a', 'x', { properties: { topicAlias: 6 } }), TOPIC_ALIAS_INVALID],
    [subscribe(0, [{ filter: 'a' }]), PROTOCOL_ERROR],
  ];
  for (const [packet, reasonCode] of bad) {
    const stream = client.openStream();
    stream.send(packet);
    await stream.expectReset(reasonCode);
  }
  await client.publish('a', 'x', { qos: 1 });
});

test('topic aliases from the client belong to one stream, and the broker uses none on data streams', async (t) => {
  const broker = await startBroker(t);
  const receiver = await broker.connect({ properties: { topicAliasMaximum: 10 } });
  const inbound = receiver.openStream();
  await inbound.subscribe('#');
  const client = await broker.connect();
  const [one, two] = [client.openStream(), client.openStream()];
  one.send(publish('one', '1', { properties: { topicAlias: 1 } }));
  two.send(publish('two', '2', { properties: { topicAlias: 1 } }));
  one.send(publish('', '3', { properties: { topicAlias: 1 } }));
  two.send(publish('', '4', { properties: { topicAlias: 1 } }));
  for (const [index, topic] of ['one', 'two', 'one', 'two'].entries()) {
    const { properties } = await inbound.receive(topic, `${index + 1}`);
    assert.equal(properties.topicAlias, undefined);
  }
  client.send(publish('', '5', { properties: { topicAlias: 1 } }));
  await client.expectDisconnect(PROTOCOL_ERROR);
});

test('streams opened before CONNECT wait for the CONNACK, are few, and go with a refused CONNECT', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { store });
  const sender = await broker.connect();
  const client = broker.client();
  const streams = [1, 2, 3, 4].map(() => client.openStream());
  await client.openStream().expectReset(QUOTA_EXCEEDED);
  for (const stream of streams) stream.send(publish('a', 'early', { qos: 1, packetId: 7 }));
  assert.ok(streams.every(({ unsentBytes }) => unsentBytes > 0));
  client.send(connect({ properties: KEPT }));
  // The CONNACK of a kept session waits for the store.
  await streams[0].expectNothing();
  assert.equal(broker.broker.statistics.publishReceived, 0);
  store.moveTo();
  await client.expect('CONNACK');
  for (const stream of streams) await stream.expect('PUBACK', { packetId: 7 });
  const late = Array.from({ length: 6 }, () => client.openStream());
  await client.openStream().expectReset(QUOTA_EXCEEDED);
  await late[5].publish('a', 'x', { qos: 1 });
  await sender.expectNothing();
  const refused = broker.client(4);
  const stream = refused.openStream();
  stream.send(publish('a', 'never'));
  refused.send(connect({ version: 4, clientId: '', cleanStart: false }));
  await refused.expectRefused(2);
  assert.ok(stream.closed);
  assert.equal(broker.broker.statistics.dataStreams, 10);
});

test('dataStreamsMax 0 refuses every data stream, and a place that is free is given again', async (t) => {
  const none = await startBroker(t, { limits: { dataStreamsMax: 0 } });
  const client = await none.connect();
  await client.openStream().expectReset(QUOTA_EXCEEDED);
  await client.publish('a', 'x', { qos: 1 });
  const one = await startBroker(t, { limits: { dataStreamsMax: 1 } });
  const other = await one.connect();
  for (let count = 0; count < 3; count++) {
    const stream = other.openStream();
    await stream.publish('a', 'x', { qos: 1 });
    await other.openStream().expectReset(QUOTA_EXCEEDED);
    stream.endStream();
    await settle();
  }
  assert.equal(one.broker.statistics.dataStreamsRefused, 3);
});

test('subscriptions of a stream that ends are served on the control stream, and so is what it left unacknowledged', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const [one, two] = [client.openStream(), client.openStream()];
  await one.subscribe(['a', 'b', '$share/g/s'].map((filter) => ({ filter, qos: 2 })));
  await two.subscribe('two', 1);
  const sender = await broker.connect();
  await sender.publish('kept', 'zero', { qos: 1, retain: true });
  await one.subscribe('kept', 1);
  const zero = await one.receive('kept', 'zero', { qos: 1, retain: true });
  await sender.publish('a', 'one', { qos: 1 });
  await sender.publish('b', 'two', { qos: 2 });
  await sender.publish('two', 'kept', { qos: 1 });
  await sender.publish('a', 'acknowledged', { qos: 1 });
  await sender.publish('b', 'released', { qos: 2 });
  const first = await one.receive('a', 'one');
  const second = await one.receive('b', 'two');
  await one.receiveAndAck('a', 'acknowledged');
  const { packetId } = await one.receive('b', 'released');
  one.send(pubrec(packetId));
  await one.expect('PUBREL', { packetId });
  one.endStream();
  await client.expect('PUBREL', { packetId });
  client.send(pubcomp(packetId));
  await client.receiveAndAck('kept', 'zero', { dup: true, retain: true, packetId: zero.packetId });
  await client.receiveAndAck('a', 'one', { dup: true, packetId: first.packetId });
  await client.receiveAndAck('b', 'two', { dup: true, packetId: second.packetId });
  for (const topic of ['a', 'b', 's']) {
    await sender.publish(topic, 'later', { qos: 2 });
    await client.receiveAndAck(topic, 'later', { qos: 2, dup: false });
  }
  const kept = await two.receive('two', 'kept', { dup: false });
  two.send(puback(kept.packetId));
  for (const each of [client, two]) await each.expectNothing();
});

test('what was acknowledged on another stream is not sent again when its own has ended', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const stream = client.openStream();
  await stream.subscribe('a', 1);
  const sender = await broker.connect();
  await sender.publish('a', 'x', { qos: 1 });
  const { packetId } = await stream.receive('a', 'x');
  client.send(puback(packetId));
  stream.endStream();
  await client.expectNothing();
});

test('after a reconnect all goes on on the control stream, until the client subscribes on a data stream again', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ clientId: 'kept', properties: KEPT });
  const stream = client.openStream();
  await stream.subscribe('a', 2);
  const sender = await broker.connect();
  for (const text of ['1', '2', '3']) await sender.publish('a', text, { qos: 2 });
  const [one, two, three] = [await stream.next(), await stream.next(), await stream.next()].map(
    (packet) => (packet as ReturnType<typeof publish>).packetId,
  );
  stream.send(pubrec(three));
  await stream.expect('PUBREL', { packetId: three });
  await client.drop();
  assert.ok(stream.closed);
  await sender.publish('a', 'away', { qos: 1 });
  const again = await broker.connect({ clientId: 'kept', cleanStart: false, properties: KEPT });
  assert.equal(again.connack.sessionPresent, true);
  await again.expect('PUBREL', { packetId: three });
  again.send(pubcomp(three));
  await again.receive('a', '1', { dup: true, packetId: one });
  await again.receive('a', '2', { dup: true, packetId: two });
  await again.receiveAndAck('a', 'away', { dup: false });
  const fresh = again.openStream();
  await fresh.publish('other', 'x', { qos: 1 });
  await sender.publish('a', 'control');
  await again.receive('a', 'control');
  await fresh.subscribe('a', 2);
  await sender.publish('a', 'stream');
  await fresh.receive('a', 'stream');
});

test('a connection that takes over takes the data streams of the old one down', async (t) => {
  const broker = await startBroker(t);
  const old = await broker.connect({ clientId: 'same' });
  const stream = old.openStream();
  await stream.subscribe('a', 1);
  await broker.connect({ clientId: 'same', cleanStart: false });
  await old.expectDisconnect(ReasonCode.SESSION_TAKEN_OVER);
  assert.ok(stream.closed);
  assert.equal(broker.broker.statistics.dataStreams, 0);
});

test('acknowledgements on a data stream wait for the store, and leave on the control stream where theirs has ended', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { store });
  const client = await broker.connect();
  const [one, two] = [client.openStream(), client.openStream()];
  one.send(publish('a', '1', { qos: 1, retain: true, packetId: 1 }));
  two.send(publish('b', '2', { qos: 1, retain: true, packetId: 2 }));
  for (const each of [one, two]) await each.expectNothing();
  two.endStream();
  store.moveTo(1);
  await one.expect('PUBACK', { packetId: 1 });
  await client.expectNothing();
  store.moveTo(2);
  await client.expect('PUBACK', { packetId: 2 });
});

test('an acknowledgement leaves before the end of the stream whose last packet it answers', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const stream = client.openStream();
  stream.send(publish('a', 'x', { qos: 1, packetId: 1 }));
  stream.endStream();
  await stream.expect('PUBACK', { packetId: 1 });
});

test('packets on a data stream keep the connection alive', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ keepAliveSeconds: 10 });
  const stream = client.openStream();
  for (let count = 0; count < 5; count++) {
    await broker.advanceSeconds(10);
    await stream.publish('a', 'x', { qos: 1 });
  }
  await broker.advanceSeconds(16);
  await client.expectDisconnect(ReasonCode.KEEP_ALIVE_TIMEOUT);
  assert.ok(stream.closed);
});

test('rates count all streams together, and hold all of them back', async (t) => {
  const broker = await startBroker(t, { limits: { messagesPerSecondMax: 10, rateGraceSeconds: 0 } });
  const client = await broker.connect();
  const [one, two] = [client.openStream(), client.openStream()];
  for (const stream of [one, two]) stream.sendTogether(...Array.from({ length: 6 }, () => publish('a', 'x')));
  for (const each of [client, one, two]) {
    each.send(publish('a', 'late', { qos: 1, packetId: 1 }));
    assert.ok(each.unsentBytes > 0);
  }
  await broker.advanceSeconds(2);
  for (const each of [client, one, two]) await each.expect('PUBACK');
});

test('the rights of the client hold on its data streams', async (t) => {
  const may = (_: unknown, action: string, topic: string) => `${action} ${topic}` !== 'publish no';
  const authorizer = { generation: 0, may };
  const broker = await startBroker(t, { authorizer });
  const client = await broker.connect();
  const stream = client.openStream();
  stream.send(publish('no', 'x', { qos: 1, packetId: 1 }));
  await stream.expect('PUBACK', { reasonCode: ReasonCode.NOT_AUTHORIZED });
  const strict = await startBroker(t, { authorizer, settings: { deniedPublish: 'disconnect' } });
  const other = await strict.connect();
  other.openStream().send(publish('no', 'x'));
  await other.expectDisconnect(ReasonCode.NOT_AUTHORIZED);
});

test('a queue that was paged out to the store still goes to the stream of its subscription', async (t) => {
  const broker = await startBroker(t, { limits: { queueMessagesMax: 5_000 } });
  const client = await broker.connect({ properties: { ...KEPT, receiveMaximum: 1 } });
  const stream = client.openStream();
  await stream.subscribe('s', 1);
  const sender = await broker.connect();
  for (let count = 1; count <= 1_500; count++) sender.send(publish('s', `${count}`, { qos: 1, packetId: 1 }));
  for (let count = 1; count <= 1_500; count++) await stream.receiveAndAck('s', `${count}`);
  await client.expectNothing();
});

test('an end of the control stream is the end of the connection and of its streams', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const stream = client.openStream();
  await client.disconnect();
  assert.ok(stream.closed);
  assert.equal(broker.broker.connections.size, 0);
  assert.equal(broker.broker.statistics.dataStreams, 0);
});
