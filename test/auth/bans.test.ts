import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Ban, type BanKind, BanList, normalValue } from '../../auth/bans/ban-list.ts';
import { Bans } from '../../auth/bans/bans.ts';
import { FlappingWatch } from '../../auth/bans/flapping.ts';
import type { Attempt, Verdict } from '../../src/interfaces/auth.ts';
import { DEFAULT_FLAPPING_LIMITS, type FlappingLimits } from '../../src/limits.ts';
import { attempt } from '../contract/authenticator.ts';
import { FakeClock } from '../support/fake-clock.ts';

function ban(kind: BanKind, value: string, untilMs: number | null = null): Ban {
  return { kind, value, sinceMs: 0, untilMs, reason: '' };
}

function recordingLog() {
  const lines: { event: string; fields: object | undefined }[] = [];
  const add = (event: string, fields?: object): void => void lines.push({ event, fields });
  return { lines, log: { debug: add, info: add, warn: add, error: add } };
}

function from(address: string, parts: Partial<Attempt> = {}): Attempt {
  const peer = { door: 'mqtt://127.0.0.1:1883', address, port: 40_000, secure: false };
  return attempt({ username: 'alice', clientId: 'pump', peer, ...parts });
}

const BANNED = { ok: false, reason: 'banned' };

/** Bans before an authenticator that believes everything. */
function stage(list: readonly Ban[], flapping: FlappingLimits = DEFAULT_FLAPPING_LIMITS) {
  const clock = new FakeClock();
  const { lines, log } = recordingLog();
  const bans = new Bans({ list: new BanList(list), flapping, clock, log });
  let asked = 0;
  const guarded = bans.guard({
    authenticate: ({ username }) => {
      asked++;
      return { ok: true, username };
    },
  });
  return { clock, bans, lines, guarded, asked: () => asked, tryIt: (a: Attempt) => guarded.authenticate(a) };
}

describe('A list of bans', () => {
  it('finds an address in every spelling of it, and no other', () => {
    const list = new BanList([ban('address', '203.0.113.7'), ban('address', '2001:db8::7')]);
    for (const address of [
      '203.0.113.7',
      '::ffff:203.0.113.7',
      '2001:db8::7',
      '2001:DB8:0:0::7',
      '2001:db8::7%eth0',
    ])
      assert.notEqual(list.ofAddress(address, 0), null, address);
    for (const address of [
      '203.0.113.8',
      '2001:db8::8',
      '203.0.113.70',
      '/run/203.0.113.7',
      '',
      '3405803783',
    ])
      assert.equal(list.ofAddress(address, 0), null, address);
  });

  it('finds the addresses of a network to its first and last, in both families', () => {
    const list = new BanList([
      ban('network', '198.51.100.64/26'),
      ban('network', '10.0.0.0/8'),
      ban('network', '2001:db8:8000::/33'),
    ]);
    const inside = ['198.51.100.64', '198.51.100.127', '10.0.0.0', '10.255.255.255'];
    const insideSix = ['2001:db8:8000::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff', '::ffff:10.1.2.3'];
    for (const address of [...inside, ...insideSix])
      assert.notEqual(list.ofAddress(address, 0), null, address);
    for (const address of ['198.51.100.63', '198.51.100.128', '11.0.0.0', '2001:db8:7fff::', '::a00:1'])
      assert.equal(list.ofAddress(address, 0), null, address);
  });

  it('finds users and client ids by their exact text', () => {
    const list = new BanList([ban('user', '__proto__'), ban('client', 'Pump 1')]);
    assert.notEqual(list.ofUser('__proto__', 0), null);
    assert.equal(list.ofUser('constructor', 0), null);
    assert.equal(list.ofUser(null, 0), null);
    assert.notEqual(list.ofClientId('Pump 1', 0), null);
    for (const id of ['pump 1', 'Pump 1 ', 'Pump 1\0', '__proto__'])
      assert.equal(list.ofClientId(id, 0), null);
  });

  it('looks past a ban that is over to one that is not', () => {
    const list = new BanList([
      ban('address', '203.0.113.7', 1_000),
      ban('network', '203.0.113.0/28', 2_000),
      ban('network', '203.0.113.0/24', 3_000),
    ]);
    const values = [999, 1_000, 2_000, 3_000].map((now) => list.ofAddress('203.0.113.7', now)?.value ?? null);
    assert.deepEqual(values, ['203.0.113.7', '203.0.113.0/28', '203.0.113.0/24', null]);
  });

  it('gives each value its one spelling, and takes none that could mean something else', () => {
    assert.equal(normalValue('address', '::FFFF:203.0.113.7'), '203.0.113.7');
    assert.equal(normalValue('network', '203.0.113.77/24'), '203.0.113.0/24');
    assert.equal(normalValue('network', '::ffff:203.0.113.77/120'), '203.0.113.0/24');
    assert.equal(normalValue('network', '2001:DB8:ffff::/33'), '2001:db8:8000::/33');
    for (const value of ['', '1', '1.2.3', '0x7f.0.0.1', '01.2.3.4', '1.2.3.4/32', 'localhost', '1.2.3.4 '])
      assert.equal(normalValue('address', value), null, value);
    for (const value of ['1.2.3.4', '1.2.3.4/33', '::/129', '1.2.3.4/-1', '::ffff:1.2.3.4/95', '1.2.3.4/8/8'])
      assert.equal(normalValue('network', value), null, value);
    assert.equal(normalValue('user', '\ud800'), null);
  });
});

describe('Bans', () => {
  it('keep out an address, a network, a user and a client id, and ask nobody about them', () => {
    const { tryIt, asked } = stage([
      ban('address', '203.0.113.7'),
      ban('network', '198.51.100.0/24'),
      ban('user', 'mallory'),
      ban('client', 'bad pump'),
    ]);
    const kept = [
      from('203.0.113.7'),
      from('198.51.100.200'),
      from('192.0.2.1', { username: 'mallory' }),
      from('192.0.2.1', { clientId: 'bad pump' }),
    ];
    for (const each of kept) assert.deepEqual(tryIt(each), BANNED);
    assert.equal(asked(), 0);
    assert.deepEqual(tryIt(from('192.0.2.1')), { ok: true, username: 'alice' });
    assert.deepEqual(tryIt(from('192.0.2.1', { username: null })), { ok: true, username: null });
  });

  it('keep out a user whose name is known only behind the login, or who was banned meanwhile', async () => {
    const { bans } = stage([ban('user', 'mallory')]);
    const certificate = bans.guard({ authenticate: () => ({ ok: true, username: 'mallory' }) });
    assert.deepEqual(certificate.authenticate(from('192.0.2.1', { username: null })), BANNED);
    const gate = Promise.withResolvers<Verdict>();
    const waiting = bans.guard({ authenticate: () => gate.promise }).authenticate(from('192.0.2.1'));
    bans.replaceList(new BanList([ban('client', 'pump')]));
    gate.resolve({ ok: true, username: 'alice' });
    assert.deepEqual(await waiting, BANNED);
  });

  it('keep out by enhanced authentication too, without the proof that the server knows the password', async () => {
    const { bans } = stage([ban('address', '203.0.113.7'), ban('user', 'mallory')]);
    const guarded = bans.guard({
      authenticate: () => ({ ok: false, reason: 'bad-credentials' }),
      exchange: (method) =>
        method === 'SCRAM-SHA-256'
          ? {
              next: async () => ({
                kind: 'end',
                verdict: { ok: true, username: 'mallory' },
                data: Buffer.from('v=proof'),
              }),
            }
          : null,
    });
    for (const address of ['203.0.113.7', '192.0.2.1']) {
      const step = await guarded.exchange!('SCRAM-SHA-256', from(address, { username: null }))!.next(
        Buffer.alloc(0),
      );
      assert.deepEqual(step, { kind: 'end', verdict: BANNED, data: null });
    }
    assert.equal(guarded.exchange!('OTHER', from('192.0.2.1')), null);
    assert.equal(bans.guard({ authenticate: () => BANNED as Verdict }).exchange, undefined);
  });

  it('are over by the clock, without anybody reading the file again', () => {
    const until = new FakeClock().wallNow() + 60_000;
    const { clock, bans, tryIt } = stage([ban('address', '203.0.113.7', until)]);
    clock.advance(59_999);
    assert.equal(bans.isBanned('203.0.113.7'), true);
    clock.advance(1);
    assert.equal(bans.isBanned('203.0.113.7'), false);
    assert.equal((tryIt(from('203.0.113.7')) as Verdict).ok, true);
  });

  it('say when the list was replaced, with the new list in force', () => {
    const { bans } = stage([]);
    const seen: boolean[] = [];
    bans.onReplaced(() => {
      seen.push(bans.covers({ address: '192.0.2.1', username: 'mallory', clientId: 'c' }));
    });
    bans.replaceList(new BanList([ban('user', 'mallory')]));
    bans.replaceList(new BanList());
    assert.deepEqual(seen, [true, false]);
  });
});

describe('A flapping client', () => {
  const FLAPPING = { connectsMax: 3, windowSeconds: 60, banSeconds: 300 };

  it('is banned with its login too many, for as long as is configured, and the log says who', () => {
    const { clock, lines, tryIt, asked } = stage([], FLAPPING);
    const verdicts = Array.from({ length: 5 }, () => (tryIt(from('192.0.2.1')) as Verdict).ok);
    assert.deepEqual(verdicts, [true, true, true, false, false]);
    assert.equal(asked(), 4);
    assert.deepEqual(lines, [
      {
        event: 'client.flapping',
        fields: { address: '192.0.2.1', username: 'alice', clientId: 'pump', ...FLAPPING },
      },
    ]);
    clock.advance(299_999);
    assert.deepEqual(tryIt(from('192.0.2.1')), BANNED);
    clock.advance(1);
    assert.deepEqual(
      Array.from({ length: 4 }, () => (tryIt(from('192.0.2.1')) as Verdict).ok),
      [true, true, true, false],
    );
  });

  it('does not get the same client id banned for another user, or at another address', () => {
    const { tryIt } = stage([], FLAPPING);
    for (let i = 0; i < 10; i++) tryIt(from('192.0.2.1', { username: 'mallory' }));
    assert.deepEqual(tryIt(from('192.0.2.1', { username: 'mallory' })), BANNED);
    assert.equal((tryIt(from('192.0.2.1')) as Verdict).ok, true);
    assert.equal((tryIt(from('192.0.2.2', { username: 'mallory' })) as Verdict).ok, true);
    assert.equal((tryIt(from('192.0.2.1', { username: 'mallory', clientId: 'other' })) as Verdict).ok, true);
  });

  it('is not one that comes as often in a longer time, or whose logins fail', () => {
    const { clock, bans, tryIt } = stage([], FLAPPING);
    for (let i = 0; i < 20; i++) {
      assert.equal((tryIt(from('192.0.2.1')) as Verdict).ok, true);
      clock.advance(20_000);
    }
    const failing = bans.guard({ authenticate: () => ({ ok: false, reason: 'bad-credentials' }) });
    for (let i = 0; i < 20; i++)
      assert.deepEqual(failing.authenticate(from('192.0.2.9')), { ok: false, reason: 'bad-credentials' });
  });

  it('is never banned where no number is configured', () => {
    const { tryIt } = stage([], { ...FLAPPING, connectsMax: 0 });
    for (let i = 0; i < 1_000; i++) assert.equal((tryIt(from('192.0.2.1')) as Verdict).ok, true);
  });

  it('is remembered while the memory for it goes round, and forgotten then', () => {
    const watch = new FlappingWatch(new FakeClock(), recordingLog().log, FLAPPING, 100);
    const subject = (n: number) => ({
      address: '192.0.2.1',
      username: 'u'.repeat(60_000),
      clientId: `c${n}`,
    });
    for (let i = 0; i < 1_000; i++) watch.loggedIn(subject(i));
    const again = [0, 1, 2].map(() => watch.loggedIn(subject(999)));
    assert.deepEqual(again, [false, false, true]);
    assert.equal(watch.isBanned(subject(999)), true);
    assert.equal(watch.isBanned(subject(998)), false);
    const first = [0, 1, 2].map(() => watch.loggedIn(subject(0)));
    assert.deepEqual(first, [false, false, false]);
  });
});
