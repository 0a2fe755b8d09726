/** The sections `auth`: what follows from them for each listener, and what contradicts itself. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { doorAuth } from '../../config/auth.ts';
import { loadConfig } from '../../config/load.ts';
import { ConfigErrors } from '../../config/problems.ts';
import type { Config } from '../../config/types.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-config-auth-'));
after(() => rmSync(directory, { recursive: true }));

function load(auth: string, listeners = '[{ url: "mqtt://0.0.0.0:1883" }]'): Config {
  const file = join(directory, 'sluice.yaml');
  writeFileSync(file, `listeners: ${listeners}\nauth: ${auth}\n`);
  return loadConfig({ file, env: {}, flags: {} });
}

/** The messages of a configuration that is refused, without its place. */
function faults(auth: string, listeners?: string): string[] {
  try {
    load(auth, listeners);
  } catch (error) {
    assert.ok(error instanceof ConfigErrors);
    return error.problems.map(({ message }) => message.replace(/^.*?sluice\.yaml(:\d+)?: /, ''));
  }
  return [];
}

describe('the ways to log in', () => {
  test('are those that are set up, in an order of their own, or those that are named', () => {
    const all =
      '{ passwordFile: p, jwt: { secretFile: s }, http: { url: "https://a" }, tickets: { keyFile: t } }';
    assert.deepEqual(doorAuth(load(all).auth).chain, [
      'certificate',
      'ticket',
      'jwt',
      'scram',
      'password',
      'http',
    ]);
    assert.deepEqual(doorAuth(load('{ passwordFile: p }').auth).chain, ['certificate', 'scram', 'password']);
    assert.deepEqual(
      doorAuth(load('{ passwordFile: p, jwt: { secretFile: s }, chain: [password, jwt] }').auth).chain,
      ['password', 'jwt'],
    );
  });

  test('of a listener are its own where it says so, else the main ones', () => {
    const config = load(
      '{ passwordFile: main, aclFile: rules }',
      '[{ url: "mqtt://a", auth: { allowAnonymous: true, aclFile: own } }, { url: "mqtt://b", auth: { passwordFile: other, chain: [password] } }, { url: "mqtt://c" }]',
    );
    const doors = config.listeners.map(({ auth }) => doorAuth(config.auth, auth));
    const usual = ['certificate', 'scram', 'password'];
    assert.deepEqual(doors, [
      { chain: usual, allowAnonymous: true, passwordFile: 'main', aclFile: 'own' },
      { chain: ['password'], allowAnonymous: false, passwordFile: 'other', aclFile: 'rules' },
      { chain: usual, allowAnonymous: false, passwordFile: 'main', aclFile: 'rules' },
    ]);
  });

  test('end anonymous access in local-only mode, whichever they are', () => {
    const open = (flags: Record<string, string>): boolean =>
      loadConfig({ env: {}, flags }).auth.allowAnonymous;
    assert.equal(open({}), true);
    assert.equal(open({ 'auth.jwt.secretFile': 's' }), false);
    assert.equal(open({ 'auth.http.url': 'http://localhost/' }), false);
    assert.equal(open({ 'auth.tickets.keyFile': 't' }), false);
  });

  test('can be given by variables and flags of three words', () => {
    const env = { SLUICE_AUTH_JWT_SECRET_FILE: 's', SLUICE_AUTH_JWT_AUDIENCE: 'a, b' };
    const { auth, sources } = loadConfig({ env, flags: { 'auth.jwt.issuer': 'i' } });
    assert.deepEqual([auth.jwt.secretFile, auth.jwt.audience, auth.jwt.issuer], ['s', ['a', 'b'], 'i']);
    assert.equal(sources.get('auth.jwt.issuer'), 'flag --auth.jwt.issuer');
  });
});

describe('what cannot be meant', () => {
  test('is a way in that is named and not set up', () => {
    const [one] = faults('{ passwordFile: p, chain: [password, jwt] }');
    assert.match(one, /^auth\.chain: it has jwt, which is not set up\. Give one of auth\.jwt\.secretFile/);
    const listeners = '[{ url: "mqtt://a", auth: { chain: [ticket] } }]';
    assert.match(
      faults('{ passwordFile: p }', listeners)[0],
      /^listeners\[0\]\.auth\.chain: it has ticket, which/,
    );
    assert.match(faults('{ passwordFile: p, chain: [password, password] }')[0], /^auth\.chain: /);
    assert.match(faults('{ passwordFile: p, chain: [] }')[0], /^auth\.chain: /);
    assert.match(faults('{ passwordFile: p, chain: [none] }')[0], /^auth\.chain: /);
  });

  test('are two kinds of keys for tokens', () => {
    const [one, ...more] = faults('{ jwt: { secretFile: s, publicKeyFile: p } }');
    assert.match(one, /^auth\.jwt\.publicKeyFile: secretFile and publicKeyFile are both given/);
    assert.deepEqual(more, []);
  });

  test('are keys from an address whose tokens may be for anyone', () => {
    const [one] = faults('{ jwt: { jwksUrl: "https://id.example.org/keys" } }');
    assert.match(one, /^auth\.jwt\.jwksUrl: neither auth\.jwt\.issuer nor auth\.jwt\.audience is given/);
    assert.deepEqual(faults('{ jwt: { jwksUrl: "https://id.example.org/keys", audience: [mqtt] } }'), []);
  });

  test('are addresses that are none, or would carry passwords in the clear to elsewhere', () => {
    const wrong = [
      'login',
      'ftp://a/',
      'http://login.example.org/',
      'http://127.0.0.1.example.org/',
      'https://u:p@a/',
    ];
    for (const url of wrong) {
      const [one] = faults(`{ http: { url: "${url}" } }`);
      assert.match(one ?? '', /^auth\.http\.url: /, url);
      assert.ok(!one.includes('u:p'));
    }
    const right = [
      'https://login.example.org/',
      'http://127.0.0.1:8080/x',
      'http://[::1]/',
      'http://localhost:1/',
    ];
    for (const url of right) assert.deepEqual(faults(`{ http: { url: "${url}" } }`), [], url);
    assert.deepEqual(faults('{ allowPlainHttp: true, http: { url: "http://login/" } }'), []);
  });

  test('is a service for tickets that others could reach, or that has no token or key', () => {
    const rest = 'keyFile: k, mintTokenFile: t';
    for (const url of [
      'http://0.0.0.0:8085',
      'https://127.0.0.1:8085',
      'http://127.0.0.1:8085/',
      '127.0.0.1:8085',
    ])
      assert.match(
        faults(`{ tickets: { ${rest}, mintUrl: "${url}" } }`)[0] ?? '',
        /^auth\.tickets\.mintUrl: /,
        url,
      );
    for (const url of ['http://127.0.0.1:8085', 'http://[::1]:8085', 'http://localhost:0'])
      assert.deepEqual(faults(`{ tickets: { ${rest}, mintUrl: "${url}" } }`), [], url);
    const [one, other] = faults('{ tickets: { mintUrl: "http://127.0.0.1:8085" } }');
    assert.match(one, /mintTokenFile is missing/);
    assert.match(other, /keyFile is missing/);
  });

  test('is "none" for an algorithm', () => {
    assert.match(faults('{ jwt: { secretFile: s, algorithms: [none] } }')[0], /^auth\.jwt\.algorithms: /);
  });

  test('is a listener that nobody could get in by', () => {
    assert.match(faults('{}')[0], /^auth: nobody could log in/);
    assert.match(faults('{ chain: [certificate] }')[0], /^auth: nobody could log in/);
    const listeners = '[{ url: "mqtt://a" }, { url: "mqtt://b", auth: { allowAnonymous: false } }]';
    assert.match(
      faults('{ allowAnonymous: true }', listeners)[0],
      /^listeners\[1\]\.auth: nobody could log in here/,
    );
    assert.deepEqual(faults('{ tickets: { keyFile: t } }'), []);
  });

  test('are settings of their own for one of two listeners with the same URL', () => {
    const listeners = '[{ url: "mqtt://a:0" }, { url: "mqtt://a:0", auth: { allowAnonymous: true } }]';
    assert.match(
      faults('{ passwordFile: p }', listeners)[0],
      /^listeners\[1\]\.auth: another listener has the same URL/,
    );
  });

  test('are keys that are misspelt below a section', () => {
    assert.match(
      faults('{ passwordFile: p, jwt: { isuer: x } }')[0],
      /^auth\.jwt\.isuer: unknown key .*auth\.jwt\.issuer/,
    );
    assert.match(
      faults('{ passwordFile: p, jwt: 7 }')[0],
      /^auth\.jwt: 7 stands where a section is expected/,
    );
  });
});
