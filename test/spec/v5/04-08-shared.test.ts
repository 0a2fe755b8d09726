import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { puback, pubcomp, pubrec } from '../../support/packets.ts';

const keptAs = (clientId: string, expiry = 1000) =>
  ({ clientId, cleanStart: false, properties: { sessionExpiryInterval: expiry } }) as const;

test('a message of a shared subscription goes to one member, of every group and every plain subscriber [MQTT-4.8.2-1] [MQTT-4.8.2-2]', async (t) => {
  const broker = await startBroker(t);
  const members = [await broker.connect(), await broker.connect(), await broker.connect()];
  for (const member of members) await member.subscribe('$share/group/a/+', 0);
  const other = await broker.connect();
  await other.subscribe('$share/other/a/#', 0);
  const plain = await broker.connect();
  await plain.subscribe('a/b', 0);
  const publisher = await broker.connect();
  for (let n = 0; n < 30; n++) await publisher.publish('a/b', String(n));
  for (let n = 0; n < 30; n++) {
    await other.receive('a/b', String(n));
    await plain.receive('a/b', String(n));
  }
  const counts = [];
  const seen = new Set<string>();
  for (const member of members) {
    const packets = (await member.rest()).filter((packet) => packet.type === 3);
    for (const packet of packets) seen.add(Buffer.from(packet.payload).toString());
    counts.push(packets.length);
  }
  assert.equal(seen.size, 30);
  assert.equal(
    counts.reduce((sum, count) => sum + count),
    30,
  );
  assert.ok(Math.min(...counts) > 0, `every member gets a share: ${counts}`);
});

test('a shared subscription brings no retained messages, whatever its retain handling', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect()).publish('t', 'x', { retain: true });
  const client = await broker.connect();
  await client.subscribe({ filter: '$share/g/t', retainHandling: 0 });
  await client.expectNothing();
});

test('each delivery has the QoS granted to its member [MQTT-4.8.2-3]', async (t) => {
  const broker = await startBroker(t);
  const members = [await broker.connect(), await broker.connect(), await broker.connect()];
  for (const [qos, member] of members.entries()) await member.subscribe('$share/g/t', qos as 0 | 1 | 2);
  const publisher = await broker.connect();
  for (let n = 0; n < 9; n++) await publisher.publish('t', String(n), { qos: 2 });
  let deliveries = 0;
  for (const [qos, member] of members.entries()) {
    for (let packet = await member.next(); packet !== null; packet = await member.next()) {
      if (packet.type !== 3) continue;
      assert.equal(packet.qos, qos);
      deliveries++;
      if (qos === 1) member.send(puback(packet.packetId));
      if (qos === 2) member.send(pubrec(packet.packetId));
    }
  }
  assert.equal(deliveries, 9);
});

test('a QoS 2 delivery once begun is completed with its member when it comes back [MQTT-4.8.2-4]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(keptAs('one'));
  await before.subscribe('$share/g/t', 2);
  const publisher = await broker.connect();
  await publisher.publish('t', 'x', { qos: 2 });
  const { packetId } = await before.receive('t', 'x');
  const other = await broker.connect(keptAs('two'));
  await other.subscribe('$share/g/t', 2);
  await before.drop();
  await other.expectNothing();
  const client = await broker.connect(keptAs('one'));
  await client.receive('t', 'x', { packetId, dup: true });
  client.send(pubrec(packetId));
  await client.expect('PUBREL', { packetId });
  client.send(pubcomp(packetId));
  await other.expectNothing();
});

test('if the session of that member ends, nobody else gets the QoS 2 message [MQTT-4.8.2-5]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(keptAs('one', 10));
  await before.subscribe('$share/g/t', 2);
  await (await broker.connect()).publish('t', 'x', { qos: 2 });
  await before.receive('t', 'x');
  const other = await broker.connect(keptAs('two'));
  await other.subscribe('$share/g/t', 2);
  await before.drop();
  await broker.advanceSeconds(20);
  await other.expectNothing();
});

test('a refusing PUBACK or PUBREC drops the message for the whole group [MQTT-4.8.2-6]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe('$share/g/t', 2);
  const publisher = await broker.connect();
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  const one = await client.receive('t', 'one');
  const two = await client.receive('t', 'two');
  const other = await broker.connect();
  await other.subscribe('$share/g/t', 2);
  client.send(puback(one.packetId, 0x80), pubrec(two.packetId, 0x80));
  await client.expectNothing();
  await other.expectNothing();
  await client.drop();
  await other.expectNothing();
});

test('UNSUBSCRIBE of the shared filter leaves the group and the plain subscription alone', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe(['$share/g/t', 't']);
  const publisher = await broker.connect();
  await publisher.publish('t', 'x');
  await client.receive('t', 'x');
  await client.receive('t', 'x');
  await client.unsubscribe('$share/g/t');
  await publisher.publish('t', 'y');
  await client.receive('t', 'y');
  await client.expectNothing();
});
