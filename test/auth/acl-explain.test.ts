import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AclAuthorizer } from '../../auth/acl/acl-authorizer.ts';
import { type Explanation, explain, type Look } from '../../auth/acl/acl-explain.ts';
import { parseAcl, rulesOf } from '../../auth/acl/acl-file.ts';
import { PUBLISH, SUBSCRIBE } from '../../auth/acl/acl-rules.ts';
import type { Action, Identity } from '../../src/interfaces/auth.ts';
import { filtersOverlap, topicMatches } from '../../src/topics/names.ts';
import { Random } from '../codec/random-packets.ts';
import { CLIENTS, keepRules, parse, QUESTIONS, randomAcl } from './acl-random.ts';

const SEED = 815;
const FILES = 3_000;
/** Questions to each file, drawn from all there are. */
const ASKED = 60;

const alice: Identity = { username: 'alice', clientId: 'dev1' };

function ask(lines: readonly string[], action: Action, topic: string, who: Identity = alice): Explanation {
  return explain(parseAcl(lines.join('\n'), 'acl'), who, action, topic);
}

describe('An explanation', () => {
  it('gives the answer of the authorizer, by a line that decides alone, for random files, clients and topics', () => {
    const random = new Random(SEED);
    const seen = new Map<string, number>();
    for (let file = 0; file < FILES; file++) {
      const text = randomAcl(random, 8);
      const acl = parse(text);
      const authorizer = new AclAuthorizer(rulesOf(acl));
      for (let asked = 0; asked < ASKED; asked++) {
        const client = random.pick(CLIENTS);
        const [action, topic] = random.pick(QUESTIONS);
        const why = explain(rulesOf(acl), client, action, topic);
        const about = `${JSON.stringify(client)} ${action} ${topic}\n${text}`;
        assert.equal(why.allowed, authorizer.may(client, action, topic), about);
        seen.set(`${why.by} ${why.allowed} ${action}`, 1);
        if (asked % 10 > 0) continue;
        const line = why.rule?.rule.line ?? 0;
        // Nothing behind the line matters, and without it the lines before it decide nothing.
        const upTo = new AclAuthorizer(
          rulesOf(keepRules(acl, (other) => why.rule === null || other <= line)),
        );
        assert.equal(upTo.may(client, action, topic), why.allowed, about);
        const before = explain(rulesOf(keepRules(acl, (other) => other < line)), client, action, topic);
        assert.equal(why.by === 'rule' ? before.by : 'none', 'none', about);
        for (const look of why.before) assertSound(look, action, topic, about);
      }
    }
    const kinds = ['none false publish', 'rule true publish', 'rule false receive', 'rule true subscribe'];
    for (const kind of [...kinds, 'built-in false publish', 'none false subscribe'])
      assert.ok(seen.has(kind));
  });

  /** What is said of a line that did not decide is so. */
  function assertSound({ rule, filters, finding }: Look, action: Action, topic: string, about: string): void {
    if (finding === 'others' || finding === 'falls-away') return;
    const speaks = (rule.actions & (action === 'publish' ? PUBLISH : SUBSCRIBE)) !== 0;
    assert.equal(finding === 'other-action', !speaks, about);
    if (!speaks) return;
    const meets = action === 'subscribe' ? filtersOverlap : topicMatches;
    const isMet = filters.some((filter) => meets(filter, topic));
    assert.equal(finding === 'no-match', !isMet, about);
    if (isMet) assert.equal(finding, rule.allow ? 'hidden' : 'denies-part', about);
  }

  it('names the line, what it was filled in with, and why each before it did not fit', () => {
    const why = ask(
      [
        '# rules',
        'group ops',
        'members bob',
        'allow all #',
        'all',
        'allow subscribe d/%u/#',
        'allow publish e/%u/%c',
        'allow publish d/%u/%c/#',
      ],
      'publish',
      'd/alice/dev1/x',
    );
    assert.equal(why.allowed, true);
    assert.equal(why.rule!.rule.line, 8);
    assert.equal(why.rule!.rule.text, 'allow publish d/%u/%c/#');
    assert.deepEqual(why.rule!.filters, ['d/alice/dev1/#']);
    assert.deepEqual(why.rule!.filled, [
      { placeholder: '%u', name: 'alice', problem: null },
      { placeholder: '%c', name: 'dev1', problem: null },
    ]);
    assert.deepEqual(
      why.before.map(({ rule, finding }) => [rule.line, finding]),
      [
        [4, 'others'],
        [6, 'other-action'],
        [7, 'no-match'],
      ],
    );
  });

  it('tells names that are never filled in', () => {
    const odd = { username: 'alice', clientId: 'a/b' };
    const why = ask(['all', 'allow publish d/%c', 'deny publish d/%c'], 'publish', 'd/x', odd);
    assert.equal(why.before[0].finding, 'falls-away');
    assert.equal(why.before[0].filled[0].problem, 'has / + or #');
    assert.deepEqual(why.rule!.filters, ['d/+', 'd/a/b']);
    assert.equal(ask(['all', 'allow publish %c/a'], 'publish', '$x/a', odd).by, 'none');
  });

  it('says of a filter what each line makes of it, as long as something is left', () => {
    const lines = ['all', 'deny all a/secret', 'allow all a/secret/#', 'deny all a/b/#', 'allow all a/b/c'];
    const why = ask(
      [...lines, 'allow publish #', 'allow all +/x', 'deny all #', 'allow all z'],
      'subscribe',
      '#',
    );
    assert.equal(why.allowed, true);
    assert.equal(why.rule!.rule.line, 3);
    assert.deepEqual(
      why.parts.map(({ allow, line, filter, hiddenByLine }) => [allow, line, filter, hiddenByLine]),
      [
        [false, 2, 'a/secret', null],
        [true, 3, 'a/secret/#', null],
        [false, 4, 'a/b/#', null],
        [true, 5, 'a/b/c', 4],
        [true, 7, '+/x', null],
        [false, 8, '#', null],
      ],
    );
  });

  it('lists twenty parts of a filter at most', () => {
    const rules = Array.from({ length: 30 }, (_, at) => `allow all t/${at}`);
    assert.equal(ask(['all', ...rules], 'subscribe', 't/+').parts.length, 20);
  });

  it('of publishing to $SYS says that nobody may, whatever the rules say', () => {
    const why = ask(['all', 'allow all $SYS/#'], 'publish', '$SYS/x');
    assert.deepEqual([why.allowed, why.by, why.rule], [false, 'built-in', null]);
    assert.equal(ask(['all', 'allow all $SYS/#'], 'receive', '$SYS/x').by, 'rule');
  });
});
