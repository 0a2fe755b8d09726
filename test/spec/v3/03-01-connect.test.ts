import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { connect, pingreq, publish, raw } from '../../support/packets.ts';
import { settle } from '../../support/test-client.ts';

const V = { version: 4 } as const;
const ACCEPTED = raw(0x20, 0, 0);

test('anything but a CONNECT first closes the connection [MQTT-3.1.0-1] [MQTT-3.2.0-1]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('t');
  for (const packet of [publish('t', 'x'), pingreq(), raw(0x82, 0, 1, 't', 0), raw(0xe0)]) {
    const client = broker.client(4);
    client.send(packet);
    await client.expectClosed();
  }
  await watcher.expectNothing();
});

test('a second CONNECT closes the connection [MQTT-3.1.0-2] [MQTT-4.8.0-1]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(connect({ ...V }));
  await client.expectClosed();
});

for (const name of ['MQTX', 'mqtt', 'MQT', 'HTTP/1']) {
  test(`the protocol name ${name} is not taken for MQTT 3.1.1 [MQTT-3.1.2-1]`, async (t) => {
    const client = (await startBroker(t)).client(4);
    client.send(raw(0x10, name, 4, 2, 0, 0, 'c'));
    await client.expectRefused(1);
  });
}

// A level above 5 is left to MQTT 5.0, which wants its own CONNACK. Bit 7 is how 3.x bridges try their luck first.
for (const level of [0, 2, 3, 0x84]) {
  test(`protocol level ${level} gets return code 1, then the close [MQTT-3.1.2-2]`, async (t) => {
    const client = (await startBroker(t)).client(4);
    client.send(raw(0x10, 'MQTT', level, 2, 0, 0, 'c'));
    await client.expectBytes(raw(0x20, 0, 1));
    await client.expectClosed();
  });
}

test('MQTT 3.1 is spoken too: name MQIsdp, level 3', async (t) => {
  const client = (await startBroker(t)).client(3);
  client.send(raw(0x10, 'MQIsdp', 3, 2, 0, 0, 'c'));
  await client.expectBytes(ACCEPTED);
});

for (const [what, statements, packet] of [
  ['the reserved flag', '[MQTT-3.1.2-3]', raw(0x10, 'MQTT', 4, 3, 0, 0, 'c')],
  ['a will flag without will fields', '[MQTT-3.1.2-9]', raw(0x10, 'MQTT', 4, 6, 0, 0, 'c')],
  ['a will flag without a will message', '[MQTT-3.1.2-9]', raw(0x10, 'MQTT', 4, 6, 0, 0, 'c', 't')],
  ['will fields without the will flag', '[MQTT-3.1.2-11]', raw(0x10, 'MQTT', 4, 2, 0, 0, 'c', 't', 'm')],
  ['a will QoS without the will flag', '[MQTT-3.1.2-13]', raw(0x10, 'MQTT', 4, 0x0a, 0, 0, 'c')],
  ['will QoS 3', '[MQTT-3.1.2-14]', raw(0x10, 'MQTT', 4, 0x1e, 0, 0, 'c', 't', 'm')],
  ['will retain without the will flag', '[MQTT-3.1.2-15]', raw(0x10, 'MQTT', 4, 0x22, 0, 0, 'c')],
  ['a user name without its flag', '[MQTT-3.1.2-18]', raw(0x10, 'MQTT', 4, 2, 0, 0, 'c', 'user')],
  ['the user name flag without a user name', '[MQTT-3.1.2-19]', raw(0x10, 'MQTT', 4, 0x82, 0, 0, 'c')],
  ['a password without its flag', '[MQTT-3.1.2-20]', raw(0x10, 'MQTT', 4, 0x82, 0, 0, 'c', 'user', 'pw')],
  ['the password flag without a password', '[MQTT-3.1.2-21]', raw(0x10, 'MQTT', 4, 0xc2, 0, 0, 'c', 'user')],
  ['a password without a user name', '[MQTT-3.1.2-22]', raw(0x10, 'MQTT', 4, 0x42, 0, 0, 'c', 'pw')],
  ['no client id', '[MQTT-3.1.3-3]', raw(0x10, 'MQTT', 4, 2, 0, 0)],
] as [string, string, Buffer][]) {
  test(`a CONNECT with ${what} closes the connection without CONNACK ${statements}`, async (t) => {
    const client = (await startBroker(t)).client(4);
    client.send(packet);
    await client.expectClosed();
  });
}

test('a malformed CONNECT closes the connection without CONNACK [MQTT-3.1.4-1]', async (t) => {
  const client = (await startBroker(t)).client(4);
  client.send(raw(0x10, 'MQTT', 4));
  await client.expectClosed();
});

test('the payload is read as client id, will topic, will message, user name, password [MQTT-3.1.3-1]', async (t) => {
  let seen = '';
  const broker = await startBroker(t, {
    authenticator: {
      authenticate(attempt) {
        seen = `${attempt.clientId} ${attempt.username} ${Buffer.from(attempt.password!)}`;
        return { ok: true, username: attempt.username };
      },
    },
  });
  const watcher = await broker.connect({ ...V, username: 'w', password: 'w' });
  await watcher.subscribe('topic');
  const client = broker.client(4);
  client.send(raw(0x10, 'MQTT', 4, 0xc6, 0, 0, 'id', 'topic', 'message', 'user', 'password'));
  await client.expectBytes(ACCEPTED);
  assert.equal(seen, 'id user password');
  await client.drop();
  await watcher.receive('topic', 'message');
});

for (const clientId of ['a', '0123456789abcdefghijklm', 'nopqrstuvwxyzABCDEFGHIJ', 'KLMNOPQRSTUVWXYZ']) {
  test(`client id ${clientId} is accepted [MQTT-3.1.3-5] [MQTT-3.1.4-4]`, async (t) => {
    const client = (await startBroker(t)).client(4);
    client.send(connect({ ...V, clientId }));
    await client.expectBytes(ACCEPTED);
  });
}

test('clients with an empty client id do not disturb each other [MQTT-3.1.3-6]', async (t) => {
  const broker = await startBroker(t);
  const one = await broker.connect({ ...V, clientId: '' });
  const two = await broker.connect({ ...V, clientId: '' });
  await one.subscribe('t');
  await two.subscribe('t');
  await two.publish('t', 'x');
  await one.receive('t', 'x');
  await two.receive('t', 'x');
});

test('an empty client id with clean session 0 gets return code 2, then the close [MQTT-3.1.3-7] [MQTT-3.1.3-8] [MQTT-3.2.2-5]', async (t) => {
  const client = (await startBroker(t)).client(4);
  client.send(connect({ ...V, clientId: '', cleanStart: false }));
  await client.expectBytes(raw(0x20, 0, 2));
  await client.expectClosed();
});

test('a client id over the limit gets return code 2, then the close [MQTT-3.1.3-9] [MQTT-3.2.2-5]', async (t) => {
  const client = (await startBroker(t, { limits: { clientIdBytesMax: 30 } })).client(4);
  client.send(connect({ ...V, clientId: 'x'.repeat(31) }));
  await client.expectBytes(raw(0x20, 0, 2));
  await client.expectClosed();
});

test('a second connection with the same client id ends the first [MQTT-3.1.4-2] [MQTT-3.1.3-2]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will');
  const first = await broker.connect({ ...V, clientId: 'same', will: { topic: 'will' } });
  const second = await broker.connect({ ...V, clientId: 'same' });
  await first.expectClosed();
  await watcher.receive('will', 'will');
  second.send(pingreq());
  await second.expectBytes(raw(0xd0));
});

test('a connection refused for its password does not end the one with the same client id [MQTT-3.1.4-2]', async (t) => {
  const broker = await startBroker(t, {
    authenticator: {
      authenticate: (attempt) =>
        attempt.username === 'good'
          ? { ok: true, username: 'good' }
          : { ok: false, reason: 'bad-credentials' },
    },
  });
  const first = await broker.connect({ ...V, clientId: 'same', username: 'good' });
  const second = broker.client(4);
  second.send(connect({ ...V, clientId: 'same', username: 'bad' }));
  await second.expectRefused(4, 5);
  first.send(pingreq());
  await first.expectBytes(raw(0xd0));
});

for (const [reason, code] of [
  ['bad-credentials', 4],
  ['not-authorized', 5],
  ['unavailable', 3],
  ['busy', 3],
] as const) {
  test(`the verdict ${reason} gets return code ${code} with session present 0, then the close [MQTT-3.2.2-4] [MQTT-3.2.2-5]`, async (t) => {
    let open = true;
    const broker = await startBroker(t, {
      authenticator: { authenticate: () => (open ? { ok: true, username: null } : { ok: false, reason }) },
    });
    await (await broker.connect({ ...V, clientId: 'same', cleanStart: false })).disconnect();
    open = false;
    const client = broker.client(4);
    client.send(connect({ ...V, clientId: 'same', cleanStart: false, username: 'u', password: 'p' }));
    await client.expectBytes(raw(0x20, 0, code));
    await client.expectClosed();
  });
}

test('nothing that follows a refused CONNECT is processed [MQTT-3.1.4-5]', async (t) => {
  const broker = await startBroker(t, {
    authenticator: {
      authenticate: async (attempt) =>
        attempt.clientId === 'bad' ? { ok: false, reason: 'not-authorized' } : { ok: true, username: null },
    },
  });
  const watcher = await broker.connect(V);
  await watcher.subscribe('t');
  const client = broker.client(4);
  client.sendTogether(
    connect({ ...V, clientId: 'bad' }),
    publish('t', 'x'),
    publish('t', 'y', { retain: true }),
  );
  await client.expectBytes(raw(0x20, 0, 5));
  await client.expectClosed();
  await watcher.expectNothing();
  await watcher.subscribe('#');
  await watcher.expectNothing();
});

test('what is sent right behind a CONNECT waits for the verdict [MQTT-3.2.0-1]', async (t) => {
  const { promise, resolve } = Promise.withResolvers<{ ok: true; username: null }>();
  const broker = await startBroker(t, { authenticator: { authenticate: () => promise } });
  const client = broker.client(4);
  client.sendTogether(connect(V), raw(0x82, 0, 1, 't', 0));
  client.send(pingreq());
  await client.expectNothing();
  resolve({ ok: true, username: null });
  await client.expectBytes(ACCEPTED);
  await client.expectBytes(raw(0x90, 0, 1, 0));
  await client.expectBytes(raw(0xd0));
});

test('a CONNECT refused for what no return code describes is closed without CONNACK [MQTT-3.2.2-6]', async (t) => {
  const client = (await startBroker(t)).client(4);
  client.send(raw(0x10, 'MQTT', 4, 6, 0, 0, 'c', 'with/#/wildcard', 'gone'));
  await client.expectClosed();
});

test('a client silent for one and a half keep alive periods is closed, and its will published [MQTT-3.1.2-24] [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will');
  const client = await broker.connect({ ...V, keepAliveSeconds: 10, will: { topic: 'will' } });
  await broker.advanceSeconds(14);
  client.send(pingreq());
  await client.expectBytes(raw(0xd0));
  await broker.advanceSeconds(14);
  await client.expectNothing();
  await watcher.expectNothing();
  await broker.advanceSeconds(3);
  await client.expectClosed();
  await watcher.receive('will', 'will');
});

test('any packet counts against the keep alive, not PINGREQ alone [MQTT-3.1.2-24]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ ...V, keepAliveSeconds: 10 });
  for (let n = 0; n < 5; n++) {
    await broker.advanceSeconds(12);
    client.send(publish('t', 'x'));
  }
  await client.expectNothing();
});

test('keep alive 0 never closes [MQTT-3.1.2-24]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect({ ...V, keepAliveSeconds: 0 });
  await broker.advanceSeconds(200_000);
  await client.expectNothing();
});

test('the will message is as long as the protocol allows, any bytes [MQTT-3.1.2-8]', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect(V);
  await watcher.subscribe('will');
  const client = broker.client(4);
  client.send(raw(0x10, 'MQTT', 4, 6, 0, 0, 'c', 'will', 0, 4, 0, 0xff, 0, 0xc0));
  await client.expectBytes(ACCEPTED);
  await client.drop();
  await settle();
  await watcher.expectBytes(raw(0x30, 'will', 0, 0xff, 0, 0xc0));
});
