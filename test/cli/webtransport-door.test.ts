/** What the configuration and the command line know of the WebTransport door. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { renewBrowserCertificates } from '../../cli/browser-certificates.ts';
import { initBrowser } from '../../cli/commands/certs-make.ts';
import { loadConfig } from '../../config/load.ts';
import type { ListenerConfig } from '../../config/types.ts';
import { nativePart } from '../../transports/webtransport/fails-components.ts';
import { startChildBroker } from '../support/child-broker.ts';
import { RecordedLog } from '../support/recorded-log.ts';

const DAY_MS = 86_400_000;
const root = mkdtempSync(join(tmpdir(), 'sluice-wt-'));
after(() => rmSync(root, { recursive: true }));
let files = 0;

function listenerOf(text: string): ListenerConfig {
  const file = join(root, `${files++}.yaml`);
  writeFileSync(file, `auth: { allowAnonymous: true }\nlisteners:\n  - ${text}\n`);
  return loadConfig({ file, env: {}, flags: {} }).listeners[0];
}

const tls = 'tls: { cert: a.pem, key: a.key }';

describe('a wt listener in the configuration', () => {
  test('has port 8443 and path /mqtt unless told otherwise, and an engine', () => {
    const listener = listenerOf(`{ url: "wt://0.0.0.0", ${tls} }`);
    assert.equal(listener.url, 'wt://0.0.0.0:8443/mqtt');
    assert.equal(listener.engine, undefined);
    const told = listenerOf(`{ url: "wt://[::1]:1/x", engine: rwebtransport, origins: ["*"], ${tls} }`);
    assert.deepEqual([told.host, told.port, told.path, told.engine], ['::1', 1, '/x', 'rwebtransport']);
  });

  test('needs a certificate, and takes nothing that its engine cannot do', () => {
    assert.throws(() => listenerOf('{ url: "wt://0.0.0.0" }'), /tls\.cert: missing/);
    assert.throws(
      () => listenerOf('{ url: "wt://0.0.0.0", tls: { cert: a, key: b, minVersion: TLSv1.2 } }'),
      /tls\.minVersion: has no meaning for wt/,
    );
    assert.throws(
      () => listenerOf(`{ url: "wt://0.0.0.0", proxyProtocol: true, ${tls} }`),
      /no meaning for wt/,
    );
    assert.throws(() => listenerOf(`{ url: "wt://0.0.0.0", engine: quic, ${tls} }`), /engine/);
    assert.throws(
      () => listenerOf('{ url: "mqtt://0.0.0.0", engine: auto }'),
      /engine: has no meaning for mqtt/,
    );
  });
});

describe('sluice certs init --browser', () => {
  const now = Date.now();
  const io = { text: '', stdout: { write: (text: string) => (io.text += text) } };
  const dir = join(root, 'browser');
  const [cert, key] = [join(dir, 'webtransport.pem'), join(dir, 'webtransport.key')];
  const listener = { url: 'wt://x', scheme: 'wt', tls: { cert, key } } as ListenerConfig;
  const read = () => new X509Certificate(readFileSync(cert));

  test('makes a P-256 certificate of at most 14 days, and tells its hash', async () => {
    await initBrowser({ dir, host: 'broker.example.org' }, io, now);
    const certificate = read();
    const { validFromDate, validToDate, publicKey } = certificate;
    assert.ok(validToDate.getTime() - validFromDate.getTime() <= 14 * DAY_MS);
    assert.equal(publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
    assert.ok(certificate.checkHost('broker.example.org'));
    assert.equal(statSync(key).mode & 0o777, 0o600);
    const hash = Buffer.from(certificate.fingerprint256.replaceAll(':', ''), 'hex').toString('base64');
    assert.ok(io.text.includes(hash));
    await assert.rejects(initBrowser({ dir }, io, now), /--force/);
  });

  test('is renewed by the broker three days before its end, for the same names', async () => {
    const log = new RecordedLog();
    const before = read();
    await renewBrowserCertificates([listener], now + 9 * DAY_MS, log);
    assert.equal(read().serialNumber, before.serialNumber);
    await renewBrowserCertificates([listener], now + 11 * DAY_MS, log);
    const renewed = read();
    assert.notEqual(renewed.serialNumber, before.serialNumber);
    assert.equal(renewed.subjectAltName, before.subjectAltName);
    assert.ok(renewed.validToDate.getTime() > now + 23 * DAY_MS);
    assert.deepEqual(
      log.lines.map(({ event }) => event),
      ['tls.renewed'],
    );
  });

  test('is no reason to touch a certificate of somebody else', async () => {
    const other = join(root, 'other.pem');
    writeFileSync(other, readFileSync(join(import.meta.dirname, '..', '..', 'package.json')));
    const log = new RecordedLog();
    await renewBrowserCertificates([{ ...listener, tls: { cert: other, key } } as ListenerConfig], now, log);
    assert.equal(log.lines.length, 0);
  });
});

const native = { skip: nativePart() === 'there' ? 'the native part is there' : false };

describe('a broker whose WebTransport engine is missing', native, () => {
  test('serves at its other doors, and says why this one is shut', async () => {
    const broker = await startChildBroker({
      doors: ['mqtt://127.0.0.1:0', 'wt://127.0.0.1:0'],
      config: { log: { level: 'info', file: '', pretty: 'never' } },
      listenerOf: { 'wt://127.0.0.1:0': { engine: 'fails-components' } },
    });
    try {
      assert.deepEqual(
        broker.urls.map((url) => url.split(':')[0]),
        ['mqtt'],
      );
      assert.match(broker.output(), /door\.unavailable/);
      assert.match(broker.output(), /no WebTransport engine can be loaded \(fails-components:/);
    } finally {
      await broker.stop();
    }
  });

  test('does not start when it has no other door', async () => {
    const starting = startChildBroker({
      doors: ['wt://127.0.0.1:0'],
      listener: { engine: 'fails-components' },
    });
    await assert.rejects(starting, /npm explore @fails-components\/webtransport/);
  });
});
