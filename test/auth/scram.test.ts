import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PasswordAuthenticator } from '../../auth/passwords/password-authenticator.ts';
import { type PasswordUsers, parsePasswordFile } from '../../auth/passwords/password-file.ts';
import {
  describeHash,
  isCurrentHash,
  PasswordHasher,
  parseHash,
} from '../../auth/passwords/password-hash.ts';
import { SCRAM_MESSAGE_BYTES_MAX, ScramAuthenticator, type ScramOptions } from '../../auth/scram/scram.ts';
import { hashScram } from '../../auth/scram/scram-hash.ts';
import type { Attempt, Exchange, Step, Verdict } from '../../src/interfaces/auth.ts';
import { attempt, authenticatorContract } from '../contract/authenticator.ts';
import hashes from '../data/hashes.json' with { type: 'json' };
import { ScramClient } from '../support/scram-client.ts';

/** RFC 7677 section 3: user "user", password "pencil". */
const RFC = {
  line: '$scram-sha-256$i=4096,s=W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverNonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal:
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
};

function fileOf(lines: Record<string, string> = { user: RFC.line }): PasswordUsers {
  const text = Object.entries(lines).map(([user, hash]) => `${user}:${hash}\n`);
  return parsePasswordFile(text.join(''), 'passwd');
}

/** Begins an exchange with the RFC's server nonce and user, unless told otherwise. */
function begin(options: Partial<ScramOptions> = {}, parts: Partial<Attempt> = {}): Exchange {
  const one = new ScramAuthenticator({ users: fileOf(), nonce: () => RFC.serverNonce, ...options });
  return one.exchange('SCRAM-SHA-256', attempt(parts))!;
}

function say(exchange: Exchange, text: string | Uint8Array): Step {
  return exchange.next(Buffer.from(text as string)) as Step;
}

const textOf = (step: Step): string => Buffer.from(step.data ?? []).toString();

function refusedAs(step: Step, reason: string): void {
  assert.deepEqual(step, { kind: 'end', verdict: { ok: false, reason }, data: null });
}

const accepted = (username: string): Verdict => ({ ok: true, username, credential: { isRevoked: false } });

/** A whole login of a client of its own. */
function login(exchange: Exchange, username: string, password: string, header = 'n,,'): Step {
  const client = new ScramClient({ username, password, header });
  const step = exchange.next(client.first()) as Step;
  if (step.kind === 'end') return step;
  const last = exchange.next(client.final(step.data!)) as Step;
  if (last.kind === 'end' && last.verdict.ok) client.check(last.data!);
  return last;
}

describe('SCRAM-SHA-256', () => {
  it('speaks as the example of RFC 7677 does, to the letter', () => {
    const exchange = begin();
    const first = say(exchange, RFC.clientFirst);
    assert.equal(first.kind, 'continue');
    assert.equal(textOf(first), RFC.serverFirst);
    const last = say(exchange, RFC.clientFinal);
    assert.deepEqual(last.kind === 'end' && last.verdict, accepted('user'));
    assert.equal(textOf(last), RFC.serverFinal);
  });

  it('makes the line of the same password and salt as the RFC’s', async () => {
    const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
    assert.equal(await hashScram(Buffer.from('pencil'), salt, 4096), RFC.line);
  });

  it('asks for the first message when none came', () => {
    const exchange = begin();
    assert.deepEqual(say(exchange, ''), { kind: 'continue', data: null });
    assert.equal(textOf(say(exchange, RFC.clientFirst)), RFC.serverFirst);
  });

  it('is the only method it knows, and passes passwords on', () => {
    const one = new ScramAuthenticator({ users: fileOf() });
    for (const method of ['SCRAM-SHA-1', 'SCRAM-SHA-256-PLUS', 'scram-sha-256', '', '__proto__'])
      assert.equal(one.exchange(method, attempt()), null);
    assert.deepEqual(one.authenticate(), { ok: false, reason: 'unknown-user' });
  });

  it('lets users with odd names and passwords in, each under the name in the file', async () => {
    const cases: [name: string, sent: string, password: string, typed: string][] = [
      ['a,b=c', 'a,b=c', 'p,a=s s', 'p,a=s s'],
      ['=2C', '=2C', '=2C', '=2C'],
      ['__proto__', '__proto__', 'x', 'x'],
      // SASLprep: the non-breaking space and the full-width letters are those that everyone types.
      ['alice', 'ａｌｉｃｅ', 'I\u00adX\u00a0y', 'IX y'],
      ['Ⅸ'.normalize('NFKC'), 'Ⅸ', 'пароль', 'пароль'],
      ['smile 🙂', 'smile 🙂', '🙂', '🙂'],
    ];
    for (const [name, sent, password, typed] of cases) {
      const users = fileOf({ [name]: await hashScram(Buffer.from(password), undefined, 4096) });
      const step = login(begin({ users }), sent, typed);
      assert.deepEqual(step.kind === 'end' && step.verdict, accepted(name), sent);
    }
  });

  it('refuses the wrong password, an unknown user and a user without a SCRAM line alike', () => {
    const argon = hashes.good.find(({ scheme }) => scheme === 'argon2id')!;
    const users = fileOf({ user: RFC.line, hashed: argon.hash });
    for (const name of ['user', 'nobody', 'hashed', 'constructor'])
      refusedAs(login(begin({ users }), name, 'wrong'), 'bad-credentials');
    const password = Buffer.from(argon.password, 'base64').toString();
    refusedAs(login(begin({ users }), 'hashed', password), 'bad-credentials');
  });

  it('gives an unknown user a salt and a cost as a known one has, the same ones as long as the first lines stay', async () => {
    const first = { user: RFC.line, b: RFC.line, c: RFC.line, d: RFC.line };
    const shape = (name: string, lines: Record<string, string> = first): string => {
      const answer = textOf(say(begin({ users: fileOf(lines) }), `n,,n=${name},r=abc`));
      const [, salt, iterations] = /,s=([^,]+),i=(\d+)$/.exec(answer)!;
      return `${salt} ${Buffer.from(salt, 'base64').length} ${iterations}`;
    };
    assert.match(shape('user'), / 16 4096$/);
    assert.match(shape('nobody'), / 16 4096$/);
    assert.equal(shape('nobody'), shape('nobody'));
    assert.notEqual(shape('nobody'), shape('nobody2'));
    assert.equal(shape('nobody'), shape('nobody', { ...first, e: RFC.line }));
    const changed = await hashScram(Buffer.from('x'), undefined, 4096);
    for (const name of Object.keys(first))
      assert.notEqual(shape('nobody'), shape('nobody', { ...first, [name]: changed }), name);
    assert.match(shape('nobody', {}), / 16 15000$/);
    assert.notEqual(shape('nobody', {}), shape('nobody', {}));
  });

  it('gives unknown users the costs of a file that mixes them', async () => {
    const other = await hashScram(Buffer.from('x'), Buffer.alloc(24, 1), 5000);
    const users = fileOf({ user: RFC.line, other });
    const seen = new Set<string>();
    for (let i = 0; i < 64; i++) {
      const answer = textOf(say(begin({ users }), `n,,n=nobody${i},r=abc`));
      seen.add(answer.slice(answer.indexOf(',i=')));
    }
    assert.deepEqual([...seen].sort(), [',i=4096', ',i=5000']);
  });

  it('wants the user name of the CONNECT, when there is one, to be the one that is proved', () => {
    const good = login(begin({}, { username: 'user' }), 'user', 'pencil');
    assert.equal(good.kind === 'end' && good.verdict.ok, true);
    refusedAs(login(begin({}, { username: 'admin' }), 'user', 'pencil'), 'bad-credentials');
    refusedAs(login(begin({}, { username: '' }), 'user', 'pencil'), 'bad-credentials');
  });

  it('acts for nobody but the user, and binds no channel', () => {
    for (const header of ['n,a=user,', 'y,,', 'y,a=user,']) {
      const step = login(begin(), 'user', 'pencil', header);
      assert.equal(step.kind === 'end' && step.verdict.ok, true, header);
    }
    for (const header of ['n,a=admin,', 'n,a=,', 'p=tls-unique,,', 'p=tls-exporter,,', 'N,,', ',,'])
      refusedAs(login(begin(), 'user', 'pencil', header), 'not-authorized');
  });

  it('does not take a proof for another header than the one of the first message', () => {
    const client = new ScramClient({ username: 'user', password: 'pencil', nonce: 'abc', header: 'y,,' });
    const exchange = begin();
    refusedAs(say(exchange, client.final(say(exchange, 'n,,n=user,r=abc').data!)), 'not-authorized');
  });

  it('refuses a user who was removed or changed during the exchange, and not one whose line stayed', async () => {
    const other = await hashScram(Buffer.from('pencil'), undefined, 4096);
    const cases: [PasswordUsers, boolean][] = [
      [fileOf({}), false],
      [fileOf({ user: other }), false],
      [fileOf({ user: RFC.line, other }), true],
    ];
    for (const [later, ok] of cases) {
      const one = new ScramAuthenticator({ users: fileOf(), nonce: () => RFC.serverNonce });
      const exchange = one.exchange('SCRAM-SHA-256', attempt())!;
      say(exchange, RFC.clientFirst);
      one.replaceUsers(later);
      const step = say(exchange, RFC.clientFinal);
      assert.equal(step.kind === 'end' && step.verdict.ok, ok);
    }
  });

  it('revokes what a user logged in with when his line is gone or another, and not before', () => {
    const other = fileOf().get('user')!;
    const cases: [PasswordUsers, boolean][] = [
      [new Map(), true],
      [new Map([['user', { ...other, text: 'another' }]]), true],
      [fileOf({ user: RFC.line, second: RFC.line }), false],
    ];
    for (const [later, isRevoked] of cases) {
      const one = new ScramAuthenticator({ users: fileOf() });
      const step = login(one.exchange('SCRAM-SHA-256', attempt())!, 'user', 'pencil');
      assert.ok(step.kind === 'end' && step.verdict.ok);
      one.replaceUsers(later);
      assert.equal(step.verdict.credential!.isRevoked, isRevoked);
    }
  });

  it('has nonces of its own, never the same, and takes no proof a second time', () => {
    const nonces = new Set<string>();
    for (let i = 0; i < 50; i++) nonces.add(textOf(say(begin({ nonce: undefined }), RFC.clientFirst)));
    assert.equal(nonces.size, 50);
    refusedAs(login(begin({ nonce: undefined }), 'user', 'wrong'), 'bad-credentials');
    const exchange = begin({ nonce: undefined });
    say(exchange, RFC.clientFirst);
    refusedAs(say(exchange, RFC.clientFinal), 'not-authorized');
    const done = begin();
    say(done, RFC.clientFirst);
    say(done, RFC.clientFinal);
    refusedAs(say(done, RFC.clientFinal), 'not-authorized');
    refusedAs(say(done, RFC.clientFirst), 'not-authorized');
  });
});

describe('SCRAM messages that are not quite right', () => {
  const firsts = [
    'n',
    'n,,',
    'n,,n=user',
    'n,,r=abc,n=user',
    'n,,n=,r=abc',
    'n,,n=user,r=',
    'n,,n=us=er,r=abc',
    'n,,n=us=2cer,r=abc',
    'n,,n=user=,r=abc',
    'n,,m=ext,n=user,r=abc',
    'n,,n=user,r=abc,m=ext',
    'n,,n=user,r=abc,',
    'n,,n=user,r=abc,x',
    'n,,n=user,r=abc,x=',
    'n,,n=user,r=a c',
    'n,,n=user,r=aéc',
    'n,,N=user,R=abc',
    ' n,,n=user,r=abc',
    '\uFEFFn,,n=user,r=abc',
    'n,,n=us\0er,r=abc',
    'n,,n=us\u0007er,r=abc',
    'n,,n=\u00ad,r=abc',
    'n,,n=\u06271,r=abc',
    'n,b=user,n=user,r=abc',
    Buffer.from([0x6e, 0x2c, 0x2c, 0x6e, 0x3d, 0xff, 0x2c, 0x72, 0x3d, 0x61]),
    `n,,n=user,r=${'a'.repeat(SCRAM_MESSAGE_BYTES_MAX)}`,
  ];
  it('refuses such first messages, whoever they name', () => {
    for (const message of firsts) refusedAs(say(begin(), message), 'not-authorized');
  });

  it('passes over optional extensions in both messages, and signs them', () => {
    const exchange = begin();
    assert.match(textOf(say(exchange, `${RFC.clientFirst},x=1,y=a=b`)), /^r=/);
    refusedAs(say(exchange, RFC.clientFinal), 'bad-credentials');
    const other = begin();
    say(other, RFC.clientFirst);
    refusedAs(say(other, RFC.clientFinal.replace(',p=', ',x=1,p=')), 'bad-credentials');
  });

  const final = RFC.clientFinal;
  const finals = [
    '',
    final.slice(0, -1),
    `${final}=`,
    `${final},`,
    `${final},x=1`,
    final.replace('c=biws', 'c=biwt'),
    final.replace('c=biws', 'c=eSws'),
    final.replace('c=biws', 'c=biw='),
    final.replace('c=biws', 'c='),
    final.replace('c=biws,', ''),
    final.replace('r=r', 'r=R'),
    final.replace('$k0,', '$k0x,'),
    final.replace('%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0', ''),
    final.replace(',p=', ',m=1,p='),
    final.replace(/p=.*/, 'p='),
    final.replace(/p=.*/, 'p=AAAA'),
    final.replace(/p=.*/, `p=${Buffer.alloc(33).toString('base64')}`),
    final.replace('p=d', 'p= d'),
    `${final}\0`,
    `\uFEFF${final}`,
    'x'.repeat(SCRAM_MESSAGE_BYTES_MAX + 1),
  ];
  it('refuses such final messages', () => {
    for (const message of finals) {
      const exchange = begin();
      say(exchange, RFC.clientFirst);
      refusedAs(say(exchange, message), 'not-authorized');
    }
  });

  it('refuses every proof that is one bit off', () => {
    const proof = Buffer.from(final.slice(final.indexOf('p=') + 2), 'base64');
    for (let bit = 0; bit < 256; bit++) {
      const off = Buffer.from(proof);
      off[bit >> 3] ^= 1 << (bit & 7);
      const exchange = begin();
      say(exchange, RFC.clientFirst);
      refusedAs(say(exchange, final.replace(/p=.*/, `p=${off.toString('base64')}`)), 'bad-credentials');
    }
  });
});

describe('SCRAM lines of a password file', () => {
  authenticatorContract('A password file with a SCRAM line', async () => {
    const hasher = new PasswordHasher();
    return {
      authenticator: new PasswordAuthenticator({ users: fileOf(), allowAnonymous: false, hasher }),
      username: 'user',
      password: Buffer.from('pencil'),
      close: () => hasher.close(),
    };
  });

  it('refuses a password that is no text, though HMAC would take it for another', async () => {
    const hasher = new PasswordHasher();
    const stored = parseHash(RFC.line, 'line');
    for (const bytes of [Buffer.from('pencil\0'), Buffer.from([0xff, 0xfe]), Buffer.from('pen\u0007cil')])
      assert.equal(await hasher.verify(bytes, stored), false);
    assert.equal(
      await hasher.verify(Buffer.from('pen\u00adcil'), stored),
      true,
      'SASLprep drops a soft hyphen',
    );
    await assert.rejects(hashScram(Buffer.from('pencil\0')), /SCRAM takes text without control characters/);
  });

  it('is described with its cost, and never offered another hash', () => {
    const stored = parseHash(RFC.line, 'line');
    assert.equal(describeHash(stored), 'scram-sha-256 i=4096');
    assert.equal(isCurrentHash(stored), true);
  });

  it('refuses damaged lines and costs out of bounds, and repeats nothing of them', () => {
    const broken = [
      RFC.line.replace('i=4096', 'i=1000000000'),
      RFC.line.replace('i=4096', 'i=4095'),
      RFC.line.replace('i=4096', 'i=0'),
      RFC.line.replace('i=4096', 'i=-1'),
      RFC.line.replace('i=4096', 'i=4096.5'),
      RFC.line.replace('i=4096', 'i=0x1000'),
      RFC.line.replace('i=4096', 'i=99999999999999999999'),
      RFC.line.replace('i=4096', 'i='),
      RFC.line.replace('i=4096,', ''),
      RFC.line.replace(/s=[^$]*/, 's='),
      RFC.line.replace(/s=[^$]*/, 's=AAAA'),
      RFC.line.replace(/s=[^$]*/, `s=${Buffer.alloc(65).toString('base64')}`),
      RFC.line.replace('s=W', 's=!'),
      RFC.line.replace('$WG5', '$'),
      RFC.line.slice(0, -1),
      RFC.line.slice(0, RFC.line.lastIndexOf('$')),
      `${RFC.line}$`,
      `${RFC.line}A`,
      RFC.line.replace('scram-sha-256', 'scram-sha-1'),
      RFC.line.replace('scram-sha-256', 'SCRAM-SHA-256'),
    ];
    for (const line of broken) {
      assert.throws(
        () => fileOf({ fine: RFC.line, user: line }),
        (error: Error) => {
          assert.match(error.message, /^passwd:2: /, line);
          assert.ok(!/WG5d8|wfPLw|W22Za/.test(error.message));
          return error.name === 'ConfigError';
        },
      );
    }
  });
});
