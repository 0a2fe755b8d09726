import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { connect, disconnect, pingreq, puback, publish, raw } from '../../support/packets.ts';

const MALFORMED = 0x81;
const PROTOCOL_ERROR = 0x82;

test('anything but a CONNECT first closes the connection, without DISCONNECT [MQTT-3.1.0-1] [MQTT-3.14.0-1] [MQTT-3.2.0-1]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('t');
  for (const packet of [publish('t', 'x'), pingreq(), raw(0x82, 0, 1, 0, 't', 0), disconnect(), raw(0xf0)]) {
    const client = broker.client();
    client.send(packet);
    await client.expectClosed();
  }
  await watcher.expectNothing();
});

test('a second CONNECT is a protocol error [MQTT-3.1.0-2] [MQTT-3.2.0-2]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(connect());
  await client.expectDisconnect(PROTOCOL_ERROR);
});

for (const name of ['MQTX', 'mqtt', 'MQT', 'HTTP/1']) {
  test(`the protocol name ${name} is refused [MQTT-3.1.2-1]`, async (t) => {
    const client = (await startBroker(t)).client();
    client.send(raw(0x10, name, 5, 2, 0, 0, 0, 'c'));
    const frame = await client.nextBytes();
    if (frame !== null) assert.notEqual(frame[3], 0);
    await client.expectClosed();
  });
}

test('protocol version 6 is refused [MQTT-3.1.2-2]', async (t) => {
  const client = (await startBroker(t)).client();
  client.send(raw(0x10, 'MQTT', 6, 2, 0, 0, 0, 'c'));
  const frame = await client.nextBytes();
  if (frame !== null) assert.equal(frame[3], 0x84, frame.toString('hex'));
  await client.expectClosed();
});

for (const [what, statements, packet] of [
  ['the reserved flag', '[MQTT-3.1.2-3]', raw(0x10, 'MQTT', 5, 3, 0, 0, 0, 'c')],
  ['a will flag without will fields', '[MQTT-3.1.2-9]', raw(0x10, 'MQTT', 5, 6, 0, 0, 0, 'c')],
  ['a will flag without a will payload', '[MQTT-3.1.2-9]', raw(0x10, 'MQTT', 5, 6, 0, 0, 0, 'c', 0, 't')],
  ['a will QoS without the will flag', '[MQTT-3.1.2-11]', raw(0x10, 'MQTT', 5, 0x0a, 0, 0, 0, 'c')],
  ['will QoS 3', '[MQTT-3.1.2-12]', raw(0x10, 'MQTT', 5, 0x1e, 0, 0, 0, 'c', 0, 't', 'm')],
  ['will retain without the will flag', '[MQTT-3.1.2-13]', raw(0x10, 'MQTT', 5, 0x22, 0, 0, 0, 'c')],
  ['a user name without its flag', '[MQTT-3.1.2-16]', raw(0x10, 'MQTT', 5, 2, 0, 0, 0, 'c', 'user')],
  ['the user name flag without a user name', '[MQTT-3.1.2-17]', raw(0x10, 'MQTT', 5, 0x82, 0, 0, 0, 'c')],
  ['a password without its flag', '[MQTT-3.1.2-18]', raw(0x10, 'MQTT', 5, 0x82, 0, 0, 0, 'c', 'user', 'pw')],
  ['the password flag without a password', '[MQTT-3.1.2-19]', raw(0x10, 'MQTT', 5, 0xc2, 0, 0, 0, 'c', 'u')],
  ['no client id', '[MQTT-3.1.3-3]', raw(0x10, 'MQTT', 5, 2, 0, 0, 0)],
  ['a flag in the fixed header', '[MQTT-2.1.3-1]', raw(0x11, 'MQTT', 5, 2, 0, 0, 0, 'c')],
  ['nothing after the version', '[MQTT-3.1.4-1] [MQTT-4.13.2-1]', raw(0x10, 'MQTT', 5)],
  ['Receive Maximum 0', '[MQTT-3.1.4-1]', raw(0x10, 'MQTT', 5, 2, 0, 0, 3, 0x21, 0, 0, 'c')],
  ['Maximum Packet Size 0', '[MQTT-3.1.4-1]', raw(0x10, 'MQTT', 5, 2, 0, 0, 5, 0x27, 0, 0, 0, 0, 'c')],
  ['Request Problem Information 2', '[MQTT-3.1.4-1]', raw(0x10, 'MQTT', 5, 2, 0, 0, 2, 0x17, 2, 'c')],
  ['a property twice', '[MQTT-3.1.4-1]', raw(0x10, 'MQTT', 5, 2, 0, 0, 4, 0x19, 1, 0x19, 1, 'c')],
] as [string, string, Buffer][]) {
  test(`a CONNECT with ${what} is refused ${statements}`, async (t) => {
    const client = (await startBroker(t)).client();
    client.send(packet);
    await client.expectRefused(MALFORMED, PROTOCOL_ERROR);
  });
}

test('a password without a user name is allowed [MQTT-3.1.2-19]', async (t) => {
  const client = (await startBroker(t)).client();
  client.send(raw(0x10, 'MQTT', 5, 0x42, 0, 0, 0, 'c', 'pw'));
  await client.expect('CONNACK', { reasonCode: 0 });
});

test('the payload is read as client id, will, user name, password [MQTT-3.1.3-1] [MQTT-3.1.2-9]', async (t) => {
  let seen = '';
  const broker = await startBroker(t, {
    authenticator: {
      authenticate(attempt) {
        seen = `${attempt.clientId} ${attempt.username} ${Buffer.from(attempt.password ?? [])}`;
        return { ok: true, username: attempt.username };
      },
    },
  });
  const watcher = await broker.connect();
  await watcher.subscribe('topic');
  const client = broker.client();
  client.send(raw(0x10, 'MQTT', 5, 0xc6, 0, 0, 0, 'id', 2, 0x01, 1, 'topic', 'message', 'user', 'password'));
  await client.expect('CONNACK', { reasonCode: 0 });
  assert.equal(seen, 'id user password');
  await client.drop();
  await watcher.receive('topic', 'message', { properties: { payloadFormatIndicator: 1 } });
});

for (const clientId of ['a', '0123456789abcdefghijklm', 'nopqrstuvwxyzABCDEFGHIJ', 'KLMNOPQRSTUVWXYZ']) {
  test(`client id ${clientId} is accepted with CONNACK 0x00 [MQTT-3.1.3-5] [MQTT-3.1.4-5]`, async (t) => {
    const client = await (await startBroker(t)).connect({ clientId });
    assert.equal(client.connack.properties.assignedClientIdentifier, undefined);
  });
}

test('an empty client id is replaced by a unique one, told in CONNACK [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]', async (t) => {
  const broker = await startBroker(t);
  const one = await broker.connect({ clientId: '', properties: { sessionExpiryInterval: 100 } });
  const two = await broker.connect({ clientId: '' });
  const assigned = one.connack.properties.assignedClientIdentifier;
  assert.ok(assigned);
  assert.ok(two.connack.properties.assignedClientIdentifier);
  assert.notEqual(assigned, two.connack.properties.assignedClientIdentifier);
  await one.subscribe('t', 1);
  await one.drop();
  await two.publish('t', 'x', { qos: 1 });
  const again = await broker.connect({ clientId: assigned, cleanStart: false });
  assert.equal(again.connack.sessionPresent, true);
  await again.receive('t', 'x');
});

test('a client id over the limit is refused with 0x85 [MQTT-3.1.3-8] [MQTT-3.2.2-7]', async (t) => {
  const client = (await startBroker(t, { limits: { clientIdBytesMax: 30 } })).client();
  client.send(connect({ clientId: 'x'.repeat(31) }));
  await client.expect('CONNACK', { reasonCode: 0x85, sessionPresent: false });
  await client.expectClosed();
});

test('a second connection with the same client id ends the first with 0x8E [MQTT-3.1.4-3] [MQTT-3.14.2-2]', async (t) => {
  const broker = await startBroker(t);
  const first = await broker.connect({ clientId: 'same' });
  const second = await broker.connect({ clientId: 'same' });
  const { properties } = await first.expectDisconnect(0x8e);
  assert.equal(properties.sessionExpiryInterval, undefined);
  second.send(pingreq());
  await second.expect('PINGRESP');
});

test('a connection that is refused does not end the one with the same client id [MQTT-3.1.4-3] [MQTT-3.1.4-2]', async (t) => {
  const broker = await startBroker(t, {
    authenticator: {
      authenticate: (attempt) =>
        attempt.username === 'good'
          ? { ok: true, username: 'good' }
          : { ok: false, reason: 'bad-credentials' },
    },
  });
  const first = await broker.connect({ clientId: 'same', username: 'good' });
  const second = broker.client();
  second.send(connect({ clientId: 'same', username: 'bad' }));
  await second.expect('CONNACK', { reasonCode: 0x86, sessionPresent: false });
  await second.expectClosed();
  first.send(pingreq());
  await first.expect('PINGRESP');
});

test('nothing that follows a refused CONNECT is processed [MQTT-3.1.4-6]', async (t) => {
  const broker = await startBroker(t, {
    authenticator: {
      authenticate: async (attempt) =>
        attempt.clientId === 'bad' ? { ok: false, reason: 'not-authorized' } : { ok: true, username: null },
    },
  });
  const watcher = await broker.connect();
  await watcher.subscribe('t');
  const client = broker.client();
  client.sendTogether(connect({ clientId: 'bad' }), publish('t', 'x'), publish('t', 'y', { retain: true }));
  await client.expect('CONNACK', { reasonCode: 0x87 });
  await client.expectClosed();
  await watcher.expectNothing();
  await watcher.subscribe('#');
  await watcher.expectNothing();
});

test('what is sent right behind a CONNECT waits for the verdict [MQTT-3.2.0-1]', async (t) => {
  const { promise, resolve } = Promise.withResolvers<{ ok: true; username: null }>();
  const broker = await startBroker(t, { authenticator: { authenticate: () => promise } });
  const client = broker.client();
  client.sendTogether(connect(), raw(0x82, 0, 1, 0, 't', 0));
  client.send(pingreq());
  await client.expectNothing();
  resolve({ ok: true, username: null });
  await client.expect('CONNACK', { reasonCode: 0 });
  await client.expect('SUBACK', { packetId: 1 });
  await client.expect('PINGRESP');
});

test('a client silent for one and a half keep alive periods is closed with 0x8D, and its will published [MQTT-3.1.2-22] [MQTT-3.2.2-22] [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will');
  const client = await broker.connect({ keepAliveSeconds: 10, will: { topic: 'will' } });
  assert.equal(client.connack.properties.serverKeepAlive, undefined);
  await broker.advanceSeconds(14);
  client.send(pingreq());
  await client.expect('PINGRESP');
  await broker.advanceSeconds(14);
  await client.expectNothing();
  await broker.advanceSeconds(3);
  await client.expectDisconnect(0x8d);
  await watcher.receive('will', 'will');
});

test('Server Keep Alive is told and counts instead of the value asked for [MQTT-3.1.2-21] [MQTT-3.2.2-21]', async (t) => {
  const broker = await startBroker(t, { limits: { keepAliveMaxSeconds: 20 } });
  for (const keepAliveSeconds of [0, 600]) {
    const client = await broker.connect({ keepAliveSeconds });
    assert.equal(client.connack.properties.serverKeepAlive, 20);
    await broker.advanceSeconds(29);
    await client.expectNothing();
    await broker.advanceSeconds(3);
    await client.expectDisconnect(0x8d);
  }
});

test('no packet exceeds the Maximum Packet Size of the client; a message too large counts as delivered [MQTT-3.1.2-24] [MQTT-3.1.2-25]', async (t) => {
  const broker = await startBroker(t);
  const options = {
    clientId: 'small',
    properties: { maximumPacketSize: 100, sessionExpiryInterval: 100, receiveMaximum: 2 },
  };
  const client = await broker.connect({ ...options });
  await client.subscribe('t', 2);
  const publisher = await broker.connect();
  for (const qos of [0, 1, 2, 1] as const) await publisher.publish('t', 'x'.repeat(100), { qos });
  await publisher.publish('t', 'fits', { qos: 1 });
  const { packetId } = await client.receive('t', 'fits', { qos: 1 });
  client.send(puback(packetId));
  await client.drop();
  await (await broker.connect({ ...options, cleanStart: false })).expectNothing();
});

test('a PUBLISH of exactly the Maximum Packet Size is sent, one byte more is not [MQTT-3.1.2-24]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ properties: { maximumPacketSize: 100 } });
  await client.subscribe('t');
  const publisher = await broker.connect();
  await publisher.publish('t', 'x'.repeat(95));
  await client.expectNothing();
  await publisher.publish('t', 'x'.repeat(94));
  assert.equal((await client.nextBytes())?.length, 100);
});

test('a retained message too large for the client is not sent [MQTT-3.1.2-24]', async (t) => {
  const broker = await startBroker(t);
  await (await broker.connect()).publish('t', 'x'.repeat(100), { retain: true });
  const client = await broker.connect({ properties: { maximumPacketSize: 100 } });
  await client.subscribe('t');
  await client.expectNothing();
});

test('without Request Response Information 1 no Response Information comes back [MQTT-3.1.2-28]', async (t) => {
  const broker = await startBroker(t);
  for (const properties of [{}, { requestResponseInformation: 0 }]) {
    const client = await broker.connect({ properties });
    assert.equal(client.connack.properties.responseInformation, undefined);
  }
});

test('with Request Problem Information 0 acknowledgements have no reason string and no user property [MQTT-3.1.2-29]', async (t) => {
  const broker = await startBroker(t, { authorizer: { generation: 0, may: () => false } });
  const client = await broker.connect({ properties: { requestProblemInformation: 0 } });
  client.send(publish('t', 'x', { qos: 1, packetId: 1 }));
  await client.expect('PUBACK', { reasonCode: 0x87, properties: {} });
  client.send(publish('t', 'x', { qos: 2, packetId: 2 }));
  await client.expect('PUBREC', { reasonCode: 0x87, properties: {} });
  client.send(raw(0x62, 0, 9));
  await client.expect('PUBCOMP', { reasonCode: 0x92, properties: {} });
  client.send(raw(0x50, 0, 9));
  await client.expect('PUBREL', { reasonCode: 0x92, properties: {} });
  client.send(raw(0x82, 0, 3, 0, 't', 0));
  await client.expect('SUBACK', { reasonCodes: [0x87], properties: {} });
  client.send(raw(0xa2, 0, 4, 0, 't'));
  await client.expect('UNSUBACK', { reasonCodes: [0x11], properties: {} });
});

test('a client that allows no packet as large as its CONNACK is closed instead [MQTT-3.1.2-24] [MQTT-3.2.0-1]', async (t) => {
  const broker = await startBroker(t);
  const client = broker.client();
  client.send(connect({ clientId: 'tiny', properties: { maximumPacketSize: 8 } }));
  client.send(raw(0x82, 0, 1, 0, 't', 0), publish('t', 'x'));
  await client.expectClosed();
});
