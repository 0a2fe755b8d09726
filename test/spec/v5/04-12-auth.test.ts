import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { auth, connect, raw } from '../../support/packets.ts';

test('an authentication method the server does not know is refused with 0x8C [MQTT-4.12.0-1] [MQTT-4.12.0-4]', async (t) => {
  const client = (await startBroker(t)).client();
  client.send(
    connect({ properties: { authenticationMethod: 'SCRAM-SHA-1', authenticationData: Buffer.from('n') } }),
  );
  await client.expect('CONNACK', { reasonCode: 0x8c, sessionPresent: false });
  await client.expectClosed();
});

test('without a method in CONNECT there is none in CONNACK, and no AUTH [MQTT-4.12.0-6]', async (t) => {
  const client = await (await startBroker(t)).connect({ username: 'u', password: 'p' });
  assert.equal(client.connack.properties.authenticationMethod, undefined);
  await client.expectNothing();
});

for (const reasonCode of [0x18, 0x19]) {
  test(`AUTH ${reasonCode} on a connection without a method is a protocol error and closes it [MQTT-4.12.0-7] [MQTT-4.12.1-2]`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(auth(reasonCode, { authenticationMethod: 'SCRAM-SHA-1' }));
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
