/** What every Authorizer must do. A plug's test file calls this with a factory and is then finished. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Action, Authorizer, Identity } from '../../src/interfaces/auth.ts';

export interface AuthorizerUnderTest {
  readonly authorizer: Authorizer;
  /** Questions with the answer yes, and with the answer no. */
  readonly allowed: readonly (readonly [Identity, Action, string])[];
  readonly denied: readonly (readonly [Identity, Action, string])[];
  /** Changes the rules, where they can change. */
  readonly change?: () => void;
}

const ACTIONS: readonly Action[] = ['publish', 'subscribe', 'receive'];
const NAMES = [
  null,
  '',
  'alice',
  '#',
  '+',
  '/',
  'a/b',
  '%u',
  '%c',
  '$SYS',
  '__proto__',
  'constructor',
  '\u{1F511}',
];
const TOPICS = [
  '',
  '/',
  '//',
  '#',
  '+',
  'a',
  'a/b',
  '$',
  '$SYS',
  '$SYS/x',
  '__proto__',
  '%u',
  '%c/x',
  'a/+/#',
];

/** Registers the suite under `name`. */
export function authorizerContract(name: string, make: () => AuthorizerUnderTest): void {
  describe(`${name} as an authorizer`, () => {
    it('says yes to what is allowed and no to what is not, again and again', () => {
      const { authorizer, allowed, denied } = make();
      for (let round = 0; round < 3; round++) {
        for (const [identity, action, topic] of allowed) {
          assert.equal(authorizer.may(identity, action, topic), true, `${action} ${topic}`);
        }
        for (const [identity, action, topic] of denied) {
          assert.equal(authorizer.may(identity, action, topic), false, `${action} ${topic}`);
        }
      }
    });

    it('judges a client by what it is, not by which object says so', () => {
      const { authorizer, allowed, denied } = make();
      for (const [identity, action, topic] of [...allowed, ...denied]) {
        assert.equal(authorizer.may({ ...identity }, action, topic), authorizer.may(identity, action, topic));
      }
    });

    it('lets nobody publish to $SYS', () => {
      const { authorizer } = make();
      for (const username of NAMES) {
        for (const topic of ['$SYS', '$SYS/', '$SYS/broker/uptime', '$SYS/a/b/c']) {
          assert.equal(authorizer.may({ username, clientId: '$SYS' }, 'publish', topic), false);
        }
      }
    });

    it('answers yes or no to any identity and topic and never throws', () => {
      const { authorizer } = make();
      const topics = [...TOPICS, 'x'.repeat(65_535), '/'.repeat(65_535), `${'+/'.repeat(32_767)}#`];
      for (const username of NAMES) {
        for (const clientId of NAMES.map((one) => one ?? 'client')) {
          for (const topic of topics) {
            for (const action of ACTIONS) {
              assert.equal(typeof authorizer.may({ username, clientId }, action, topic), 'boolean');
            }
          }
        }
      }
    });

    it('keeps its generation while the rules stay and changes it when they change', () => {
      const { authorizer, allowed, change } = make();
      const before = authorizer.generation;
      for (const [identity, action, topic] of allowed) authorizer.may(identity, action, topic);
      assert.equal(authorizer.generation, before);
      if (change === undefined) return;
      change();
      const after = authorizer.generation;
      assert.notEqual(after, before);
      change();
      assert.notEqual(authorizer.generation, after);
    });
  });
}
