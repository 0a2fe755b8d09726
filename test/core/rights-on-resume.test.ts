/** What a session keeps for its client, when the client comes back with less than it had. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrantsAuthorizer } from '../../auth/grants.ts';
import type { Authenticator, Grants } from '../../src/interfaces/auth.ts';
import { refuse, startBroker } from '../support/broker.ts';

/** The password is the only topic filter that the credential grants; without one it grants everything. */
const byPassword: Authenticator = {
  authenticate: ({ password }) => {
    const filters = password === null ? null : [Buffer.from(password).toString()];
    const grants: Grants | null = filters === null ? null : { publish: filters, subscribe: filters };
    return { ok: true, username: 'ann', grants };
  },
};

for (const qos of [1, 2] as const) {
  test(`a message in flight at QoS ${qos} is not sent again under a credential that does not grant its topic`, async (t) => {
    const broker = await startBroker(t, {
      authenticator: byPassword,
      authorizer: new GrantsAuthorizer(refuse()),
    });
    const again = { clientId: 'pump', cleanStart: false, properties: { sessionExpiryInterval: 1_000 } };
    const device = await broker.connect(again);
    await device.subscribe('#', qos);
    const sender = await broker.connect();
    await sender.publish('secret/key', 'hidden', { qos });
    await sender.publish('page/news', 'seen', { qos });
    await device.expect('PUBLISH', { topic: 'secret/key' });
    await device.expect('PUBLISH', { topic: 'page/news' });
    await device.drop();

    const page = await broker.connect({ ...again, password: 'page/#' });
    const seen = await page.expect('PUBLISH', { topic: 'page/news', dup: true });
    assert.equal(seen.qos, qos);
    await page.expectNothing();
  });
}

test('what was decided holds when a session comes back with the same rights, and only then', async (t) => {
  const broker = await startBroker(t, {
    authenticator: byPassword,
    authorizer: new GrantsAuthorizer(refuse()),
  });
  const again = { clientId: 'pump', cleanStart: false, properties: { sessionExpiryInterval: 1_000 } };
  const first = await broker.connect({ ...again, password: 'a/#' });
  await first.subscribe('a/b', 1);
  await first.drop();
  const { generation } = broker.broker.router;
  const second = await broker.connect({ ...again, password: 'a/#' });
  assert.equal(broker.broker.router.generation, generation);
  await second.drop();
  await broker.connect({ ...again, password: 'b/#' });
  assert.notEqual(broker.broker.router.generation, generation);
});
