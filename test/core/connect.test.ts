import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Authenticator, Verdict } from '../../src/interfaces/auth.ts';
import { startBroker } from '../support/broker.ts';
import { connect, pingreq, publish } from '../support/packets.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import { settle } from '../support/test-client.ts';
import { SteppedStore } from './stepped-store.ts';

const KEPT = { sessionExpiryInterval: 100 };

/** Decides in a later turn, as a password hash does: the user name `good` comes in. */
const LATER: Authenticator = {
  authenticate: async ({ username }): Promise<Verdict> => {
    await new Promise((resolve) => setImmediate(resolve));
    return username === 'good' ? { ok: true, username } : { ok: false, reason: 'bad-credentials' };
  },
};

test('a CONNECT behind a refused one is not looked at', async (t) => {
  let attempts = 0;
  const authenticator: Authenticator = {
    authenticate: (attempt) => {
      attempts++;
      return LATER.authenticate(attempt);
    },
  };
  const broker = await startBroker(t, { authenticator });
  const client = broker.client();
  client.sendTogether(
    connect({ clientId: 'a', username: 'bad' }),
    connect({ clientId: 'a', username: 'good' }),
  );
  await client.expectRefused(0x86);
  await settle();
  assert.equal(attempts, 1);
  assert.equal(broker.broker.statistics.connected, 0);
  assert.equal(broker.broker.sessions.size, 0);
});

test('a refused login is one line in the log, and anything else that is refused is another', async (t) => {
  const log = new RecordedLog();
  const broker = await startBroker(t, { authenticator: LATER, log });
  const guesser = broker.client();
  guesser.send(connect({ clientId: 'a', username: 'bad' }));
  await guesser.expectRefused(0x86);
  const nobody = broker.client();
  nobody.send(connect({ clientId: 'x'.repeat(2_000), username: 'good' }));
  await nobody.expectRefused(0x85);
  assert.deepEqual(
    log.lines.filter(({ level }) => level !== 'debug').map(({ event }) => event),
    ['auth.failed', 'client.refused'],
  );
  assert.equal(broker.broker.statistics.connectionsRefused, 2);
});

test('packets behind a CONNECT that waits for verdict and store are not looked at before CONNACK [MQTT-3.2.0-1]', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { authenticator: LATER, store });
  const client = broker.client();
  client.sendTogether(connect({ username: 'good', properties: KEPT }), pingreq());
  await client.expectNothing();
  store.moveTo();
  await client.expect('CONNACK', { reasonCode: 0 });
  await client.expect('PINGRESP');
});

test('a takeover before CONNACK ends the connection without a word [MQTT-3.2.0-1]', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { store });
  const first = broker.client();
  first.send(connect({ clientId: 'a', properties: KEPT }));
  const second = broker.client();
  second.send(connect({ clientId: 'a', cleanStart: false, properties: KEPT }));
  await first.expectClosed();
  store.moveTo();
  await second.expect('CONNACK', { reasonCode: 0 });
});

test('a connection lost before CONNACK leaves a session that expires', async (t) => {
  const store = new SteppedStore();
  const broker = await startBroker(t, { store });
  const client = broker.client();
  client.send(connect({ clientId: 'a', properties: KEPT }));
  await client.drop();
  store.moveTo();
  await broker.advanceSeconds(102);
  assert.equal(broker.broker.sessions.size, 0);
  assert.equal(broker.broker.statistics.connected, 0);
});

test('a client whose CONNACK does not fit leaves no session behind [MQTT-3.1.2-24]', async (t) => {
  const broker = await startBroker(t);
  const client = broker.client();
  client.send(connect({ properties: { maximumPacketSize: 4 } }));
  await settle();
  assert.equal(client.closed, true);
  assert.equal(broker.broker.sessions.size, 0);
  assert.equal(broker.broker.statistics.connected, 0);
});

test('an authentication that never ends is over after the connect timeout', async (t) => {
  const authenticator: Authenticator = { authenticate: () => new Promise(() => {}) };
  const broker = await startBroker(t, { authenticator });
  const client = broker.client();
  client.send(connect());
  await settle();
  await broker.advanceSeconds(60);
  assert.equal(client.closed, true);
});

test('a topic name too long to be quoted in a reason string ends the connection with DISCONNECT', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  client.send(publish(`${'a'.repeat(65_500)}/#`, ''));
  await client.expectDisconnect(0x90);
});

test('behind a verdict that came later a packet that cannot be answered harms nobody', async (t) => {
  const broker = await startBroker(t, { authenticator: LATER });
  const client = broker.client();
  client.sendTogether(connect({ username: 'good' }), publish(`${'a'.repeat(65_500)}/#`, ''));
  await client.expect('CONNACK');
  await client.expectDisconnect(0x90);
});

test('a connection that sends no CONNECT is closed after a while', async (t) => {
  const broker = await startBroker(t, { limits: { connectTimeoutSeconds: 5 } });
  const client = broker.client(4);
  await broker.advanceSeconds(4);
  assert.equal(client.closed, false);
  await broker.advanceSeconds(3);
  await client.expectClosed();
});
