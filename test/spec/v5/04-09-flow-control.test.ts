import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { pingreq, puback, pubcomp, publish, pubrec, pubrel } from '../../support/packets.ts';

test('no more than Receive Maximum messages are unacknowledged; QoS 0 and all else goes on [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ properties: { receiveMaximum: 2 } });
  await client.subscribe('t', 2);
  await client.subscribe('zero', 0);
  const publisher = await broker.connect();
  await publisher.publish('t', '1', { qos: 1 });
  await publisher.publish('t', '2', { qos: 2 });
  await publisher.publish('t', '3', { qos: 1 });
  await publisher.publish('t', '4', { qos: 2 });
  const one = await client.receive('t', '1');
  const two = await client.receive('t', '2');
  await client.expectNothing();
  await publisher.publish('zero', 'x');
  await client.receive('zero', 'x', { qos: 0 });
  client.send(pingreq());
  await client.expect('PINGRESP');
  await client.subscribe('other', 1);
  await client.unsubscribe('other');
  client.send(publish('elsewhere', 'x', { qos: 1, packetId: 9 }));
  await client.expect('PUBACK', { packetId: 9 });
  client.send(puback(one.packetId));
  const three = await client.receive('t', '3');
  await client.expectNothing();
  client.send(pubrec(two.packetId));
  await client.expect('PUBREL', { packetId: two.packetId });
  await client.expectNothing();
  client.send(pubcomp(two.packetId));
  await client.receive('t', '4');
  client.send(puback(three.packetId));
  await client.expectNothing();
});

test('a refusing PUBREC opens the window [MQTT-3.3.4-9] [MQTT-4.9.0-2]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ properties: { receiveMaximum: 1 } });
  await client.subscribe('t', 2);
  const publisher = await broker.connect();
  await publisher.publish('t', '1', { qos: 2 });
  await publisher.publish('t', '2', { qos: 2 });
  const one = await client.receive('t', '1');
  await client.expectNothing();
  client.send(pubrec(one.packetId, 0x80));
  await client.receive('t', '2');
});

test('the window is kept when a session is resumed [MQTT-3.3.4-9] [MQTT-4.9.0-1]', async (t) => {
  const broker = await startBroker(t);
  const kept = {
    clientId: 'c',
    cleanStart: false,
    properties: { sessionExpiryInterval: 100, receiveMaximum: 5 },
  };
  const before = await broker.connect(kept);
  await before.subscribe('t', 1);
  const publisher = await broker.connect();
  for (let n = 1; n <= 4; n++) await publisher.publish('t', String(n), { qos: 1 });
  for (let n = 1; n <= 4; n++) await before.receive('t', String(n));
  await before.drop();
  const client = await broker.connect({
    ...kept,
    properties: { sessionExpiryInterval: 100, receiveMaximum: 2 },
  });
  const one = await client.receive('t', '1', { dup: true });
  const two = await client.receive('t', '2', { dup: true });
  await client.expectNothing();
  client.send(puback(one.packetId));
  await client.receive('t', '3', { dup: true });
  await client.expectNothing();
  client.send(puback(two.packetId));
  await client.receive('t', '4', { dup: true });
});

test('without Receive Maximum the client counts as 65535, and the broker keeps its own window [MQTT-4.9.0-1]', async (t) => {
  const broker = await startBroker(t, { limits: { inflightMax: 3 } });
  const client = await broker.connect();
  await client.subscribe('t', 1);
  const publisher = await broker.connect();
  for (let n = 1; n <= 5; n++) await publisher.publish('t', String(n), { qos: 1 });
  const first = await client.receive('t', '1');
  await client.receive('t', '2');
  await client.receive('t', '3');
  await client.expectNothing();
  client.send(puback(first.packetId));
  await client.receive('t', '4');
});

test('more messages than the Receive Maximum told in CONNACK end the connection with 0x93 [MQTT-3.3.4-7]', async (t) => {
  const broker = await startBroker(t, { limits: { receiveMaximum: 2 } });
  const client = await broker.connect();
  assert.equal(client.connack.properties.receiveMaximum, 2);
  for (let n = 1; n <= 10; n++) await client.publish('t', 'x', { qos: 2, packetId: n });
  client.send(publish('t', 'x', { qos: 2, packetId: 11 }), publish('t', 'x', { qos: 2, packetId: 12 }));
  await client.expect('PUBREC', { packetId: 11 });
  await client.expect('PUBREC', { packetId: 12 });
  client.send(publish('t', 'x', { qos: 2, packetId: 13 }));
  await client.expectDisconnect(0x93);
});

test('a repeated PUBLISH of the same exchange does not count twice [MQTT-3.3.4-7]', async (t) => {
  const broker = await startBroker(t, { limits: { receiveMaximum: 1 } });
  const client = await broker.connect();
  for (let n = 0; n < 3; n++) {
    client.send(publish('t', 'x', { qos: 2, packetId: 1, dup: n > 0 }));
    await client.expect('PUBREC', { packetId: 1 });
  }
  client.send(pubrel(1));
  await client.expect('PUBCOMP', { packetId: 1, reasonCode: 0 });
});
