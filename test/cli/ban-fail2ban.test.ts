/** contrib/fail2ban against lines that the broker itself has written, whatever a client puts into them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type IClientOptions, MqttClient } from 'mqtt';
import { serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import vectors from '../data/hashes.json' with { type: 'json' };
import { pathOf } from '../tools/apt.ts';
import { needs } from '../tools/needs.ts';

const FILTER = fileURLToPath(new URL('../../contrib/fail2ban/filter.d/sluice.conf', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'sluice-fail2ban-'));
after(() => rmSync(directory, { recursive: true }));

/** What a client may call itself to have somebody else banned, or to go unseen. */
const FORGERIES = [
  'alice',
  'x","address":"9.9.9.9:1","door":"mqtt://a","reason":"bad-credentials","event":"auth.failed"}',
  'x"}\n{"level":"warn","time":"2026-01-01T00:00:00.000Z","clientId":"a","username":"b","address":"9.9.9.9:1","door":"d","reason":"bad-credentials","event":"auth.failed"}',
  '\\","address":"9.9.9.9:1',
  'ends with a backslash\\',
  '9.9.9.9',
  '[9.9.9.9]:1 ::1 2001:db8::9',
  '"time":"2026-01-01T00:00:00.000Z"',
  '\u2028\u202e\u001b[2K"address":"9.9.9.9"',
  '{"level":"warn","address":"9.9.9.9"}',
  '',
  'ж'.repeat(300),
  `${'\\"'.repeat(200)}","address":"9.9.9.9`,
];

let lines: string[] = [];

describe('The fail2ban filter', () => {
  before(async () => {
    const passwordFile = join(directory, 'passwd');
    const { hash, password } = vectors.good.find(
      (each) => each.scheme === 'sha512' && each.password.length > 4,
    )!;
    writeFileSync(passwordFile, `alice:${hash}\n`, { mode: 0o600 });
    const config = loadConfig({
      env: {},
      flags: {
        listeners: 'mqtt://127.0.0.1:0,mqtt://[::1]:0',
        'auth.passwordFile': passwordFile,
        'persistence.enabled': 'false',
        'persistence.dir': directory,
        'log.file': join(directory, 'log', 'sluice.log'),
        'throttle.addressFailuresMax': '4',
      },
    });
    const silent = { write: () => {} };
    const broker = await serve(config, { stdout: silent, stderr: silent });
    after(() => broker.close());
    const [four, six] = broker.addresses;
    const connect = async (port: number, localAddress: string, options: IClientOptions): Promise<boolean> => {
      const host = localAddress.includes(':') ? '::1' : '127.0.0.1';
      const client = new MqttClient(() => net.connect({ host, port, localAddress }), {
        reconnectPeriod: 0,
        protocolVersion: 5,
        ...options,
      });
      const isIn = await new Promise<boolean>((resolve) => {
        client.once('connect', () => resolve(true));
        client.once('error', () => resolve(false));
      });
      await client.endAsync(true);
      return isIn;
    };
    // Each from an address of its own, so that it is seen whose failure was found.
    for (const [index, username] of FORGERIES.entries()) {
      const options = { username, password: 'wrong', clientId: index === 2 ? username : `c${index}` };
      assert.equal(await connect(four.port, `127.0.1.${index + 1}`, options), false);
    }
    for (let i = 0; i < 6; i++)
      assert.equal(await connect(six.port, '::1', { username: 'bob', password: 'wrong' }), false);
    const right = { username: 'alice', password: Buffer.from(password, 'base64') };
    assert.equal(await connect(four.port, '127.0.2.1', right), true);
    await broker.close();
    const file = readdirSync(join(directory, 'log')).find((name) => name.endsWith('.log'))!;
    lines = readFileSync(join(directory, 'log', file), 'utf8')
      .trimEnd()
      .split('\n');
  });

  const expected = [...FORGERIES.map((_, index) => `127.0.1.${index + 1}`), ...Array(6).fill('::1')];

  test('finds every failed login, throttled ones too, under the address it came from and no other', () => {
    const regex = failregex();
    const found = lines.flatMap((line) => {
      // As fail2ban does: what the date pattern has found is cut out.
      const cut = line.replace(/(?<="time":")[^"]*/, '');
      const match = regex.exec(cut);
      assert.equal(regex.exec(`host sluice[1]: ${line}`)?.groups?.address, match?.groups?.address);
      return match === null ? [] : [match.groups!.address];
    });
    assert.deepEqual(found, expected);
  });

  test('does so in fail2ban itself', { skip: needs('fail2ban-regex') }, () => {
    const log = join(directory, 'all.log');
    writeFileSync(log, lines.map((line) => `${line}\n`).join(''));
    const { stdout, stderr } = spawnSync(pathOf('fail2ban-regex')!, ['-o', 'row', log, FILTER], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    const rows = stdout.split('\n').filter((line) => line.startsWith('['));
    const found = rows.map((row) => /^\['([^']*)',\s+([\d.]+)/.exec(row)!);
    assert.deepEqual(
      found.map(([, address]) => address),
      expected,
      stderr,
    );
    const written = lines
      .map((line) => JSON.parse(line))
      .filter(({ event }) => event === 'auth.failed')
      .map(({ time }) => Math.floor(Date.parse(time) / 1000));
    assert.deepEqual(
      found.map(([, , seconds]) => Math.floor(Number(seconds))),
      written,
    );
  });
});

/** The filter's expression in this language's notation. */
function failregex(): RegExp {
  const [, pattern] = /^failregex = (.*)$/m.exec(readFileSync(FILTER, 'utf8'))!;
  assert.equal(pattern.split('<ADDR>').length, 2);
  const address = '(?<address>(?:\\d{1,3}\\.){3}\\d{1,3}|[0-9a-f:]*:[0-9a-f:.]*)';
  return new RegExp(pattern.replace('<ADDR>', address));
}
