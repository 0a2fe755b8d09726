/** The command `sluice` as its users meet it: a process with arguments, output and an exit code. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ensureDevCertificates } from '../../cli/certificates.ts';
import { OPTIONS } from '../../config/options.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'sluice-command-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;

function folder(): string {
  const directory = join(root, String(folders++));
  mkdirSync(directory);
  return directory;
}

interface Run {
  readonly child: ChildProcess;
  readonly output: { text: string };
  /** Resolves when the output holds `text`; rejects when the process ends before. */
  shows(text: string): Promise<void>;
  readonly done: Promise<{ code: number | null; text: string }>;
}

function start(args: string[], cwd: string, env: Record<string, string> = {}, nodeArgs: string[] = []): Run {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICE_'));
  const child = spawn(process.execPath, [...nodeArgs, MAIN, ...args], {
    cwd,
    env: { ...Object.fromEntries(inherited), NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { text: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output.text += text;
    });
  }
  const done = once(child, 'close').then(([code]) => ({ code, text: output.text }));
  const shows = (text: string): Promise<void> => {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (output.text.includes(text)) resolve();
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      void done.then(() => reject(new Error(`ended without "${text}":\n${output.text}`)));
      look();
    });
  };
  return { child, output, shows, done };
}

function run(args: string[], cwd = root, env: Record<string, string> = {}, nodeArgs: string[] = []) {
  return start(args, cwd, env, nodeArgs).done;
}

describe('sluice', () => {
  test('alone prints its commands', async () => {
    const { code, text } = await run([]);
    assert.equal(code, 0);
    for (const command of ['serve', 'check', 'passwd']) assert.match(text, new RegExp(`^  ${command} `, 'm'));
  });

  test('--version prints the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    assert.deepEqual(await run(['--version']), { code: 0, text: `${version}\n` });
  });

  test('says in one line that Node is too old', async () => {
    const preload = `Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.19.0'}})`;
    const { code, text } = await run([], root, {}, ['--import', `data:text/javascript,${preload}`]);
    assert.equal(code, 1);
    assert.match(text, /^sluice: needs Node 24 or later, this is 20\.19\.0 .*\n$/);
  });

  test('has an entry point that an older Node can read', () => {
    const source = readFileSync(MAIN, 'utf8');
    assert.equal(stripTypeScriptTypes(source), source);
    assert.doesNotMatch(source, /^import /m);
  });

  test('answers a wrong command or flag with the nearest right one and exit code 2', async () => {
    const command = await run(['chek']);
    assert.equal(command.code, 2);
    assert.match(command.text, /^sluice: unknown command 'chek'\. Did you mean check\?\n$/);
    const flag = await run(['serve', '--limits.queueMesagesMax', '5']);
    assert.equal(flag.code, 2);
    assert.match(flag.text, /unknown option .* Did you mean --limits\.queueMessagesMax\?\n$/);
    assert.match(
      (await run(['ban', 'ad', 'user', 'x'])).text,
      /unknown command 'ad'\. Did you mean add\?\n$/,
    );
    assert.match((await run(['ban', 'add', 'user', 'x', '--fro', '1h'])).text, /Did you mean --for\?\n$/);
    const far = await run(['ban', 'list', '--colour']);
    assert.match(far.text, /unknown option '--colour'\. See "sluice ban list --help"\n$/);
  });
});

describe('sluice serve', () => {
  const quiet = { SLUICE_LOG_FILE: '', SLUICE_LOG_LEVEL: 'error' };

  test('--help shows every option with its variable', async () => {
    const { code, text } = await run(['serve', '--help']);
    assert.equal(code, 0);
    for (const option of OPTIONS) assert.ok(text.includes(`--${option.key} `), option.key);
    assert.ok(text.includes('SLUICE_LIMITS_PACKET_BYTES_MAX'));
  });

  test('prints one line for each door and "ready", and ends on SIGTERM with exit code 0', async () => {
    const directory = folder();
    const { cert, key } = await ensureDevCertificates(join(directory, 'certs'), Date.now());
    const listeners = `[{url: "mqtt://127.0.0.1:0"}, {url: "ws://127.0.0.1:0"}, {url: "unix://${directory}/s"},
      {url: "mqtts://127.0.0.1:0", tls: {cert: ${cert}, key: ${key}}}]`;
    const broker = start(['serve', '--listeners', listeners], directory);
    await broker.shows('ready\n');
    const lines = broker.output.text.trim().split('\n');
    assert.match(lines[0], /^mqtt:\/\/127\.0\.0\.1:\d+$/);
    assert.match(lines[1], /^ws:\/\/127\.0\.0\.1:\d+\/mqtt$/);
    assert.equal(lines[2], `unix://${directory}/s`);
    assert.match(lines[3], /^mqtts:\/\/127\.0\.0\.1:\d+ \(TLSv1\.2 or later\)$/);
    assert.match(lines[4], /^local-only mode/);
    broker.child.kill('SIGTERM');
    const { code, text } = await broker.done;
    assert.equal(code, 0);
    assert.match(text, /stopping on SIGTERM\n$/);
    assert.match(readFileSync(join(directory, 'log', 'sluice.1.log'), 'utf8'), /"event":"broker\.stopped"/);
  });

  test('takes a port in use for the reason not to start at all, and names every such door', async () => {
    const blockers = [0, 1].map(() => createServer().listen(0, '127.0.0.1'));
    await Promise.all(blockers.map((blocker) => once(blocker, 'listening')));
    const ports = blockers.map((blocker) => (blocker.address() as { port: number }).port);
    const directory = folder();
    const listeners = `mqtt://127.0.0.1:${ports[0]},ws://127.0.0.1:${ports[1]},mqtt://127.0.0.1:0`;
    const { code, text } = await run(['serve', '--listeners', listeners], directory, quiet);
    for (const blocker of blockers) blocker.close();
    assert.equal(code, 1);
    assert.match(text, /sluice: 2 problems:/);
    for (const url of [`mqtt://127.0.0.1:${ports[0]}`, `ws://127.0.0.1:${ports[1]}/mqtt`])
      assert.ok(text.includes(`${url}: another process already listens there. Stop`), text);
    assert.doesNotMatch(text, /^ready$/m);
  });

  test('reloads on SIGHUP and keeps the old rules when the new ones are broken', async () => {
    const directory = folder();
    const acl = join(directory, 'acl');
    writeFileSync(acl, 'all\nallow readwrite #\n');
    const flags = ['--listeners', 'mqtt://127.0.0.1:0', '--auth.acl-file', acl];
    const broker = start(['serve', ...flags], directory, { SLUICE_LOG_FILE: '' });
    await broker.shows('ready\n');
    broker.child.kill('SIGHUP');
    await broker.shows('"event":"acl.loaded"');
    await broker.shows('"event":"broker.reloaded"');
    writeFileSync(acl, 'all\nallow everything\n');
    broker.child.kill('SIGHUP');
    await broker.shows('"event":"acl.refused"');
    assert.ok(broker.output.text.includes(`${acl}:2`), broker.output.text);
    broker.child.kill('SIGINT');
    assert.equal((await broker.done).code, 0);
  });

  test('says on SIGHUP that a changed configuration waits for a restart, and only then', async () => {
    const directory = folder();
    const file = join(directory, 's.yaml');
    writeFileSync(file, 'listeners: [{ url: "mqtt://127.0.0.1:0" }]\nauth: { allowAnonymous: true }\n');
    const broker = start(['serve', '-c', file], directory, { SLUICE_LOG_FILE: '' });
    await broker.shows('ready\n');
    broker.child.kill('SIGHUP');
    await broker.shows('"event":"broker.reloaded"');
    assert.doesNotMatch(broker.output.text, /config\.not_reloaded/);
    writeFileSync(file, 'listeners: [{ url: "mqtt://127.0.0.1:0" }]\nauth: { allowAnonymous: false }\n');
    broker.child.kill('SIGHUP');
    await broker.shows('"event":"config.not_reloaded"');
    assert.ok(broker.output.text.includes(`"file":"${file}"`), broker.output.text);
    broker.child.kill('SIGTERM');
    assert.equal((await broker.done).code, 0);
  });
});

describe('sluice check', () => {
  test('says ok, and takes variables and both spellings of flags into account', async () => {
    const directory = folder();
    writeFileSync(join(directory, 's.yaml'), 'listeners: [{ url: "mqtt://0.0.0.0" }]\n');
    const refused = await run(['check', '-c', 's.yaml'], directory);
    assert.equal(refused.code, 1);
    assert.match(refused.text, /^sluice: s\.yaml:1: auth: nobody could log in/);
    const env = { SLUICE_AUTH_ALLOW_ANONYMOUS: 'true' };
    assert.deepEqual(await run(['check', '-c', 's.yaml'], directory, env), { code: 0, text: 'ok\n' });
    for (const flag of ['--auth.allow-anonymous', '--auth.allowAnonymous=true']) {
      assert.equal((await run(['check', '-c', 's.yaml', flag], directory)).text, 'ok\n');
    }
  });

  test('finds what is wrong with the files that are named, all at once', async () => {
    const directory = folder();
    await ensureDevCertificates(join(directory, 'a'), Date.now());
    await ensureDevCertificates(join(directory, 'b'), Date.now());
    writeFileSync(join(directory, 'passwd'), 'alice:$7$nonsense\n', { mode: 0o600 });
    writeFileSync(join(directory, 'acl'), 'all\nallow fly #\n');
    writeFileSync(
      join(directory, 's.yaml'),
      `listeners:
  - url: mqtts://127.0.0.1:8883
    tls: { cert: a/server.pem, key: b/server.key }
  - url: wss://127.0.0.1:8084
    tls: { cert: none.pem, key: a/server.key }
auth: { passwordFile: passwd, aclFile: acl }
`,
    );
    const { code, text } = await run(['check', '-c', 's.yaml'], directory);
    assert.equal(code, 1);
    assert.match(text, /sluice: 4 problems:/);
    assert.match(text, /passwd:1 \(named in s\.yaml:6\): /);
    assert.match(text, /acl:2 \(named in s\.yaml:6\): /);
    assert.match(text, /mqtts:\/\/127\.0\.0\.1:8883 tls\.key \(named in s\.yaml:3\): .*does not belong/);
    assert.match(text, /tls\.cert \(named in s\.yaml:5\): none\.pem does not exist/);
  });
});
