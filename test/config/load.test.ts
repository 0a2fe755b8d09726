/** Good configurations: where a value comes from, and what holds when nothing is said. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { renderMarkdown } from '../../config/describe.ts';
import { loadConfig } from '../../config/load.ts';
import { envName, kebab, OPTIONS } from '../../config/options.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-config-'));
after(() => rmSync(directory, { recursive: true }));
const MINIMAL = 'listeners: [{ url: "mqtt://127.0.0.1" }]\nauth: { allowAnonymous: true }\n';

function load(yaml: string | null, env: Record<string, string> = {}, flags: Record<string, string> = {}) {
  if (yaml === null) return loadConfig({ env, flags });
  const file = join(directory, 'sluice.yaml');
  writeFileSync(file, yaml);
  return loadConfig({ file, env, flags });
}

describe('a value', () => {
  test('comes from the default, the file, the environment or a flag, the later one winning', () => {
    const yaml = `${MINIMAL}limits: { queueMessagesMax: 2, inflightMax: 2, outBytesMax: 5000 }\n`;
    const env = { SLUICE_LIMITS_QUEUE_MESSAGES_MAX: '3', SLUICE_LIMITS_INFLIGHT_MAX: '3' };
    const { limits, sources } = load(yaml, env, { 'limits.inflightMax': '4' });
    assert.equal(limits.topicLevelsMax, DEFAULT_LIMITS.topicLevelsMax);
    assert.equal(limits.outBytesMax, 5000);
    assert.equal(limits.queueMessagesMax, 3);
    assert.equal(limits.inflightMax, 4);
    assert.equal(sources.get('limits.outBytesMax'), `${join(directory, 'sluice.yaml')}:3`);
    assert.equal(sources.get('limits.queueMessagesMax'), 'environment SLUICE_LIMITS_QUEUE_MESSAGES_MAX');
    assert.equal(sources.get('limits.inflightMax'), 'flag --limits.inflightMax');
    assert.equal(sources.has('limits.topicLevelsMax'), false);
  });

  test('of a limit is its default in src/limits.ts when nothing is said', () => {
    assert.deepEqual(load(MINIMAL).limits, DEFAULT_LIMITS);
  });

  test('may repeat another part of the file by an alias', () => {
    const yaml = `listeners:
  - { url: "mqtts://127.0.0.1", tls: &tls { cert: a.pem, key: a.key } }
  - { url: "wss://127.0.0.1", tls: *tls }
auth: { allowAnonymous: true }
`;
    assert.equal(load(yaml).listeners[1].tls?.cert, 'a.pem');
  });

  test('of hold is a list of rules, in a flag filters alone', () => {
    const rest = { messagesMax: 10_000, bytesMax: 8_388_608, expirySeconds: 604_800 };
    const { hold, sources } = load(`${MINIMAL}hold:\n  - { filter: jobs/#, messagesMax: 5 }\n`);
    assert.deepEqual(hold, [{ ...rest, filter: 'jobs/#', messagesMax: 5 }]);
    assert.equal(sources.get('hold[0].messagesMax'), `${join(directory, 'sluice.yaml')}:4`);
    const fromFlag = load(null, {}, { hold: 'a/#, b' }).hold;
    assert.deepEqual(fromFlag, [
      { ...rest, filter: 'a/#' },
      { ...rest, filter: 'b' },
    ]);
    assert.deepEqual(load(MINIMAL).hold, []);
  });

  test('from variables of a Kubernetes service called sluice is none', () => {
    const env = {
      SLUICE_PORT: 'tcp://10.0.0.1:1883',
      SLUICE_SERVICE_HOST: '10.0.0.1',
      SLUICE_PORT_1883_TCP: 'x',
    };
    assert.equal(load(null, env).localOnly, true);
  });
});

describe('without a configuration file', () => {
  test('there are four doors on loopback and anonymous clients get in', () => {
    const config = load(null);
    assert.deepEqual(
      config.listeners.map((listener) => listener.url),
      [
        'mqtt://127.0.0.1:1883',
        'mqtts://127.0.0.1:8883',
        'ws://127.0.0.1:8083/mqtt',
        'wss://127.0.0.1:8084/mqtt',
      ],
    );
    assert.equal(config.localOnly, true);
    assert.equal(config.devCertificates, true);
    assert.equal(config.auth.allowAnonymous, true);
  });

  test('a listener that others can reach does not let strangers in', () => {
    assert.throws(() => load(null, {}, { listeners: 'mqtt://0.0.0.0:1883' }), /auth: nobody could log in/);
    assert.throws(() => load(null, {}, { listeners: 'mqtt://127.0.0.1.example.com' }), /nobody could log in/);
    const listeners = 'mqtt://127.0.0.1:0,mqtt://[::1]:0,unix:///tmp/s.sock';
    assert.equal(load(null, {}, { listeners }).auth.allowAnonymous, true);
  });

  test('a password file ends anonymous access', () => {
    assert.equal(load(null, {}, { 'auth.passwordFile': 'p' }).auth.allowAnonymous, false);
  });
});

describe('a listener', () => {
  test('gets the port and path of its scheme', () => {
    const listeners = 'mqtt://localhost,ws://localhost,ws://[::1]:80,unix:///tmp/s.sock';
    const given = load(null, {}, { listeners }).listeners;
    assert.deepEqual(
      given.map(({ url, host, port, path }) => ({ url, host, port, path })),
      [
        { url: 'mqtt://localhost:1883', host: 'localhost', port: 1883, path: '' },
        { url: 'ws://localhost:8083/mqtt', host: 'localhost', port: 8083, path: '/mqtt' },
        { url: 'ws://[::1]:80/mqtt', host: '::1', port: 80, path: '/mqtt' },
        { url: 'unix:///tmp/s.sock', host: '', port: 0, path: '/tmp/s.sock' },
      ],
    );
    assert.equal(given[3].mode, '0660');
  });

  test('keeps what it says differently from the limits apart', () => {
    const yaml = `listeners:
  - url: mqtts://0.0.0.0
    tls: { cert: c, key: k, ca: a, requestCert: true, ciphers: HIGH }
    versions: [5]
    connectionsMax: 7
    maximumQos: 1
auth: { passwordFile: p }
`;
    const [listener] = load(yaml).listeners;
    assert.deepEqual(listener.limits, { connectionsMax: 7, maximumQos: 1 });
    assert.deepEqual(listener.versions, [5]);
    assert.deepEqual(listener.tls, {
      cert: 'c',
      key: 'k',
      ca: 'a',
      ciphers: 'HIGH',
      requestCert: 'required',
      useCertAsUsername: false,
      handshakeTimeoutSeconds: 10,
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.3',
    });
  });
});

describe('the option table', () => {
  test('gives every option its own variable and flag', () => {
    assert.equal(new Set(OPTIONS.map((option) => envName(option.key))).size, OPTIONS.length);
    assert.equal(new Set(OPTIONS.map((option) => kebab(option.key))).size, OPTIONS.length);
    assert.equal(envName('limits.sessionExpiry3xSeconds'), 'SLUICE_LIMITS_SESSION_EXPIRY_3X_SECONDS');
    assert.equal(kebab('queueQos0'), 'queue-qos0');
  });

  test('has a sentence for every option', () => {
    for (const option of OPTIONS) assert.match(option.doc, /^[A-Z].*\.$/, option.key);
  });

  test('is what docs/config.md was printed from (sluice config-docs docs/config.md)', () => {
    const page = readFileSync(new URL('../../docs/config.md', import.meta.url), 'utf8');
    assert.equal(page, renderMarkdown());
  });

  test('accepts the example configuration', () => {
    const file = new URL('../../config/sluice.example.yaml', import.meta.url).pathname;
    const config = loadConfig({ file, env: {}, flags: {} });
    assert.equal(config.auth.allowAnonymous, false);
    assert.equal(config.localOnly, false);
    assert.deepEqual(config.limits, DEFAULT_LIMITS);
  });
});
