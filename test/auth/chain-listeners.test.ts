/** The whole broker with several ways in: tokens, a login service, and listeners with rules of their own. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { SignJWT } from 'jose';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { hashArgon2id } from '../../auth/passwords/argon2id.ts';
import { type Running, serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import { ConfigErrors } from '../../config/problems.ts';
import { json, startService } from './http-server.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-chain-'));
after(() => rmSync(directory, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

const SECRET = 'a secret of thirty-two bytes and more';
const OTHER_SECRET = 'another secret of thirty-two bytes and more';
const secretFile = write('secret', SECRET);
const passwordFile = write('passwd', `carol:${await hashArgon2id(Buffer.from('right'))}\n`);

async function start(auth: object, listeners: object[]): Promise<{ broker: Running; log: () => string }> {
  const text: string[] = [];
  const sink = { write: (line: string) => void text.push(line) };
  const file = write(
    'sluice.yaml',
    JSON.stringify({ auth, listeners, persistence: { enabled: false }, log: { file: '' } }),
  );
  const broker = await serve(loadConfig({ file, env: {}, flags: {} }), { stdout: sink, stderr: sink });
  return { broker, log: () => text.join('') };
}

function connect(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  return mqtt.connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, ...options }, false);
}

function token(claims: object, seconds = 60, secret = SECRET): Promise<string> {
  const exp = Math.floor(Date.now() / 1_000) + seconds;
  return new SignJWT({ ...claims, exp }).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from(secret));
}

const denied = { code: 0x86 };

describe('A broker with tokens and passwords', () => {
  it('lets each in by his own way, limits a token to its topics, and ends its connection with it', async () => {
    const auth = { passwordFile, jwt: { secretFile, clockToleranceSeconds: 0 } };
    const { broker, log } = await start(auth, [{ url: 'mqtt://127.0.0.1:0' }]);
    const [{ url }] = broker.addresses;
    const carol = await connect(url, { username: 'carol', password: 'right' });
    await assert.rejects(connect(url, { username: 'carol', password: 'wrong' }), denied);
    await assert.rejects(connect(url, { username: 'alice', password: await token({ sub: 'bob' }) }), denied);
    await assert.rejects(
      connect(url, { username: 'alice', password: await token({ sub: 'alice' }, -1) }),
      denied,
    );

    const acl = { pub: ['own/%c/#'], sub: ['shared/+'] };
    const password = await token({ sub: 'alice', acl }, 3);
    const alice = await connect(url, { clientId: 'phone', username: 'alice', password });
    const ended = new Promise((resolve) => alice.once('disconnect', ({ reasonCode }) => resolve(reasonCode)));
    const topics: string[] = [];
    alice.on('message', (topic) => topics.push(topic));
    // All of it may be asked for; what the token does not name is not delivered.
    await alice.subscribeAsync('#', { qos: 1 });
    await alice.publishAsync('own/phone/a', 'x', { qos: 1 });
    await assert.rejects(alice.publishAsync('own/other/a', 'x', { qos: 1 }), { code: 0x87 });
    await assert.rejects(alice.publishAsync('shared/a', 'x', { qos: 1 }), { code: 0x87 });
    for (const topic of ['secret', 'shared/b/c', 'shared/a'])
      await carol.publishAsync(topic, 'x', { qos: 1 });
    assert.equal(await ended, 0xa0);
    assert.deepEqual(topics, ['shared/a']);
    await carol.endAsync();
    await broker.close();
    assert.match(log(), /"event":"jwt\.refused"/);
    assert.ok(!log().includes(password.split('.')[1]));
  });

  it('takes another key on reload, and keeps the old one when the new cannot be used', async () => {
    const changing = write('secret-changing', SECRET);
    const { broker, log } = await start({ jwt: { secretFile: changing } }, [{ url: 'mqtt://127.0.0.1:0' }]);
    const [{ url }] = broker.addresses;
    const login = async (secret: string): Promise<void> => {
      const password = await token({ sub: 'alice' }, 60, secret);
      await (await connect(url, { username: 'alice', password })).endAsync();
    };
    writeFileSync(changing, 'short');
    await broker.reload();
    assert.match(log(), /the secret has 5 bytes.*"event":"jwt_keys\.refused"/);
    await login(SECRET);
    writeFileSync(changing, OTHER_SECRET);
    await broker.reload();
    await login(OTHER_SECRET);
    await assert.rejects(login(SECRET), denied);
    await broker.close();
  });

  it('does not start with a key file that cannot be used', async () => {
    for (const jwt of [
      { secretFile: write('short', 'short') },
      { jwksFile: write('set', '{}') },
      { publicKeyFile: passwordFile },
    ]) {
      await assert.rejects(
        start({ allowAnonymous: true, jwt }, [{ url: 'mqtt://127.0.0.1:0' }]),
        ConfigErrors,
      );
    }
  });
});

describe('A broker with a login service', () => {
  it('asks it for those whom the password file does not know, and lets nobody in when it fails', async () => {
    const service = await startService();
    service.answer = json({ result: 'allow', username: 'renamed', subscribe: ['only'] });
    const auth = { passwordFile, http: { url: service.url, timeoutSeconds: 30 } };
    const { broker, log } = await start(auth, [{ url: 'mqtt://127.0.0.1:0' }]);
    const [{ url }] = broker.addresses;
    await (await connect(url, { username: 'carol', password: 'right' })).endAsync();
    await assert.rejects(connect(url, { username: 'carol', password: 'wrong' }), denied);
    assert.deepEqual(service.asked, []);
    const dave = await connect(url, { username: 'dave', password: 'x' });
    assert.equal(JSON.parse(service.asked[0]).username, 'dave');
    await assert.rejects(dave.subscribeAsync('other'), /Not authorized|0x87|135/i);
    await dave.endAsync();
    assert.match(log(), /"username":"renamed"/);
    service.answer = json({}, 500);
    await assert.rejects(connect(url, { username: 'erin', password: 'x' }), { code: 0x88 });
    await (await connect(url, { username: 'carol', password: 'right' })).endAsync();
    await broker.close();
    await service.close();
  });
});

describe('Listeners of one broker', () => {
  it('let in whom their own settings let in, and allow what their own rules allow', async () => {
    const main = write('acl', 'all\nallow readwrite main/#\n');
    const own = write('acl-own', 'all\nallow readwrite own/#\n');
    const { broker } = await start({ passwordFile, aclFile: main, jwt: { secretFile } }, [
      { url: 'mqtt://127.0.0.1:0' },
      { url: 'ws://127.0.0.1:0/mqtt', auth: { chain: ['jwt'], aclFile: own } },
      { url: 'mqtt://localhost:0', auth: { allowAnonymous: true } },
    ]);
    const [tcp, ws, open] = broker.addresses.map(({ url }) => url);
    const carol = { username: 'carol', password: 'right' };
    const alice = { username: 'alice', password: await token({ sub: 'alice' }) };
    await assert.rejects(connect(ws, carol), denied);
    await assert.rejects(connect(tcp), denied);
    const atTcp = await connect(tcp, { ...alice, clientId: 'same' });
    await atTcp.publishAsync('main/a', 'x', { qos: 1 });
    await assert.rejects(atTcp.publishAsync('own/a', 'x', { qos: 1 }), { code: 0x87 });
    await atTcp.endAsync();
    const atWs = await connect(ws, { ...alice, clientId: 'same' });
    await atWs.publishAsync('own/a', 'x', { qos: 1 });
    await assert.rejects(atWs.publishAsync('main/a', 'x', { qos: 1 }), { code: 0x87 });
    await atWs.endAsync();
    await (await connect(open)).endAsync();
    await (await connect(tcp, carol)).endAsync();
    await broker.close();
  });
});
