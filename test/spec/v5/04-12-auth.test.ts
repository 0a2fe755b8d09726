import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Properties } from '../../../src/codec/packets.ts';
import { startBroker } from '../../support/broker.ts';
import { ExchangeAuthenticator, METHOD, type Reply } from '../../support/exchange-authenticator.ts';
import { auth, connect, disconnect, pingreq, publish, raw, subscribe } from '../../support/packets.ts';

const OK: Reply = { ok: true, username: 'ann' };
const REFUSED: Reply = { ok: false, reason: 'bad-credentials' };

/** The properties of a packet in an exchange by METHOD. */
function said(data?: string): Properties {
  const authenticationMethod = METHOD;
  return data === undefined
    ? { authenticationMethod }
    : { authenticationMethod, authenticationData: Buffer.from(data) };
}

const dataOf = (properties: Properties): string | undefined =>
  properties.authenticationData && Buffer.from(properties.authenticationData).toString();

/** Whether the authenticator answers at once or in a later turn must make no difference. */
const MODES = ['at once', 'later'] as const;

function scripted(mode: (typeof MODES)[number], ...replies: Reply[]): ExchangeAuthenticator {
  const authenticator = new ExchangeAuthenticator(...replies);
  if (mode === 'later') authenticator.gate = Promise.resolve();
  return authenticator;
}

test('an authentication method the server does not know is refused with 0x8C [MQTT-4.12.0-1] [MQTT-4.12.0-4]', async (t) => {
  const authenticator = new ExchangeAuthenticator();
  for (const broker of [await startBroker(t), await startBroker(t, { authenticator })]) {
    const client = broker.client();
    client.send(
      connect({ properties: { authenticationMethod: 'SCRAM-SHA-1', authenticationData: Buffer.from('n') } }),
    );
    await client.expect('CONNACK', { reasonCode: 0x8c, sessionPresent: false });
    await client.expectClosed();
  }
});

test('without a method in CONNECT there is none in CONNACK, and no AUTH [MQTT-4.12.0-6]', async (t) => {
  const authenticator = new ExchangeAuthenticator();
  const client = await (await startBroker(t, { authenticator })).connect({ username: 'u', password: 'p' });
  assert.equal(client.connack.properties.authenticationMethod, undefined);
  await client.expectNothing();
  assert.equal(authenticator.attempts.length, 0);
});

for (const reasonCode of [0x18, 0x19]) {
  test(`AUTH ${reasonCode} on a connection without a method is a protocol error and closes it [MQTT-4.12.0-7] [MQTT-4.12.1-2]`, async (t) => {
    const client = await (await startBroker(t, { authenticator: new ExchangeAuthenticator(OK) })).connect();
    client.send(auth(reasonCode, { authenticationMethod: METHOD }));
    await client.expectDisconnect(0x82);
  });
}

test('AUTH with reserved bits set is malformed [MQTT-3.15.1-1]', async (t) => {
  const client = await (await startBroker(t)).connect();
  client.send(raw(0xf1, 0x19, 4, 0x15, 'x'));
  await client.expectDisconnect(0x81);
});

test('authentication data without a method is a protocol error', async (t) => {
  const client = (await startBroker(t)).client();
  client.send(raw(0x10, 'MQTT', 5, 2, 0, 0, 4, 0x16, 0, 1, 9, 'c'));
  await client.expectRefused(0x81, 0x82);
});

for (const mode of MODES) {
  test(`${mode}: AUTH goes to and fro with 0x18, method and data, then CONNACK ends it [MQTT-4.12.0-2] [MQTT-4.12.0-5] [MQTT-3.15.2-1]`, async (t) => {
    const authenticator = scripted(mode, 'one', null, {
      verdict: { ok: true, username: 'ann' },
      data: 'end',
    });
    const broker = await startBroker(t, { authenticator });
    const client = broker.client();
    client.send(connect({ clientId: 'c', username: 'claimed', password: 'pw', properties: said('hello') }));
    assert.equal(dataOf((await client.expect('AUTH', { reasonCode: 0x18 })).properties), 'one');
    client.send(auth(0x18, said('two')));
    const second = await client.expect('AUTH', { reasonCode: 0x18, properties: said() });
    assert.equal(dataOf(second.properties), undefined);
    client.send(auth(0x18, said()));
    const connack = await client.expect('CONNACK', { reasonCode: 0, sessionPresent: false });
    assert.equal(connack.properties.authenticationMethod, METHOD);
    assert.equal(dataOf(connack.properties), 'end');
    assert.deepEqual(authenticator.said, ['hello', 'two', '']);
    const [attempt] = authenticator.attempts;
    assert.deepEqual([attempt.clientId, attempt.username, attempt.protocolVersion], ['c', 'claimed', 5]);
    assert.equal(broker.broker.sessions.get('c')?.owner, 'ann');
    await client.subscribe('t');
    await client.publish('t', 'works');
    await client.receive('t', 'works');
  });

  test(`${mode}: an exchange may end with the CONNECT, without data`, async (t) => {
    const client = (await startBroker(t, { authenticator: scripted(mode, OK) })).client();
    client.send(connect({ properties: said() }));
    const { properties } = await client.expect('CONNACK', { reasonCode: 0 });
    assert.equal(properties.authenticationMethod, METHOD);
    assert.equal(properties.authenticationData, undefined);
  });

  for (const [reason, code] of [
    ['bad-credentials', 0x86],
    ['not-authorized', 0x87],
    ['unavailable', 0x88],
    ['busy', 0x89],
    ['banned', 0x8a],
    ['throttled', 0x9f],
  ] as const) {
    test(`${mode}: the verdict ${reason} after an AUTH is CONNACK ${code} and the close, and no session [MQTT-4.12.0-4]`, async (t) => {
      const authenticator = scripted(mode, 'one', { ok: false, reason });
      const broker = await startBroker(t, { authenticator });
      const client = broker.client();
      client.send(connect({ properties: said() }));
      await client.expect('AUTH');
      client.send(auth(0x18, said('wrong')));
      await client.expect('CONNACK', { reasonCode: code, sessionPresent: false });
      await client.expectClosed();
      assert.equal(broker.broker.sessions.size, 0);
    });
  }

  test(`${mode}: nothing but AUTH and DISCONNECT may come before the end [MQTT-3.1.2-30] [MQTT-4.13.1-1]`, async (t) => {
    const others = [
      publish('t', 'x'),
      publish('t', 'x', { qos: 1, packetId: 1 }),
      subscribe(1, ['t']),
      pingreq(),
      connect({ properties: said() }),
    ];
    for (const packet of others) {
      const broker = await startBroker(t, { authenticator: scripted(mode, 'one', OK) });
      const client = broker.client();
      client.send(connect({ properties: said() }));
      await client.expect('AUTH');
      client.send(packet);
      await client.expectRefused(0x82);
      assert.equal(broker.broker.statistics.publishReceived, 0);
    }
  });

  test(`${mode}: DISCONNECT before the end closes without a word [MQTT-3.1.2-30]`, async (t) => {
    for (const reasonCode of [0, 4]) {
      const client = (await startBroker(t, { authenticator: scripted(mode, 'one', OK) })).client();
      client.send(connect({ properties: said(), will: { topic: 'w' } }));
      await client.expect('AUTH');
      client.send(disconnect(reasonCode));
      await client.expectClosed();
    }
  });

  test(`${mode}: AUTH with another method, or beginning anew, before the end is a protocol error [MQTT-4.12.0-3]`, async (t) => {
    for (const packet of [auth(0x18, { authenticationMethod: 'TEST-2' }), auth(0x19, said())]) {
      const client = (await startBroker(t, { authenticator: scripted(mode, 'one', OK) })).client();
      client.send(connect({ properties: said() }));
      await client.expect('AUTH');
      client.send(packet);
      await client.expectRefused(0x82);
    }
  });

  test(`${mode}: re-authentication goes to and fro while the session goes on, and ends with AUTH 0x00 [MQTT-4.12.1-1] [MQTT-4.12.0-5]`, async (t) => {
    const authenticator = scripted(mode, OK, 'again', {
      verdict: { ok: true, username: 'ann' },
      data: 'fine',
    });
    const client = (await startBroker(t, { authenticator })).client();
    client.send(connect({ clientId: 'c', properties: said('first') }));
    await client.expect('CONNACK', { reasonCode: 0 });
    await client.subscribe('t');
    client.send(auth(0x19, said('second')));
    assert.equal(dataOf((await client.expect('AUTH', { reasonCode: 0x18 })).properties), 'again');
    await client.publish('t', 'meanwhile');
    await client.receive('t', 'meanwhile');
    client.send(auth(0x18, said('third')));
    const last = await client.expect('AUTH', { reasonCode: 0 });
    assert.equal(last.properties.authenticationMethod, METHOD);
    assert.equal(dataOf(last.properties), 'fine');
    await client.publish('t', 'after');
    await client.receive('t', 'after');
    const [, again] = authenticator.attempts;
    assert.deepEqual([again.clientId, again.username, again.password], ['c', 'ann', null]);
    assert.deepEqual(authenticator.said, ['first', 'second', 'third']);
  });

  test(`${mode}: a re-authentication that fails, or is of somebody else, ends the connection with 0x87 [MQTT-4.12.1-2]`, async (t) => {
    const others: Reply[] = [REFUSED, { ok: true, username: 'bob' }, { ok: true, username: null }];
    for (const reply of others) {
      const broker = await startBroker(t, { authenticator: scripted(mode, OK, reply) });
      const observer = await broker.connect();
      await observer.subscribe('will');
      const client = broker.client();
      client.send(connect({ properties: said(), will: { topic: 'will' } }));
      await client.expect('CONNACK', { reasonCode: 0 });
      client.send(auth(0x19, said()));
      await client.expectDisconnect(0x87);
      await observer.receive('will', 'will');
    }
  });

  test(`${mode}: re-authentication with another method is a protocol error [MQTT-4.12.1-1]`, async (t) => {
    const client = (await startBroker(t, { authenticator: scripted(mode, OK, OK) })).client();
    client.send(connect({ properties: said() }));
    await client.expect('CONNACK', { reasonCode: 0 });
    client.send(auth(0x19, { authenticationMethod: 'TEST-2' }));
    await client.expectDisconnect(0x82);
  });
}
