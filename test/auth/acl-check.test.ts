import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkAcl } from '../../auth/acl/acl-check.ts';
import { decide } from '../../auth/acl/acl-decision.ts';
import { rulesOf } from '../../auth/acl/acl-file.ts';
import { remarkOnOrder } from '../../auth/acl/acl-order.ts';
import { Remarks } from '../../auth/acl/acl-remarks.ts';
import { Subjects } from '../../auth/acl/acl-subjects.ts';
import { Random } from '../codec/random-packets.ts';
import { CLIENTS, keepRules, parse, QUESTIONS, randomAcl } from './acl-random.ts';

const SEED = 4_711;
const FILES = Number(process.env.ACL_FILES ?? 150);

function unreachable(text: string): number[] {
  const { remarks } = checkAcl(parse(text), null);
  return remarks.filter(({ kind }) => kind === 'unreachable').map(({ line }) => line);
}

describe('A rule that is called unreachable', () => {
  it('never decides for any client, and nothing changes without it, in random files', () => {
    const random = new Random(SEED);
    let claims = 0;
    for (let file = 0; file < FILES; file++) {
      const text = randomAcl(random, 7);
      const acl = parse(text);
      const all = rulesOf(acl);
      for (const line of unreachable(text)) {
        claims++;
        const without = rulesOf(keepRules(acl, (other) => other !== line));
        for (const client of CLIENTS) {
          const [mine, theirs] = [all.forClient(client), without.forClient(client)];
          for (const [action, topic] of QUESTIONS) {
            const by = decide(mine, action, topic);
            const same = (by?.allow ?? false) === (decide(theirs, action, topic)?.allow ?? false);
            if (by?.line === line || !same)
              assert.fail(`line ${line}: ${JSON.stringify(client)} ${action} ${topic}\n${text}`);
          }
        }
      }
    }
    assert.ok(claims > FILES / 4, `only ${claims} claims were put to the test`);
  });

  const cases: [why: string, text: string, lines: number[]][] = [
    ['the same filter again', 'all\nallow all a\nallow all a', [3]],
    ['a wider one before', 'all\nallow all a/#\ndeny publish a/b/+', [3]],
    ['a wider one for everybody before', 'all\nallow all a/#\nuser bob\ndeny publish a/b', [4]],
    ['one for each action', 'all\nallow publish a\ndeny subscribe a/#\nallow all a', [4]],
    ['one action only', 'all\nallow publish a\nallow all a', []],
    ['a narrower one before', 'all\ndeny all a/b\nallow all a/#', []],
    ['a wildcard does not reach $', 'all\ndeny all #\nallow subscribe $SYS/#\nallow all $x', []],
    ['nobody publishes to $SYS', 'all\nallow publish $SYS/#\nallow subscribe $SYS/#', [2]],
    ["a group's rule before that of a member", 'group g\nmembers a\nallow all x\nuser a\ndeny all x', [5]],
    ["a member's rule before that of the group", 'user a\nallow all x\ngroup g\nmembers a b\ndeny all x', []],
    ['a group within a group', 'group g\nmembers a b\nallow all x\ngroup h\nmembers a\nallow all x', [6]],
    [
      'two groups that share a member',
      'group g\nmembers a b\nallow all x\ngroup h\nmembers a c\nallow all x',
      [],
    ],
    [
      'groups whose names look alike together',
      'group c\nmembers x y\nallow all t\ngroup a/b\nmembers x\ndeny all t\n' +
        'group b/c\nmembers x\nallow all u\ngroup a\nmembers x q\ndeny all u',
      [6],
    ],
    ['the same placeholder', 'all\nallow all u/%u/#\nallow publish u/%u/a', [3]],
    ['another placeholder', 'all\nallow all u/%u/#\nallow publish u/%c/a', []],
    ['+ for an allow with a name', 'all\nallow all u/+\nallow publish u/%u', [3]],
    ['+ for a deny with a name, which can have levels', 'all\nallow all u/+\ndeny publish u/%u', []],
    ['# for a deny with a name', 'all\nallow all u/#\ndeny publish u/%u', [3]],
    ['# for a deny with a name in first place', 'all\nallow all #\ndeny publish %u', []],
    ['an allow that falls away before a deny', 'all\nallow all u/%u\ndeny all u/%u', []],
    [
      'a deny that gets wider by a name that the one before has not',
      'all\ndeny all u/%u/#\ndeny all u/%u/%c',
      [],
    ],
    ['a deny that gets wider beside the name of the section', 'user a\ndeny all u/a/#\ndeny all u/%u/%c', []],
    ['a deny that the name of the section makes wider', 'user a/b\ndeny all u/a/b\ndeny all u/%u', []],
    ['the name of the section', 'all\nallow all u/%u/#\nuser a\nallow all u/a/b', [4]],
    ['another name than that of the section', 'all\nallow all u/%u/#\nuser a\nallow all u/b/b', []],
    ['a name that the anonymous have not', 'anonymous\nallow all u/%u', [2]],
    ['a name that is no level', 'user a/b\nallow all u/%u\nallow all %u/x', [2, 3]],
    ['a name with $ in first place only', 'user $a\nallow all u/%u\nallow all %u/x', [3]],
  ];
  for (const [why, text, lines] of cases) {
    it(`is found, or left alone: ${why}`, () => assert.deepEqual(unreachable(text), lines));
  }
});

describe('A note on the order', () => {
  it('stands for every two neighbours of which the order decides, in random files', () => {
    const random = new Random(SEED + 1);
    let pairs = 0;
    for (let file = 0; file < FILES; file++) {
      // Names that are no single level make a deny wider than its text; what they overlap by that is not noted.
      const text = randomAcl(random, 5).replaceAll('%u', 'a').replaceAll('%c', 'b');
      const acl = parse(text);
      const noted = new Set(
        checkAcl(acl, null)
          .remarks.filter(({ kind }) => kind === 'order-decides' || kind === 'unreachable')
          .map(({ line }) => line),
      );
      acl.rules.slice(1).forEach((rule, index) => {
        const before = acl.rules[index];
        const [mine, swapped] = [rulesOf(acl), rulesOf({ ...acl, rules: exchanged(acl.rules, index) })];
        const matters = CLIENTS.some((client) => {
          const [here, there] = [mine.forClient(client), swapped.forClient(client)];
          return QUESTIONS.some(
            ([action, topic]) =>
              (decide(here, action, topic)?.allow ?? false) !==
              (decide(there, action, topic)?.allow ?? false),
          );
        });
        if (!matters) return;
        pairs++;
        assert.ok(noted.has(rule.line), `lines ${before.line} and ${rule.line}\n${text}`);
      });
    }
    assert.ok(pairs > FILES / 8, `the order of only ${pairs} pairs mattered`);
  });

  it('names the earlier lines and the part that they take, at most five of them', () => {
    const denies = Array.from({ length: 7 }, (_, at) => `deny all a/${at}`);
    const { remarks, faults, notes } = checkAcl(parse(['all', ...denies, 'allow all a/#'].join('\n')), null);
    assert.deepEqual([faults, notes], [0, 1]);
    assert.equal(remarks[0].line, 9);
    assert.match(
      remarks[0].problem,
      /where lines before it deny: line 2 \("a\/0"\), .*line 6 \("a\/4"\) and 2 more$/,
    );
  });
});

/** The rules with those at `index` and the next in each other's place. */
function exchanged<T extends { line: number }>(rules: readonly T[], index: number): T[] {
  const [first, second] = [rules[index], rules[index + 1]];
  return rules.with(index, { ...second, line: first.line }).with(index + 1, { ...first, line: second.line });
}

describe('The search for unreachable rules', () => {
  it('says from which line on it gave up', () => {
    const acl = parse(`all\n${'allow all a\n'.repeat(50)}`);
    const remarks = new Remarks();
    remarkOnOrder(acl, new Subjects(acl), remarks, 100);
    const given = remarks.kept.filter(({ kind }) => kind === 'not-compared');
    assert.deepEqual(
      given.map(({ line }) => line),
      [14, 26],
    );
    assert.match(given[0].remedy, /At most 100 pairs/);
  });

  it('keeps 1000 remarks and counts the rest', () => {
    const { remarks, faults } = checkAcl(parse(`all\n${'allow all a\n'.repeat(1_501)}`), null);
    assert.equal(remarks.length, 1_000);
    assert.equal(faults, 1_500);
  });
});

describe('Names in an ACL file', () => {
  const users = new Map([
    ['alice', 1],
    ['sensors', 1],
    ['a/b', 1],
    ['$x', 1],
  ]);
  function kinds(text: string, known: typeof users | null): string[] {
    return checkAcl(parse(text), known).remarks.map(
      ({ line, severity, kind }) => `${line} ${severity} ${kind}`,
    );
  }

  it('are looked up in the password file, in sections and in groups', () => {
    const text = 'user alice\nallow all a\nuser bob\nallow all b\ngroup g\nmembers alice carol\nallow all c';
    assert.deepEqual(kinds(text, users), ['3 fault unknown-user', '6 fault unknown-user']);
    assert.deepEqual(kinds(text, null), []);
  });

  it('of groups without members or without rules are told', () => {
    assert.deepEqual(kinds('group g\nallow all a\ngroup h\nmembers alice', null), [
      '1 fault empty-group',
      '4 note unused-group',
    ]);
  });

  it('that %u never stands for are told, of the users there are', () => {
    assert.deepEqual(kinds('all\nallow all u/%u', users), ['2 fault odd-name']);
    assert.deepEqual(kinds('all\nallow all %u/x', users), ['2 fault odd-name', '2 fault odd-name']);
    assert.deepEqual(kinds('all\nallow all u', users), []);
  });

  it('that are placeholders themselves are told', () => {
    assert.deepEqual(kinds('user %u\nallow all a', null), ['1 fault literal-placeholder']);
  });

  it('in first place that other lines speak of are told, and are a fault when there is such a user', () => {
    const text = 'all\nallow all %u/#\nuser alice\nallow subscribe sensors/#';
    assert.deepEqual(kinds(text, null), ['2 note open-name']);
    assert.ok(kinds(text, users).includes('2 fault open-name'));
    assert.deepEqual(kinds('all\nallow all %u/#\nallow all %u/+', null), ['3 fault unreachable']);
  });

  it('that a client gives itself are told where the user name is not asked for', () => {
    assert.deepEqual(kinds('all\nallow all d/%c', null), ['2 note open-name']);
    assert.deepEqual(kinds('all\nallow all d/%u/%c\ndeny all e/%c', null), []);
  });
});
