/** Ways around an access list: each door to a message is tried by who may not have it, or not write it. */
import assert from 'node:assert/strict';
import { AclAuthorizer } from '../../auth/acl/acl-authorizer.ts';
import { parseAcl } from '../../auth/acl/acl-file.ts';
import type { ProtocolVersion } from '../../src/codec/packets.ts';
import type { DoorClient } from '../bad-input/door-client.ts';
import {
  type ConnectOptions,
  connect,
  type FilterOptions,
  puback,
  publish,
  pubrel,
  subscribe,
} from '../support/packets.ts';
import { attackCore, type CoreTarget } from './harness/core.ts';

const ACL = `
user canary
allow all canary/#
user owner
allow all #
user thief
deny all canary/#
deny all secret/#
allow all #
user narrow
allow subscribe open/+
allow publish open/+
`;
const WITHOUT_THIEF = ACL.replace('deny all secret/#\nallow all #', 'deny all #');
const WITH_THIEF = ACL.replace('deny all secret/#\n', '');

/** Filters of the thief, all of which would select `secret/plan`. */
const FILTERS: readonly string[] = [
  'secret/plan',
  'secret/#',
  'secret/+',
  '+/plan',
  '+/+',
  '#',
  '+/#',
  '$share/g/secret/plan',
  '$share/g/secret/#',
  '$share/g/+/plan',
  '$share/g/#',
  '$share/other/+/+',
];

interface Scene {
  readonly target: CoreTarget;
  readonly acl: AclAuthorizer;
  readonly owner: DoorClient;
  as(username: string, options?: ConnectOptions): Promise<DoorClient>;
}

function around(name: string, run: (scene: Scene) => Promise<void>): void {
  const acl = new AclAuthorizer(parseAcl(ACL, 'acl'));
  attackCore(name, { authorizer: acl, canaryUser: 'canary' }, async (target) => {
    const clients: DoorClient[] = [];
    const as = async (username: string, options: ConnectOptions = {}): Promise<DoorClient> => {
      const client = await target.stage.connect({ clientId: username, username, ...options }, 'memory');
      clients.push(client);
      return client;
    };
    const owner = await as('owner');
    await run({ target, acl, owner, as });
    assert.ok(owner.closed === false);
    owner.send(publish('secret/plan', '', { retain: true }), publish('secret/other', '', { retain: true }));
    await owner.expectQuiet();
    for (const { raw } of clients) raw.abort();
  });
}

async function tell(owner: DoorClient, topic: string, options: { retain?: boolean } = {}): Promise<void> {
  owner.send(publish(topic, 'the plan', { qos: 1, packetId: 7, ...options }));
  await owner.expect('PUBACK', { packetId: 7 });
}

/** Asks for a filter; granted or not, it must not lead to the secret. */
async function ask(client: DoorClient, filter: FilterOptions): Promise<number> {
  client.send(subscribe(3, [filter]));
  return (await client.expect('SUBACK', { packetId: 3 })).reasonCodes[0]!;
}

around('no filter, shared or not, leads to a live or a retained message that is denied', async (scene) => {
  const { owner, as, target } = scene;
  await tell(owner, 'secret/plan', { retain: true });
  let number = 0;
  for (const version of [3, 4, 5] as ProtocolVersion[]) {
    for (const filter of FILTERS) {
      const thief = await as('thief', { clientId: `thief-${number++}`, version });
      await ask(thief, { filter, qos: 2 });
      await target.canary.singDuring(1, () => tell(owner, 'secret/plan', { retain: true }));
      await thief.expectQuiet();
      thief.raw.abort();
    }
    const narrow = await as('narrow', { clientId: `narrow-${number++}`, version });
    for (const filter of [...FILTERS, 'open/#', 'open', '/open/x', 'Open/x']) await ask(narrow, filter);
    await tell(owner, 'secret/plan');
    await tell(owner, 'open/deeper/x');
    await tell(owner, 'open');
    await narrow.expectQuiet();
    narrow.raw.abort();
  }
});

around(
  'a member of a shared group that may not receive does not swallow what others may',
  async ({ owner, as }) => {
    const thief = await as('thief');
    assert.ok((await ask(thief, '$share/g/#')) < 0x80);
    const reader = await as('owner', { clientId: 'reader' });
    await ask(reader, { filter: '$share/g/#', qos: 1 });
    for (let count = 0; count < 10; count++) {
      await tell(owner, 'secret/plan');
      await reader.receive('secret/plan', 'the plan');
    }
    await thief.expectQuiet();
  },
);

around(
  'no publish reaches a topic that is denied: by retain, QoS 2, alias or will',
  async ({ owner, as, target }) => {
    const listener = await as('owner', { clientId: 'listener' });
    await listener.subscribe('secret/#', 0);
    const thief = await as('thief');
    thief.send(publish('secret/plan', 'forged'), publish('secret/plan', 'forged', { retain: true }));
    thief.send(publish('secret/plan', 'forged', { qos: 1, packetId: 1 }));
    await thief.expect('PUBACK', { packetId: 1, reasonCode: 0x87 });
    thief.send(publish('secret/plan', 'forged', { qos: 2, packetId: 2, retain: true }));
    await thief.expect('PUBREC', { packetId: 2, reasonCode: 0x87 });
    thief.send(pubrel(2));
    await thief.expect('PUBCOMP');
    // The name of an alias that was allowed is not that of the alias now.
    thief.send(publish('open/x', 'x', { properties: { topicAlias: 1 } }));
    thief.send(publish('secret/plan', 'forged', { properties: { topicAlias: 1 } }));
    thief.send(publish('', 'forged', { properties: { topicAlias: 1 } }));
    for (const topic of ['$SYS/broker/version', '$SYS/x'])
      thief.send(publish(topic, 'forged', { retain: true }));
    await thief.expectQuiet();
    for (const version of [4, 5] as const) {
      const dying = await target.stage.dial('memory', version);
      dying.send(
        connect({
          clientId: 'dying',
          username: 'thief',
          version,
          will: { topic: 'secret/plan', retain: true },
        }),
      );
      await dying.expectRefused(version === 5 ? 0x87 : 5);
    }
    await listener.expectQuiet();
    assert.equal(target.stage.broker.router.retained.count, 0);
    assert.ok(owner.closed === false);
  },
);

around(
  'what was queued before a right was withdrawn is not delivered after',
  async ({ acl, owner, as, target }) => {
    acl.replaceRules(parseAcl(WITH_THIEF, 'acl'));
    for (const version of [4, 5] as const) {
      const login: ConnectOptions = {
        clientId: `queue-${version}`,
        version,
        cleanStart: false,
        ...(version === 5 && { properties: { sessionExpiryInterval: 600 } }),
      };
      acl.replaceRules(parseAcl(WITH_THIEF, 'acl'));
      const thief = await as('thief', login);
      await ask(thief, { filter: 'secret/#', qos: 1 });
      thief.raw.abort();
      await target.stage.until(
        () => target.stage.broker.sessions.get(`queue-${version}`)?.receiver === null,
        'away',
      );
      for (let count = 0; count < 5; count++) await tell(owner, 'secret/plan');
      assert.equal(target.stage.broker.statistics.queuedMessages, 5);
      acl.replaceRules(parseAcl(ACL, 'acl'));
      const again = await as('thief', login);
      await again.expectQuiet();
      await tell(owner, 'secret/plan');
      await again.expectQuiet();
      assert.equal(target.stage.broker.statistics.queuedMessages, 0, 'dropped, not kept');
      (await as('thief', { clientId: `queue-${version}`, version })).raw.abort();
    }
  },
);

around(
  'live subscriptions, wills and remembered topics follow a rule that is withdrawn',
  async ({ acl, owner, as, target }) => {
    acl.replaceRules(parseAcl(WITH_THIEF, 'acl'));
    const listener = await as('owner', { clientId: 'listener' });
    await listener.subscribe('secret/#', 0);
    const thief = await as('thief', { will: { topic: 'secret/other', payload: 'forged', retain: true } });
    await ask(thief, { filter: 'secret/#', qos: 1 });
    const sharing = await as('thief', { clientId: 'sharing' });
    await ask(sharing, { filter: '$share/g/secret/#', qos: 1 });
    thief.send(publish('secret/plan', 'allowed', { properties: { topicAlias: 1 } }));
    await listener.receive('secret/plan', 'allowed');
    await thief.receive('secret/plan', 'allowed');
    await sharing.receive('secret/plan', 'allowed');
    acl.replaceRules(parseAcl(WITHOUT_THIEF, 'acl'));
    await tell(owner, 'secret/plan');
    await listener.receive('secret/plan', 'the plan');
    thief.send(publish('', 'forged', { properties: { topicAlias: 1 } }), publish('secret/plan', 'forged'));
    await thief.expectQuiet();
    await sharing.expectQuiet();
    thief.raw.abort();
    await target.stage.until(() => target.stage.broker.sessions.get('thief') === undefined, 'gone');
    await listener.expectQuiet();
    assert.equal(target.stage.broker.router.retained.count, 0, 'the will was fired');
  },
);

around(
  'retained messages follow a right that is withdrawn while they are on their way',
  async ({ acl, owner, as }) => {
    acl.replaceRules(parseAcl(WITH_THIEF, 'acl'));
    for (let at = 0; at < 50; at++) await tell(owner, `secret/r/${at}`, { retain: true });
    const thief = await as('thief', { properties: { receiveMaximum: 1 } });
    thief.send(subscribe(1, [{ filter: 'secret/#', qos: 1 }]));
    await thief.expect('SUBACK');
    // At most one is under way to a client whose window is one.
    const { packetId } = await thief.expect('PUBLISH');
    acl.replaceRules(parseAcl(ACL, 'acl'));
    thief.send(puback(packetId));
    await thief.expectQuiet();
    for (let at = 0; at < 50; at++) owner.send(publish(`secret/r/${at}`, '', { retain: true }));
    await owner.expectQuiet();
  },
);

around(
  'names that would widen %u and %c, and another user’s client id, open nothing',
  async ({ acl, owner, target }) => {
    const personal = `${ACL}\nall\nallow all home/%u/#\nallow all device/%c/#\n`;
    acl.replaceRules(parseAcl(personal, 'acl'));
    for (const name of ['+', '#', 'a/b', '+/+', '', '$SYS', 'bob/#']) {
      const client = await target.stage.dial('memory');
      client.send(connect({ clientId: name === '' ? 'empty' : name, username: name }));
      const answer = await client.next();
      if (answer?.type !== 2 || answer.reasonCode !== 0) continue;
      for (const filter of ['home/#', 'home/+/x', 'home/bob/x', 'device/#', 'device/+/x'])
        await ask(client, filter);
      await tell(owner, 'home/bob/x');
      await tell(owner, 'device/bob/x');
      await client.expectQuiet();
      client.raw.abort();
    }
    const foreign = await target.stage.dial('memory');
    foreign.send(connect({ clientId: 'owner', username: 'thief', cleanStart: false }));
    await foreign.expectRefused(0x85);
    assert.equal(owner.closed, false, 'the owner was taken over');
  },
);
