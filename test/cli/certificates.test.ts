import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { DEV_CA_NAME, ensureDevCertificates } from '../../cli/certificates.ts';
import { loadTls } from '../../transports/tls/tls-options.ts';

const DAY_MS = 86_400_000;
const root = mkdtempSync(join(tmpdir(), 'sluice-certs-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;

function folder(): string {
  return join(root, String(folders++));
}

function certificate(directory: string, name: string): X509Certificate {
  return new X509Certificate(readFileSync(join(directory, name)));
}

describe('development certificates', () => {
  test('are made where there are none, and fit a browser and node:tls', async () => {
    const directory = folder();
    const made = await ensureDevCertificates(directory, Date.now());
    assert.equal(made.made, true);
    const ca = certificate(directory, 'ca.pem');
    const server = certificate(directory, 'server.pem');
    assert.equal(ca.subject, `CN=${DEV_CA_NAME}`);
    assert.ok(ca.ca && !server.ca);
    assert.ok(server.checkIssued(ca) && server.verify(ca.publicKey));
    assert.ok(server.checkPrivateKey(createPrivateKey(readFileSync(made.key))));
    assert.equal(server.checkHost('localhost'), 'localhost');
    assert.equal(server.checkIP('127.0.0.1'), '127.0.0.1');
    assert.equal(server.checkIP('::1'), '::1');
    const days = (server.validToDate.getTime() - server.validFromDate.getTime()) / DAY_MS;
    assert.ok(days > 364 && days < 398, String(days));
    for (const key of ['server.key', 'ca.key'])
      assert.equal(statSync(join(directory, key)).mode & 0o777, 0o600);
    loadTls('mqtts://localhost', { cert: made.cert, key: made.key, ca: made.ca });
  });

  test('are left alone while they are valid', async () => {
    const directory = folder();
    await ensureDevCertificates(directory, Date.now());
    const before = readFileSync(join(directory, 'server.pem'), 'utf8');
    const again = await ensureDevCertificates(directory, Date.now());
    assert.equal(again.made, false);
    assert.equal(readFileSync(join(directory, 'server.pem'), 'utf8'), before);
  });

  test('are made anew when they are about to expire', async () => {
    const directory = folder();
    await ensureDevCertificates(directory, Date.now() - 360 * DAY_MS);
    const before = certificate(directory, 'ca.pem').serialNumber;
    assert.equal((await ensureDevCertificates(directory, Date.now())).made, true);
    assert.notEqual(certificate(directory, 'ca.pem').serialNumber, before);
  });

  test('get only a new server part while the authority can still sign', async () => {
    const directory = folder();
    await ensureDevCertificates(directory, Date.now());
    const authority = certificate(directory, 'ca.pem').serialNumber;
    rmSync(join(directory, 'server.pem'));
    assert.equal((await ensureDevCertificates(directory, Date.now())).made, true);
    const ca = certificate(directory, 'ca.pem');
    assert.equal(ca.serialNumber, authority);
    assert.ok(certificate(directory, 'server.pem').verify(ca.publicKey));
  });

  test('are made anew when key and certificate do not fit each other', async () => {
    const directory = folder();
    const other = folder();
    const { key } = await ensureDevCertificates(directory, Date.now());
    await ensureDevCertificates(other, Date.now());
    writeFileSync(key, readFileSync(join(other, 'server.key')));
    assert.equal((await ensureDevCertificates(directory, Date.now())).made, true);
    assert.ok(certificate(directory, 'server.pem').checkPrivateKey(createPrivateKey(readFileSync(key))));
  });

  test('never replace certificates of somebody else', async () => {
    const directory = folder();
    mkdirSync(directory);
    writeFileSync(join(directory, 'server.pem'), 'theirs');
    writeFileSync(join(directory, 'server.key'), 'theirs');
    assert.equal((await ensureDevCertificates(directory, Date.now())).made, false);
    assert.equal(readFileSync(join(directory, 'server.pem'), 'utf8'), 'theirs');
  });

  test('are not made beside half of a pair of somebody else', async () => {
    const directory = folder();
    mkdirSync(directory);
    writeFileSync(join(directory, 'server.key'), 'theirs');
    await assert.rejects(
      ensureDevCertificates(directory, Date.now()),
      /server\.key: its other half is missing/,
    );
    assert.equal(readFileSync(join(directory, 'server.key'), 'utf8'), 'theirs');
  });

  test('that cannot be written are an error that says what to do', async () => {
    const directory = folder();
    writeFileSync(directory, '');
    await assert.rejects(
      ensureDevCertificates(directory, Date.now()),
      /cannot be written .* Make the directory/,
    );
  });
});
