import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { connect, publish, pubrec, raw, subscribe, unsubscribe } from '../../support/packets.ts';

const MALFORMED = 0x81;
const PROTOCOL_ERROR = 0x82;

for (const [what, bytes] of [
  ['a byte that starts nothing', [0xff]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
  ['an overlong slash', [0xc0, 0xaf]],
  ['a sequence cut short', [0xe2, 0x82]],
  ['U+0000', [0x61, 0x00]],
] as [string, number[]][]) {
  test(`a topic name with ${what} is malformed [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-3.3.2-1] [MQTT-4.7.3-2]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0x30, 0, bytes.length, ...bytes, 0));
    await client.expectDisconnect(MALFORMED);
  });
  test(`a filter with ${what} is malformed [MQTT-3.8.3-1] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-4.7.3-2]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0x82, 0, 1, 0, 0, bytes.length, ...bytes, 0));
    await client.expectDisconnect(MALFORMED);
  });
  test(`a filter to unsubscribe with ${what} is malformed [MQTT-3.10.3-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0xa2, 0, 1, 0, 0, bytes.length, ...bytes));
    await client.expectDisconnect(MALFORMED);
  });
  test(`a client id with ${what} is refused [MQTT-3.1.3-4]`, async (t) => {
    const client = (await startBroker(t)).client();
    client.send(raw(0x10, 'MQTT', 5, 2, 0, 0, 0, 0, bytes.length, ...bytes));
    await client.expectRefused(MALFORMED);
  });
  test(`a will topic with ${what} is refused [MQTT-3.1.3-11]`, async (t) => {
    const client = (await startBroker(t)).client();
    client.send(raw(0x10, 'MQTT', 5, 6, 0, 0, 0, 'c', 0, 0, bytes.length, ...bytes, 'gone'));
    await client.expectRefused(MALFORMED);
  });
  test(`a user name with ${what} is refused [MQTT-3.1.3-12]`, async (t) => {
    const client = (await startBroker(t)).client();
    client.send(raw(0x10, 'MQTT', 5, 0x82, 0, 0, 0, 'c', 0, bytes.length, ...bytes));
    await client.expectRefused(MALFORMED);
  });
  test(`a user property with ${what} in either half is malformed [MQTT-1.5.7-1]`, async (t) => {
    const broker = await startBroker(t);
    const text = Buffer.from([0, bytes.length, ...bytes]);
    for (const pair of [
      [text, raw(0, 'v').subarray(2)],
      [raw(0, 'v').subarray(2), text],
    ]) {
      const client = await broker.connect();
      client.send(raw(0x30, 't', 1 + pair[0].length + pair[1].length, 0x26, pair[0], pair[1]));
      await client.expectDisconnect(MALFORMED);
    }
  });
  test(`a content type with ${what} is malformed [MQTT-3.3.2-19]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0x30, 't', 3 + bytes.length, 0x03, 0, bytes.length, ...bytes));
    await client.expectDisconnect(MALFORMED);
  });
  test(`a response topic with ${what} is malformed [MQTT-3.3.2-13]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(0x30, 't', 3 + bytes.length, 0x08, 0, bytes.length, ...bytes));
    await client.expectDisconnect(MALFORMED);
  });
}

test('a byte order mark belongs to the topic [MQTT-1.5.4-3]', async (t) => {
  const client = await (await startBroker(t)).connect();
  await client.subscribe(['a', '\ufeffa']);
  client.send(publish('\ufeffa', 'x'));
  await client.expectBytes(raw(0x30, '\ufeffa', 0, 0x78));
  await client.expectNothing();
});

test('a remaining length with a byte too many is malformed [MQTT-1.5.5-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(Buffer.from([0xc0, 0x80, 0x00]));
  await client.expectDisconnect(MALFORMED);
});

test('a property length with a byte too many is malformed [MQTT-1.5.5-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0x30, 't', 0x80, 0x00));
  await client.expectDisconnect(MALFORMED);
});

test('a subscription identifier with a byte too many is malformed [MQTT-1.5.5-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0x82, 0, 1, 3, 0x0b, 0x81, 0x00, 't', 0));
  await client.expectDisconnect(MALFORMED);
});

for (const [what, bytes] of [
  ['PUBACK', raw(0x41, 0, 1)],
  ['PUBREC', raw(0x52, 0, 1)],
  ['PUBCOMP', raw(0x74, 0, 1)],
  ['PINGREQ', raw(0xc8)],
  ['DISCONNECT', raw(0xe1)],
] as [string, Buffer][]) {
  test(`${what} with a reserved flag set is malformed [MQTT-2.1.3-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(bytes);
    await client.expectDisconnect(MALFORMED);
  });
}

for (const type of [0, 2, 9, 11, 13]) {
  test(`packet type ${type} from a client closes the connection with a reason code [MQTT-4.13.1-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(raw(type << 4, 0, 1, 0, 0));
    await client.expectDisconnect(MALFORMED, PROTOCOL_ERROR);
  });
}

for (const [what, bytes] of [
  ['PUBLISH at QoS 1', raw(0x32, 't', 0, 0, 0, 0x78)],
  ['SUBSCRIBE', raw(0x82, 0, 0, 0, 't', 0)],
  ['UNSUBSCRIBE', raw(0xa2, 0, 0, 0, 't')],
] as [string, Buffer][]) {
  test(`${what} with packet id 0 closes the connection with a reason code [MQTT-2.2.1-3]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(bytes);
    await client.expectDisconnect(MALFORMED, PROTOCOL_ERROR);
  });
}

for (const [what, bytes] of [
  ['an unknown property', raw(0x30, 't', 2, 0x7f, 1)],
  ['a property of another packet', raw(0x30, 't', 3, 0x21, 0, 5)],
  ['a property twice', raw(0x30, 't', 4, 0x01, 1, 0x01, 1)],
  ['a property cut short', raw(0x30, 't', 3, 0x02, 0, 0)],
  ['a property length beyond the packet', raw(0x30, 't', 9, 0x01, 1)],
] as [string, Buffer][]) {
  test(`a PUBLISH with ${what} closes the connection with a reason code [MQTT-4.13.1-1]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(bytes);
    await client.expectDisconnect(MALFORMED, PROTOCOL_ERROR);
  });
}

test('messages in flight to a client have packet ids of their own, none of them 0 [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const publisher = await broker.connect();
  await client.subscribe('t', 2);
  const ids = new Set<number>();
  for (let n = 1; n <= 10; n++) {
    await publisher.publish('t', String(n), { qos: n % 2 === 0 ? 1 : 2 });
    ids.add((await client.receive('t', String(n))).packetId);
  }
  assert.equal(ids.size, 10);
  assert.equal(ids.has(0), false);
});

test('a QoS 0 message goes out without a packet id and with property length 0 [MQTT-2.2.1-2] [MQTT-2.2.2-1] [MQTT-4.3.1-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe('t', 0);
  await (await broker.connect()).publish('t', 'x', { qos: 1 });
  await client.expectBytes(raw(0x30, 't', 0, 0x78));
});

test('acknowledgements carry the packet id of the PUBLISH [MQTT-2.2.1-5] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect()).subscribe('t');
  const client = await broker.connect();
  client.send(publish('t', 'x', { qos: 1, packetId: 0x1234 }));
  await client.expect('PUBACK', { packetId: 0x1234, reasonCode: 0 });
  client.send(publish('t', 'x', { qos: 2, packetId: 0xfffe }));
  await client.expect('PUBREC', { packetId: 0xfffe, reasonCode: 0 });
  client.send(raw(0x62, 0xff, 0xfe));
  await client.expect('PUBCOMP', { packetId: 0xfffe, reasonCode: 0 });
});

test('PUBREL has the packet id of the PUBLISH [MQTT-2.2.1-5] [MQTT-4.3.3-4] [MQTT-2.1.3-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe('t', 2);
  await (await broker.connect()).publish('t', 'x', { qos: 2 });
  const { packetId } = await client.receive('t', 'x', { qos: 2 });
  client.send(pubrec(packetId));
  const frame = await client.nextBytes();
  assert.equal(frame?.[0], 0x62);
  assert.equal(frame?.readUInt16BE(2), packetId);
});

test('SUBACK and UNSUBACK carry the packet id of their request and property length 0 [MQTT-2.2.1-6] [MQTT-2.2.2-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(subscribe(0xabcd, ['t']));
  await client.expectBytes(raw(0x90, 0xab, 0xcd, 0, 0));
  client.send(unsubscribe(0xabce, ['t']));
  await client.expectBytes(raw(0xb0, 0xab, 0xce, 0, 0));
});

test('the bytes of a packet may come one at a time, or many packets at once [MQTT-4.2-1]', async (t) => {
  const broker = await startBroker(t);
  const client = broker.client();
  for (const byte of raw(0x10, 'MQTT', 5, 2, 0, 0, 0, 'c')) client.send(Buffer.from([byte]));
  await client.expect('CONNACK', { reasonCode: 0 });
  const other = broker.client();
  other.sendTogether(connect(), subscribe(7, ['t']), publish('t', 'x'), raw(0xc0));
  await other.expect('CONNACK', { reasonCode: 0 });
  await other.expect('SUBACK', { packetId: 7 });
  await other.receive('t', 'x');
  await other.expect('PINGRESP');
});
