import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker, type TestBroker } from '../../support/broker.ts';
import { disconnect, publish, pubrec, pubrel, raw, subscribe, unsubscribe } from '../../support/packets.ts';
import type { TestClient } from '../../support/test-client.ts';

/** A client whose Maximum Packet Size leaves no room for a reason string: just what its CONNACK needs, and that is short. */
async function connectSmall(broker: TestBroker): Promise<TestClient> {
  const wide = await broker.connect({ clientId: 'wide' });
  assert.ok(wide.connack);
  return await broker.connect({ clientId: 'small', properties: { maximumPacketSize: 24 } });
}

for (const [what, statements, request, answer] of [
  ['PUBACK', '[MQTT-3.4.2-2] [MQTT-3.4.2-1]', publish('t', 'x', { qos: 1, packetId: 1 }), 4],
  ['PUBREC', '[MQTT-3.5.2-2] [MQTT-3.5.2-1]', publish('t', 'x', { qos: 2, packetId: 1 }), 5],
  ['PUBREL', '[MQTT-3.6.2-2] [MQTT-3.6.2-1]', pubrec(77), 6],
  ['PUBCOMP', '[MQTT-3.7.2-2] [MQTT-3.7.2-1]', pubrel(77), 7],
  ['SUBACK', '[MQTT-3.9.2-1]', subscribe(1, ['a', 'b', 'c']), 9],
  ['UNSUBACK', '[MQTT-3.11.2-1]', unsubscribe(1, ['a', 'b', 'c']), 11],
  ['DISCONNECT', '[MQTT-3.14.2-3] [MQTT-3.14.2-1]', raw(0x30, 't', 2, 0x0b, 1), 14],
] as const) {
  test(`no reason string makes ${what} larger than the client allows ${statements}`, async (t) => {
    const broker = await startBroker(t, { authorizer: { generation: 0, may: () => false } });
    const client = await connectSmall(broker);
    client.send(request);
    const frame = await client.nextBytes();
    assert.ok(frame !== null && frame.length <= 24, frame?.toString('hex'));
    assert.equal(frame[0] >> 4, answer);
  });
}

test('PUBREL for an unknown packet id gets PUBCOMP with 0x92 [MQTT-3.7.2-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(pubrel(77));
  await client.expect('PUBCOMP', { packetId: 77, reasonCode: 0x92 });
});

test('PUBREC for an unknown packet id gets PUBREL with 0x92 [MQTT-3.6.2-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(pubrec(77));
  await client.expect('PUBREL', { packetId: 77, reasonCode: 0x92 });
});

test('the reason code of a PUBACK without subscribers is 0x00 or 0x10 [MQTT-3.4.2-1] [MQTT-3.5.2-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(publish('nobody', 'x', { qos: 1, packetId: 1 }));
  assert.ok([0, 0x10].includes((await client.expect('PUBACK')).reasonCode));
  client.send(publish('nobody', 'x', { qos: 2, packetId: 2 }));
  assert.ok([0, 0x10].includes((await client.expect('PUBREC')).reasonCode));
});

for (const flags of [0, 3, 0xa]) {
  test(`PUBREL with the flags ${flags} is malformed [MQTT-3.6.1-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0x60 | flags, 0, 1));
    await client.expectDisconnect(0x81);
  });
}

test('acknowledgements with a foreign reason code end the connection [MQTT-3.4.2-1] [MQTT-4.13.1-1]', async (t) => {
  const broker = await startBroker(t);
  for (const type of [0x40, 0x50, 0x62, 0x70]) {
    const client = await broker.connect();
    client.send(raw(type, 0, 1, 0x8d));
    await client.expectDisconnect(0x81, 0x82);
  }
});

test('PINGREQ is answered by PINGRESP [MQTT-3.12.4-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0xc0));
  await client.expectBytes(raw(0xd0));
});

test('DISCONNECT with reserved bits set gets 0x81, and the will is published [MQTT-3.14.1-1]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const client = await broker.connect({ will: { topic: 'will' } });
  client.send(raw(0xe2));
  await client.expectDisconnect(0x81);
  await watcher.receive('will', 'will');
});

test('after DISCONNECT nothing is read, and the connection is closed [MQTT-3.14.4-1] [MQTT-3.14.4-2]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('t');
  const client = await broker.connect();
  client.sendTogether(disconnect(), publish('t', 'x'));
  await client.expectClosed();
  await watcher.expectNothing();
});

test('after a DISCONNECT of the server nothing follows but the close, whatever comes in [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1] [MQTT-4.13.1-1]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('t');
  const client = await broker.connect();
  await client.subscribe('t');
  client.sendTogether(publish('t', 'before'), raw(0x36, 't', 0, 1, 0), publish('t', 'after'), raw(0xc0));
  await client.receive('t', 'before');
  await client.expectDisconnect(0x81);
  await watcher.receive('t', 'before');
  await watcher.expectNothing();
});

test('a DISCONNECT that sets an expiry where CONNECT had 0 is a protocol error [MQTT-4.13.1-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(disconnect(0, { sessionExpiryInterval: 10 }));
  await client.expectDisconnect(0x82);
});
