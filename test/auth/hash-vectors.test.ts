import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import {
  decoyOf,
  describeHash,
  isCurrentHash,
  PasswordHasher,
  parseHash,
} from '../../auth/passwords/password-hash.ts';
import { ConfigError } from '../../src/errors.ts';
import vectors from '../data/hashes.json' with { type: 'json' };

describe('Stored password hashes', () => {
  const hasher = new PasswordHasher();
  after(() => hasher.close());

  for (const { source, scheme, password, hash } of vectors.good) {
    it(`from ${source} fit their password and no other: ${hash.slice(0, 40)}…`, async () => {
      const stored = parseHash(hash, 'passwd:1');
      assert.equal(stored.scheme, scheme);
      const right = Buffer.from(password, 'base64');
      assert.equal(await hasher.verify(right, stored), true);
      assert.equal(await hasher.verify(Buffer.concat([right, Buffer.from([0])]), stored), false);
      assert.equal(await hasher.verify(Buffer.concat([right, Buffer.from('\0more')]), stored), false);
      assert.equal(await hasher.verify(right.subarray(0, -1), stored), false);
    });
  }

  for (const { why, hash } of vectors.bad) {
    it(`are refused by file and line, without being repeated: ${why}`, () => {
      assert.throws(
        () => parseHash(hash, 'config/passwd:7'),
        (error: unknown) =>
          error instanceof ConfigError &&
          error.where === 'config/passwd:7' &&
          error.remedy !== '' &&
          (hash.length < 8 || !error.message.includes(hash)),
      );
    });
  }

  it('made today are argon2id with today’s parameters, a fresh salt, and fit', async () => {
    const password = Buffer.from([0, 255, 10, 13, 0]);
    const [one, two] = [await hasher.hash(password), await hasher.hash(password)];
    assert.notEqual(one, two);
    const stored = parseHash(one, 'new');
    assert.equal(describeHash(stored), 'argon2id m=19456,t=2,p=1');
    assert.equal(isCurrentHash(stored), true);
    assert.equal(await hasher.verify(password, stored), true);
    assert.equal(await hasher.verify(password.subarray(0, 4), stored), false);
  });

  it('of any other scheme or cost are not current', () => {
    for (const { hash } of vectors.good) assert.equal(isCurrentHash(parseHash(hash, 'x')), false);
  });

  it('have decoys of the same cost that fit nothing', async () => {
    const cheap = vectors.good.filter(({ hash }) => !/rounds=\d{5}|m=65536/.test(hash));
    for (const { password, hash } of cheap) {
      const stored = parseHash(hash, 'x');
      const decoy = decoyOf(stored);
      assert.equal(describeHash(decoy), describeHash(stored));
      assert.equal(await hasher.verify(Buffer.from(password, 'base64'), decoy), false);
    }
  });

  it('never fit a password longer than any that is stored, and none such is made', async () => {
    const stored = parseHash(vectors.good.find(({ scheme }) => scheme === 'sha512-crypt')!.hash, 'x');
    assert.equal(await hasher.verify(Buffer.alloc(1_025, 120), stored), false);
    await assert.rejects(hasher.hash(Buffer.alloc(1_025, 120)), RangeError);
  });

  it('of crypt are computed side by side and after the thread was closed', async () => {
    const { hash, password } = vectors.good.find(({ source }) => source.includes('64 bytes'))!;
    const stored = parseHash(hash, 'x');
    const own = new PasswordHasher();
    const right = Buffer.from(password, 'base64');
    const answers = await Promise.all(
      [right, Buffer.from('no'), right].map((one) => own.verify(one, stored)),
    );
    assert.deepEqual(answers, [true, false, true]);
    const interrupted = assert.rejects(own.verify(right, stored), /closed/);
    await own.close();
    await interrupted;
    assert.equal(await own.verify(right, stored), true);
    await own.close();
  });
});
