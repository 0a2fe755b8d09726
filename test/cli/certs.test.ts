import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { ensureDevCertificates } from '../../cli/certificates.ts';
import { warningsOf } from '../../cli/check.ts';
import { initAuthority, issue } from '../../cli/commands/certs-make.ts';
import { revoke } from '../../cli/commands/certs-revoke.ts';
import { show } from '../../cli/commands/certs-show.ts';
import { loadConfig } from '../../config/load.ts';
import { identityOf } from '../../transports/tls/certificate-identity.ts';
import { loadTls } from '../../transports/tls/tls-options.ts';
import { pairOf, SCHEMES, TlsStage } from '../transports/tls-stage.ts';

const DAY_MS = 86_400_000;
const root = mkdtempSync(join(tmpdir(), 'sluice-certs-command-'));
after(async () => {
  await TlsStage.closeAll();
  rmSync(root, { recursive: true });
});
let folders = 0;

/** Streams that keep what is written. */
class Kept {
  text = '';
  readonly stdout = { write: (text: string) => (this.text += text) };
}

const folder = (): string => join(root, String(folders++));
const certificate = (dir: string, name: string) => new X509Certificate(readFileSync(join(dir, name)));

/** An authority in a folder of its own. */
async function initialised(flags: { host?: string; days?: string } = {}, now = Date.now()): Promise<string> {
  const dir = folder();
  await initAuthority({ dir, days: '365', ...flags }, new Kept(), now);
  return dir;
}

async function issued(
  dir: string,
  flags: { client?: string; server?: string; days?: string; force?: boolean },
) {
  const io = new Kept();
  await issue({ dir, days: '365', ...flags }, io, Date.now());
  return io.text;
}

function shown(file: string, ca?: string, now = Date.now()): { code: number; text: string } {
  const io = new Kept();
  return { code: show(file, { ca }, io, now), text: io.text };
}

describe('sluice certs init', () => {
  test('makes an authority for ten years and a server certificate that a door takes', async () => {
    const dir = await initialised({ host: 'broker.example.org,10.0.0.1' });
    const [ca, server] = [certificate(dir, 'ca.pem'), certificate(dir, 'server.pem')];
    assert.ok(ca.ca && server.checkIssued(ca) && server.verify(ca.publicKey));
    assert.ok(ca.validToDate.getTime() - Date.now() > 3_649 * DAY_MS);
    assert.equal(server.subject, 'CN=broker.example.org');
    assert.ok(server.checkHost('broker.example.org') && server.checkIP('10.0.0.1'));
    for (const name of ['ca.key', 'server.key']) assert.equal(statSync(join(dir, name)).mode & 0o777, 0o600);
    loadTls('mqtts://localhost', { cert: join(dir, 'server.pem'), key: join(dir, 'server.key') });
  });

  test('replaces nothing unless told to', async () => {
    const dir = await initialised();
    const before = certificate(dir, 'ca.pem').serialNumber;
    rmSync(join(dir, 'server.key'));
    const again = (force?: boolean) => initAuthority({ dir, days: '365', force }, new Kept(), Date.now());
    await assert.rejects(again(), /ca\.pem: it is there already\. Give --force/);
    assert.equal(certificate(dir, 'ca.pem').serialNumber, before);
    assert.deepEqual(readdirSync(dir).sort(), ['ca.key', 'ca.pem', 'server.pem']);
    await again(true);
    assert.notEqual(certificate(dir, 'ca.pem').serialNumber, before);
  });

  test('makes what the local-only mode takes for its own', async () => {
    const dir = await initialised();
    assert.equal((await ensureDevCertificates(dir, Date.now())).made, false);
  });

  for (const [what, flags, why] of [
    ['no days', { days: '0' }, /--days: "0" does not fit\. Give a whole number from 1 to 3650/],
    ['days that are no number', { days: '1e3' }, /--days/],
    ['a host that is none', { host: 'a b' }, /--host: "a b" is no host name and no address/],
    ['an empty host', { host: 'a.example,' }, /--host: "" is no host name/],
    ['a host with a path', { host: '../x' }, /--host/],
  ] as const) {
    test(`refuses ${what}, and makes nothing`, async () => {
      const dir = folder();
      await assert.rejects(initAuthority({ dir, days: '365', ...flags }, new Kept(), Date.now()), why);
      assert.throws(() => readdirSync(dir), /ENOENT/);
    });
  }
});

describe('sluice certs issue', () => {
  for (const scheme of SCHEMES) {
    test(`makes a client certificate that is a user name at ${scheme}`, async () => {
      const dir = await initialised();
      const text = await issued(dir, { client: 'pump 7' });
      const pair = { cert: join(dir, 'client-pump_7.pem'), key: join(dir, 'client-pump_7.key') };
      assert.match(text, /client-pump_7\.pem, .*client-pump_7\.key: for client pump 7, until \d{4}-/);
      assert.equal(statSync(pair.key).mode & 0o777, 0o600);
      const ca = join(dir, 'ca.pem');
      const stage = await TlsStage.open(scheme, {
        cert: join(dir, 'server.pem'),
        key: join(dir, 'server.key'),
        ca,
        requestCert: 'required',
        useCertAsUsername: 'cn',
      });
      const guest = await stage.visit({ ca: readFileSync(ca), ...pairOf(pair) });
      assert.equal(guest?.peer.username, 'pump 7');
      // A server's certificate is no client's.
      const server = pairOf({ cert: join(dir, 'server.pem'), key: join(dir, 'server.key') });
      assert.ok((await stage.visit({ ca: readFileSync(ca), ...server })) === null);
      await stage.close();
    });
  }

  test('makes a server certificate for names and addresses', async () => {
    const dir = await initialised();
    await issued(dir, { server: '*.example.org,10.0.0.1,::1' });
    const made = certificate(dir, 'server-_.example.org.pem');
    assert.ok(made.checkHost('a.example.org') && made.checkIP('10.0.0.1') && made.checkIP('::1'));
    assert.equal(made.ca, false);
  });

  test('takes names in any script, and writes them as they are', async () => {
    const dir = await initialised();
    const name = `${'ü'.repeat(45)}, Halle=2/"x"`;
    await issued(dir, { client: name });
    const [file] = readdirSync(dir).filter((each) => each.startsWith('client-') && each.endsWith('.pem'));
    assert.match(file, /^client-[A-Za-z0-9._@-]+\.pem$/);
    const result = identityOf(certificate(dir, file).raw, 'cn');
    assert.deepEqual(result, { ok: true, name });
  });

  test('writes beside the authority whatever the name, and never over its files', async () => {
    const dir = await initialised();
    const before = readFileSync(join(dir, 'ca.pem'), 'utf8');
    for (const client of ['../../x', 'ca', 'server', '..']) await issued(dir, { client, force: true });
    assert.equal(readFileSync(join(dir, 'ca.pem'), 'utf8'), before);
    assert.equal(certificate(dir, 'server.pem').subject, 'CN=localhost');
    assert.ok(readdirSync(dir).includes('client-.._.._x.pem'));
  });

  test('replaces nothing unless told to', async () => {
    const dir = await initialised();
    await issued(dir, { client: 'alice' });
    const before = certificate(dir, 'client-alice.pem').serialNumber;
    await assert.rejects(issued(dir, { client: 'alice' }), /client-alice\.pem: it is there already/);
    assert.equal(certificate(dir, 'client-alice.pem').serialNumber, before);
    await issued(dir, { client: 'alice', force: true });
    assert.notEqual(certificate(dir, 'client-alice.pem').serialNumber, before);
  });

  test('makes nothing that outlives the authority, and nothing when that has expired', async () => {
    const long = await initialised({}, Date.now() - 3_600 * DAY_MS);
    await issued(long, { client: 'a', days: '365' });
    assert.equal(certificate(long, 'client-a.pem').validTo, certificate(long, 'ca.pem').validTo);
    const old = await initialised({}, Date.now() - 3_651 * DAY_MS);
    await assert.rejects(issued(old, { client: 'a' }), /ca\.pem: the authority has expired/);
  });

  test('refuses what it cannot do, and says what would be right', async () => {
    const dir = await initialised();
    await assert.rejects(issued(dir, {}), /--client or --server: it is not said for whom/);
    await assert.rejects(issued(dir, { client: 'a', server: 'b' }), /both are given/);
    await assert.rejects(
      issued(folder(), { client: 'a' }),
      /ca\.pem: it does not exist\. Make an authority with "sluice certs init"/,
    );
    for (const client of ['', '+', 'a#', 'a\nb', ' a', 'x'.repeat(65)]) {
      await assert.rejects(issued(dir, { client }), /--client: the name/);
    }
    writeFileSync(join(dir, 'ca.key'), 'not a key');
    await assert.rejects(issued(dir, { client: 'a' }), /ca\.key: it is no P-256 key that belongs to/);
    const other = await initialised();
    writeFileSync(join(dir, 'ca.key'), readFileSync(join(other, 'ca.key')));
    await assert.rejects(issued(dir, { client: 'a' }), /ca\.key: it is no P-256 key that belongs to/);
  });
});

describe('sluice certs revoke', () => {
  const revoked = (dir: string, ...names: string[]): Promise<number> => {
    const files = names.map((name) => join(dir, name));
    return revoke(files, { dir, days: 30 }, new Kept(), Date.now());
  };

  test('makes and extends a list that keeps those clients out, and lets the others in', async () => {
    const dir = await initialised();
    for (const client of ['alice', 'bob', 'eve']) await issued(dir, { client });
    assert.equal(await revoked(dir, 'client-eve.pem'), 1);
    assert.equal(await revoked(dir, 'client-bob.pem', 'client-eve.pem'), 2);
    assert.equal(await revoked(dir), 2);
    const [ca, crl] = [join(dir, 'ca.pem'), join(dir, 'ca.crl')];
    const server = { cert: join(dir, 'server.pem'), key: join(dir, 'server.key') };
    const stage = await TlsStage.open('mqtts', { ...server, ca, crl, requestCert: 'required' });
    for (const [name, isIn] of [
      ['alice', true],
      ['bob', false],
      ['eve', false],
    ] as const) {
      const pair = { cert: join(dir, `client-${name}.pem`), key: join(dir, `client-${name}.key`) };
      const guest = await stage.visit({ ca: readFileSync(ca), ...pairOf(pair) });
      assert.equal(guest !== null, isIn, name);
    }
    for (const { fields } of stage.log.of('tls.client_refused'))
      assert.match(String(fields.problem), /CERT_REVOKED/);
    await stage.close();
  });

  test('refuses what is not of this authority, and changes nothing', async () => {
    const [dir, other] = [await initialised(), await initialised()];
    await issued(other, { client: 'x' });
    const foreign = join(other, 'client-x.pem');
    const run = (file: string) => revoke([file], { dir, days: 30 }, new Kept(), Date.now());
    await assert.rejects(run(foreign), /client-x\.pem: it is not signed by .*ca\.pem/);
    await assert.rejects(run(join(dir, 'none.pem')), /none\.pem: it does not exist/);
    await assert.rejects(run(join(dir, 'ca.key')), /ca\.key: it is no certificate/);
    assert.equal(readdirSync(dir).includes('ca.crl'), false);
    await revoked(other, 'client-x.pem');
    writeFileSync(join(dir, 'ca.crl'), readFileSync(join(other, 'ca.crl')));
    await assert.rejects(revoked(dir), /ca\.crl: it is not signed by the authority beside it/);
    writeFileSync(join(dir, 'ca.crl'), 'nothing');
    await assert.rejects(revoked(dir), /ca\.crl: it is no revocation list/);
  });
});

test('sluice check warns of what is about to expire, once for all listeners that use it', async () => {
  const dir = await initialised();
  await issued(dir, { server: 'brief.example', days: '5' });
  const pair = (name: string) => ({ cert: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) });
  const brief = pair('server-brief.example');
  const flags = {
    listeners: JSON.stringify([
      { url: 'mqtts://127.0.0.1:1', tls: { ...pair('server'), sni: [{ name: 'brief.example', ...brief }] } },
      { url: 'wss://127.0.0.1:2', tls: brief },
    ]),
  };
  const config = loadConfig({ env: {}, flags });
  assert.deepEqual(warningsOf(config, Date.now()), []);
  const inFourDays = warningsOf(config, Date.now() + 4 * DAY_MS);
  assert.equal(inFourDays.length, 1);
  assert.match(inFourDays[0], /server-brief\.example\.pem \(CN=brief\.example\) expires on \d{4}-/);
  assert.match(warningsOf(config, Date.now() + 6 * DAY_MS)[0], /expired on/);
});

describe('sluice certs show', () => {
  test('tells subject, names, dates, days left and fingerprint', async () => {
    const dir = await initialised({ host: 'broker.example.org' });
    const { code, text } = shown(join(dir, 'server.pem'), join(dir, 'ca.pem'));
    assert.equal(code, 0, text);
    const { fingerprint256 } = certificate(dir, 'server.pem');
    assert.match(text, /^subject +CN=broker\.example\.org$/m);
    assert.match(text, /^names +DNS:broker\.example\.org$/m);
    assert.match(text, /^for +servers$/m);
    assert.match(text, /^valid +\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d, 364 days left$/m);
    assert.match(text, new RegExp(`^SHA-256 +${fingerprint256}$`, 'm'));
  });

  test('finds a chain in the wrong order, one that others signed, and what has expired or is about to', async () => {
    const dir = await initialised();
    const other = await initialised();
    const read = (name: string) => readFileSync(join(dir, name), 'utf8');
    const file = join(dir, 'chain.pem');
    writeFileSync(file, read('server.pem') + read('ca.pem'));
    assert.equal(shown(file, join(dir, 'ca.pem')).code, 0);
    writeFileSync(file, read('server.pem') + readFileSync(join(other, 'ca.pem'), 'utf8'));
    assert.match(shown(file).text, /^problem +certificate 2 did not sign it/m);
    assert.deepEqual(shown(join(dir, 'server.pem'), join(other, 'ca.pem')).code, 1);
    const at = (days: number) => shown(join(dir, 'server.pem'), undefined, Date.now() + days * DAY_MS);
    assert.match(at(340).text, /^problem +it expires within 30 days$/m);
    assert.match(at(366).text, /, expired\n[\s\S]*\nproblem +it has expired\n/);
    assert.match(at(-2).text, /^problem +it is not valid yet$/m);
    assert.deepEqual([at(0).code, at(340).code, at(366).code], [0, 1, 1]);
  });

  test('takes a file of several authorities for what it is', async () => {
    const [one, two] = [await initialised(), await initialised()];
    const file = join(one, 'both.pem');
    writeFileSync(
      file,
      readFileSync(join(one, 'ca.pem'), 'utf8') + readFileSync(join(two, 'ca.pem'), 'utf8'),
    );
    const { code, text } = shown(file);
    assert.equal(code, 0, text);
    assert.equal(text.match(/^for +an authority$/gm)?.length, 2);
  });

  test('reads DER, and refuses what holds no certificate', async () => {
    const dir = await initialised();
    const der = join(dir, 'server.der');
    writeFileSync(der, certificate(dir, 'server.pem').raw);
    assert.equal(shown(der).code, 0);
    assert.throws(() => shown(join(dir, 'server.key')), /server\.key: it holds no certificate/);
    assert.throws(() => shown(join(dir, 'none.pem')), /none\.pem: the file does not exist/);
    writeFileSync(der, Buffer.from('3003020101', 'hex'));
    assert.throws(() => shown(der), /server\.der: certificate 1 is damaged/);
  });

  test('lets no name in a certificate write to the terminal', async () => {
    const { Certificates } = await import('../transports/certificates.ts');
    const certificates = await Certificates.create();
    const { cert } = await certificates.issue('odd', { subject: [{ CN: ['\u001b[2Jx'] }] });
    const { text } = shown(cert);
    certificates.remove();
    assert.match(text, /^subject /m);
    assert.doesNotMatch(text.replaceAll('\n', ''), /\p{Cc}/u);
  });
});
