/** Several ways to log in, one after the other, and which of them hold at which listener. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  AnonymousAuthenticator,
  AuthenticatorChain,
  CertificateAuthenticator,
  type ChainLink,
} from '../../auth/chain.ts';
import { ListenerAuthenticator } from '../../auth/listener-authenticator.ts';
import type { Attempt, Authenticator, RefusalReason, Verdict } from '../../src/interfaces/auth.ts';
import { attempt } from '../contract/authenticator.ts';

const asked: string[] = [];

/** Answers with `verdict`, at once or later, and writes down that it was asked. */
function link(name: string, verdict: Verdict | Error, later = false): ChainLink {
  const authenticate = (): Verdict | Promise<Verdict> => {
    asked.push(name);
    if (!later && verdict instanceof Error) throw verdict;
    if (!later) return verdict as Verdict;
    return verdict instanceof Error ? Promise.reject(verdict) : Promise.resolve(verdict);
  };
  return { name, authenticator: { authenticate } };
}

function refusal(reason: RefusalReason): Verdict {
  return { ok: false, reason };
}

const UNKNOWN = refusal('unknown-user');
const ALICE: Verdict = { ok: true, username: 'alice' };

async function run(links: ChainLink[], onError?: (name: string) => void): Promise<[Verdict, string]> {
  asked.length = 0;
  const verdict = await new AuthenticatorChain(links, onError).authenticate(attempt({ username: 'alice' }));
  return [verdict, asked.join(' ')];
}

describe('A chain of authenticators', () => {
  it('lets the first that knows the user decide, whether it answers at once or later', async () => {
    for (const later of [false, true]) {
      const known: ChainLink[] = [
        link('a', UNKNOWN, later),
        link('b', ALICE, later),
        link('c', refusal('banned'), later),
      ];
      assert.deepEqual(await run(known), [ALICE, 'a b']);
    }
    assert.deepEqual(await run([link('a', UNKNOWN, true), link('b', UNKNOWN), link('c', ALICE, true)]), [
      ALICE,
      'a b c',
    ]);
  });

  it('asks nobody after any other refusal', async () => {
    const reasons = [
      'bad-credentials',
      'not-authorized',
      'banned',
      'throttled',
      'busy',
      'unavailable',
    ] as const;
    for (const reason of reasons) {
      for (const later of [false, true]) {
        const links: ChainLink[] = [link('a', refusal(reason), later), link('b', ALICE)];
        assert.deepEqual(await run(links), [refusal(reason), 'a']);
      }
    }
  });

  it('says unknown user at the end, also when it is empty', async () => {
    assert.deepEqual(await run([]), [UNKNOWN, '']);
    assert.deepEqual(await run([link('a', UNKNOWN, true), link('b', UNKNOWN)]), [UNKNOWN, 'a b']);
  });

  it('answers unavailable when a link throws or rejects, tells which, and asks nobody else', async () => {
    for (const later of [false, true]) {
      const told: string[] = [];
      const links: ChainLink[] = [
        link('a', UNKNOWN, later),
        link('b', new Error('broken'), later),
        link('c', ALICE),
      ];
      assert.deepEqual(await run(links, (name) => told.push(name)), [refusal('unavailable'), 'a b']);
      assert.deepEqual(told, ['b']);
    }
  });

  it('answers at once as long as its links do', () => {
    const chain = new AuthenticatorChain([link('a', UNKNOWN), link('b', ALICE)]);
    assert.deepEqual(chain.authenticate(attempt()), ALICE);
  });

  it('gives an exchange to the first link that knows its method', () => {
    const knows = (method: string): Authenticator => ({
      authenticate: () => UNKNOWN,
      exchange: (asked) =>
        asked === method
          ? { next: () => ({ kind: 'end', verdict: ALICE, data: Buffer.from(method) }) }
          : null,
    });
    const links = [
      link('plain', UNKNOWN),
      { name: 'a', authenticator: knows('A') },
      { name: 'b', authenticator: knows('B') },
    ];
    const chain = new AuthenticatorChain(links);
    const step = chain.exchange('B', attempt())!.next(Buffer.alloc(0));
    assert.deepEqual(step, { kind: 'end', verdict: ALICE, data: Buffer.from('B') });
    assert.equal(chain.exchange('C', attempt()), null);
  });

  it('ends an exchange as unavailable when the link that was asked throws', async () => {
    const broken: Authenticator = {
      authenticate: () => UNKNOWN,
      exchange: () => {
        throw new Error('broken');
      },
    };
    const told: string[] = [];
    const links = [{ name: 'a', authenticator: broken }, link('b', ALICE)];
    const exchange = new AuthenticatorChain(links, (name) => told.push(name)).exchange('A', attempt())!;
    const step = await exchange.next(Buffer.alloc(0));
    assert.deepEqual(step, { kind: 'end', verdict: refusal('unavailable'), data: null });
    assert.deepEqual(told, ['a']);
  });
});

describe('The certificate link', () => {
  const certificate = new CertificateAuthenticator();
  const vouched = (parts: Partial<Attempt>): Attempt =>
    attempt({ ...parts, peer: { ...attempt().peer, username: 'device-7' } });

  it('lets in whom the transport vouches for, under that name, with or without it in the CONNECT', () => {
    const accepted = { ok: true, username: 'device-7' };
    assert.deepEqual(certificate.authenticate(vouched({})), accepted);
    assert.deepEqual(certificate.authenticate(vouched({ username: 'device-7' })), accepted);
    assert.deepEqual(
      certificate.authenticate(vouched({ username: 'device-7', password: Buffer.from('x') })),
      accepted,
    );
  });

  it('refuses another name in the CONNECT for good', () => {
    for (const username of ['admin', 'device-70', 'DEVICE-7', 'device-7 ', '']) {
      assert.deepEqual(certificate.authenticate(vouched({ username })), refusal('bad-credentials'));
    }
  });

  it('lets nobody prove by an exchange that he is somebody else', async () => {
    const proves = (username: string): ChainLink => ({
      name: 'scram',
      authenticator: {
        authenticate: () => UNKNOWN,
        exchange: () => ({
          next: async () => ({ kind: 'end', verdict: { ok: true, username }, data: Buffer.from('v') }),
        }),
      },
    });
    const verdictOf = async (links: ChainLink[], given: Attempt): Promise<unknown> => {
      const step = await new AuthenticatorChain(links).exchange('M', given)!.next(Buffer.alloc(0));
      return step.kind === 'end' && step.verdict;
    };
    const first: ChainLink = { name: 'certificate', authenticator: certificate };
    assert.deepEqual(await verdictOf([first, proves('device-7')], vouched({})), {
      ok: true,
      username: 'device-7',
    });
    assert.deepEqual(await verdictOf([first, proves('bob')], vouched({})), refusal('bad-credentials'));
    const bob: Verdict = { ok: true, username: 'bob' };
    assert.deepEqual(await verdictOf([first, proves('bob')], attempt({})), bob);
    assert.deepEqual(await verdictOf([proves('bob'), first], vouched({})), bob);
  });

  it('leaves clients without a verified certificate to others', () => {
    assert.deepEqual(certificate.authenticate(attempt({ username: 'device-7' })), UNKNOWN);
  });
});

describe('The end of a chain for anonymous clients', () => {
  const NAMELESS: Verdict = { ok: true, username: null };

  it('lets in those without a name, and nobody with one', () => {
    const end = new AnonymousAuthenticator('nameless');
    assert.deepEqual(end.authenticate(attempt()), NAMELESS);
    assert.deepEqual(end.authenticate(attempt({ username: 'alice' })), UNKNOWN);
    assert.deepEqual(end.authenticate(attempt({ username: '' })), UNKNOWN);
  });

  it('believes no name where none is checked', () => {
    const end = new AnonymousAuthenticator('everybody');
    assert.deepEqual(end.authenticate(attempt({ username: 'admin' })), NAMELESS);
  });
});

describe('The authenticator of several listeners', () => {
  it('asks the one of the door that the client came in by, else the main one', async () => {
    const at = (door: string): Attempt => attempt({ peer: { ...attempt().peer, door } });
    const one = (username: string): Authenticator => ({
      authenticate: () => ({ ok: true, username }),
      exchange: (method) => ({
        next: () => ({ kind: 'end', verdict: { ok: true, username }, data: Buffer.from(method) }),
      }),
    });
    const both = new ListenerAuthenticator(one('main'), new Map([['mqtts://a:1', one('own')]]));
    assert.deepEqual(both.authenticate(at('mqtts://a:1')), { ok: true, username: 'own' });
    assert.deepEqual(both.authenticate(at('mqtts://a:2')), { ok: true, username: 'main' });
    const step = await both.exchange('M', at('mqtts://a:1'))!.next(Buffer.alloc(0));
    assert.deepEqual(step.kind === 'end' && step.verdict, { ok: true, username: 'own' });
    const plain = new ListenerAuthenticator({ authenticate: () => UNKNOWN }, new Map());
    assert.equal(plain.exchange('M', at('x')), null);
  });
});
