/** Keys fetched from their issuer: how often, for how long, and what happens when there are none. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { SignJWT } from 'jose';
import { AuthenticatorChain } from '../../auth/chain.ts';
import { JwtAuthenticator } from '../../auth/jwt/jwt-authenticator.ts';
import { KEY_SET_BYTES_MAX } from '../../auth/jwt/jwt-keys.ts';
import { RemoteKeySet } from '../../auth/jwt/jwt-remote-keys.ts';
import type { Verdict } from '../../src/interfaces/auth.ts';
import { attempt } from '../contract/authenticator.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { json, type Service, startService } from './http-server.ts';

const CACHE_SECONDS = 600;
const first = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const second = generateKeyPairSync('ec', { namedCurve: 'P-256' });

let service: Service;
let clock: FakeClock;
beforeEach(async () => {
  service = await startService();
  clock = new FakeClock();
  service.answer = publish({ a: first.publicKey });
});
afterEach(() => service.close());

/** Answers with a key set of these keys by their ids. */
function publish(keys: Record<string, KeyObject>): Service['answer'] {
  return json({
    keys: Object.entries(keys).map(([kid, key]) => ({ ...key.export({ format: 'jwk' }), kid })),
  });
}

function make(timeoutMs = 30_000) {
  const told: string[] = [];
  const keys = new RemoteKeySet({
    url: service.url,
    cacheSeconds: CACHE_SECONDS,
    algorithms: null,
    clock,
    timeoutMs,
    onError: (error) => told.push(error.message),
  });
  const jwt = new JwtAuthenticator({
    keys,
    clock,
    issuer: null,
    audiences: null,
    usernameClaim: 'sub',
    aclClaim: 'acl',
    clockToleranceSeconds: 0,
  });
  // In a chain, as it is used: what rejects is unavailable, and nobody behind it is asked.
  const open = { authenticate: () => ({ ok: true, username: 'anybody' }) as const };
  const chain = new AuthenticatorChain([
    { name: 'jwt', authenticator: jwt },
    { name: 'open', authenticator: open },
  ]);
  const ask = async (kid = 'a', { privateKey } = first): Promise<string> => {
    const token = new SignJWT({ sub: 'alice', exp: clock.wallNow() / 1_000 + 3_600 });
    const text = await token.setProtectedHeader({ alg: 'ES256', kid }).sign(privateKey);
    const verdict: Verdict = await chain.authenticate(attempt({ password: Buffer.from(text) }));
    return verdict.ok ? `${verdict.username}` : verdict.reason;
  };
  return { ask, told, keys };
}

/** Lets requests under way go on until it is so. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

describe('Keys from an address', () => {
  it('are fetched once for many tokens, and again in the background when half of their time is over', async () => {
    const { ask } = make();
    const names = await Promise.all([ask(), ask(), ask()]);
    assert.deepEqual(names, ['alice', 'alice', 'alice']);
    assert.equal(service.asked.length, 1);
    clock.advance((CACHE_SECONDS / 2) * 1_000);
    assert.equal(await ask(), 'alice');
    assert.equal(service.asked.length, 1);
    clock.advance(1);
    assert.equal(await ask(), 'alice');
    await until(() => service.asked.length === 2);
  });

  it('are fetched again for a key that is not among them, but not for every token that names one', async () => {
    const { ask } = make();
    assert.equal(await ask(), 'alice');
    service.answer = publish({ a: first.publicKey, b: second.publicKey });
    assert.equal(await ask('b', second), 'bad-credentials');
    assert.equal(service.asked.length, 1);
    clock.advance(30_000);
    assert.equal(await ask('b', second), 'alice');
    assert.equal(service.asked.length, 2);
    for (let at = 0; at < 20; at++) assert.equal(await ask(`made up ${at}`), 'bad-credentials');
    assert.equal(service.asked.length, 2);
  });

  it('are believed for their time while their issuer is away, and no longer', async () => {
    const { ask, told } = make();
    assert.equal(await ask(), 'alice');
    service.answer = json({}, 503);
    clock.advance(CACHE_SECONDS * 1_000);
    assert.equal(await ask(), 'alice');
    await until(() => told.length === 1);
    // Still good, and not asked for again at once.
    assert.equal(await ask(), 'alice');
    assert.equal(service.asked.length, 2);
    clock.advance(10_000);
    assert.equal(await ask(), 'unavailable');
    assert.equal(service.asked.length, 3);
    // Not asked again for each token while it fails.
    assert.equal(await ask(), 'unavailable');
    assert.equal(service.asked.length, 3);
    service.answer = publish({ a: first.publicKey });
    clock.advance(5_000);
    assert.equal(await ask(), 'alice');
    assert.match(told[0], /status 503 instead of 200$/);
  });

  it('let nobody in when they cannot be had or used', async () => {
    const answers: [Service['answer'], RegExp][] = [
      [json({ keys: [] }), /it has no key that verifies signatures/],
      [json({ keys: [{ kty: 'oct', k: 'c2VjcmV0' }] }), /this is a secret or private key/],
      [json({ keys: [first.privateKey.export({ format: 'jwk' })] }), /this is a secret or private key/],
      [(_request, response) => response.end('<html>'), /this is not JSON/],
      [
        (_request, response) => response.end(' '.repeat(KEY_SET_BYTES_MAX + 1)),
        /an answer over 262144 bytes/,
      ],
      [
        (_request, response) => response.writeHead(302, { location: service.url }).end(),
        /status 302 instead of 200/,
      ],
      [(_request, response) => response.socket!.destroy(), /./],
    ];
    for (const [answer, problem] of answers) {
      const { ask, told } = make();
      service.answer = answer;
      assert.equal(await ask(), 'unavailable');
      assert.match(told[0], problem);
    }
    const { ask, told } = make(200);
    service.answer = () => {};
    assert.equal(await ask(), 'unavailable');
    assert.match(told[0], /no answer within 200 ms/);
  });

  it('that were taken away are good for nothing any more', async () => {
    const { ask } = make();
    assert.equal(await ask(), 'alice');
    service.answer = publish({ b: second.publicKey });
    clock.advance(30_000);
    assert.equal(await ask('b', second), 'alice');
    assert.equal(await ask('a', first), 'bad-credentials');
  });
});
