import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { puback, pubcomp, publish, pubrec, pubrel } from '../../support/packets.ts';

const kept = (more = {}) =>
  ({ clientId: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 1000, ...more } }) as const;

test('PUBACKs come in the order of the messages [MQTT-4.3.2-4] [MQTT-4.6.0-2]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.sendTogether(...[5, 3, 9, 1].map((packetId) => publish('t', 'x', { qos: 1, packetId })));
  for (const packetId of [5, 3, 9, 1]) await client.expect('PUBACK', { packetId });
});

test('PUBRECs come in the order of the messages, PUBCOMPs in that of the PUBRELs [MQTT-4.3.3-8] [MQTT-4.3.3-11] [MQTT-4.6.0-3]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.sendTogether(...[5, 3, 9].map((packetId) => publish('t', 'x', { qos: 2, packetId })));
  for (const packetId of [5, 3, 9]) await client.expect('PUBREC', { packetId });
  client.sendTogether(pubrel(9), pubrel(5), pubrel(3));
  for (const packetId of [9, 5, 3]) await client.expect('PUBCOMP', { packetId, reasonCode: 0 });
});

test('PUBRELs come in the order of the PUBRECs [MQTT-4.3.3-4] [MQTT-4.6.0-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe('t', 2);
  const publisher = await broker.connect();
  for (const payload of ['1', '2', '3']) await publisher.publish('t', payload, { qos: 2 });
  const ids: number[] = [];
  for (const payload of ['1', '2', '3']) ids.push((await client.receive('t', payload)).packetId);
  client.sendTogether(...ids.map((id) => pubrec(id)));
  for (const packetId of ids) await client.expect('PUBREL', { packetId, reasonCode: 0 });
});

test('after PUBACK the same packet id is a new message, DUP or not [MQTT-4.3.2-5]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('t', 0);
  const client = await broker.connect();
  await client.publish('t', 'one', { qos: 1, packetId: 1 });
  await client.publish('t', 'two', { qos: 1, packetId: 1, dup: true });
  await watcher.receive('t', 'one');
  await watcher.receive('t', 'two');
});

test('before PUBREL a repeated packet id gets PUBREC and is not delivered again [MQTT-4.3.3-10]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('t', 0);
  const client = await broker.connect();
  for (const dup of [false, true, false]) {
    client.send(publish('t', 'x', { qos: 2, packetId: 7, dup }));
    await client.expect('PUBREC', { packetId: 7 });
  }
  client.send(pubrel(7));
  await client.expect('PUBCOMP', { packetId: 7, reasonCode: 0 });
  await watcher.receive('t', 'x');
  await watcher.expectNothing();
});

test('after PUBCOMP the same packet id is a new message [MQTT-4.3.3-12]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('t', 0);
  const client = await broker.connect();
  await client.publish('t', 'one', { qos: 2, packetId: 7 });
  await client.publish('t', 'two', { qos: 2, packetId: 7, dup: true });
  await watcher.receive('t', 'one');
  await watcher.receive('t', 'two');
});

test('after a refusing PUBREC the same packet id is a new message [MQTT-4.3.3-9]', async (t) => {
  const broker = await startBroker(t, {
    authorizer: { generation: 0, may: (_identity, action, topic) => action !== 'publish' || topic !== 'no' },
  });
  const watcher = await broker.connect();
  await watcher.subscribe('#', 0);
  const client = await broker.connect();
  client.send(publish('no', 'x', { qos: 2, packetId: 7 }));
  await client.expect('PUBREC', { packetId: 7, reasonCode: 0x87 });
  await client.publish('yes', 'y', { qos: 2, packetId: 7 });
  await watcher.receive('yes', 'y');
  await watcher.expectNothing();
});

test('a PUBLISH is held until PUBACK, and until PUBREC [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept());
  await before.subscribe('t', 2);
  const publisher = await broker.connect();
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  const one = await before.receive('t', 'one', { qos: 1, dup: false });
  const two = await before.receive('t', 'two', { qos: 2, dup: false });
  before.send(puback(one.packetId));
  await before.drop();
  const client = await broker.connect(kept());
  await client.receive('t', 'two', { packetId: two.packetId, dup: true });
  await client.expectNothing();
});

test('a message once sent no longer expires: it is sent again, and its exchange goes on [MQTT-4.3.3-7] [MQTT-4.3.3-13]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept());
  await before.subscribe('t', 2);
  const publisher = await broker.connect();
  await publisher.publish('t', 'x', { qos: 2, properties: { messageExpiryInterval: 10 } });
  const { packetId } = await before.receive('t', 'x');
  await before.drop();
  await broker.advanceSeconds(60);
  const client = await broker.connect(kept());
  await client.receive('t', 'x', { packetId, dup: true });
  client.send(pubrec(packetId));
  await client.expect('PUBREL', { packetId, reasonCode: 0 });
  await broker.advanceSeconds(60);
  client.send(pubcomp(packetId));
  await client.expectNothing();
});

test('a QoS 2 message that expired with the server is acknowledged to the end [MQTT-4.3.3-13]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  client.send(publish('t', 'x', { qos: 2, packetId: 3, properties: { messageExpiryInterval: 1 } }));
  await client.expect('PUBREC', { packetId: 3 });
  await broker.advanceSeconds(10);
  client.send(pubrel(3));
  await client.expect('PUBCOMP', { packetId: 3, reasonCode: 0 });
});

test('a refusing PUBACK or PUBREC ends the delivery [MQTT-4.4.0-2]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept());
  await before.subscribe('t', 2);
  const publisher = await broker.connect();
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  before.send(puback((await before.receive('t', 'one')).packetId, 0x80));
  before.send(pubrec((await before.receive('t', 'two')).packetId, 0x97));
  await before.expectNothing();
  await before.drop();
  await (await broker.connect(kept())).expectNothing();
});

test('one message joins every matching session, connected or not [MQTT-4.5.0-1]', async (t) => {
  const broker = await startBroker(t);
  const away = await broker.connect(kept());
  await away.subscribe('a/#', 1);
  await away.drop();
  const one = await broker.connect();
  const two = await broker.connect({ version: 4 });
  await one.subscribe('a/b', 2);
  await two.subscribe('+/b', 0);
  await (await broker.connect()).publish('a/b', 'x', { qos: 1, properties: { contentType: 'c' } });
  await one.receive('a/b', 'x', { qos: 1 });
  await two.receive('a/b', 'x', { qos: 0 });
  await (await broker.connect(kept())).receive('a/b', 'x', { qos: 1 });
});

test('the wrong acknowledgement acknowledges nothing [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5]', async (t) => {
  const broker = await startBroker(t);
  const before = await broker.connect(kept());
  await before.subscribe('t', 2);
  const publisher = await broker.connect();
  await publisher.publish('t', 'one', { qos: 1 });
  await publisher.publish('t', 'two', { qos: 2 });
  const one = await before.receive('t', 'one');
  const two = await before.receive('t', 'two');
  before.send(pubcomp(one.packetId), puback(two.packetId), pubcomp(two.packetId));
  await before.rest();
  await before.drop();
  const client = await broker.connect(kept());
  await client.receive('t', 'one', { packetId: one.packetId, dup: true });
  await client.receive('t', 'two', { packetId: two.packetId, dup: true });
});
