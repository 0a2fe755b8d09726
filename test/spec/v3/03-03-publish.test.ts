import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuse, startBroker } from '../../support/broker.ts';
import { pingreq, puback, pubcomp, publish, pubrec, pubrel, raw } from '../../support/packets.ts';

const V = { version: 4 } as const;

test('QoS 3 closes the connection [MQTT-3.3.1-4]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t', 2);
  const client = await broker.connect(V);
  client.send(raw(0x36, 't', 0, 1, 0x78));
  await client.expectClosed();
  await watcher.expectNothing();
});

test('DUP with QoS 0 closes the connection [MQTT-3.3.1-2]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(raw(0x38, 't', 0x78));
  await client.expectClosed();
});

test('DUP of the publisher is not passed on [MQTT-3.3.1-3] [MQTT-4.3.2-1]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t', 2);
  const client = await broker.connect(V);
  client.send(publish('t', 'one', { qos: 1, packetId: 1, dup: true }));
  client.send(publish('t', 'two', { qos: 2, packetId: 2, dup: true }));
  await watcher.receive('t', 'one', { dup: false });
  await watcher.receive('t', 'two', { dup: false });
});

test('a redelivered message has DUP 1 [MQTT-3.3.1-1] [MQTT-3.3.1-3]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await before.subscribe('t', 1);
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  await before.receive('t', 'x', { dup: false });
  await before.drop();
  const client = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await client.receive('t', 'x', { dup: true });
});

test('a PUBLISH too short for its topic closes the connection [MQTT-3.3.2-1]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(raw(0x30, 0, 5, 0x74));
  await client.expectClosed();
});

for (const topic of ['#', '+', 'a/#', 'a/+/b', 'a+', 'a#b']) {
  test(`the topic name ${topic} closes the connection [MQTT-3.3.2-2] [MQTT-4.7.1-1]`, async (t) => {
    const broker = await startBroker(t);
    const watcher = await broker.connect(V);
    await watcher.subscribe('#');
    const client = await broker.connect(V);
    client.send(publish(topic, 'x'));
    await client.expectClosed();
    await watcher.expectNothing();
  });
}

test('an empty topic name closes the connection [MQTT-4.7.3-1]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(raw(0x30, '', 0x78));
  await client.expectClosed();
});

test('the topic a subscriber gets is the published one, which its filter matches [MQTT-3.3.2-3]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('a/+/c');
  await (await broker.connect(V)).publish('a/b/c', 'x');
  await watcher.expectBytes(raw(0x30, 'a/b/c', 0x78));
});

test('QoS 0 is answered by nothing, QoS 1 by PUBACK, QoS 2 by PUBREC [MQTT-3.3.4-1]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(publish('t', 'x'), publish('t', 'x', { qos: 1, packetId: 1 }));
  await client.expectBytes(raw(0x40, 0, 1));
  client.send(publish('t', 'x', { qos: 2, packetId: 2 }));
  await client.expectBytes(raw(0x50, 0, 2));
  await client.expectNothing();
});

test('overlapping subscriptions bring one copy at the highest of their QoS [MQTT-3.3.5-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe([
    { filter: 'a/b', qos: 0 },
    { filter: 'a/#', qos: 2 },
    { filter: 'a/+', qos: 1 },
  ]);
  await (await broker.connect(V)).publish('a/b', 'x', { qos: 2 });
  await client.receiveAndAck('a/b', 'x', { qos: 2 });
  await client.expectNothing();
});

test('a refused PUBLISH is acknowledged as ever and goes to nobody [MQTT-3.3.5-2]', async (t) => {
  const broker = await startBroker(t, { authorizer: refuse('publish secret') });
  const watcher = await broker.connect(V);
  await watcher.subscribe('secret', 2);
  const client = await broker.connect(V);
  client.send(publish('secret', 'x'));
  client.send(publish('secret', 'x', { qos: 1, packetId: 1, retain: true }));
  await client.expectBytes(raw(0x40, 0, 1));
  client.send(publish('secret', 'x', { qos: 2, packetId: 2 }));
  await client.expectBytes(raw(0x50, 0, 2));
  client.send(pubrel(2));
  await client.expectBytes(raw(0x70, 0, 2));
  await client.expectNothing();
  await watcher.expectNothing();
  await watcher.subscribe('secret', 2);
  await watcher.expectNothing();
});

test('PUBACKs come in the order of the messages [MQTT-4.3.2-2]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.sendTogether(...[5, 3, 9, 1].map((packetId) => publish('t', 'x', { qos: 1, packetId })));
  for (const packetId of [5, 3, 9, 1]) await client.expectBytes(raw(0x40, 0, packetId));
});

test('after PUBACK the same packet id is a new message, DUP or not [MQTT-4.3.2-2]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t', 0);
  const client = await broker.connect(V);
  client.send(publish('t', 'one', { qos: 1, packetId: 1 }));
  await client.expectBytes(raw(0x40, 0, 1));
  client.send(publish('t', 'two', { qos: 1, packetId: 1, dup: true }));
  await client.expectBytes(raw(0x40, 0, 1));
  await watcher.receive('t', 'one');
  await watcher.receive('t', 'two');
});

test('QoS 1 to a subscriber: a packet id, DUP 0, and one copy until PUBACK [MQTT-4.3.2-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('t', 1);
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  const { packetId } = await client.receive('t', 'x', { qos: 1, dup: false });
  await client.expectNothing();
  client.send(puback(packetId));
  await client.expectNothing();
});

test('QoS 2 from a publisher: PUBREC, one delivery, PUBCOMP [MQTT-4.3.3-2]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t', 0);
  const client = await broker.connect(V);
  client.send(publish('t', 'x', { qos: 2, packetId: 7 }));
  await client.expectBytes(raw(0x50, 0, 7));
  client.send(publish('t', 'x', { qos: 2, packetId: 7, dup: true }));
  await client.expectBytes(raw(0x50, 0, 7));
  client.send(publish('t', 'x', { qos: 2, packetId: 7 }));
  await client.expectBytes(raw(0x50, 0, 7));
  client.send(pubrel(7));
  await client.expectBytes(raw(0x70, 0, 7));
  await watcher.receive('t', 'x');
  await watcher.expectNothing();
});

test('after PUBCOMP the same packet id is a new message [MQTT-4.3.3-2]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t', 0);
  const client = await broker.connect(V);
  await client.publish('t', 'one', { qos: 2, packetId: 7 });
  await client.publish('t', 'two', { qos: 2, packetId: 7, dup: true });
  await watcher.receive('t', 'one');
  await watcher.receive('t', 'two');
});

test('PUBREL for nothing is answered by PUBCOMP all the same [MQTT-4.3.3-2]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(pubrel(77));
  await client.expectBytes(raw(0x70, 0, 77));
});

test('QoS 2 to a subscriber: PUBLISH, PUBREL after PUBREC, done after PUBCOMP [MQTT-4.3.3-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('t', 2);
  await (await broker.connect(V)).publish('t', 'x', { qos: 2 });
  const { packetId } = await client.receive('t', 'x', { qos: 2, dup: false });
  client.send(pubrec(packetId));
  await client.expect('PUBREL', { packetId });
  client.send(pubcomp(packetId));
  await client.expectNothing();
});

test('PUBRELs come in the order of the PUBRECs [MQTT-4.3.3-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('t', 2);
  const publisher = await broker.connect(V);
  for (const payload of ['1', '2', '3']) await publisher.publish('t', payload, { qos: 2 });
  const ids = [];
  for (const payload of ['1', '2', '3']) ids.push((await client.receive('t', payload)).packetId);
  client.sendTogether(...ids.map((id) => pubrec(id)));
  for (const packetId of ids) await client.expect('PUBREL', { packetId });
});

test('after PUBREL only PUBREL is sent again, not the PUBLISH [MQTT-4.3.3-1] [MQTT-4.4.0-1]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await before.subscribe('t', 2);
  await (await broker.connect(V)).publish('t', 'x', { qos: 2 });
  const { packetId } = await before.receive('t', 'x');
  before.send(pubrec(packetId));
  await before.expect('PUBREL', { packetId });
  await before.drop();
  const client = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await client.expectBytes(raw(0x62, packetId >> 8, packetId & 255));
  await client.expectNothing();
  client.send(pubcomp(packetId));
  await client.drop();
  await (await broker.connect({ ...V, clientId: 'c', cleanStart: false })).expectNothing();
});

test('before PUBREC the PUBLISH is what is sent again [MQTT-4.3.3-1] [MQTT-4.4.0-1]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await before.subscribe('t', 2);
  await (await broker.connect(V)).publish('t', 'x', { qos: 2 });
  const { packetId } = await before.receive('t', 'x', { dup: false });
  await before.drop();
  const client = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await client.receive('t', 'x', { packetId, dup: true, qos: 2 });
});

for (const [what, bytes] of [
  ['0000', raw(0x60, 0, 1)],
  ['0011', raw(0x63, 0, 1)],
  ['1010', raw(0x6a, 0, 1)],
] as [string, Buffer][]) {
  test(`PUBREL with the flags ${what} closes the connection [MQTT-3.6.1-1]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(bytes);
    await client.expectClosed();
  });
}

test('acknowledgements for unknown packet ids do no harm', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(puback(5), pubcomp(6), pingreq());
  await client.expectBytes(raw(0xd0));
});

test('messages of one publisher arrive in their order, per topic and QoS [MQTT-4.6.0-5] [MQTT-4.6.0-6]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t/#', 2);
  const publisher = await broker.connect(V);
  const sent: string[] = [];
  for (let n = 0; n < 60; n++) {
    const qos = (n % 3) as 0 | 1 | 2;
    publisher.send(publish(`t/${n % 2}`, `${qos} ${n}`, { qos, packetId: qos === 0 ? 0 : n + 1 }));
    if (qos === 2) publisher.send(pubrel(n + 1));
    sent.push(`t/${n % 2} ${qos} ${n}`);
  }
  const came: string[] = [];
  for (let packet = await watcher.next(); packet !== null; packet = await watcher.next()) {
    if (packet.type === 6) watcher.send(pubcomp(packet.packetId));
    if (packet.type !== 3) continue;
    came.push(`${packet.topic} ${Buffer.from(packet.payload)}`);
    if (packet.qos === 1) watcher.send(puback(packet.packetId));
    if (packet.qos === 2) watcher.send(pubrec(packet.packetId));
  }
  assert.equal(came.length, 60);
  for (const kind of ['t/0 0', 't/1 0', 't/0 1', 't/1 1', 't/0 2', 't/1 2']) {
    const of = (list: string[]) => list.filter((line) => line.startsWith(kind));
    assert.deepEqual(of(came), of(sent));
  }
});

test('queued messages come before newer ones [MQTT-4.6.0-6] [MQTT-4.5.0-1]', async (t) => {
  const broker = await startBroker(t, { limits: { inflightMax: 2 } });
  const watcher = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await watcher.subscribe('t', 1);
  await watcher.drop();
  const publisher = await broker.connect(V);
  for (const payload of ['1', '2', '3', '4']) await publisher.publish('t', payload, { qos: 1 });
  const client = await broker.connect({ ...V, clientId: 'c', cleanStart: false });
  await publisher.publish('t', '5', { qos: 1 });
  for (const payload of ['1', '2', '3', '4', '5']) await client.receiveAndAck('t', payload, { qos: 1 });
  await client.expectNothing();
});

test('one message joins every matching session, connected or not [MQTT-4.5.0-1]', async (t) => {
  const broker = await startBroker(t);
  const kept = { ...V, clientId: 'kept', cleanStart: false };
  const away = await broker.connect(kept);
  await away.subscribe('a/#', 1);
  await away.disconnect();
  const one = await broker.connect(V);
  const two = await broker.connect(V);
  await one.subscribe('a/b', 2);
  await two.subscribe('+/b', 0);
  await (await broker.connect(V)).publish('a/b', 'x', { qos: 1 });
  await one.receive('a/b', 'x', { qos: 1 });
  await two.receive('a/b', 'x', { qos: 0 });
  await (await broker.connect(kept)).receive('a/b', 'x', { qos: 1 });
});

test('an error while a packet is processed closes its connection and no other [MQTT-4.8.0-2]', async (t) => {
  const broker = await startBroker(t, {
    authorizer: {
      generation: 0,
      may(_identity, action, topic) {
        if (action === 'publish' && topic === 'boom') throw new Error('no room left');
        return true;
      },
    },
  });
  const other = await broker.connect(V);
  const client = await broker.connect(V);
  client.send(publish('boom', 'x', { qos: 1, packetId: 1 }));
  await client.expectClosed();
  other.send(pingreq());
  await other.expectBytes(raw(0xd0));
});
