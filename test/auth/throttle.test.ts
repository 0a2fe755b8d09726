import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HASHES_AT_ONCE_MAX, HashQueue } from '../../auth/passwords/hash-queue.ts';
import { PasswordAuthenticator } from '../../auth/passwords/password-authenticator.ts';
import { parsePasswordFile } from '../../auth/passwords/password-file.ts';
import { LoginThrottle } from '../../auth/throttle/throttle.ts';
import type { Attempt, Authenticator, Verdict } from '../../src/interfaces/auth.ts';
import { DEFAULT_THROTTLE_LIMITS, type ThrottleLimits } from '../../src/limits.ts';
import { attempt, authenticatorContract } from '../contract/authenticator.ts';
import vectors from '../data/hashes.json' with { type: 'json' };
import { FakeClock } from '../support/fake-clock.ts';

const SETTINGS: ThrottleLimits = {
  addressFailuresMax: 3,
  networkFailuresMax: 6,
  userFailuresMax: 5,
  clientIdFailuresMax: 5,
  delayMaxSeconds: 60,
};

const vector = vectors.good.find(({ scheme, password }) => scheme === 'sha512' && password.length > 4)!;
const password = Buffer.from(vector.password, 'base64');

authenticatorContract('A throttled password file', async () => ({
  // Its failures come all from one address: as many as the contract makes must be allowed.
  authenticator: new LoginThrottle(new FakeClock(), {
    ...DEFAULT_THROTTLE_LIMITS,
    addressFailuresMax: 1_000,
  }).guard(
    new PasswordAuthenticator({
      users: parsePasswordFile(`user:${vector.hash}\n`, 'passwd'),
      allowAnonymous: false,
    }),
  ),
  username: 'user',
  password,
}));

function from(address: string, parts: Partial<Attempt> = {}): Attempt {
  const peer = { door: 'mqtt://127.0.0.1:1883', address, port: 40_000, secure: false };
  return attempt({ username: 'alice', password: Buffer.from('wrong'), peer, ...parts });
}

const RIGHT = { password: Buffer.from('right') };

/** A throttle before an authenticator that knows one password, and what came through to it. */
function stage(settings: Partial<ThrottleLimits> = {}, keysMax?: number) {
  const clock = new FakeClock();
  const throttle = new LoginThrottle(clock, { ...SETTINGS, ...settings }, keysMax);
  const asked: string[] = [];
  const guarded = throttle.guard({
    authenticate: ({ peer, username, password }) => {
      asked.push(peer.address);
      const right = password !== null && Buffer.from(password).equals(RIGHT.password);
      return right ? { ok: true, username } : { ok: false, reason: 'bad-credentials' };
    },
  });
  const tryIt = (given: Attempt): string => {
    const verdict = guarded.authenticate(given) as Verdict;
    return verdict.ok ? 'ok' : verdict.reason;
  };
  const tryTimes = (times: number, given: Attempt): string[] =>
    Array.from({ length: times }, () => tryIt(given));
  return { clock, throttle, asked, tryIt, tryTimes };
}

describe('The login throttle', () => {
  it('lets an address fail as often as is allowed and then asks nobody any more', () => {
    const { asked, tryTimes } = stage();
    assert.deepEqual(tryTimes(5, from('192.0.2.1')), [
      ...Array(3).fill('bad-credentials'),
      'throttled',
      'throttled',
    ]);
    assert.equal(asked.length, 3);
  });

  it('refuses a throttled login at once, without a promise', () => {
    const throttle = new LoginThrottle(new FakeClock(), SETTINGS);
    const slow: Authenticator = { authenticate: () => Promise.reject(new Error('not asked')) };
    const wrong = throttle.guard({ authenticate: () => ({ ok: false, reason: 'bad-credentials' }) });
    for (let i = 0; i < 3; i++) wrong.authenticate(from('192.0.2.1'));
    assert.deepEqual(throttle.guard(slow).authenticate(from('192.0.2.1')), {
      ok: false,
      reason: 'throttled',
    });
  });

  it('doubles the delay with every further failure, up to the longest, and a refused try costs nothing more', () => {
    const { clock, tryIt, tryTimes } = stage({
      networkFailuresMax: 100,
      userFailuresMax: 100,
      clientIdFailuresMax: 100,
    });
    tryTimes(3, from('192.0.2.1'));
    for (const seconds of [1, 2, 4, 8, 16, 32, 60, 60]) {
      clock.advance(seconds * 1000 - 1);
      assert.equal(tryIt(from('192.0.2.1')), 'throttled', `before ${seconds} s`);
      clock.advance(1);
      assert.equal(tryIt(from('192.0.2.1')), 'bad-credentials', `after ${seconds} s`);
    }
  });

  it('lets one try alone through when a delay is over, however many come at once', async () => {
    const clock = new FakeClock();
    const throttle = new LoginThrottle(clock, SETTINGS);
    const gate = Promise.withResolvers<Verdict>();
    let asked = 0;
    const guarded = throttle.guard({
      authenticate: () => {
        asked++;
        return gate.promise;
      },
    });
    const wrong = throttle.guard({ authenticate: () => ({ ok: false, reason: 'bad-credentials' }) });
    for (let i = 0; i < 3; i++) wrong.authenticate(from('192.0.2.1'));
    clock.advance(1_000);
    const many = Array.from({ length: 20 }, () => guarded.authenticate(from('192.0.2.1')));
    assert.equal(asked, 1);
    gate.resolve({ ok: false, reason: 'bad-credentials' });
    await Promise.all(many);
    clock.advance(1_999);
    assert.deepEqual(guarded.authenticate(from('192.0.2.1')), { ok: false, reason: 'throttled' });
  });

  it('lets a clean address in at its first try, also while the same user is guessed at from everywhere', () => {
    const { tryIt, tryTimes } = stage();
    for (let network = 0; network < 200; network++) tryTimes(2, from(`198.51.${network}.1`));
    assert.equal(tryIt(from('192.0.2.1', RIGHT)), 'ok');
  });

  it('gives each network one try with a user that is guessed at, then delays', () => {
    const { clock, tryIt, tryTimes } = stage();
    for (let network = 0; network < 5; network++) tryIt(from(`198.51.${network}.1`));
    assert.deepEqual(tryTimes(3, from('203.0.113.1')), ['bad-credentials', 'throttled', 'throttled']);
    assert.equal(tryIt(from('203.0.113.2')), 'throttled', 'a neighbour');
    assert.equal(tryIt(from('203.0.113.2', { username: 'bob', clientId: 'other' })), 'bad-credentials');
    clock.advance(1_000);
    assert.deepEqual(tryTimes(2, from('203.0.113.1')), ['bad-credentials', 'throttled']);
    clock.advance(1_999);
    assert.equal(tryIt(from('203.0.113.1')), 'throttled');
  });

  it('does the same with a client id, under changing user names', () => {
    const { tryIt } = stage();
    for (let i = 0; i < 5; i++) tryIt(from(`198.51.${i}.1`, { username: `user-${i}`, clientId: 'pump' }));
    const next = (username: string) => from('203.0.113.1', { username, clientId: 'pump' });
    assert.equal(tryIt(next('one')), 'bad-credentials');
    assert.equal(tryIt(next('two')), 'throttled');
    assert.equal(tryIt(from('203.0.113.1', { username: 'two', clientId: 'other' })), 'bad-credentials');
  });

  it('lets a user in from where he has logged in before, though his address, his network and his name are throttled', () => {
    const { tryIt, tryTimes } = stage();
    assert.equal(tryIt(from('192.0.2.1', RIGHT)), 'ok');
    tryTimes(20, from('192.0.2.1', { username: 'bob' }));
    tryTimes(20, from('192.0.2.2', { username: 'bob' }));
    for (let i = 0; i < 20; i++) tryIt(from(`198.51.${i}.1`));
    assert.equal(tryIt(from('192.0.2.1', { username: 'carol', ...RIGHT })), 'throttled');
    assert.equal(tryIt(from('192.0.2.1', RIGHT)), 'ok');
  });

  it('does not let his neighbours guess without end at a user who has logged in from their address', () => {
    const { clock, tryIt, tryTimes } = stage();
    assert.equal(tryIt(from('192.0.2.1', RIGHT)), 'ok');
    assert.deepEqual(tryTimes(5, from('192.0.2.1')), [
      ...Array(3).fill('bad-credentials'),
      'throttled',
      'throttled',
    ]);
    clock.advance(1_000);
    assert.deepEqual(tryTimes(2, from('192.0.2.1')), ['bad-credentials', 'throttled']);
  });

  it('does not let his neighbours lock out a user who has logged in from his address', () => {
    const { tryIt, tryTimes } = stage();
    assert.equal(tryIt(from('192.0.2.1', RIGHT)), 'ok');
    for (let host = 2; host < 6; host++) tryTimes(3, from(`192.0.2.${host}`));
    assert.equal(tryIt(from('192.0.2.1', RIGHT)), 'ok');
    // Nor those in the next /64 of his /48.
    assert.equal(tryIt(from('2001:db8:0:1::1', RIGHT)), 'ok');
    for (let net = 2; net < 6; net++) tryTimes(3, from(`2001:db8:0:${net}::1`));
    assert.equal(tryIt(from('2001:db8:0:1::1', RIGHT)), 'ok');
  });

  it('forgives a user who gets it right what he got wrong, and no guesses at others', () => {
    const { tryIt, tryTimes } = stage();
    for (let round = 0; round < 5; round++) {
      tryTimes(2, from('192.0.2.1'));
      assert.equal(tryIt(from('192.0.2.1', RIGHT)), 'ok', `round ${round}`);
    }
    const guess = from('203.0.113.1', { username: 'bob' });
    const verdicts = [];
    for (let round = 0; round < 4; round++) {
      verdicts.push(tryIt(guess));
      tryIt(from('203.0.113.1', { username: 'mallory', ...RIGHT }));
    }
    assert.deepEqual(verdicts, [...Array(3).fill('bad-credentials'), 'throttled']);
  });

  it('counts a network together, more generously than an address', () => {
    const { tryIt } = stage();
    const verdicts = Array.from({ length: 8 }, (_, host) =>
      tryIt(from(`192.0.2.${host}`, { username: `user-${host}`, clientId: `client-${host}` })),
    );
    assert.deepEqual(verdicts, [...Array(6).fill('bad-credentials'), 'throttled', 'throttled']);
    assert.equal(tryIt(from('192.0.3.1', { username: 'dave', clientId: 'd' })), 'bad-credentials');
  });

  it('takes an IPv6 /64 for one address and a /48 for its network, and a mapped IPv4 address for what it is', () => {
    const { tryIt } = stage();
    let n = 0;
    const next = (address: string) => tryIt(from(address, { username: `u${n}`, clientId: `c${n++}` }));
    assert.deepEqual(['2001:db8::1', '2001:db8::2', '2001:DB8::ffff:3', '2001:db8::4'].map(next), [
      ...Array(3).fill('bad-credentials'),
      'throttled',
    ]);
    assert.deepEqual(['2001:db8:0:1::1', '2001:db8:0:2::1', '2001:db8:0:3::1', '2001:db8:0:4::1'].map(next), [
      ...Array(3).fill('bad-credentials'),
      'throttled',
    ]);
    assert.equal(next('2001:db8:1::1'), 'bad-credentials');
    assert.deepEqual(['192.0.2.1', '::ffff:192.0.2.1', '::ffff:c000:201', '192.0.2.1'].map(next), [
      ...Array(3).fill('bad-credentials'),
      'throttled',
    ]);
  });

  it('takes the path of a unix socket for an address', () => {
    const { tryTimes } = stage();
    assert.deepEqual(tryTimes(4, from('/run/sluice.sock')), [
      ...Array(3).fill('bad-credentials'),
      'throttled',
    ]);
  });

  it('forgets what is an hour old', () => {
    const { clock, tryTimes } = stage();
    tryTimes(4, from('192.0.2.1'));
    clock.advance(3_600_000);
    assert.deepEqual(tryTimes(4, from('192.0.2.1')), [...Array(3).fill('bad-credentials'), 'throttled']);
  });

  it('counts no login that could not be decided, and gives the try of one back', async () => {
    const clock = new FakeClock();
    const throttle = new LoginThrottle(clock, { ...SETTINGS, addressFailuresMax: 1 });
    const answering = (verdict: Verdict | Promise<Verdict>) =>
      throttle.guard({ authenticate: () => verdict }).authenticate(from('192.0.2.1'));
    for (let i = 0; i < 5; i++) answering({ ok: false, reason: 'busy' });
    answering({ ok: false, reason: 'bad-credentials' });
    clock.advance(1_000);
    await assert.rejects(async () => answering(Promise.reject(new Error('down'))), /down/);
    assert.deepEqual(answering({ ok: false, reason: 'unavailable' }), { ok: false, reason: 'unavailable' });
    assert.deepEqual(await answering(Promise.resolve({ ok: true, username: 'alice' })), {
      ok: true,
      username: 'alice',
    });
  });

  it('holds enhanced authentication to the same counts', async () => {
    const throttle = new LoginThrottle(new FakeClock(), SETTINGS);
    let begun = 0;
    const guarded = throttle.guard({
      authenticate: () => ({ ok: false, reason: 'bad-credentials' }),
      exchange: (method) => {
        if (method !== 'SCRAM-SHA-256') return null;
        begun++;
        return {
          next: async () => ({ kind: 'end', verdict: { ok: false, reason: 'bad-credentials' }, data: null }),
        };
      },
    });
    assert.equal(guarded.exchange!('OTHER', from('192.0.2.1')), null);
    const reasons: string[] = [];
    for (let i = 0; i < 5; i++) {
      const step = await guarded.exchange!('SCRAM-SHA-256', from('192.0.2.1'))!.next(Buffer.alloc(0));
      assert.ok(step.kind === 'end' && !step.verdict.ok);
      reasons.push(step.verdict.reason);
    }
    assert.deepEqual(reasons, [...Array(3).fill('bad-credentials'), 'throttled', 'throttled']);
    assert.equal(begun, 3);
  });

  it('puts first in the queue who is known, then who is clean, then a name that is guessed at, then who has failed', () => {
    const { throttle, tryIt } = stage();
    const place = (given: string, username: string) => {
      const { address, rank } = throttle.placeOf(from(given, { username }));
      return { address, rank };
    };
    assert.equal(tryIt(from('192.0.2.1', RIGHT)), 'ok');
    for (let i = 0; i < 5; i++) tryIt(from(`198.51.${i}.1`));
    assert.deepEqual(place('192.0.2.1', 'alice'), { address: '192.0.2.1', rank: 0 });
    assert.deepEqual(place('192.0.2.2', 'bob'), { address: '192.0.2.0/24', rank: 1 });
    assert.deepEqual(place('192.0.2.2', 'alice'), { address: '192.0.2.0/24', rank: 2 });
    assert.deepEqual(place('198.51.0.1', 'bob'), { address: '198.51.0.0/24', rank: 3 });
    assert.deepEqual(place('2001:db8::1', 'bob'), { address: '2001:db8::/48', rank: 1 });
  });

  it('computes no hash for guesses that came at once, when the first of them have failed', async () => {
    const clock = new FakeClock();
    const throttle = new LoginThrottle(clock, SETTINGS);
    let hashed = 0;
    const guarded = throttle.guard(
      new PasswordAuthenticator({
        users: parsePasswordFile(`alice:${vector.hash}\n`, 'passwd'),
        allowAnonymous: false,
        queue: new HashQueue({ now: () => clock.now() }),
        placeOf: (given) => throttle.placeOf(given),
        hasher: {
          verify: async () => {
            hashed++;
            await new Promise((next) => setImmediate(next));
            return false;
          },
        },
      }),
    );
    const burst = Array.from({ length: 20 }, () => guarded.authenticate(from('192.0.2.1')));
    const reasons = (await Promise.all(burst)).map((verdict) => (verdict.ok ? 'ok' : verdict.reason));
    // Those under way, and those begun before their failure was counted, come on top.
    assert.ok(hashed <= SETTINGS.addressFailuresMax + 2 * HASHES_AT_ONCE_MAX, `${hashed}`);
    assert.deepEqual(reasons.slice(hashed), Array(20 - hashed).fill('busy'));
  });

  it('counts an exchange against the name that only its first answer tells', async () => {
    const clock = new FakeClock();
    const throttle = new LoginThrottle(clock, SETTINGS);
    const guarded = throttle.guard({
      authenticate: () => ({ ok: false, reason: 'unknown-user' }),
      exchange: () => {
        let steps = 0;
        return {
          next: () =>
            steps++ === 0
              ? { kind: 'continue', data: null, username: 'alice' }
              : { kind: 'end', verdict: { ok: false, reason: 'bad-credentials' }, data: null },
        };
      },
    });
    const guess = async (address: string): Promise<string> => {
      const nameless = from(address, { username: null, password: null, clientId: address });
      const exchange = guarded.exchange!('SCRAM-SHA-256', nameless)!;
      const first = await exchange.next(Buffer.alloc(0));
      const last = first.kind === 'end' ? first : await exchange.next(Buffer.alloc(0));
      return last.kind === 'end' && !last.verdict.ok ? last.verdict.reason : 'accepted';
    };
    for (let n = 1; n <= 5; n++) assert.equal(await guess(`192.0.${n}.1`), 'bad-credentials');
    // The name has failed often enough: one more try for each network.
    assert.equal(await guess('192.0.9.1'), 'bad-credentials');
    assert.equal(await guess('192.0.9.2'), 'throttled');
  });

  it('looks at no proof of exchanges that began at once, when the first of them have failed', async () => {
    for (const username of ['alice', null]) {
      const throttle = new LoginThrottle(new FakeClock(), SETTINGS);
      let proofs = 0;
      const guarded = throttle.guard({
        authenticate: () => ({ ok: false, reason: 'unknown-user' }),
        exchange: () => ({
          next: (data) => {
            if (data.length === 0) return { kind: 'continue', data: null, username: 'alice' };
            proofs++;
            return { kind: 'end', verdict: { ok: false, reason: 'bad-credentials' }, data: null };
          },
        }),
      });
      const begun = Array.from(
        { length: 20 },
        (_, at) => guarded.exchange!('SCRAM-SHA-256', from('192.0.2.1', { username, clientId: `c${at}` }))!,
      );
      for (const exchange of begun) assert.equal((await exchange.next(Buffer.alloc(0))).kind, 'continue');
      for (const exchange of begun) await exchange.next(Buffer.from('proof'));
      assert.equal(proofs, SETTINGS.addressFailuresMax, `user name in CONNECT: ${username}`);
    }
  });

  it('offers no enhanced authentication where there is none', () => {
    const throttle = new LoginThrottle(new FakeClock(), SETTINGS);
    assert.equal(throttle.guard({ authenticate: () => ({ ok: true, username: null }) }).exchange, undefined);
  });

  it('remembers a bounded number of keys, long names by their digest, and forgets the oldest first', () => {
    const { throttle, tryIt, tryTimes } = stage({ addressFailuresMax: 1 }, 100);
    const long = 'x'.repeat(65_535);
    tryIt(from('198.51.100.1', { username: long, clientId: long }));
    assert.equal(tryIt(from('198.51.100.1')), 'throttled');
    for (let i = 0; i < 1_000; i++)
      tryIt(from(`10.${i >> 8}.${i & 255}.1`, { username: `${long}${i}`, clientId: `${i}` }));
    for (const size of throttle.sizes.failures) assert.equal(size, 100);
    assert.equal(tryIt(from('198.51.100.1')), 'bad-credentials');
    assert.deepEqual(tryTimes(1, from('10.3.231.1')), ['throttled']);
  });
});

describe('The login throttle before the hash queue', () => {
  it('lets a valid user in at once while addresses without end guess at his name', async () => {
    const clock = new FakeClock();
    const throttle = new LoginThrottle(clock);
    const hashed: string[] = [];
    const queue = new HashQueue({ now: () => clock.now() });
    const users = parsePasswordFile(`alice:${vector.hash}\n`, 'passwd');
    const authenticator = throttle.guard(
      new PasswordAuthenticator({
        users,
        allowAnonymous: false,
        queue,
        placeOf: (given) => throttle.placeOf(given),
        hasher: {
          // The work of 20 ms stands still until the queue's next turn; what counts is how many go before.
          verify: async (given) => {
            hashed.push(Buffer.from(given).toString());
            await new Promise((next) => setImmediate(next));
            return Buffer.from(given).equals(RIGHT.password);
          },
        },
      }),
    );
    const guesses: (Verdict | Promise<Verdict>)[] = [];
    const guess = (count: number): void => {
      for (let i = 0; i < count; i++)
        guesses.push(authenticator.authenticate(from(`198.51.${i % 50}.${i % 200}`, { clientId: `g${i}` })));
    };
    guess(500);
    await Promise.all(guesses);
    guess(500);
    const before = hashed.length;
    const verdict = await authenticator.authenticate(from('192.0.2.1', RIGHT));
    assert.ok(verdict.ok);
    assert.equal(verdict.username, 'alice');
    assert.ok(hashed.length - before <= 3, `${hashed.length - before} hashes went before`);
    await Promise.all(guesses);
  });
});
