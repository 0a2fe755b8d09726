/** The whole broker in this process: doors, users, rules, reload and the way out. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { PasswordHasher } from '../../auth/passwords/password-hash.ts';
import { ensureDevCertificates } from '../../cli/certificates.ts';
import { type Running, serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import { ConfigErrors } from '../../config/problems.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-serve-'));
after(() => rmSync(directory, { recursive: true }));

const hasher = new PasswordHasher();
const passwordFile = join(directory, 'passwd');
const hash = await hasher.hash(Buffer.from('right'));
writeFileSync(passwordFile, `alice:${hash}\n`, { mode: 0o600 });

class Sink {
  text = '';
  write(text: string): void {
    this.text += text;
  }
}

let stores = 0;

async function start(flags: Record<string, string>): Promise<{ broker: Running; out: Sink }> {
  const out = new Sink();
  const config = loadConfig({
    env: {},
    flags: {
      'log.file': '',
      listeners: 'mqtt://127.0.0.1:0',
      'persistence.dir': join(directory, `data-${++stores}`),
      ...flags,
    },
  });
  return { broker: await serve(config, { stdout: out, stderr: out }), out };
}

async function connect(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  return mqtt.connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, ...options }, false);
}

/** The arguments of the client's next event of that name. */
function next(client: MqttClient, event: 'message' | 'disconnect' | 'close' | 'connect'): Promise<unknown[]> {
  return new Promise((resolve) => {
    client.once(event, (...args: unknown[]) => resolve(args));
  });
}

describe('the broker', () => {
  test('lets users in by password and lets them do what the rules allow', async () => {
    const aclFile = join(directory, 'acl');
    writeFileSync(aclFile, 'user alice\nallow readwrite own/#\n');
    const { broker } = await start({ 'auth.passwordFile': passwordFile, 'auth.aclFile': aclFile });
    const [{ url }] = broker.addresses;
    await assert.rejects(connect(url, { username: 'alice', password: 'wrong' }), { code: 0x86 });
    await assert.rejects(connect(url), { code: 0x86 });
    const alice = await connect(url, { username: 'alice', password: 'right' });
    const message = next(alice, 'message');
    await alice.subscribeAsync('own/a', { qos: 1 });
    await assert.rejects(alice.publishAsync('other', 'x', { qos: 1 }), { code: 0x87 });
    await alice.publishAsync('own/a', 'hello', { qos: 1 });
    assert.equal(String((await message)[1]), 'hello');
    await alice.endAsync();
    await broker.close();
  });

  test('takes other users and rules on reload, and keeps the old ones when the new are broken', async () => {
    const file = join(directory, 'passwd-changing');
    cpSync(passwordFile, file);
    const { broker, out } = await start({ 'auth.passwordFile': file });
    const [{ url }] = broker.addresses;
    writeFileSync(file, 'alice:broken\n');
    await broker.reload();
    assert.ok(out.text.includes('"event":"passwords.refused"') && out.text.includes(`${file}:1`), out.text);
    await (await connect(url, { username: 'alice', password: 'right' })).endAsync();
    writeFileSync(file, `bob:${hash}\n`);
    await broker.reload();
    await assert.rejects(connect(url, { username: 'alice', password: 'right' }), { code: 0x86 });
    await (await connect(url, { username: 'bob', password: 'right' })).endAsync();
    await broker.close();
  });

  test('shows new certificates on reload, and keeps the old ones when the new do not fit', async () => {
    const certs = join(directory, 'certs');
    const { cert, key } = await ensureDevCertificates(certs, Date.now());
    await ensureDevCertificates(join(directory, 'other'), Date.now());
    const listeners = `[{ url: "mqtts://127.0.0.1:0", tls: { cert: "${cert}", key: "${key}" } }]`;
    const { broker, out } = await start({ listeners });
    const shown = async (): Promise<string> => {
      const socket: TLSSocket = connectTls({ port: broker.addresses[0].port, rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      const { fingerprint256 } = socket.getPeerX509Certificate()!;
      socket.destroy();
      return fingerprint256;
    };
    const before = await shown();
    cpSync(join(directory, 'other', 'server.pem'), cert);
    await broker.reload();
    assert.match(out.text, /"event":"tls\.refused"/);
    assert.equal(await shown(), before);
    cpSync(join(directory, 'other', 'server.key'), key);
    await broker.reload();
    assert.notEqual(await shown(), before);
    await broker.close();
  });

  test('says to MQTT 5 clients that it is shutting down, and then nothing answers any more', async () => {
    const { broker } = await start({});
    const [{ url }] = broker.addresses;
    const client = await connect(url);
    const goodbye = next(client, 'disconnect');
    const closed = next(client, 'close');
    await broker.close();
    assert.partialDeepStrictEqual((await goodbye)[0], { reasonCode: 0x8b });
    await closed;
    await assert.rejects(connect(url), /ECONNREFUSED/);
  });

  test('takes who says a name for anonymous where there is no password file', async () => {
    const { broker, out } = await start({});
    const client = await connect(broker.addresses[0].url, { username: 'root', password: 'x', clientId: 'c' });
    await client.endAsync();
    await broker.close();
    const line = out.text.split('\n').find((text) => text.includes('"client.connected"'));
    assert.equal(JSON.parse(line!).username, null);
  });

  test('holds a listener to its own versions and limits', async () => {
    const listeners = '[{ url: "mqtt://127.0.0.1:0", versions: [5], maximumQos: 1, connectionsMax: 1 }]';
    const { broker } = await start({ listeners });
    const [{ url }] = broker.addresses;
    await assert.rejects(connect(url, { protocolVersion: 4 }), { code: 1 });
    const client = mqtt.connect(url, { reconnectPeriod: 0, protocolVersion: 5 });
    const [connack] = await next(client, 'connect');
    assert.partialDeepStrictEqual(connack, { properties: { maximumQoS: 1 } });
    await assert.rejects(connect(url));
    await client.endAsync();
    await broker.close();
  });

  test('does not start on broken files, and names their lines', async () => {
    const file = join(directory, 'passwd-broken');
    writeFileSync(file, `alice:${hash}\nno colon\n`, { mode: 0o600 });
    await assert.rejects(start({ 'auth.passwordFile': file }), (error) => {
      assert.ok(error instanceof ConfigErrors);
      assert.ok(error.message.includes(`${file}:2 (named in flag --auth.passwordFile)`), error.message);
      return true;
    });
  });

  test('runs beside another one in the same process', async () => {
    const first = await start({});
    const second = await start({});
    const [a, b] = await Promise.all([first, second].map(({ broker }) => connect(broker.addresses[0].url)));
    const received: string[] = [];
    b.on('message', (topic) => received.push(topic));
    await b.subscribeAsync('#');
    await a.publishAsync('x', '1', { qos: 1 });
    await b.publishAsync('y', '1', { qos: 1 });
    await Promise.all([a.endAsync(), b.endAsync()]);
    await Promise.all([first.broker.close(), second.broker.close()]);
    assert.deepEqual(received, ['y']);
  });
});
