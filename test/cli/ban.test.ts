/** `sluice ban`, and what a running broker makes of it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { addBan, type BanIo, listBans, removeBan } from '../../cli/commands/ban.ts';
import { type Running, serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import { ConfigErrors } from '../../config/problems.ts';
import vectors from '../data/hashes.json' with { type: 'json' };

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'sluice-ban-'));
after(() => rmSync(directory, { recursive: true }));
const NOW = Date.UTC(2026, 5, 1);

let files = 0;

/** A ban file of its own for a test, and what the command said. */
function stage() {
  const file = join(directory, `bans-${++files}.jsonl`);
  let out = '';
  let now = NOW;
  const io: BanIo = { stdout: { write: (text: string) => (out += text) }, wallNow: () => now };
  const said = (): string => {
    const text = out;
    out = '';
    return text;
  };
  const pass = (ms: number): void => {
    now += ms;
  };
  return { file, io, said, pass };
}

describe('sluice ban', () => {
  test('adds, changes, lists and removes bans', async () => {
    const { file, io, said, pass } = stage();
    listBans({ file }, io);
    assert.equal(said(), `Nobody is banned in ${file}, which does not exist.\n`);
    await addBan('address', '::ffff:203.0.113.7', { file, for: '1h', reason: 'too curious' }, io);
    assert.equal(said(), 'Banned address 203.0.113.7 until 2026-06-01T01:00:00.000Z.\n');
    await addBan('network', '198.51.100.77/24', { file, until: '2026-06-02' }, io);
    await addBan('user', 'mal\u202elory', { file }, io);
    await addBan('user', 'mal\u202elory', { file, reason: 'twice' }, io);
    assert.ok(said().endsWith('Changed the ban: user mal\\u202elory.\n'));
    listBans({ file }, io);
    assert.equal(
      said(),
      'address  203.0.113.7  until 2026-06-01T01:00:00.000Z  too curious\n' +
        'network  198.51.100.0/24  until 2026-06-02T00:00:00.000Z\n' +
        'user     mal\\u202elory  for ever  twice\n',
    );
    await removeBan('user', 'mal\u202elory', { file }, io);
    assert.equal(said(), 'Lifted the ban of user mal\\u202elory.\n');
    await assert.rejects(removeBan('address', '203.0.113.8', { file }, io), /there is no such ban/);
    pass(3_600_000);
    listBans({ file, json: true }, io);
    const only = { kind: 'network', value: '198.51.100.0/24', since: '2026-06-01T00:00:00.000Z' };
    assert.deepEqual(JSON.parse(said()), { ...only, until: '2026-06-02T00:00:00.000Z', reason: '' });
  });

  test('prints JSON in which no character could fool a terminal, and which means the same', async () => {
    const { file, io, said } = stage();
    const name = 'a\u001b[2K\u202e\u2028\u{e0001}';
    await addBan('client', name, { file }, io);
    said();
    listBans({ file, json: true }, io);
    const line = said();
    assert.match(line, /^[\x20-\x7e]+\n$/);
    assert.equal(JSON.parse(line).value, name);
  });

  test('says what cannot be banned, and changes nothing', async () => {
    const { file, io, said } = stage();
    const cases: [Parameters<typeof addBan>[0], string, object, RegExp][] = [
      ['address', '203.0.113', {}, /"203\.0\.113": this is no IP address/],
      ['address', '10.0.0.0/8', {}, /this is no IP address\. Ban it as "network"/],
      ['network', '203.0.113.7', {}, /this is no network like 203\.0\.113\.0\/24\. Ban it as "address"/],
      ['network', '1.2.3.4/0', {}, /0\.0\.0\.0\/0: this is everybody/],
      ['user', 'a', { for: '1y' }, /--for: this is no time span/],
      ['user', 'a', { for: '0s' }, /--for: this is no time span/],
      ['user', 'a', { for: '999999999w' }, /--for: this is no time span/],
      ['user', 'a', { until: 'tomorrow' }, /--until: this is no point in time/],
      ['user', 'a', { until: '2026-05-31' }, /--until: this time is past/],
      ['user', 'a', { until: '2027-01-01', for: '1h' }, /--until: --for is also given/],
      ['user', 'a', { reason: 'a\nb' }, /--reason: it has control characters/],
      ['user', 'a', { reason: 'x'.repeat(201) }, /--reason: it is longer than 200 characters/],
    ];
    for (const [kind, value, flags, problem] of cases)
      await assert.rejects(addBan(kind, value, { file, ...flags }, io), problem);
    assert.equal(said(), '');
    assert.throws(() => readFileSync(file), { code: 'ENOENT' });
  });

  test('says of a path that cannot be used what is wrong with it, in one line', async () => {
    const { file, io } = stage();
    writeFileSync(file, '', { mode: 0o600 });
    const below = join(file, 'bans.jsonl');
    await assert.rejects(addBan('user', 'a', { file: below }, io), {
      name: 'ConfigError',
      message: `${below}: the file cannot be used (ENOTDIR). Check the path and the disk.`,
    });
  });

  test('shows an empty name as one', async () => {
    const { file, io, said } = stage();
    await addBan('user', '', { file }, io);
    assert.equal(said(), 'Banned user "".\n');
  });

  test('finds the file by the configuration, and is understood on the command line', () => {
    const config = join(directory, 'sluice.yaml');
    const file = join(directory, 'named.jsonl');
    writeFileSync(
      config,
      `listeners: [{ url: "mqtt://127.0.0.1:0" }]\nauth: { allowAnonymous: true }\nbans: { file: ${file} }\n`,
    );
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [MAIN, 'ban', ...args], { encoding: 'utf8', timeout: 60_000 });
    const added = run('add', 'client', '-c', config, '--for', '2w', '--', '-pump');
    assert.deepEqual([added.status, added.stderr], [0, '']);
    assert.match(run('list', '-f', file).stdout, /^client {3}-pump {2}until /);
    assert.equal(run('add', 'host', 'example.org', '-f', file).status, 2);
    assert.equal(run('remove', 'client', 'pump', '-f', file).status, 1);
  });
});

describe('A running broker', () => {
  const passwordFile = join(directory, 'passwd');
  const vector = vectors.good.find((each) => each.scheme === 'sha512' && each.password.length > 4)!;
  const password = Buffer.from(vector.password, 'base64');
  writeFileSync(passwordFile, `alice:${vector.hash}\nbob:${vector.hash}\n`, { mode: 0o600 });

  async function start(bans: string, flags: Record<string, string> = {}): Promise<[Running, () => string]> {
    let text = '';
    const out = { write: (more: string) => (text += more) };
    const config = loadConfig({
      env: {},
      flags: {
        listeners: 'mqtt://127.0.0.1:0',
        'auth.passwordFile': passwordFile,
        'persistence.enabled': 'false',
        'bans.file': bans,
        'log.file': '',
        ...flags,
      },
    });
    return [await serve(config, { stdout: out, stderr: out }), () => text];
  }

  function connect({ addresses: [{ url }] }: Running, options: IClientOptions): Promise<MqttClient> {
    return mqtt.connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, password, ...options }, false);
  }

  /** The reason code of the DISCONNECT that the client gets, or null when it is just closed. */
  function ended(client: MqttClient): Promise<number | null> {
    return new Promise((resolve) => {
      client.once('disconnect', ({ reasonCode }) => resolve(reasonCode ?? 0));
      client.once('close', () => resolve(null));
    });
  }

  test('disconnects whom a new ban hits and nobody else, and refuses them until it is lifted', async () => {
    const { file, io } = stage();
    const real = { ...io, wallNow: Date.now };
    const [broker, log] = await start(file);
    const alice = await connect(broker, { username: 'alice', clientId: 'a' });
    const old = await connect(broker, { username: 'alice', clientId: 'b', protocolVersion: 4 });
    const bob = await connect(broker, { username: 'bob', clientId: 'c' });
    const ends = [ended(alice), ended(old)];
    // Nobody tells the broker: it has to see for itself that there is a file now.
    await addBan('user', 'alice', { file }, real);
    assert.deepEqual(await Promise.all(ends), [0x98, null]);
    assert.equal(bob.connected, true);
    await assert.rejects(connect(broker, { username: 'alice' }), { code: 0x8a });
    await assert.rejects(connect(broker, { username: 'alice', protocolVersion: 4 }), { code: 5 });
    const bobEnds = ended(bob);
    await addBan('client', 'c', { file }, real);
    await broker.reload();
    assert.equal(await bobEnds, 0x98);
    await removeBan('user', 'alice', { file }, real);
    await broker.reload();
    await (await connect(broker, { username: 'alice' })).endAsync();
    await broker.close();
    assert.match(log(), /"event":"bans\.loaded"/);
    assert.match(log(), /"username":"alice".*"reason":"banned","event":"auth\.failed"/);
  });

  test('does not open for a banned address, and cuts off those who are there', async () => {
    const { file, io } = stage();
    const [broker] = await start(file);
    const bob = await connect(broker, { username: 'bob', clientId: 'c' });
    const end = ended(bob);
    await addBan('network', '127.0.0.0/8', { file, for: '1h' }, { ...io, wallNow: Date.now });
    await broker.reload();
    assert.equal(await end, 0x98);
    const problem = await connect(broker, { username: 'bob' }).catch((error: Error) => error);
    // Closed without a word: not one of the reason codes.
    assert.ok(problem instanceof Error && typeof (problem as { code?: unknown }).code !== 'number');
    await broker.close();
  });

  test('keeps its bans when the file is broken, and does not start with such a file', async () => {
    const { file, io } = stage();
    await addBan('user', 'alice', { file }, { ...io, wallNow: Date.now });
    const [broker, log] = await start(file);
    await assert.rejects(connect(broker, { username: 'alice' }), { code: 0x8a });
    writeFileSync(file, 'nobody at all\n');
    await broker.reload();
    await assert.rejects(connect(broker, { username: 'alice' }), { code: 0x8a });
    await broker.close();
    const refused = log()
      .split('\n')
      .find((line) => line.includes('"event":"bans.refused"'))!;
    assert.ok(JSON.parse(refused).problem.startsWith(`${file}:1: the line is not valid JSON`), refused);
    await assert.rejects(start(file), (error: Error) => {
      return (
        error instanceof ConfigErrors && error.message.startsWith(`${file}:1 (named in flag --bans.file): `)
      );
    });
  });

  test('throttles who guesses, bans who flaps, and lets others in', async () => {
    const [broker, log] = await start(stage().file, {
      'throttle.addressFailuresMax': '2',
      'flapping.connectsMax': '2',
    });
    // Known from here: his neighbours' guesses are not his.
    await (await connect(broker, { username: 'alice', clientId: 'a' })).endAsync();
    const codes: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      const wrong = { username: 'bob', clientId: 'g', password: 'wrong' };
      codes.push(await connect(broker, wrong).catch(({ code }) => code));
    }
    assert.deepEqual(codes, [0x86, 0x86, 0x9f, 0x9f]);
    await assert.rejects(connect(broker, { username: 'bob', protocolVersion: 4 }), { code: 3 });
    await (await connect(broker, { username: 'alice', clientId: 'a' })).endAsync();
    await assert.rejects(connect(broker, { username: 'alice', clientId: 'a' }), { code: 0x8a });
    await (await connect(broker, { username: 'alice', clientId: 'b' })).endAsync();
    await broker.close();
    const line = log()
      .split('\n')
      .find((each) => each.includes('"event":"client.flapping"'))!;
    assert.equal(JSON.parse(line).clientId, 'a');
  });
});
