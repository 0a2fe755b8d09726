/** Tokens in the password field: which get in, as whom, for how long, and what none of them can do. */
import assert from 'node:assert/strict';
import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type JWTPayload, SignJWT, UnsecuredJWT } from 'jose';
import { JwtAuthenticator, type JwtOptions } from '../../auth/jwt/jwt-authenticator.ts';
import {
  type JwtKeyOptions,
  type JwtKeys,
  parseKeySet,
  readKeySetFile,
  readPublicKeyFile,
  readSecretFile,
} from '../../auth/jwt/jwt-keys.ts';
import { TOKEN_BYTES_MAX } from '../../auth/jwt/jwt-token.ts';
import type { Attempt, Verdict } from '../../src/interfaces/auth.ts';
import { attempt, authenticatorContract } from '../contract/authenticator.ts';
import { FakeClock } from '../support/fake-clock.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-jwt-'));
after(() => rmSync(directory, { recursive: true }));

const ANY: JwtKeyOptions = { algorithms: null };
const SECRET = 'a secret of more than sixty-four bytes, so that it is long enough for all';
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const ed25519 = generateKeyPairSync('ed25519');

let files = 0;
function file(content: string | Buffer, mode = 0o600): string {
  const path = join(directory, `key-${files++}`);
  writeFileSync(path, content, { mode });
  return path;
}

function pem(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }) as string;
}

function jwk(key: KeyObject, more: object = {}): object {
  return { ...key.export({ format: 'jwk' }), ...more };
}

const hmacKeys = readSecretFile(file(`${SECRET}\n`), ANY);

const clock = new FakeClock();
const nowSeconds = clock.wallNow() / 1_000;

function make(keys: JwtKeys, options: Partial<JwtOptions> = {}) {
  const told: string[] = [];
  const authenticator = new JwtAuthenticator({
    keys: { keys: () => keys },
    clock,
    issuer: null,
    audiences: null,
    usernameClaim: 'sub',
    aclClaim: 'acl',
    clockToleranceSeconds: 5,
    onRefused: (problem) => told.push(problem),
    ...options,
  });
  const ask = async (token: string, parts: Partial<Attempt> = {}): Promise<Verdict> =>
    authenticator.authenticate(attempt({ password: Buffer.from(token), ...parts }));
  return { authenticator, ask, told };
}

const GOOD: JWTPayload = { sub: 'alice', exp: nowSeconds + 60 };

function sign(
  claims: JWTPayload,
  key: KeyObject | Uint8Array,
  alg: string,
  header: object = {},
): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg, ...header }).sign(key);
}

function signHmac(claims: JWTPayload, header: object = {}): Promise<string> {
  return sign(claims, Buffer.from(SECRET), 'HS256', header);
}

const ACCEPTED = { ok: true, username: 'alice', grants: null, endsAtMs: clock.now() + 65_000 };
const REFUSED = { ok: false, reason: 'bad-credentials' };
const UNKNOWN = { ok: false, reason: 'unknown-user' };

authenticatorContract('A token signed with a shared secret', async () => ({
  authenticator: make(hmacKeys).authenticator,
  username: 'alice',
  password: Buffer.from(await signHmac(GOOD)),
  isToken: true,
}));

describe('A token', () => {
  it('gets in with a signature of any kind that fits the key', async () => {
    const cases: [JwtKeys, KeyObject | Uint8Array, string[]][] = [
      [hmacKeys, Buffer.from(SECRET), ['HS256', 'HS384', 'HS512']],
      [readPublicKeyFile(file(pem(rsa.publicKey)), ANY), rsa.privateKey, ['RS256', 'RS512', 'PS256']],
      [readPublicKeyFile(file(pem(p256.publicKey)), ANY), p256.privateKey, ['ES256']],
      [readPublicKeyFile(file(pem(p384.publicKey)), ANY), p384.privateKey, ['ES384']],
      [readPublicKeyFile(file(pem(ed25519.publicKey)), ANY), ed25519.privateKey, ['EdDSA']],
    ];
    for (const [keys, key, algorithms] of cases) {
      const { ask } = make(keys);
      for (const alg of algorithms) assert.deepEqual(await ask(await sign(GOOD, key, alg)), ACCEPTED, alg);
    }
  });

  it('gets in alone or with its own name, and with no other', async () => {
    const { ask, told } = make(hmacKeys);
    const token = await signHmac(GOOD);
    assert.deepEqual(await ask(token, { username: null }), ACCEPTED);
    assert.deepEqual(await ask(token, { username: 'alice' }), ACCEPTED);
    for (const username of ['', 'bob', 'Alice', 'alice '])
      assert.deepEqual(await ask(token, { username }), REFUSED);
    assert.equal(new Set(told).size, 1);
  });

  it('ends its connection when it expires, by the clock that does not jump', async () => {
    const { ask } = make(hmacKeys, { clockToleranceSeconds: 0 });
    const verdict = await ask(await signHmac({ sub: 'alice', exp: nowSeconds + 3_600 }));
    assert.deepEqual(verdict, { ...ACCEPTED, endsAtMs: clock.now() + 3_600_000 });
  });

  it('is refused when it has expired, is not yet valid, or has no end or none that is a time', async () => {
    const { ask } = make(hmacKeys);
    assert.deepEqual(await ask(await signHmac({ ...GOOD, exp: nowSeconds - 4 })), {
      ...ACCEPTED,
      endsAtMs: clock.now() + 1_000,
    });
    assert.deepEqual(await ask(await signHmac({ ...GOOD, nbf: nowSeconds + 4 })), ACCEPTED);
    assert.deepEqual(await ask(await signHmac({ ...GOOD, exp: nowSeconds - 6 })), REFUSED);
    assert.deepEqual(await ask(await signHmac({ ...GOOD, nbf: nowSeconds + 6 })), REFUSED);
    const later = new FakeClock();
    later.advance(500);
    const { ask: askLater } = make(hmacKeys, { clock: later });
    assert.deepEqual(await askLater(await signHmac({ ...GOOD, exp: nowSeconds - 4.6 })), REFUSED);
    assert.deepEqual(await ask(await signHmac({ sub: 'alice' })), REFUSED);
    assert.deepEqual(await ask(await signHmac({ sub: 'alice', exp: 1e300 })), REFUSED);
    for (const exp of ['"9999999999"', 'null', '1e999', 'true', '[]'])
      assert.deepEqual(await ask(signByHand(`{"sub":"alice","exp":${exp}}`)), REFUSED, exp);
  });

  it('is refused when it is of another issuer or for another audience', async () => {
    const { ask } = make(hmacKeys, { issuer: 'https://id.example.org', audiences: ['mqtt', 'iot'] });
    const right = { ...GOOD, iss: 'https://id.example.org', aud: 'mqtt' };
    assert.deepEqual(await ask(await signHmac(right)), ACCEPTED);
    assert.deepEqual(await ask(await signHmac({ ...right, aud: ['web', 'iot'] })), ACCEPTED);
    const wrong: JWTPayload[] = [
      GOOD,
      { ...GOOD, iss: right.iss },
      { ...GOOD, aud: 'mqtt' },
      { ...right, iss: 'https://id.example.org/' },
      { ...right, aud: 'web' },
      { ...right, aud: ['web'] },
      { ...right, aud: 'mqt' },
    ];
    for (const claims of wrong)
      assert.deepEqual(await ask(await signHmac(claims)), REFUSED, JSON.stringify(claims));
  });

  it('is refused when its name is missing or cannot be one', async () => {
    const { ask } = make(hmacKeys, { usernameClaim: 'name' });
    assert.deepEqual(await ask(await signHmac({ ...GOOD, name: 'alice' })), ACCEPTED);
    assert.deepEqual(await ask(await signHmac(GOOD)), REFUSED);
    for (const name of ['', 'a\0b', 'a\nb', 'x'.repeat(1_025), 7, null, ['alice'], { a: 1 }])
      assert.deepEqual(await ask(await signHmac({ ...GOOD, name })), REFUSED, String(name));
    const inherited = make(hmacKeys, { usernameClaim: 'constructor' });
    assert.deepEqual(await inherited.ask(await signHmac(GOOD)), REFUSED);
  });

  it('says what the client may do at most', async () => {
    const { ask } = make(hmacKeys);
    const grantsOf = async (acl: unknown, clientId = 'phone'): Promise<unknown> => {
      const verdict = await ask(await signHmac({ ...GOOD, acl }), { clientId });
      return verdict.ok ? verdict.grants : verdict.reason;
    };
    const both = { pub: ['users/%u/+', 'devices/%c/state'], sub: ['plant/#'] };
    assert.deepEqual(await grantsOf(both), {
      publish: ['users/alice/+', 'devices/phone/state'],
      subscribe: ['plant/#'],
    });
    assert.deepEqual(await grantsOf(both, '#'), { publish: ['users/alice/+'], subscribe: ['plant/#'] });
    assert.deepEqual(await grantsOf({ publish: ['#'] }), { publish: [], subscribe: [] });
    for (const wrong of [
      null,
      'all',
      ['#'],
      true,
      { pub: '#' },
      { sub: ['a/#/b'] },
      { pub: [1] },
      { sub: null },
    ])
      assert.equal(await grantsOf(wrong), 'bad-credentials', JSON.stringify(wrong));
  });

  it('is left to others when it is none, or one for another purpose', async () => {
    const { ask, told } = make(hmacKeys);
    const words = [
      '',
      'secret',
      'a.b.c',
      '..',
      'aGVsbG8.aGVsbG8.aGVsbG8',
      'eyJhbGciOiJIUzI1NiJ9.e30',
      'é.é.é',
    ];
    for (const word of words) assert.deepEqual(await ask(word), UNKNOWN, word);
    assert.deepEqual(await ask(`${await signHmac(GOOD)}\n`), UNKNOWN);
    assert.deepEqual(await ask('', { password: null }), UNKNOWN);
    for (const typ of [
      'sluice-ticket+jwt',
      'application/sluice-ticket+jwt',
      'logout+jwt',
      'SECEVENT+JWT',
      '',
    ])
      assert.deepEqual(await ask(await signHmac(GOOD, { typ })), typ === '' ? ACCEPTED : UNKNOWN, typ);
    for (const typ of ['JWT', 'at+jwt', 'application/at+jwt'])
      assert.deepEqual(await ask(await signHmac(GOOD, { typ })), ACCEPTED, typ);
    assert.deepEqual(told, []);
  });

  it('is not looked at beyond its bound', async () => {
    const { ask } = make(hmacKeys);
    const fits = await signHmac({ ...GOOD, more: 'x'.repeat(TOKEN_BYTES_MAX / 2) });
    const large = await signHmac({ ...GOOD, more: 'x'.repeat(TOKEN_BYTES_MAX) });
    assert.deepEqual(await ask(fits), ACCEPTED);
    assert.deepEqual(await ask(large), UNKNOWN);
    assert.deepEqual(await ask(`${'['.repeat(8_000)}.a.a`), UNKNOWN);
  });

  it('is refused cut short anywhere, and with any one character changed', async () => {
    const { ask } = make(hmacKeys);
    const token = await signHmac(GOOD);
    for (let at = 0; at < token.length; at++) {
      assert.equal((await ask(token.slice(0, at))).ok, false, `cut at ${at}`);
      // The last character of a signature has two bits that mean nothing.
      if (at === token.length - 1) continue;
      const other = token[at] === 'A' ? 'B' : 'A';
      assert.equal(
        (await ask(token.slice(0, at) + other + token.slice(at + 1))).ok,
        false,
        `changed at ${at}`,
      );
    }
  });
});

/** A token with any text for claims, signed as HS256. */
function signByHand(
  claims: string,
  header: object = { alg: 'HS256' },
  secret: string | Buffer = SECRET,
): string {
  const part = (text: string): string => Buffer.from(text).toString('base64url');
  const signed = `${part(JSON.stringify(header))}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

describe('A token that chooses its own algorithm', () => {
  const claims = JSON.stringify(GOOD);

  it('is refused when it is signed with the public key as if that were a secret', async () => {
    const { publicKey } = rsa;
    const texts = [pem(publicKey), pem(publicKey).trim(), publicKey.export({ type: 'spki', format: 'der' })];
    const rsaKeys = readPublicKeyFile(file(pem(publicKey)), ANY);
    const set = parseKeySet(JSON.stringify({ keys: [jwk(publicKey, { kid: 'a' })] }), 'set', ANY);
    for (const keys of [rsaKeys, set]) {
      const { ask } = make(keys);
      for (const text of texts) {
        assert.deepEqual(await ask(signByHand(claims, { alg: 'HS256' }, text)), REFUSED);
        assert.deepEqual(await ask(signByHand(claims, { alg: 'HS256', kid: 'a' }, text)), REFUSED);
        assert.deepEqual(await ask(signByHand(claims, { alg: 'RS256', kid: 'a' }, text)), REFUSED);
      }
    }
  });

  it('is refused without a signature, however "none" is spelled', async () => {
    const { ask } = make(hmacKeys);
    const unsigned = new UnsecuredJWT(GOOD).encode();
    assert.deepEqual(await ask(unsigned), UNKNOWN);
    assert.deepEqual(await ask(`${unsigned}AAAA`), REFUSED);
    for (const alg of ['none', 'None', 'NONE', 'nOnE', '', 'HS257'])
      assert.deepEqual(await ask(signByHand(claims, { alg })), REFUSED, alg);
  });

  it('is refused when it brings its own key or asks for what is not understood', async () => {
    const { ask } = make(readPublicKeyFile(file(pem(rsa.publicKey)), ANY));
    const own = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const headers = [
      { jwk: jwk(own.publicKey) },
      { jku: 'https://evil.example/keys' },
      { x5u: 'https://evil.example/x' },
    ];
    for (const header of headers)
      assert.deepEqual(await ask(await sign(GOOD, own.privateKey, 'RS256', header)), REFUSED);
    const { ask: askHmac } = make(hmacKeys);
    assert.deepEqual(await askHmac(signByHand(claims, { alg: 'HS256', crit: ['exp'], exp: 1 })), REFUSED);
    assert.deepEqual(await askHmac(signByHand(claims, { alg: 'HS256', crit: ['b64'], b64: false })), REFUSED);
  });

  it('is refused when its algorithm is not on the list, though it fits the key', async () => {
    const { ask } = make(readPublicKeyFile(file(pem(rsa.publicKey)), { algorithms: ['PS256', 'ES256'] }));
    assert.deepEqual(await ask(await sign(GOOD, rsa.privateKey, 'PS256')), ACCEPTED);
    assert.deepEqual(await ask(await sign(GOOD, rsa.privateKey, 'RS256')), REFUSED);
  });
});

describe('A key set', () => {
  const set = (...keys: object[]): string => JSON.stringify({ keys });

  it('verifies each token with the key it names', async () => {
    const keys = [jwk(rsa.publicKey, { kid: 'r', use: 'sig' }), jwk(p256.publicKey, { kid: 'e' })];
    const { ask } = make(readKeySetFile(file(set(...keys), 0o644), ANY));
    assert.deepEqual(await ask(await sign(GOOD, rsa.privateKey, 'RS256', { kid: 'r' })), ACCEPTED);
    assert.deepEqual(await ask(await sign(GOOD, p256.privateKey, 'ES256', { kid: 'e' })), ACCEPTED);
    assert.deepEqual(await ask(await sign(GOOD, p256.privateKey, 'ES256')), ACCEPTED);
    assert.deepEqual(await ask(await sign(GOOD, p256.privateKey, 'ES256', { kid: 'r' })), REFUSED);
    assert.deepEqual(await ask(await sign(GOOD, rsa.privateKey, 'RS256', { kid: 'unknown' })), REFUSED);
    assert.deepEqual(await ask(await sign(GOOD, rsa.privateKey, 'RS256', { kid: '__proto__' })), REFUSED);
    const own = generateKeyPairSync('rsa', { modulusLength: 2048 });
    assert.deepEqual(await ask(await sign(GOOD, own.privateKey, 'RS256', { kid: 'r' })), REFUSED);
  });

  it('wants a token to name its key where several could be meant', async () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { ask } = make(parseKeySet(set(jwk(p256.publicKey), jwk(other.publicKey)), 'set', ANY));
    assert.deepEqual(await ask(await sign(GOOD, p256.privateKey, 'ES256')), REFUSED);
  });

  it('leaves out keys for other purposes and refuses those that must not be there', () => {
    const x25519 = generateKeyPairSync('x25519').publicKey;
    const others = [jwk(p384.publicKey, { use: 'enc' }), jwk(x25519), { kty: 'new', x: 1 }];
    const { algorithms } = parseKeySet(set(...others, jwk(p256.publicKey)), 'set', ANY);
    assert.deepEqual(algorithms, ['ES256']);
    const small = createPrivateKey(
      generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
    );
    const wrong: [string, RegExp][] = [
      ['', /^set: this is not JSON/],
      ['{"key', /^set: this is not JSON/],
      ['[]', /^set: it has no list of keys/],
      ['{"keys":{}}', /^set: it has no list of keys/],
      [set(), /^set: it has no key that verifies/],
      [set(...others), /^set: it has no key that verifies/],
      ['{"keys":[null]}', /^set keys\[0\]: this is no key/],
      [set(jwk(p256.publicKey), jwk(rsa.privateKey)), /^set keys\[1\]: this is a secret or private key/],
      [set({ kty: 'oct', k: 'c2VjcmV0' }), /^set keys\[0\]: this is a secret or private key/],
      [set({ kty: 'RSA', n: '!', e: 'AQAB' }), /^set keys\[0\]: the RSA key has 0 bits/],
      [set({ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }), /^set keys\[0\]: this key is damaged/],
      [
        set({ kty: 'RSA', n: small.export({ format: 'jwk' }).n, e: 'AQAB' }),
        /^set keys\[0\]: the RSA key has 1024 bits/,
      ],
      [set(...Array.from({ length: 101 }, () => ({ kty: 'new' }))), /^set: it has 101 keys/],
    ];
    for (const [text, message] of wrong) assert.throws(() => parseKeySet(text, 'set', ANY), { message });
  });
});

describe('A key file', () => {
  it('that cannot be used is an error that names it', () => {
    const publicPem = pem(rsa.publicKey);
    const privatePem = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' });
    const p521 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey;
    const wrong: [() => unknown, RegExp][] = [
      [() => readSecretFile(file('short'), ANY), /the secret has 5 bytes/],
      [() => readSecretFile(file(`${'x'.repeat(31)}\n`), ANY), /the secret has 31 bytes/],
      [() => readSecretFile(file(publicPem), ANY), /this is a PEM file and no shared secret/],
      [() => readSecretFile(file(SECRET, 0o644), ANY), /mode 0644 opens the file to others/],
      [
        () => readSecretFile(file('x'.repeat(40)), { algorithms: ['HS512', 'RS256'] }),
        /no key here fits HS512, RS256/,
      ],
      [() => readPublicKeyFile(file(''), ANY), /this is no public key/],
      [() => readPublicKeyFile(file(publicPem.slice(0, 100)), ANY), /this is no public key/],
      [() => readPublicKeyFile(file(privatePem), ANY), /this is a private key/],
      [() => readPublicKeyFile(file(pem(p521)), ANY), /a key of type ec signs no tokens/],
      [
        () => readPublicKeyFile(file(publicPem), { algorithms: ['HS256', 'none' as 'HS256'] }),
        /no key here fits/,
      ],
      [() => readPublicKeyFile(join(directory, 'missing'), ANY), /the file does not exist/],
      [() => readKeySetFile(file('{}'), ANY), /it has no list of keys/],
    ];
    for (const [read, message] of wrong) assert.throws(read, message);
  });

  it('may hold a secret that is not text, of which every byte counts', async () => {
    const secret = Buffer.concat([Buffer.alloc(31, 0), Buffer.from('\n')]);
    const { ask } = make(readSecretFile(file(secret), ANY));
    assert.deepEqual(await ask(signByHand(JSON.stringify(GOOD), { alg: 'HS256' }, secret)), ACCEPTED);
  });

  it('allows the longer hashes only with a secret that is long enough for them', () => {
    assert.deepEqual(readSecretFile(file('x'.repeat(32)), ANY).algorithms, ['HS256']);
    assert.deepEqual(readSecretFile(file('x'.repeat(48)), ANY).algorithms, ['HS256', 'HS384']);
    assert.deepEqual(hmacKeys.algorithms, ['HS256', 'HS384', 'HS512']);
  });
});
