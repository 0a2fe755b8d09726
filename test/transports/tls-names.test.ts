import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, afterEach, describe, it } from 'node:test';
import { type ConnectionOptions, connect } from 'node:tls';
import type { TlsOptions } from '../../transports/tls/tls-options.ts';
import { needs } from '../tools/needs.ts';
import { Certificates, type Issued } from './certificates.ts';
import { SCHEMES, TlsStage } from './tls-stage.ts';

const certificates = await Certificates.create();
const forNames = (name: string, ...values: string[]) =>
  certificates.issue(name, { names: values.map((value) => ({ type: 'dns' as const, value })) });
const server = await certificates.issue('server');
const one = await forNames('one', 'a.example.org');
const wild = await forNames('wild', '*.example.org');
const other = await forNames('other', 'b.example.net');
const ca = readFileSync(certificates.ca);
after(() => certificates.remove());
afterEach(() => TlsStage.closeAll());

const sni: NonNullable<TlsOptions['sni']> = [
  { name: '*.example.org', ...wild },
  { name: 'a.example.org', ...one },
];
const anyName: ConnectionOptions = { ca, checkServerIdentity: () => undefined };

for (const scheme of SCHEMES) {
  describe(`certificates by name at ${scheme}`, () => {
    it('go by the exact name, then by a wildcard for one label, else it is the default one', async () => {
      const stage = await TlsStage.open(scheme, { ...server, sni });
      const shown: [string, unknown][] = [];
      const names = [
        'a.example.org',
        'A.EXAMPLE.ORG',
        'b.example.org',
        'x.b.example.org',
        'example.org',
        '.example.org',
        '*.example.org',
        'constructor',
        '__proto__',
        'unknown.example',
        `${'x'.repeat(240)}.example.org`,
        '\xff\xfe.example.org',
        '',
      ];
      for (const servername of names) {
        const guest = await stage.visit({ ...anyName, servername });
        shown.push([servername.slice(0, 20), guest?.socket.getPeerCertificate().subject.CN]);
        guest?.socket.destroy();
      }
      assert.deepEqual(shown, [
        ['a.example.org', 'one'],
        ['A.EXAMPLE.ORG', 'one'],
        ['b.example.org', 'wild'],
        ['x.b.example.org', 'server'],
        ['example.org', 'server'],
        ['.example.org', 'server'],
        ['*.example.org', 'wild'],
        ['constructor', 'server'],
        ['__proto__', 'server'],
        ['unknown.example', 'server'],
        ['x'.repeat(20), 'wild'],
        ['\xff\xfe.example.org', 'wild'],
        ['', 'server'],
      ]);
      await stage.close();
    });

    it('ask for client certificates by the same rules', async () => {
      const tls = { ...server, sni, ca: certificates.ca, requestCert: 'required' } as const;
      const stage = await TlsStage.open(scheme, tls);
      assert.ok((await stage.visit({ ...anyName, servername: 'a.example.org' })) === null);
      assert.equal(stage.log.of('tls.client_refused')[0].fields.problem, 'it shows no certificate');
      await stage.close();
    });

    it('are read anew together with the others, or not at all', async () => {
      const live = {
        cert: certificates.file('live.pem', readFileSync(one.cert)),
        key: certificates.file('live.key', readFileSync(one.key)),
      };
      const stage = await TlsStage.open(scheme, { ...server, sni: [{ name: 'a.example.org', ...live }] });
      const shown = async () => {
        const guest = await stage.visit({ ...anyName, servername: 'a.example.org' });
        const serial = guest?.socket.getPeerCertificate().serialNumber;
        guest?.socket.destroy();
        return serial;
      };
      const again = await forNames('again', 'a.example.org');
      certificates.file('live.pem', readFileSync(again.cert));
      assert.throws(() => stage.reload(), /tls\.sni\[0\]\.key: .*does not belong/);
      assert.equal(await shown(), one.serial.toUpperCase());
      certificates.file('live.key', readFileSync(again.key));
      stage.reload();
      assert.equal(await shown(), again.serial.toUpperCase());
      await stage.close();
    });
  });

  describe(`ALPN at ${scheme}`, () => {
    const ours = scheme === 'mqtts' ? 'mqtt' : 'http/1.1';

    it(`chooses ${ours} when it is offered, and does without when nothing is`, async () => {
      const stage = await TlsStage.open(scheme, server);
      for (const [offered, chosen] of [
        [['h2', ours, 'x'], ours],
        [undefined, false],
      ] as const) {
        const guest = await stage.visit({ ca, ALPNProtocols: offered as string[] | undefined });
        assert.equal(guest?.socket.alpnProtocol, chosen);
        guest?.socket.destroy();
      }
      await stage.close();
    });

    it('ends the handshake with no_application_protocol for a client that wants something else', async () => {
      const stage = await TlsStage.open(scheme, server);
      for (const ALPNProtocols of [['h2'], ['x-amzn-mqtt-ca', 'smtp']]) {
        const socket = connect({ host: '127.0.0.1', port: stage.port, ca, ALPNProtocols });
        const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
        assert.equal(error.code, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL');
      }
      await stage.close();
    });
  });
}

it('A certificate for another name than it is configured for is refused', async () => {
  for (const name of ['a.example.org', '*.example.net']) {
    const opening = TlsStage.open('mqtts', { ...server, sni: [{ name, ...other }] });
    await assert.rejects(opening, /tls\.sni\[0\]\.cert: the certificate is for DNS:b\.example\.net, not for/);
  }
});

/** What `openssl ocsp` answers, as a responder of the authority would; good for a day, or the days given. */
async function ocspResponse(file: string, issued: Issued, status: 'V' | 'R', days: number): Promise<string> {
  const revoked = status === 'R' ? '260101000000Z' : '';
  const index = certificates.file(
    'index.txt',
    `${status}\t301231235959Z\t${revoked}\t${issued.serial.toUpperCase()}\tunknown\t/CN=x\n`,
  );
  const key = await certificates.caKey();
  const path = certificates.file(file, '');
  const term = days > 0 ? ['-ndays', String(days)] : ['-nmin', '1'];
  // biome-ignore format: one option a word
  execFileSync('openssl', ['ocsp', '-index', index, '-CA', certificates.ca, '-rsigner', certificates.ca, '-rkey', key,
    '-issuer', certificates.ca, '-cert', issued.cert, '-respout', path, ...term], { stdio: 'ignore' });
  return path;
}

/** The response a client gets stapled; null: none. */
async function stapled(stage: TlsStage, servername: string): Promise<Buffer | null> {
  const socket = connect({ host: '127.0.0.1', port: stage.port, ...anyName, servername, requestOCSP: true });
  const [response] = (await once(socket, 'OCSPResponse')) as [Buffer | null];
  socket.destroy();
  return response;
}

for (const scheme of SCHEMES) {
  describe(`OCSP stapling at ${scheme}`, { skip: needs('openssl') }, () => {
    it('gives each certificate its own response, read anew with the rest', async () => {
      const first = await ocspResponse('first.der', server, 'V', 1);
      const second = await ocspResponse('second.der', one, 'V', 1);
      const tls = {
        ...server,
        ocspResponse: first,
        sni: [{ name: 'a.example.org', ...one, ocspResponse: second }],
      };
      const stage = await TlsStage.open(scheme, tls);
      assert.deepEqual(await stapled(stage, 'x.example'), readFileSync(first));
      assert.deepEqual(await stapled(stage, 'a.example.org'), readFileSync(second));
      const before = readFileSync(first);
      await ocspResponse('first.der', server, 'V', 2);
      stage.reload();
      assert.notDeepEqual(readFileSync(first), before);
      assert.deepEqual(await stapled(stage, 'x.example'), readFileSync(first));
      const guest = await stage.visit({ ca });
      assert.ok(guest);
      guest.socket.destroy();
      await stage.close();
    });

    for (const [what, make, why] of [
      [
        'about another certificate',
        () => ocspResponse('o.der', one, 'V', 1),
        /is about another certificate: it is not stapled/,
      ],
      [
        'that says revoked',
        () => ocspResponse('r.der', server, 'R', 1),
        /calls the certificate revoked: it is not stapled/,
      ],
    ] as const) {
      it(`leaves out a response ${what}, and says so`, async () => {
        const stage = await TlsStage.open(scheme, { ...server, ocspResponse: await make() });
        assert.equal(await stapled(stage, 'x.example'), null);
        assert.match(String(stage.log.of('tls.not_stapled')[0].fields.problem), why);
        await stage.close();
      });
    }

    it('refuses a file that is no response', async () => {
      const ocspResponse = certificates.file('no.der', 'not DER');
      await assert.rejects(
        TlsStage.open(scheme, { ...server, ocspResponse }),
        /tls\.ocspResponse: .*is no OCSP response/,
      );
      // What a responder answers when it cannot be asked: tryLater.
      const error = certificates.file('later.der', Buffer.from('30030a0103', 'hex'));
      await assert.rejects(
        TlsStage.open(scheme, { ...server, ocspResponse: error }),
        /error message of a responder/,
      );
    });
  });
}
