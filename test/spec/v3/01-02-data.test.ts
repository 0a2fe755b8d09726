import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { connect, publish, pubrec, raw, subscribe, unsubscribe } from '../../support/packets.ts';

const V = { version: 4 } as const;

for (const [what, bytes] of [
  ['a byte that starts nothing', [0xff]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
  ['an overlong slash', [0xc0, 0xaf]],
  ['a sequence cut short', [0xe2, 0x82]],
  ['a code point above U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
] as [string, number[]][]) {
  test(`a topic name with ${what} closes the connection [MQTT-1.5.3-1] [MQTT-3.3.2-1]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(raw(0x30, 0, bytes.length, ...bytes, 0x78));
    await client.expectClosed();
  });
  test(`a filter with ${what} closes the connection [MQTT-3.8.3-1]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(raw(0x82, 0, 1, 0, bytes.length, ...bytes, 0));
    await client.expectClosed();
  });
  test(`an unsubscribed filter with ${what} closes the connection [MQTT-3.10.3-1]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(raw(0xa2, 0, 1, 0, bytes.length, ...bytes));
    await client.expectClosed();
  });
  test(`a client id with ${what} closes the connection without CONNACK [MQTT-3.1.3-4]`, async (t) => {
    const client = (await startBroker(t)).client(4);
    client.send(raw(0x10, 'MQTT', 4, 2, 0, 0, 0, bytes.length, ...bytes));
    await client.expectClosed();
  });
  test(`a will topic with ${what} closes the connection without CONNACK [MQTT-3.1.3-10]`, async (t) => {
    const client = (await startBroker(t)).client(4);
    client.send(raw(0x10, 'MQTT', 4, 6, 0, 0, 'c', 0, bytes.length, ...bytes, 'gone'));
    await client.expectClosed();
  });
  test(`a user name with ${what} closes the connection without CONNACK [MQTT-3.1.3-11]`, async (t) => {
    const client = (await startBroker(t)).client(4);
    client.send(raw(0x10, 'MQTT', 4, 0x82, 0, 0, 'c', 0, bytes.length, ...bytes));
    await client.expectClosed();
  });
}

test('U+0000 in a topic name closes the connection [MQTT-1.5.3-2] [MQTT-4.7.3-2]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(raw(0x30, 'a\0b', 0x78));
  await client.expectClosed();
});

test('U+0000 in a filter closes the connection [MQTT-1.5.3-2] [MQTT-4.7.3-2]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(raw(0x82, 0, 1, 'a\0b', 0));
  await client.expectClosed();
});

test('a byte order mark belongs to the topic [MQTT-1.5.3-3]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  await client.subscribe(['a', '\ufeffa']);
  client.send(publish('\ufeffa', 'x'));
  await client.expectBytes(raw(0x30, '\ufeffa', 0x78));
  await client.expectNothing();
});

for (const [what, bytes] of [
  ['PUBACK', raw(0x41, 0, 1)],
  ['PUBREC', raw(0x52, 0, 1)],
  ['PUBCOMP', raw(0x74, 0, 1)],
  ['PINGREQ', raw(0xc8)],
  ['DISCONNECT', raw(0xe1)],
] as [string, Buffer][]) {
  test(`${what} with a reserved flag set closes the connection [MQTT-2.2.2-1] [MQTT-2.2.2-2]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(bytes);
    await client.expectClosed();
  });
}

test('CONNECT with a reserved flag set closes the connection without CONNACK [MQTT-2.2.2-2]', async (t) => {
  const client = (await startBroker(t)).client(4);
  client.send(raw(0x11, 'MQTT', 4, 2, 0, 0, 'c'));
  await client.expectClosed();
});

for (const type of [0, 2, 9, 11, 13, 15]) {
  test(`packet type ${type} from a client closes the connection [MQTT-4.8.0-1]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(raw(type << 4, 0, 1, 0));
    await client.expectClosed();
  });
}

test('a remaining length of five bytes closes the connection [MQTT-4.8.0-1]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]));
  await client.expectClosed();
});

for (const [what, bytes] of [
  ['PUBLISH at QoS 1', raw(0x32, 't', 0, 0, 0x78)],
  ['SUBSCRIBE', raw(0x82, 0, 0, 't', 0)],
  ['UNSUBSCRIBE', raw(0xa2, 0, 0, 't')],
] as [string, Buffer][]) {
  test(`${what} with packet id 0 closes the connection [MQTT-2.3.1-1]`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(bytes);
    await client.expectClosed();
  });
}

test('messages in flight to a client have packet ids of their own, none of them 0 [MQTT-2.3.1-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  const publisher = await broker.connect(V);
  await client.subscribe('t', 2);
  const ids = new Set<number>();
  for (let n = 1; n <= 10; n++) {
    await publisher.publish('t', String(n), { qos: n % 2 === 0 ? 1 : 2 });
    ids.add((await client.receive('t', String(n))).packetId);
  }
  assert.equal(ids.size, 10);
  assert.equal(ids.has(0), false);
});

test('a QoS 0 message goes out without a packet id [MQTT-2.3.1-5] [MQTT-4.3.1-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('t', 0);
  await (await broker.connect(V)).publish('t', 'x', { qos: 1 });
  await client.expectBytes(raw(0x30, 't', 0x78));
});

test('acknowledgements carry the packet id of the PUBLISH [MQTT-2.3.1-6]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(publish('t', 'x', { qos: 1, packetId: 0x1234 }));
  await client.expectBytes(raw(0x40, 0x12, 0x34));
  client.send(publish('t', 'x', { qos: 2, packetId: 0xfffe }));
  await client.expectBytes(raw(0x50, 0xff, 0xfe));
  client.send(raw(0x62, 0xff, 0xfe));
  await client.expectBytes(raw(0x70, 0xff, 0xfe));
});

test('PUBREL has the flags 0010 and the packet id of the PUBLISH [MQTT-2.2.2-1] [MQTT-2.3.1-6]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('t', 2);
  await (await broker.connect(V)).publish('t', 'x', { qos: 2 });
  const { packetId } = await client.receive('t', 'x', { qos: 2 });
  client.send(pubrec(packetId));
  await client.expectBytes(raw(0x62, packetId >> 8, packetId & 255));
});

test('SUBACK and UNSUBACK carry the packet id of their request [MQTT-2.3.1-7]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(subscribe(0xabcd, ['t']));
  await client.expectBytes(raw(0x90, 0xab, 0xcd, 0));
  client.send(unsubscribe(0xabce, ['t']));
  await client.expectBytes(raw(0xb0, 0xab, 0xce));
});

test('the bytes of a packet may come one at a time [MQTT-7.1.1-1]', async (t) => {
  const broker = await startBroker(t);
  const client = broker.client(4);
  for (const byte of raw(0x10, 'MQTT', 4, 2, 0, 0, 'c')) client.send(Buffer.from([byte]));
  await client.expectBytes(raw(0x20, 0, 0));
});

test('many packets may come at once [MQTT-7.1.1-1]', async (t) => {
  const client = (await startBroker(t)).client(4);
  client.sendTogether(connect({ version: 4 }), subscribe(7, ['t']), publish('t', 'x'), raw(0xc0));
  await client.expectBytes(raw(0x20, 0, 0));
  await client.expectBytes(raw(0x90, 0, 7, 0));
  await client.expectBytes(raw(0x30, 't', 0x78));
  await client.expectBytes(raw(0xd0));
});
