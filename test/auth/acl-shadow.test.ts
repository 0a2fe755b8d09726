import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AclAuthorizer, OpenAuthorizer } from '../../auth/acl/acl-authorizer.ts';
import { parseAcl } from '../../auth/acl/acl-file.ts';
import { type Difference, ShadowAuthorizer } from '../../auth/acl/acl-shadow.ts';
import type { Identity } from '../../src/interfaces/auth.ts';
import { authorizerContract } from '../contract/authorizer.ts';

const alice: Identity = { username: 'alice', clientId: 'dev1' };
const OLD = 'all\nallow all a/#\nallow publish b';
const NEW = 'all\ndeny all a/secret\nallow all a/#\nallow all c';

function shadowed(live = OLD, tried = NEW) {
  const seen: Difference[] = [];
  const old = new AclAuthorizer(parseAcl(live, 'old'));
  const other = new AclAuthorizer(parseAcl(tried, 'new'));
  return { old, other, seen, both: new ShadowAuthorizer(old, other, (difference) => seen.push(difference)) };
}

authorizerContract('Rules with others tried out beside them', () => {
  const { old, both } = shadowed();
  return {
    authorizer: both,
    allowed: [
      [alice, 'publish', 'a/secret'],
      [alice, 'publish', 'b'],
      [alice, 'subscribe', '#'],
    ],
    denied: [
      [alice, 'publish', 'c'],
      [alice, 'receive', 'c'],
    ],
    change: () => old.replaceRules(parseAcl(OLD, 'old')),
  };
});

describe('Rules that are tried out', () => {
  it('decide nothing, and each difference is told with the line of either', () => {
    const { both, seen } = shadowed();
    assert.equal(both.may(alice, 'receive', 'a/secret'), true);
    assert.equal(both.may(alice, 'publish', 'b'), true);
    assert.equal(both.may(alice, 'subscribe', 'c'), false);
    assert.equal(both.may(alice, 'publish', 'a/x'), true);
    assert.deepEqual(
      seen.map(({ identity, action, topic, allowed, by, shadowBy }) => [
        identity.clientId,
        `${action} ${topic}`,
        allowed,
        by?.line ?? null,
        shadowBy?.line ?? null,
      ]),
      [
        ['dev1', 'receive a/secret', true, 2, 2],
        ['dev1', 'publish b', true, 3, null],
        ['dev1', 'subscribe c', false, null, 4],
      ],
    );
  });

  it('tell a difference once for each client, action and topic, until the rules change', () => {
    const { both, other, seen } = shadowed();
    for (let round = 0; round < 3; round++) {
      both.may(alice, 'publish', 'b');
      both.may({ ...alice }, 'publish', 'b');
      both.may({ ...alice, clientId: 'dev2' }, 'publish', 'b');
    }
    assert.equal(seen.length, 2);
    const before = both.generation;
    other.replaceRules(parseAcl(NEW, 'new'));
    assert.notEqual(both.generation, before);
    both.may(alice, 'publish', 'b');
    assert.equal(seen.length, 3);
  });

  it('may be compared with no rules at all', () => {
    const seen: Difference[] = [];
    const tried = new AclAuthorizer(parseAcl(NEW, 'new'));
    const both = new ShadowAuthorizer(new OpenAuthorizer(), tried, (difference) => seen.push(difference));
    assert.equal(both.may(alice, 'publish', 'z'), true);
    assert.equal(both.may(alice, 'publish', '$SYS/x'), false);
    assert.deepEqual(
      seen.map(({ topic, by }) => [topic, by?.line]),
      [['z', 0]],
    );
  });

  it('forget what was told when that has grown to a million characters, and not before', () => {
    const { both, seen } = shadowed();
    const topic = (at: number) => `a/secret${at}/${'x'.repeat(4_000)}`;
    const { both: wide, seen: told } = shadowed('all\nallow all a/#', '');
    wide.may(alice, 'publish', 'a/first');
    for (let at = 0; at < 200; at++) wide.may(alice, 'publish', topic(at));
    wide.may(alice, 'publish', 'a/first');
    assert.equal(told.length, 201);
    for (let at = 200; at < 300; at++) wide.may(alice, 'publish', topic(at));
    wide.may(alice, 'publish', 'a/first');
    assert.equal(told.length, 302);
    assert.equal(seen.length, 0);
    assert.equal(both.may(alice, 'publish', topic(0)), true);
  });
});
