/** What a credential allows at most, put over the rules; and rules of a listener's own. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AclAuthorizer, OpenAuthorizer } from '../../auth/acl/acl-authorizer.ts';
import { parseAcl } from '../../auth/acl/acl-file.ts';
import { GRANT_FILTERS_MAX, GrantsAuthorizer, GrantsError, grantsFrom } from '../../auth/grants.ts';
import { ListenerAuthorizer } from '../../auth/listener-authorizer.ts';
import type { Grants, Identity } from '../../src/interfaces/auth.ts';
import { authorizerContract } from '../contract/authorizer.ts';

function acl(text: string): AclAuthorizer {
  return new AclAuthorizer(parseAcl(text, 'acl'));
}

function who(grants: Grants | null, door?: string): Identity {
  return { username: 'alice', clientId: 'phone', grants, ...(door === undefined ? {} : { door }) };
}

const RULES = 'all\ndeny subscribe plant/secret/#\nallow readwrite plant/#\n';
const SCOPE: Grants = { publish: ['plant/+/set'], subscribe: ['plant/#', 'other/#'] };

authorizerContract('Grants over an ACL', () => {
  const rules = acl(RULES);
  const one = who(SCOPE);
  const free = who(null);
  return {
    authorizer: new GrantsAuthorizer(rules),
    allowed: [
      [one, 'publish', 'plant/1/set'],
      [one, 'receive', 'plant/1/state'],
      [one, 'subscribe', 'plant/+/state'],
      [one, 'subscribe', '#'],
      [free, 'publish', 'plant/1/state'],
      [{ username: null, clientId: 'x' }, 'publish', 'plant/1/state'],
    ],
    denied: [
      [one, 'publish', 'plant/1/state'],
      [one, 'receive', 'plant/secret/1'],
      [one, 'receive', 'other/1'],
      [one, 'subscribe', 'plant/secret/+'],
      [one, 'subscribe', 'other/1'],
      [one, 'subscribe', 'elsewhere/#'],
      [free, 'publish', 'other/1'],
      [who({ publish: [], subscribe: [] }), 'receive', 'plant/1/state'],
      [who({ publish: ['#'], subscribe: ['#'] }), 'publish', '$SYS/x'],
      [who({ publish: ['$SYS/#'], subscribe: [] }), 'publish', '$SYS/x'],
    ],
    change: () => rules.replaceRules(parseAcl(RULES, 'acl')),
  };
});

authorizerContract('Rules for each listener', () => {
  const [main, own] = [acl('all\nallow readwrite main/#\n'), acl('all\nallow readwrite own/#\n')];
  const authorizer = new ListenerAuthorizer(main, new Map([['ws://own:1', own]]));
  let turn = 0;
  return {
    authorizer,
    allowed: [
      [who(null, 'ws://own:1'), 'publish', 'own/a'],
      [who(null, 'ws://main:1'), 'publish', 'main/a'],
      [who(null), 'receive', 'main/a'],
    ],
    denied: [
      [who(null, 'ws://own:1'), 'publish', 'main/a'],
      [who(null, 'ws://main:1'), 'publish', 'own/a'],
      [who(null), 'receive', 'own/a'],
      [{ ...who(null), door: null }, 'subscribe', 'own/#'],
    ],
    // Now one, now the other: either must show.
    change: () => (turn++ % 2 === 0 ? own : main).replaceRules(parseAcl('all\n', 'acl')),
  };
});

describe('Grants over rules', () => {
  it('leave a subscription what both select together, and nothing else', () => {
    const rules = acl('all\ndeny subscribe a/b\nallow subscribe a/+\n');
    const both = new GrantsAuthorizer(rules);
    const one = who({ publish: [], subscribe: ['a/b', 'c'] });
    // The rules would allow a/+, the grant a/b; together they leave nothing.
    assert.equal(both.may(one, 'subscribe', 'a/+'), false);
    assert.equal(both.may(who({ publish: [], subscribe: ['a/b', 'a/c'] }), 'subscribe', 'a/+'), true);
    assert.equal(both.may(one, 'subscribe', 'c'), false);
  });

  it('widen nothing, whatever they say', () => {
    const all = who({ publish: ['#'], subscribe: ['#'] });
    const both = new GrantsAuthorizer(acl('user bob\nallow readwrite #\n'));
    assert.equal(both.may(all, 'publish', 'a'), false);
    assert.equal(both.may(all, 'subscribe', '#'), false);
    assert.equal(new GrantsAuthorizer(new OpenAuthorizer()).may(all, 'receive', '$internal/x'), false);
  });
});

describe('Grants of a credential', () => {
  const subject = { username: 'alice', clientId: 'phone' };

  it('are none when it says nothing, and nothing for the list it leaves out', () => {
    assert.equal(grantsFrom(undefined, undefined, subject), null);
    assert.deepEqual(grantsFrom(['a'], undefined, subject), { publish: ['a'], subscribe: [] });
    assert.deepEqual(grantsFrom(undefined, [], subject), { publish: [], subscribe: [] });
  });

  it('have name and client id filled in as whole levels, or fall away', () => {
    const list = ['u/%u/#', 'c/%c', '%u/x', 'plain/+'];
    const filled = (parts: object): readonly string[] =>
      grantsFrom(list, [], { ...subject, ...parts })!.publish;
    assert.deepEqual(filled({}), ['u/alice/#', 'c/phone', 'alice/x', 'plain/+']);
    for (const odd of ['#', '+', 'a/b', '/', '']) {
      assert.deepEqual(filled({ clientId: odd }), ['u/alice/#', 'alice/x', 'plain/+'], odd);
      assert.deepEqual(filled({ username: odd }), ['c/phone', 'plain/+'], odd);
    }
    assert.deepEqual(filled({ username: null }), ['c/phone', 'plain/+']);
    assert.deepEqual(filled({ username: '$SYS' }), ['u/$SYS/#', 'c/phone', 'plain/+']);
    // What was filled in is not looked at again.
    assert.deepEqual(filled({ username: '%c' }), ['u/%c/#', 'c/phone', '%c/x', 'plain/+']);
  });

  it('are refused when they are not lists of topic filters', () => {
    const wrong: unknown[] = [
      'a/#',
      {},
      null,
      7,
      [7],
      [null],
      [['a']],
      ['a/#/b'],
      ['a+'],
      [''],
      ['a\0b'],
      ['\ud800'],
    ];
    wrong.push(['$share/g/a'], ['a%u/b'], ['x/%cc'], ['x'.repeat(5_000)], [`${'a/'.repeat(200)}b`]);
    wrong.push(Array.from({ length: GRANT_FILTERS_MAX + 1 }, () => 'a'));
    for (const list of wrong) {
      assert.throws(() => grantsFrom(list, undefined, subject), GrantsError, JSON.stringify(list));
      assert.throws(() => grantsFrom(undefined, list, subject), GrantsError, JSON.stringify(list));
    }
  });
});
