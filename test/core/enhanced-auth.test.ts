import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePacket } from '../../src/codec/encode.ts';
import type { Properties } from '../../src/codec/packets.ts';
import type { Authorizer } from '../../src/interfaces/auth.ts';
import type { Log } from '../../src/interfaces/log.ts';
import { AUTHENTICATION_DATA_BYTES_MAX, UNAUTHENTICATED_BYTES_MAX } from '../../src/limits.ts';
import { startBroker } from '../support/broker.ts';
import { ExchangeAuthenticator, METHOD } from '../support/exchange-authenticator.ts';
import { auth, connect, pingreq, publish } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';

const OK = { ok: true, username: 'ann' } as const;

function said(data = ''): Properties {
  return { authenticationMethod: METHOD, authenticationData: Buffer.from(data) };
}

for (const waitsFor of ['the client', 'the authenticator']) {
  test(`the time limit of CONNECT holds while an exchange waits for ${waitsFor}`, async (t) => {
    const authenticator = new ExchangeAuthenticator('one', OK);
    const verdict = Promise.withResolvers<void>();
    const broker = await startBroker(t, { authenticator });
    const client = broker.client();
    await broker.advanceSeconds(6);
    client.send(connect({ properties: said() }));
    await client.expect('AUTH');
    if (waitsFor === 'the authenticator') {
      authenticator.gate = verdict.promise;
      client.send(auth(0x18, said()));
    }
    await broker.advanceSeconds(3);
    await client.expectNothing();
    await broker.advanceSeconds(2);
    await client.expectClosed();
    verdict.resolve();
    await settle();
    assert.equal(broker.broker.sessions.size, 0);
  });
}

test('what stands behind the CONNECT and its AUTH in one write is heard in its turn, PUBLISH after CONNACK', async (t) => {
  for (const gate of [null, Promise.resolve()]) {
    const authenticator = new ExchangeAuthenticator(null, 'two', OK);
    authenticator.gate = gate;
    const client = (await startBroker(t, { authenticator })).client();
    client.sendTogether(
      connect({ properties: { authenticationMethod: METHOD } }),
      auth(0x18, said('first')),
      auth(0x18, said('last')),
      publish('t', 'x', { qos: 1, packetId: 7 }),
      pingreq(),
    );
    await client.expect('AUTH', { reasonCode: 0x18 });
    await client.expect('AUTH', { reasonCode: 0x18 });
    await client.expect('CONNACK', { reasonCode: 0 });
    await client.expect('PUBACK', { packetId: 7 });
    await client.expect('PINGRESP');
    assert.deepEqual(authenticator.said, ['', 'first', 'last']);
  }
});

test('so much behind the AUTH that the input was stopped does not hold the exchange up', async (t) => {
  const authenticator = new ExchangeAuthenticator('one', OK);
  const broker = await startBroker(t, { authenticator });
  const thinks = Promise.withResolvers<void>();
  authenticator.gate = thinks.promise;
  const client = broker.client();
  const large = publish('t', 'x'.repeat(40_000));
  client.sendTogether(connect({ properties: said() }), auth(0x18, said('two')), large, large);
  await client.expectNothing();
  thinks.resolve();
  await client.expect('AUTH');
  await client.expect('CONNACK', { reasonCode: 0 });
  await client.expectNothing();
  assert.equal(broker.broker.statistics.publishReceived, 2);
});

test('an AUTH may come byte by byte', async (t) => {
  const client = (await startBroker(t, { authenticator: new ExchangeAuthenticator('one', OK) })).client();
  client.send(connect({ properties: said() }));
  await client.expect('AUTH');
  for (const byte of encodePacket(auth(0x18, said('two')), 5)) client.send(Buffer.of(byte));
  await client.expect('CONNACK', { reasonCode: 0 });
});

test('nothing behind the CONNECT is looked at while the authenticator thinks, and it is bounded', async (t) => {
  const authenticator = new ExchangeAuthenticator('one', OK);
  authenticator.gate = new Promise(() => {});
  const broker = await startBroker(t, { authenticator });
  const client = broker.client();
  client.send(connect({ properties: said() }), publish('t', 'x'));
  await client.expectNothing();
  assert.equal(broker.broker.statistics.publishReceived, 0);
  client.send(Buffer.alloc(UNAUTHENTICATED_BYTES_MAX));
  await client.expectRefused(0x97);
});

test('the session of the same client id is left alone until the verdict', async (t) => {
  const authenticator = new ExchangeAuthenticator('one', { ok: false, reason: 'bad-credentials' }, 'one', OK);
  const broker = await startBroker(t, { authenticator });
  const owner = await broker.connect({ clientId: 'c', username: 'ann' });
  for (const last of ['wrong', 'right']) {
    await owner.subscribe('t');
    const client = broker.client();
    client.send(connect({ clientId: 'c', properties: said() }));
    await client.expect('AUTH');
    await owner.publish('t', 'still there');
    await owner.receive('t', 'still there');
    client.send(auth(0x18, said(last)));
    await client.expect('CONNACK', { reasonCode: last === 'right' ? 0 : 0x86 });
  }
  await owner.expectDisconnect(0x8e);
});

test('a client that leaves while the authenticator thinks leaves nothing behind', async (t) => {
  const authenticator = new ExchangeAuthenticator('one', OK);
  const broker = await startBroker(t, { authenticator });
  const client = broker.client();
  client.send(connect({ properties: said() }));
  await client.expect('AUTH');
  const verdict = Promise.withResolvers<void>();
  authenticator.gate = verdict.promise;
  client.send(auth(0x18, said()));
  await client.drop();
  verdict.resolve();
  await settle();
  assert.equal(broker.broker.sessions.size, 0);
  assert.equal(broker.broker.connections.size, 0);
});

test('an authenticator that rejects is unavailable, one that throws is our fault, and both are logged', async (t) => {
  const logged: string[] = [];
  const error = (event: string): number => logged.push(event);
  const log: Log = { debug() {}, info() {}, warn() {}, error };
  const cases = [
    [Promise.resolve(), 0x88, 'auth.error'],
    [null, 0x80, 'client.internal_error'],
  ] as const;
  for (const [gate, code, event] of cases) {
    const authenticator = new ExchangeAuthenticator('one', new Error('broken'));
    authenticator.gate = gate;
    const client = (await startBroker(t, { authenticator, log })).client();
    client.send(connect({ properties: said() }));
    await client.expect('AUTH');
    client.send(auth(0x18, said()));
    await client.expectRefused(code);
    assert.equal(logged.pop(), event);
  }
});

test('authentication data over the limit is refused with 0x97 before it is given to anyone', async (t) => {
  const fits = 'x'.repeat(AUTHENTICATION_DATA_BYTES_MAX);
  for (const [first, second] of [
    [`${fits}x`, null],
    [fits, `${fits}x`],
  ]) {
    const authenticator = new ExchangeAuthenticator('one', OK);
    const client = (await startBroker(t, { authenticator })).client();
    client.send(connect({ properties: said(first!) }));
    if (second !== null) {
      await client.expect('AUTH');
      client.send(auth(0x18, said(second)));
    }
    await client.expectRefused(0x97);
    assert.ok(authenticator.said.every((text) => text.length <= AUTHENTICATION_DATA_BYTES_MAX));
  }
});

test('a client is heard three times in one exchange, and then refused with 0x87', async (t) => {
  const authenticator = new ExchangeAuthenticator('one', 'two', 'three', OK);
  const client = (await startBroker(t, { authenticator })).client();
  client.send(connect({ properties: said() }));
  await client.expect('AUTH');
  client.send(auth(0x18, said()));
  await client.expect('AUTH');
  client.send(auth(0x18, said()));
  await client.expect('CONNACK', { reasonCode: 0x87 });
  await client.expectClosed();
  assert.equal(authenticator.said.length, 3);
});

test('an AUTH over the client’s Maximum Packet Size is not sent: CONNACK 0x95 [MQTT-3.1.2-24]', async (t) => {
  const authenticator = new ExchangeAuthenticator('x'.repeat(100));
  const client = (await startBroker(t, { authenticator })).client();
  client.send(connect({ properties: { ...said(), maximumPacketSize: 50 } }));
  await client.expectRefused(0x95);
});

test('AUTH out of turn on an open connection is a protocol error: unasked, inside another, or too soon', async (t) => {
  const never = new Promise<void>(() => {});
  for (const [gate, packets] of [
    [null, [auth(0x18, said())]],
    [null, [auth(0x19, said()), auth(0x19, said())]],
    [never, [auth(0x19, said()), auth(0x18, said())]],
    [never, [auth(0x19, said()), auth(0x19, said())]],
  ] as const) {
    const authenticator = new ExchangeAuthenticator(OK, 'again', OK);
    const client = (await startBroker(t, { authenticator })).client();
    client.send(connect({ properties: said() }));
    await client.expect('CONNACK', { reasonCode: 0 });
    authenticator.gate = gate;
    client.send(...packets);
    if (gate === null && packets.length === 2) await client.expect('AUTH');
    await client.expectDisconnect(0x82);
  }
});

test('after one re-authentication another may follow, and each is heard three times', async (t) => {
  const authenticator = new ExchangeAuthenticator(OK, 'a', 'b', OK, 'c', 'd', OK);
  const client = (await startBroker(t, { authenticator })).client();
  client.send(connect({ properties: said() }));
  await client.expect('CONNACK', { reasonCode: 0 });
  for (let round = 0; round < 2; round++) {
    client.send(auth(0x19, said()));
    await client.expect('AUTH', { reasonCode: 0x18 });
    client.send(auth(0x18, said()));
    await client.expect('AUTH', { reasonCode: 0x18 });
    client.send(auth(0x18, said()));
    await client.expect('AUTH', { reasonCode: 0 });
  }
});

test('re-authentication hears busy and throttled as such, and 0x87 for the rest', async (t) => {
  for (const [reason, code] of [
    ['busy', 0x89],
    ['throttled', 0x9f],
    ['unavailable', 0x87],
    ['banned', 0x87],
  ] as const) {
    const authenticator = new ExchangeAuthenticator(OK, { ok: false, reason });
    const client = (await startBroker(t, { authenticator })).client();
    client.send(connect({ properties: said() }));
    await client.expect('CONNACK', { reasonCode: 0 });
    client.send(auth(0x19, said()));
    await client.expectDisconnect(code);
  }
});

test('a verdict on a re-authentication that comes after the close changes nothing', async (t) => {
  const authenticator = new ExchangeAuthenticator(OK, {
    ...OK,
    grants: { publish: ['#'], subscribe: ['#'] },
  });
  const broker = await startBroker(t, { authenticator });
  const client = broker.client();
  const kept = { ...said(), sessionExpiryInterval: 100 };
  client.send(connect({ clientId: 'c', properties: kept }));
  await client.expect('CONNACK', { reasonCode: 0 });
  const verdict = Promise.withResolvers<void>();
  authenticator.gate = verdict.promise;
  client.send(auth(0x19, said()));
  await client.drop();
  verdict.resolve();
  await settle();
  assert.equal(broker.broker.sessions.get('c')?.identity.grants, null);
});

test('re-authentication puts a new end to the login, and new grants hold for what is received next', async (t) => {
  const all = { publish: ['#'], subscribe: ['#'] };
  const few = { publish: ['#'], subscribe: ['a'] };
  const authenticator = new ExchangeAuthenticator();
  // Grants as an authorizer may look at them: by the exact filter.
  const authorizer: Authorizer = {
    generation: 0,
    may: ({ grants }, action, topic) =>
      action !== 'receive' ||
      !grants ||
      grants.subscribe.some((filter) => filter === '#' || filter === topic),
  };
  const broker = await startBroker(t, { authenticator, authorizer });
  const endsIn = (seconds: number): number => broker.clock.now() + seconds * 1000;
  authenticator.replies = [{ ...OK, grants: all, endsAtMs: endsIn(60) }];
  const client = broker.client();
  client.send(connect({ properties: said() }));
  await client.expect('CONNACK', { reasonCode: 0 });
  await client.subscribe('+');
  await client.publish('b', 'all');
  await client.receive('b', 'all');
  await broker.advanceSeconds(50);
  authenticator.replies = [{ ...OK, grants: few, endsAtMs: endsIn(60) }];
  client.send(auth(0x19, said()));
  await client.expect('AUTH', { reasonCode: 0 });
  await client.publish('b', 'few');
  await client.publish('a', 'few');
  await client.receive('a', 'few');
  await broker.advanceSeconds(50);
  await client.expectNothing();
  authenticator.replies = [OK];
  client.send(auth(0x19, said()));
  await client.expect('AUTH', { reasonCode: 0 });
  await client.publish('b', 'no grants, no end');
  await client.receive('b', 'no grants, no end');
  await broker.advanceSeconds(1000);
  await client.expectNothing();
});

test('a login that is not renewed in time ends with 0xA0, though a re-authentication is under way', async (t) => {
  const authenticator = new ExchangeAuthenticator();
  const broker = await startBroker(t, { authenticator });
  authenticator.replies = [{ ...OK, endsAtMs: broker.clock.now() + 10_000 }, 'again'];
  const client = broker.client();
  client.send(connect({ properties: said() }));
  await client.expect('CONNACK', { reasonCode: 0 });
  client.send(auth(0x19, said()));
  await client.expect('AUTH', { reasonCode: 0x18 });
  await broker.advanceSeconds(11);
  await client.expectDisconnect(0xa0);
});
