import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, describe, it } from 'node:test';
import type { ConnectionOptions } from 'node:tls';
import { type IdentityField, identityOf } from '../../transports/tls/certificate-identity.ts';
import type { TlsOptions } from '../../transports/tls/tls-options.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { Certificates, crlToPem, type IssueOptions } from './certificates.ts';
import { pairOf, SCHEMES, TlsStage } from './tls-stage.ts';

const DAY_MS = 86_400_000;
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';

const certificates = await Certificates.create();
const stranger = await Certificates.create('CN=Other authority');
const impostor = await Certificates.create();
const server = await certificates.issue('server');
const ca = readFileSync(certificates.ca);
const alice = await certificates.issue('alice', { usages: [CLIENT_AUTH] });
afterEach(() => TlsStage.closeAll());
after(() => {
  certificates.remove();
  stranger.remove();
  impostor.remove();
});

const base = { ...server, ca: certificates.ca } satisfies TlsOptions;
const required: TlsOptions = { ...base, requestCert: 'required', useCertAsUsername: 'cn' };
const optional: TlsOptions = { ...required, requestCert: 'optional' };

/** User name with which each client came in; null: refused. And why the last one was refused. */
async function visits(
  scheme: (typeof SCHEMES)[number],
  tls: TlsOptions,
  clients: readonly ConnectionOptions[],
): Promise<{ names: (string | undefined | null)[]; why: unknown }> {
  const stage = await TlsStage.open(scheme, tls);
  try {
    const names: (string | undefined | null)[] = [];
    for (const client of clients) {
      const guest = await stage.visit({ ca, ...client });
      names.push(guest === null ? null : guest.peer.username);
      guest?.socket.destroy();
    }
    return { names, why: stage.log.of('tls.client_refused').at(-1)?.fields.problem };
  } finally {
    await stage.close();
  }
}

for (const scheme of SCHEMES) {
  describe(`client certificates at ${scheme}`, () => {
    it('give the user name of a client that shows one, where they are required', async () => {
      const { names, why } = await visits(scheme, required, [pairOf(alice), {}]);
      assert.deepEqual(names, ['alice', null]);
      assert.equal(why, 'it shows no certificate');
    });

    it('may be left out where they are optional, and then there is no user name', async () => {
      assert.deepEqual((await visits(scheme, optional, [{}, pairOf(alice)])).names, [undefined, 'alice']);
    });

    it('name nobody unless that is asked for', async () => {
      const nameless = { ...required, useCertAsUsername: false } as const;
      assert.deepEqual((await visits(scheme, nameless, [pairOf(alice)])).names, [undefined]);
    });

    it('are not asked for otherwise, so that one that is shown means nothing', async () => {
      assert.deepEqual((await visits(scheme, base, [pairOf(alice), {}])).names, [undefined, undefined]);
    });

    for (const [what, make, why] of [
      ['of another authority', () => stranger.issue('mallory'), /not in tls\.ca/],
      [
        'of an authority of the same name',
        () => impostor.issue('mallory'),
        /not signed by the authority it names/,
      ],
      [
        'that has expired',
        () => certificates.issue('late', { notAfter: new Date(Date.now() - 1) }),
        /has expired \(CERT_HAS_EXPIRED\)/,
      ],
      [
        'that is not valid yet',
        () => certificates.issue('early', { notBefore: new Date(Date.now() + DAY_MS / 2) }),
        /not valid yet/,
      ],
      [
        'made for servers alone',
        () => certificates.issue('host', { usages: [SERVER_AUTH] }),
        /not for TLS clients \(INVALID_PURPOSE\)/,
      ],
    ] as const) {
      for (const [mode, tls] of Object.entries({ required, optional })) {
        it(`refuse one ${what}, where they are ${mode}`, async () => {
          const result = await visits(scheme, tls, [pairOf(await make())]);
          assert.deepEqual(result.names, [null]);
          assert.match(String(result.why), why);
        });
      }
    }

    it('refuse one whose name cannot be a user name, and say why', async () => {
      const odd = await certificates.issue('odd', { subject: [{ CN: ['fleet/#'] }] });
      const { names, why } = await visits(scheme, optional, [pairOf(odd)]);
      assert.deepEqual(names, [null]);
      assert.equal(
        why,
        'its certificate gives no user name: its Common Name has a wildcard character (+, # or *)',
      );
    });

    it('refuse one that a revocation list names, and take the others', async () => {
      const eve = await certificates.issue('eve');
      const crl = certificates.file(`${scheme}.crl`, crlToPem(await certificates.crl([eve.serial])));
      const { names, why } = await visits(scheme, { ...optional, crl }, [pairOf(alice), pairOf(eve)]);
      assert.deepEqual(names, ['alice', null]);
      assert.match(String(why), /is revoked \(CERT_REVOKED\)/);
    });

    it('refuse everybody who shows one when the list has expired, and say so', async () => {
      const old = await certificates.crl([], new Date(Date.now() - 1_000));
      const crl = certificates.file(`${scheme}-old.crl`, old);
      const stage = await TlsStage.open(scheme, { ...optional, crl }, new SteadyClock());
      assert.ok((await stage.visit({ ca, ...pairOf(alice) })) === null);
      const [{ fields }] = stage.log.of('tls.client_refused');
      assert.match(String(fields.problem), /revocation list of its authority has expired/);
      const [{ level, fields: told }] = stage.log.of('tls.expired');
      assert.deepEqual([level, told.what, told.file], ['error', 'crl', crl]);
      await stage.close();
    });
  });
}

/** The real wall time; its tasks never come. */
class SteadyClock extends FakeClock {
  override wallNow(): number {
    return Date.now();
  }
}

describe('a revocation list', () => {
  it('is needed for every authority, or its clients would be refused without a word beforehand', async () => {
    const crl = certificates.file('foreign.crl', await stranger.crl([]));
    await assert.rejects(
      TlsStage.open('mqtts', { ...required, crl }),
      /tls\.crl: there is no list of the authority "CN=Test authority"/,
    );
  });

  it('that is none is refused with its place', async () => {
    const broken = certificates.file(
      'broken.crl',
      '-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n',
    );
    await assert.rejects(
      TlsStage.open('mqtts', { ...required, crl: [broken] }),
      /tls\.crl: list 1 in .*broken\.crl is damaged/,
    );
    const empty = certificates.file('empty.crl', 'nothing');
    await assert.rejects(
      TlsStage.open('mqtts', { ...required, crl: empty }),
      /tls\.crl: .*empty\.crl holds no revocation list/,
    );
  });
});

/** What stands in the certificate, where the name is looked for, and the name or why there is none. */
const NAMES: readonly (readonly [string, IdentityField, IssueOptions, string | RegExp])[] = [
  ['the Common Name', 'cn', { subject: [{ O: ['Works'] }, { CN: ['pump 7'] }] }, 'pump 7'],
  ['a Common Name in UTF-8', 'cn', { subject: [{ CN: ['Jürgen'] }] }, 'Jürgen'],
  ['a DNS name', 'san-dns', { names: [{ type: 'dns', value: 'pump7.example.org' }] }, 'pump7.example.org'],
  ['an e-mail address', 'san-email', { names: [{ type: 'email', value: 'a@example.org' }] }, 'a@example.org'],
  [
    'a URI',
    'san-uri',
    { names: [{ type: 'url', value: 'spiffe://example.org/pump' }] },
    'spiffe://example.org/pump',
  ],
  [
    'one kind among others',
    'san-email',
    {
      names: [
        { type: 'dns', value: 'x.example' },
        { type: 'email', value: 'b@x.example' },
      ],
    },
    'b@x.example',
  ],
  ['no Common Name', 'cn', { subject: [{ O: ['Works'] }] }, /has no Common Name/],
  ['no alternative name at all', 'san-dns', { names: [] }, /has no DNS name/],
  ['two Common Names', 'cn', { subject: [{ CN: ['alice'] }, { CN: ['bob'] }] }, /more than one Common Name/],
  [
    'two Common Names in one part',
    'cn',
    { subject: [{ CN: ['alice', 'bob'] }] },
    /more than one Common Name/,
  ],
  [
    'two DNS names',
    'san-dns',
    {
      names: [
        { type: 'dns', value: 'a.example' },
        { type: 'dns', value: 'b.example' },
      ],
    },
    /more than one DNS name/,
  ],
  ['an empty Common Name', 'cn', { subject: [{ CN: [''] }] }, /is empty/],
  ['a NUL', 'cn', { subject: [{ CN: ['alice\0.evil'] }] }, /control or invisible/],
  ['a line end', 'cn', { subject: [{ CN: ['alice\nCN=bob'] }] }, /control or invisible/],
  ['a right-to-left override', 'cn', { subject: [{ CN: ['a\u202eecila'] }] }, /control or invisible/],
  ['a plus', 'cn', { subject: [{ CN: ['+'] }] }, /wildcard/],
  ['a hash', 'cn', { subject: [{ CN: ['a#'] }] }, /wildcard/],
  ['a star', 'san-dns', { names: [{ type: 'dns', value: '*.example.org' }] }, /wildcard/],
  ['a space at the end', 'cn', { subject: [{ CN: ['alice '] }] }, /space/],
  [
    'an encoding that can be read in two ways',
    'cn',
    { subject: [{ CN: ['#1e0a0061006c006900630065'] }] },
    /not valid UTF-8 or ASCII/,
  ],
  [
    'a name of 3000 bytes',
    'san-uri',
    { names: [{ type: 'url', value: `urn:${'x'.repeat(3_000)}` }] },
    /longer than 2048 bytes/,
  ],
];

describe('the user name in a certificate', () => {
  for (const [what, field, options, expected] of NAMES) {
    it(`from ${what} is ${typeof expected === 'string' ? `"${expected}"` : 'refused'}`, async () => {
      const { cert } = await certificates.issue('case', options);
      const result = identityOf(derOf(cert), field);
      if (typeof expected === 'string') assert.deepEqual(result, { ok: true, name: expected });
      else assert.match(result.ok ? `taken: ${result.name}` : result.problem, expected);
    });
  }

  it('from bytes that are not UTF-8 though they say so is refused', async () => {
    const { cert } = await certificates.issue('case', { subject: [{ CN: ['aliceXX'] }] });
    const der = derOf(cert);
    const at = der.indexOf('aliceXX');
    der.set([0xc0, 0xaf], at + 5);
    const result = identityOf(der, 'cn');
    assert.ok(!result.ok && /not valid UTF-8/.test(result.problem));
  });

  it('from damaged bytes is refused, whatever is damaged, and nothing is thrown', async () => {
    const der = derOf(alice.cert);
    for (let at = 0; at < der.length; at++) {
      for (const value of [0x00, 0x80, 0x84, 0xff]) {
        const damaged = Buffer.from(der);
        damaged[at] = value;
        for (const field of ['cn', 'san-uri'] as const)
          assert.equal(typeof identityOf(damaged, field).ok, 'boolean');
      }
      assert.equal(identityOf(der.subarray(0, at), 'cn').ok, false);
    }
  });
});

function derOf(file: string): Buffer {
  return Buffer.from(readFileSync(file, 'latin1').replace(/-----[^-]+-----/g, ''), 'base64');
}
