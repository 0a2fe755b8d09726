import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AclAuthorizer, OpenAuthorizer } from '../../auth/acl/acl-authorizer.ts';
import { parseAcl } from '../../auth/acl/acl-file.ts';
import { intersectFilters } from '../../auth/acl/filter-intersection.ts';
import type { Action, Identity } from '../../src/interfaces/auth.ts';
import { topicMatches } from '../../src/topics/names.ts';
import { authorizerContract } from '../contract/authorizer.ts';
import overlap from '../data/acl-overlap.json' with { type: 'json' };

const alice: Identity = { username: 'alice', clientId: 'dev1' };
const bob: Identity = { username: 'bob', clientId: 'dev2' };
const carol: Identity = { username: 'carol smith', clientId: 'dev3' };
const nobody: Identity = { username: null, clientId: 'dev4' };

function authorizer(...lines: string[]): AclAuthorizer {
  return new AclAuthorizer(parseAcl(lines.join('\n'), 'acl'));
}

const EXAMPLE = [
  'user alice',
  'allow publish sensors/alice/#',
  'allow subscribe sensors/#',
  'all',
  'deny all #',
];

authorizerContract('An ACL file', () => {
  const subject = authorizer(...EXAMPLE);
  return {
    authorizer: subject,
    allowed: [
      [alice, 'publish', 'sensors/alice/1'],
      [alice, 'subscribe', '#'],
      [alice, 'receive', 'sensors/bob/1'],
    ],
    denied: [
      [alice, 'publish', 'sensors/bob/1'],
      [bob, 'subscribe', 'sensors/alice/1'],
      [nobody, 'publish', 'x'],
    ],
    change: () => subject.replaceRules(parseAcl(EXAMPLE.join('\n'), 'acl')),
  };
});

authorizerContract('No ACL file', () => ({
  authorizer: new OpenAuthorizer(),
  allowed: [
    [alice, 'publish', 'a/b'],
    [nobody, 'publish', '$x/y'],
    [nobody, 'publish', '$SYSTEM'],
    [bob, 'subscribe', '$SYS/#'],
    [bob, 'receive', '$SYS/broker'],
  ],
  denied: [[alice, 'publish', '$SYS/broker']],
}));

authorizerContract('An empty ACL file', () => ({
  authorizer: authorizer('# only', '', '  # comments'),
  allowed: [],
  denied: [alice, bob, nobody].flatMap((who) =>
    (['publish', 'subscribe', 'receive'] as const).map((action) => [who, action, 'a'] as const),
  ),
}));

describe('ACL rules and topics', () => {
  for (const { why, rules, ...answers } of overlap.cases) {
    it(`agree with the table: ${why}`, () => {
      const subject = authorizer('all', ...rules);
      for (const [action, topics] of Object.entries(answers)) {
        for (const [topic, expected] of Object.entries(topics as Record<string, boolean>)) {
          assert.equal(subject.may(alice, action as Action, topic), expected, `${action} ${topic}`);
        }
      }
    });
  }
});

describe('ACL subjects', () => {
  it('apply to the user, the group, the client, the anonymous and everyone', () => {
    const lines = ['user alice', 'allow publish u', 'group ops', 'members alice bob', 'member carol smith'];
    lines.push('allow publish g', 'client dev2', 'allow publish c', 'anonymous', 'allow publish n', 'all');
    const subject = authorizer(...lines, 'allow publish a');
    const rights = (who: Identity) =>
      ['u', 'g', 'c', 'n', 'a'].filter((t) => subject.may(who, 'publish', t)).join('');
    assert.equal(rights(alice), 'uga');
    assert.equal(rights(bob), 'gca');
    assert.equal(rights(carol), 'ga');
    assert.equal(rights(nobody), 'na');
    assert.equal(rights({ username: 'dev2', clientId: 'alice' }), 'a');
    assert.equal(rights({ username: 'anonymous', clientId: 'all' }), 'a');
    assert.equal(rights({ username: 'ops', clientId: 'ops' }), 'a');
  });

  it('keep the order of the file across sections', () => {
    const subject = authorizer(
      'all',
      'deny all a/secret',
      'user alice',
      'allow all a/#',
      'all',
      'deny all #',
    );
    assert.equal(subject.may(alice, 'publish', 'a/secret'), false);
    assert.equal(subject.may(alice, 'publish', 'a/b'), true);
    assert.equal(subject.may(bob, 'publish', 'a/b'), false);
  });

  it('may have their members declared after their rules', () => {
    const subject = authorizer(
      'group ops',
      'allow publish g',
      'all',
      'deny all x',
      'group ops',
      'members bob',
    );
    assert.equal(subject.may(bob, 'publish', 'g'), true);
    assert.equal(subject.may(alice, 'publish', 'g'), false);
  });

  it('are judged anew after a reload', () => {
    const subject = authorizer('all', 'allow publish a');
    assert.equal(subject.may(alice, 'publish', 'a'), true);
    subject.replaceRules(parseAcl('all\nallow publish b', 'acl'));
    assert.equal(subject.may(alice, 'publish', 'a'), false);
    assert.equal(subject.may(alice, 'publish', 'b'), true);
    assert.equal(subject.generation, 1);
  });
});

describe('ACL placeholders', () => {
  const hostile = ['', '#', '+', 'a/b', '/', '+/#', 'x#', 'dev1/#', '/dev1', 'dev1/'];

  it('never put a value with +, # or / or none at all into an allow rule', () => {
    const subject = authorizer(
      'all',
      'allow all d/%c',
      'allow all d/%c/#',
      'allow all %c/#',
      'allow all u/%u/#',
    );
    for (const clientId of hostile) {
      const who = { username: clientId === '' ? null : clientId, clientId };
      for (const topic of [
        'd/x',
        'd/dev1',
        'd/dev1/x',
        'd/a/b',
        'd//x',
        'x',
        'u//x',
        'u/a/b',
        `d/${clientId}`,
      ]) {
        assert.equal(subject.may(who, 'publish', topic), false, `${clientId} ${topic}`);
        assert.equal(subject.may(who, 'subscribe', topic), false, `${clientId} ${topic}`);
      }
      assert.equal(subject.may(who, 'subscribe', '#'), false);
    }
  });

  it('keep a deny rule as wide as it could be meant for such a value', () => {
    const subject = authorizer('all', 'deny all d/%c/#', 'deny all u/%u', 'deny all e/%c', 'allow all #');
    for (const clientId of hostile) {
      const who = { username: clientId === '' ? null : clientId, clientId };
      for (const topic of ['d/x', 'd/dev1/x', 'd/a/b', 'd//x', 'u/x', 'u/']) {
        assert.equal(subject.may(who, 'publish', topic), false, `${clientId} ${topic}`);
      }
      assert.equal(subject.may(who, 'subscribe', 'd/+/#'), false);
    }
    const slashed = { username: 'x', clientId: 'a/b' };
    assert.equal(subject.may(slashed, 'publish', 'e/a/b'), false);
    assert.equal(subject.may(alice, 'publish', 'd/dev2/x'), true);
    assert.equal(subject.may(alice, 'publish', 'd/dev1/x'), false);
  });

  it('do not let a client id that begins with $ reach into $SYS', () => {
    const open = authorizer('all', 'allow all %c/#', 'allow all x/%c');
    const evil = { username: null, clientId: '$SYS' };
    assert.equal(open.may(evil, 'subscribe', '$SYS/#'), false);
    assert.equal(open.may(evil, 'receive', '$SYS/broker'), false);
    assert.equal(open.may(evil, 'publish', 'x/$SYS'), true);
    const closed = authorizer('all', 'deny all %c/#', 'allow all $SYS/#');
    for (const clientId of ['$SYS', '$SYS/broker']) {
      assert.equal(closed.may({ username: null, clientId }, 'receive', '$SYS/broker/x'), false);
    }
  });

  it('are not looked for in the values themselves', () => {
    const subject = authorizer('all', 'allow all d/%c/%u');
    const who = { username: 'alice', clientId: '%u' };
    assert.equal(subject.may(who, 'publish', 'd/%u/alice'), true);
    assert.equal(subject.may(who, 'publish', 'd/alice/alice'), false);
  });
});

/** Every filter and topic of up to three levels over a small alphabet. */
function words(levels: readonly string[], depth: number): string[] {
  if (depth === 1) return [...levels];
  return [
    ...levels,
    ...words(levels, depth - 1).flatMap((rest) => levels.map((level) => `${level}/${rest}`)),
  ];
}
const TOPICS = words(['a', 'b', '$s', ''], 4).filter((topic) => topic !== '');
const FILTERS = words(['a', '$s', '+'], 3)
  .flatMap((filter) => [filter, `${filter}/#`])
  .concat('#');

describe('The intersection of two filters', () => {
  it('selects exactly what both select, for every pair of small filters', () => {
    for (const a of FILTERS) {
      for (const b of FILTERS) {
        const common = intersectFilters(a, b);
        for (const topic of TOPICS) {
          const both = topicMatches(a, topic) && topicMatches(b, topic);
          if (both !== (common !== null && topicMatches(common, topic)))
            assert.fail(`${a} ${b} ${common} ${topic}`);
        }
      }
    }
  });
});

describe('A subscription', () => {
  it('is never refused when a topic it selects may be received, and an exact one is granted just then', () => {
    const filters = words(['a', '+'], 2)
      .flatMap((filter) => [filter, `${filter}/#`])
      .concat('#', '$s', '$s/#');
    const topics = words(['a', 'b', '$s'], 3);
    for (const first of filters) {
      for (const second of filters) {
        for (const third of ['a', 'a/#', '+/a', '#']) {
          const subject = authorizer(
            'all',
            `deny all ${first}`,
            `allow all ${second}`,
            `deny all b`,
            `allow all ${third}`,
          );
          const received = topics.filter((topic) => subject.may(alice, 'receive', topic));
          for (const filter of filters) {
            if (subject.may(alice, 'subscribe', filter)) continue;
            const missed = received.find((topic) => topicMatches(filter, topic));
            assert.equal(missed, undefined, `${first} ${second} ${third} ${filter}`);
          }
          for (const topic of topics) {
            assert.equal(
              subject.may(alice, 'subscribe', topic),
              received.includes(topic),
              `${first} ${second} ${topic}`,
            );
          }
        }
      }
    }
  });
});
