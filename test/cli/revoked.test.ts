/** What a running broker makes of clients whose user is removed, or gets another password, while they are there. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import vectors from '../data/hashes.json' with { type: 'json' };

const directory = mkdtempSync(join(tmpdir(), 'sluice-revoked-'));
after(() => rmSync(directory, { recursive: true }));

const [first, second] = vectors.good.filter((each) => each.scheme === 'sha512' && each.password.length > 4);
const file = join(directory, 'passwd');
const write = (...lines: string[]): void =>
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });

/** The reason code of the DISCONNECT that the client gets, or null when it is just closed. */
function ended(client: MqttClient): Promise<number | null> {
  return new Promise((resolve) => {
    client.once('disconnect', ({ reasonCode }) => resolve(reasonCode ?? 0));
    client.once('close', () => resolve(null));
  });
}

test('a client leaves when its user is gone or has another password, and nobody else does', async () => {
  write(`alice:${first.hash}`, `bob:${first.hash}`, `carol:${first.hash}`);
  let text = '';
  const out = { write: (more: string) => (text += more) };
  const config = loadConfig({
    env: {},
    flags: {
      listeners: 'mqtt://127.0.0.1:0',
      'auth.passwordFile': file,
      'persistence.enabled': 'false',
      'log.file': '',
    },
  });
  const broker = await serve(config, { stdout: out, stderr: out });
  try {
    const [{ url }] = broker.addresses;
    const connect = (username: string, options: IClientOptions = {}): Promise<MqttClient> => {
      const password = Buffer.from(first.password, 'base64');
      return mqtt.connectAsync(url, { username, password, reconnectPeriod: 0, ...options }, false);
    };
    const alice = await connect('alice', { protocolVersion: 5 });
    const old = await connect('alice', { protocolVersion: 4 });
    const bob = await connect('bob', { protocolVersion: 5 });
    const carol = await connect('carol', { protocolVersion: 5 });
    const ends = [ended(alice), ended(old)];
    write(`bob:${first.hash}`, `carol:${first.hash}`);
    await broker.reload();
    assert.deepEqual(await Promise.all(ends), [0x87, null]);
    await assert.rejects(connect('alice', { protocolVersion: 5 }), { code: 0x86 });
    const bobEnds = ended(bob);
    write(`carol:${first.hash}`, `bob:${second.hash}`);
    await broker.reload();
    assert.equal(await bobEnds, 0x87);
    await carol.publishAsync('t', 'still here', { qos: 1 });
    // A file that cannot be read changes nothing.
    write('nobody at all');
    await broker.reload();
    await carol.publishAsync('t', 'still here', { qos: 1 });
    await carol.endAsync();
  } finally {
    await broker.close();
  }
  assert.match(text, /"clients":2,"event":"logins\.revoked"/);
});
