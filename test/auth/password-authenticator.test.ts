import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HashQueue } from '../../auth/passwords/hash-queue.ts';
import { PasswordAuthenticator } from '../../auth/passwords/password-authenticator.ts';
import { type PasswordUsers, parsePasswordFile } from '../../auth/passwords/password-file.ts';
import { describeHash, PasswordHasher, type StoredHash } from '../../auth/passwords/password-hash.ts';
import { attempt, authenticatorContract } from '../contract/authenticator.ts';
import vectors from '../data/hashes.json' with { type: 'json' };

const SCHEMES = ['argon2id', 'pbkdf2-sha512', 'sha512', 'sha512-crypt'];

/** A cheap vector of the scheme. */
function vectorOf(scheme: string) {
  const cheap = vectors.good.filter(({ hash }) => !/rounds=\d{5}|m=65536/.test(hash));
  return cheap.find((vector) => vector.scheme === scheme && vector.password.length > 4)!;
}

function fileOf(...schemes: string[]): PasswordUsers {
  return parsePasswordFile(
    schemes.map((scheme) => `${scheme}:${vectorOf(scheme).hash}\n`).join(''),
    'passwd',
  );
}

for (const scheme of SCHEMES) {
  authenticatorContract(`A password file with ${scheme}`, async () => {
    const hasher = new PasswordHasher();
    return {
      authenticator: new PasswordAuthenticator({ users: fileOf(scheme), allowAnonymous: false, hasher }),
      username: scheme,
      password: Buffer.from(vectorOf(scheme).password, 'base64'),
      close: () => hasher.close(),
    };
  });
}

/** A hasher that records what it is asked, and answers when told to, or at once. */
function recorder(answer: boolean | Promise<boolean> = false) {
  const asked: { password: string; stored: StoredHash }[] = [];
  return {
    asked,
    verify: async (password: Uint8Array, stored: StoredHash) => {
      asked.push({ password: Buffer.from(password).toString(), stored });
      return answer;
    },
  };
}

const password = Buffer.from('some password');

describe('The password authenticator', () => {
  it('lets clients without a user name in only when anonymous clients are allowed, and hashes nothing', async () => {
    for (const allowAnonymous of [true, false]) {
      const hasher = recorder(true);
      const one = new PasswordAuthenticator({ users: fileOf('sha512'), allowAnonymous, hasher });
      const expected = allowAnonymous ? { ok: true, username: null } : { ok: false, reason: 'unknown-user' };
      assert.deepEqual(await one.authenticate(attempt()), expected);
      assert.equal(hasher.asked.length, 0);
    }
  });

  it('refuses a wrong user even where anonymous clients are allowed', async () => {
    const one = new PasswordAuthenticator({ users: new Map(), allowAnonymous: true });
    const verdict = await one.authenticate(attempt({ username: 'alice', password }));
    assert.deepEqual(verdict, { ok: false, reason: 'unknown-user' });
  });

  it('computes one hash of equal cost for an unknown user and for a wrong password', async () => {
    for (const scheme of SCHEMES) {
      const hasher = recorder();
      const one = new PasswordAuthenticator({ users: fileOf(scheme), allowAnonymous: false, hasher });
      const wrong = await one.authenticate(attempt({ username: scheme, password }));
      const unknown = await one.authenticate(attempt({ username: 'nobody', password }));
      assert.deepEqual(wrong, { ok: false, reason: 'bad-credentials' });
      assert.deepEqual(unknown, { ok: false, reason: 'unknown-user' });
      assert.equal(hasher.asked.length, 2);
      const [first, second] = hasher.asked;
      assert.equal(first.password, second.password);
      assert.equal(describeHash(first.stored), describeHash(second.stored));
      assert.equal(first.stored.salt.length, second.stored.salt.length);
    }
  });

  it('gives an unknown user today’s cost when the file is empty', async () => {
    const hasher = recorder();
    const one = new PasswordAuthenticator({ users: new Map(), allowAnonymous: false, hasher });
    await one.authenticate(attempt({ username: 'nobody', password }));
    assert.equal(describeHash(hasher.asked[0].stored), 'argon2id m=19456,t=2,p=1');
  });

  it('spreads unknown names over the schemes of a mixed file, each name always to the same', async () => {
    const hasher = recorder();
    const one = new PasswordAuthenticator({ users: fileOf(...SCHEMES), allowAnonymous: false, hasher });
    const costOf = async (username: string) => {
      await one.authenticate(attempt({ username, password }));
      return hasher.asked.at(-1)!.stored.scheme;
    };
    const seen = new Set<string>();
    for (let i = 0; i < 200; i++) {
      const cost = await costOf(`nobody${i}`);
      assert.equal(await costOf(`nobody${i}`), cost);
      seen.add(cost);
    }
    assert.equal(seen.size, SCHEMES.length);
  });

  it('never lets an unknown user in, even if the decoy were to fit', async () => {
    const one = new PasswordAuthenticator({
      users: fileOf('sha512'),
      allowAnonymous: false,
      hasher: recorder(true),
    });
    assert.equal((await one.authenticate(attempt({ username: 'nobody', password }))).ok, false);
  });

  it('says busy when two hashes run and the queue is full, to known and unknown alike, and recovers', async () => {
    const gate = Promise.withResolvers<boolean>();
    const hasher = recorder(gate.promise);
    const queue = new HashQueue({ atOnceMax: 2, waitingMax: 3 });
    const one = new PasswordAuthenticator({ users: fileOf('sha512'), allowAnonymous: false, hasher, queue });
    const first = [1, 2, 3, 4, 5].map(() => one.authenticate(attempt({ username: 'sha512', password })));
    assert.equal(hasher.asked.length, 2);
    assert.equal(queue.waiting, 3);
    for (const username of ['sha512', 'nobody']) {
      assert.deepEqual(await one.authenticate(attempt({ username, password })), {
        ok: false,
        reason: 'busy',
      });
    }
    gate.resolve(true);
    for (const verdict of await Promise.all(first)) assert.equal(verdict.ok, true);
    assert.equal((await one.authenticate(attempt({ username: 'sha512', password }))).ok, true);
    assert.equal(hasher.asked.length, 6);
  });

  it('reports a user whose hash is of an old scheme once per load, and only after the right password', async () => {
    const told: string[] = [];
    const users = fileOf('sha512');
    const options = { users, allowAnonymous: false, onRehashWanted: (name: string) => told.push(name) };
    const wrong = new PasswordAuthenticator({ ...options, hasher: recorder(false) });
    await wrong.authenticate(attempt({ username: 'sha512', password }));
    assert.deepEqual(told, []);
    const right = new PasswordAuthenticator({ ...options, hasher: recorder(true) });
    for (let i = 0; i < 3; i++) await right.authenticate(attempt({ username: 'sha512', password }));
    assert.deepEqual(told, ['sha512']);
    right.replaceUsers(users);
    await right.authenticate(attempt({ username: 'sha512', password }));
    assert.deepEqual(told, ['sha512', 'sha512']);
  });

  it('revokes what a user logged in with when his line is gone or another, for all who did, and not before', async () => {
    const cases: [PasswordUsers, boolean][] = [
      [new Map(), true],
      [new Map([['sha512', fileOf('pbkdf2-sha512').get('pbkdf2-sha512')!]]), true],
      [fileOf('sha512', 'argon2id'), false],
    ];
    for (const [later, isRevoked] of cases) {
      const one = new PasswordAuthenticator({
        users: fileOf('sha512'),
        allowAnonymous: false,
        hasher: recorder(true),
      });
      const logIn = () => one.authenticate(attempt({ username: 'sha512', password }));
      const verdicts = [await logIn(), await logIn()];
      one.replaceUsers(fileOf('sha512'));
      verdicts.push(await logIn());
      const revoked = () => verdicts.map((each) => each.ok && each.credential!.isRevoked);
      assert.deepEqual(revoked(), [false, false, false]);
      one.replaceUsers(later);
      assert.deepEqual(revoked(), [isRevoked, isRevoked, isRevoked]);
    }
  });

  it('refuses a user who was removed or changed while the hash was computed, and not one whose line stayed', async () => {
    const cases: [PasswordUsers, boolean][] = [
      [new Map(), false],
      [new Map([['sha512', fileOf('pbkdf2-sha512').get('pbkdf2-sha512')!]]), false],
      [fileOf('sha512', 'argon2id'), true],
    ];
    for (const [later, ok] of cases) {
      const gate = Promise.withResolvers<boolean>();
      const hasher = recorder(gate.promise);
      const one = new PasswordAuthenticator({ users: fileOf('sha512'), allowAnonymous: false, hasher });
      const verdict = one.authenticate(attempt({ username: 'sha512', password }));
      one.replaceUsers(later);
      gate.resolve(true);
      assert.equal((await verdict).ok, ok);
    }
  });
});
