/** The process that serves: what it may take, who it is, how it ends. Each test runs one of its own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect as dial, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import mqtt from 'mqtt';
import { encodePacket } from '../../src/codec/encode.ts';
import { connect, publish, subscribe } from '../support/packets.ts';
import { skipUnless } from '../tools/needs.ts';
import { Certificates } from '../transports/certificates.ts';
import { QuicClient } from '../transports/quic-client.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const NOBODY = 65_534;
const HAS_PROC = existsSync('/proc/self/status');
const IS_ROOT = HAS_PROC && process.getuid?.() === 0;
const NO_PROC = 'only Linux shows this in /proc';
const NO_ROOT = 'only root can become somebody else';

interface Broker {
  readonly child: ChildProcess;
  readonly folder: string;
  readonly port: number;
  readonly exited: Promise<number | null>;
  text(): string;
}

interface Settings {
  readonly config?: Record<string, unknown>;
  readonly openFilesMax?: number;
  readonly nodeFlags?: readonly string[];
  /** Prepares the folder before the start. */
  readonly prepare?: (folder: string) => void;
}

/** Starts a broker; resolves when it is ready, or has ended. */
async function launch(t: TestContext, settings: Settings = {}): Promise<Broker> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-process-'));
  const { config = {}, openFilesMax, nodeFlags = [], prepare } = settings;
  const base = {
    listeners: [{ url: 'mqtt://127.0.0.1:0' }],
    auth: { allowAnonymous: true },
    persistence: { enabled: false },
    log: { file: '' },
  };
  writeFileSync(join(folder, 's.yaml'), JSON.stringify({ ...base, ...config }));
  prepare?.(folder);
  const limit = openFilesMax === undefined ? '' : `ulimit -n ${openFilesMax} && `;
  const args = [process.execPath, ...nodeFlags, MAIN, 'serve', '-c', 's.yaml'];
  const child = spawn('/bin/sh', ['-c', `${limit}exec "$@"`, 'sh', ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  const exited = once(child, 'close').then(([code]) => code as number | null);
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  });
  const ready = new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (part: string) => {
        text += part;
        if (/^ready$/m.test(text)) resolve();
      });
  });
  await Promise.race([ready, exited]);
  const port = Number(/^mqtt:\/\/127\.0\.0\.1:(\d+)/m.exec(text)?.[1] ?? 0);
  return { child, folder, port, exited, text: () => text };
}

/** A field of /proc/PID/status, e.g. `VmHWM`, its first word. */
function statusOf({ child }: Broker, field: string): string {
  const line = readFileSync(`/proc/${child.pid}/status`, 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`${field}:`));
  return line?.split(/\s+/).slice(1).join(' ') ?? '';
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let round = 0; round < 600; round++) {
    if (isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`waited in vain for ${what}`);
}

/** The next message that comes. */
function message(client: mqtt.MqttClient): Promise<void> {
  return new Promise((resolve) => client.once('message', () => resolve()));
}

/** A message there and back. */
async function pingPong(port: number): Promise<void> {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0 });
  await client.subscribeAsync('canary');
  const received = message(client);
  await client.publishAsync('canary', 'sings', { qos: 1 });
  await received;
  await client.endAsync();
}

function dialRaw(port: number, allowHalfOpen = false): Socket {
  const socket = dial({ port, host: '127.0.0.1', allowHalfOpen });
  socket.on('error', () => {});
  return socket;
}

const MEMORY_MAX_BYTES = 350_000_000;

test('memoryMaxBytes is kept under a flood to readers that stand still', {
  skip: skipUnless(HAS_PROC, NO_PROC),
}, async (t) => {
  const limits = { memoryMaxBytes: MEMORY_MAX_BYTES, outBytesMax: 16_777_216 };
  const broker = await launch(t, { config: { limits } });
  const canary = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.port}`, { reconnectPeriod: 0 });
  await canary.subscribeAsync('canary');
  const readers: Socket[] = [];
  for (let count = 0; count < 40; count++) {
    const socket = dialRaw(broker.port);
    socket.write(encodePacket(connect({ clientId: `r-${count}` }), 5));
    socket.write(encodePacket(subscribe(1, [{ filter: 'flood' }]), 5));
    // CONNACK and SUBACK are here.
    await once(socket, 'data');
    socket.pause();
    readers.push(socket);
  }
  const sender = dialRaw(broker.port);
  sender.write(encodePacket(connect({ clientId: 'sender' }), 5));
  const flood = Buffer.from(encodePacket(publish('flood', 'x'.repeat(65_000)), 5));
  // 40 readers could make the broker keep 640 MB.
  for (let count = 0; count < 500; count++) {
    if (!sender.write(flood)) await once(sender, 'drain');
    if (count % 100 > 0) continue;
    const received = message(canary);
    await canary.publishAsync('canary', String(count), { qos: 1 });
    await received;
  }
  await until('a step to be told', () => broker.text().includes('overload.step'));
  const peakBytes = Number.parseInt(statusOf(broker, 'VmHWM'), 10) * 1024;
  t.diagnostic(`at most ${Math.round(peakBytes / 1e6)} MB of ${MEMORY_MAX_BYTES / 1e6} MB`);
  assert.ok(peakBytes <= MEMORY_MAX_BYTES, `${peakBytes} bytes`);
  assert.equal(broker.child.exitCode, null);
  for (const socket of [...readers, sender]) socket.destroy();
  await until('the last step back', () => /"step":0/.test(broker.text()));
  await pingPong(broker.port);
  await canary.endAsync();
});

test('a memoryMaxBytes below what the process takes anyway stops the start', async (t) => {
  const broker = await launch(t, { config: { limits: { memoryMaxBytes: 1_000_000 } } });
  assert.equal(await broker.exited, 1);
  assert.match(broker.text(), /limits\.memoryMaxBytes: 1000000 bytes are too few.* Give at least \d+/);
});

test('without file descriptors the broker neither spins nor ends, and serves again when there are some', {
  skip: skipUnless(HAS_PROC, NO_PROC),
}, async (t) => {
  const broker = await launch(t, { openFilesMax: 64, config: { limits: { connectTimeoutSeconds: 600 } } });
  await until('the warning', () => broker.text().includes('process.few_files'));
  const inside = await mqtt.connectAsync(`mqtt://127.0.0.1:${broker.port}`, { reconnectPeriod: 0 });
  const sockets = Array.from({ length: 80 }, () => dialRaw(broker.port).resume());
  await until('connections that are turned away', () =>
    sockets.some((each) => each.destroyed || each.readableEnded),
  );
  const before = cpuTicks(broker);
  for (let count = 0; count < 20; count++) {
    await inside.publishAsync('a', 'b', { qos: 1 });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const used = cpuTicks(broker) - before;
  // A loop that spins takes all of two seconds, which is 200 ticks.
  assert.ok(used < 120, `${used} of 200 ticks`);
  for (const socket of sockets) socket.destroy();
  await inside.publishAsync('a', 'c', { qos: 1 });
  await inside.endAsync();
  await pingPong(broker.port);
});

/** Hundredths of a second of processor time. */
function cpuTicks({ child }: Broker): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function giveToNobody(folder: string): void {
  const own = join(folder, 'own');
  mkdirSync(own);
  chownSync(own, NOBODY, NOBODY);
  chmodSync(folder, 0o755);
}

test('root is given up for good once the doors are open, below port 1024 too', {
  skip: skipUnless(IS_ROOT, NO_ROOT),
}, async (t) => {
  const config = {
    listeners: [{ url: 'mqtt://127.0.0.1:0' }, { url: 'mqtt://127.0.0.1:1019' }],
    user: 'nobody',
    persistence: { dir: 'own/data' },
    log: { file: 'own/log/s.log' },
  };
  const broker = await launch(t, { config, prepare: giveToNobody });
  for (const field of ['Uid', 'Gid']) assert.equal(new Set(statusOf(broker, field).split(' ')).size, 1);
  assert.equal(statusOf(broker, 'Uid').split(' ')[0], String(NOBODY));
  assert.doesNotMatch(` ${statusOf(broker, 'Groups')} `, / 0 /);
  await pingPong(broker.port);
  await pingPong(1_019);
  broker.child.kill('SIGTERM');
  assert.equal(await broker.exited, 0);
});

test('an engine is started by root for a port below 1024, and does not stay it', {
  skip: skipUnless(IS_ROOT, NO_ROOT),
}, async (t) => {
  const prepare = (folder: string): void => {
    giveToNobody(folder);
    for (const name of ['cert', 'key']) {
      const file = join(folder, 'own', name);
      copyFileSync(tls[name as 'cert' | 'key'], file);
      chownSync(file, NOBODY, NOBODY);
    }
  };
  const certificates = await Certificates.create();
  t.after(() => certificates.remove());
  const tls = await certificates.issue('server');
  const config = {
    listeners: [
      { url: 'mqtt://127.0.0.1:0' },
      { url: 'quic://127.0.0.1:1018', tls: { cert: 'own/cert', key: 'own/key' } },
      { url: 'quic://127.0.0.1:0', tls: { cert: 'own/cert', key: 'own/key' } },
    ],
    user: 'nobody',
  };
  const broker = await launch(t, { config, prepare });
  const pids = [...broker.text().matchAll(/"pid":(\d+)[^\n]*door\.engine_process/g)].map(([, pid]) => pid);
  assert.equal(pids.length, 2, broker.text());
  for (const pid of pids) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m);
    assert.match(status, /^Gid:\t65534\t65534\t65534\t65534$/m);
    assert.doesNotMatch(status, /^Groups:.*\b0\b/m);
  }
  const client = await QuicClient.dial(1_018, { ca: certificates.ca });
  client.abort();
  broker.child.kill('SIGTERM');
  assert.equal(await broker.exited, 0);
});

test('what the user cannot read or write stops the start, and is named', {
  skip: skipUnless(IS_ROOT, NO_ROOT),
}, async (t) => {
  const config = {
    user: 'nobody',
    auth: { passwordFile: 'passwd' },
    persistence: { enabled: false },
    log: { file: 'log/s.log' },
  };
  const prepare = (folder: string): void => {
    giveToNobody(folder);
    writeFileSync(join(folder, 'passwd'), '', { mode: 0o600 });
  };
  const broker = await launch(t, { config, prepare });
  assert.equal(await broker.exited, 1);
  assert.match(broker.text(), /passwd \(named in s\.yaml:1\): no permission to read the file/);
  assert.match(broker.text(), /log\.file .*: the log file log\/s\.log cannot be opened/);
});

test('a user that is not there, or is root, is refused', {
  skip: skipUnless(IS_ROOT, NO_ROOT),
}, async (t) => {
  const missing = await launch(t, { config: { user: 'no-such-user' } });
  assert.equal(await missing.exited, 1);
  assert.match(missing.text(), /^sluice: user: there is no user "no-such-user"/);
  const root = await launch(t, { config: { user: 'root' } });
  assert.equal(await root.exited, 1);
  assert.match(root.text(), /^sluice: user: root is who/);
  const lonely = await launch(t, { config: { group: 'nogroup' } });
  assert.equal(await lonely.exited, 1);
  assert.match(lonely.text(), /^sluice: group: it is set without "user"/);
});

test('a broker that runs as root says so', { skip: skipUnless(IS_ROOT, NO_ROOT) }, async (t) => {
  const broker = await launch(t);
  await until('the warning', () => broker.text().includes('"process.root"'));
});

test('a password file that the group can read stops the start, unless that is allowed', async (t) => {
  const prepare = (folder: string): void => {
    writeFileSync(join(folder, 'passwd'), '');
    chmodSync(join(folder, 'passwd'), 0o640);
  };
  const auth = { passwordFile: 'passwd' };
  const refused = await launch(t, { config: { auth }, prepare });
  assert.equal(await refused.exited, 1);
  assert.match(refused.text(), /passwd \(named in s\.yaml:1\): mode 0640 opens the file to others/);
  const allowed = await launch(t, { config: { auth, allowOpenFiles: true }, prepare });
  assert.match(allowed.text(), /^ready$/m);
});

test('the broker works without Object.prototype.__proto__', async (t) => {
  const config = { persistence: { dir: 'data' }, log: { file: 'log/s.log' } };
  const broker = await launch(t, { config, nodeFlags: ['--disable-proto=delete'] });
  await pingPong(broker.port);
  broker.child.kill('SIGTERM');
  assert.equal(await broker.exited, 0);
  assert.doesNotMatch(broker.text(), /rror/);
});

test('clients that do not close do not hold up the end', async (t) => {
  const broker = await launch(t, { config: { shutdownGraceSeconds: 300 } });
  const socket = dialRaw(broker.port, true);
  socket.write(encodePacket(connect({ clientId: 'stays' }), 5));
  await once(socket, 'data');
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  const ended = once(socket, 'end');
  broker.child.kill('SIGTERM');
  await ended;
  // DISCONNECT with 0x8B came before the end, and our side stays open.
  assert.deepEqual(Buffer.concat(parts).subarray(0, 3), Buffer.from([0xe0, 0x01, 0x8b]));
  assert.equal(await broker.exited, 0);
  socket.destroy();
});

test('a log file where no regular file can be stops the start', {
  skip: skipUnless(HAS_PROC, NO_PROC),
}, async (t) => {
  const broker = await launch(t, { config: { log: { file: '/proc/sluice.log' } } });
  assert.equal(await broker.exited, 1);
  assert.match(broker.text(), /the log file \/proc\/sluice\.log cannot be opened/);
});

test('sluice check tries the log and the folder of a socket, as the user that the broker becomes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-check-'));
  try {
    chmodSync(folder, 0o755);
    const config = {
      listeners: [{ url: `unix://${folder}/missing/mqtt.sock` }],
      auth: { allowAnonymous: true },
      log: { file: 's.yaml/s.log' },
    };
    writeFileSync(join(folder, 's.yaml'), JSON.stringify(config));
    const text = check(folder);
    assert.match(text, /log\.file .*s\.yaml is not a folder/);
    assert.match(text, /there is no folder \S+missing\. Make it: "mkdir -p /);
    if (!IS_ROOT) return;
    writeFileSync(
      join(folder, 's.yaml'),
      JSON.stringify({ ...config, user: 'nobody', log: { file: 'log/s.log' } }),
    );
    assert.match(check(folder), /log\.file .* cannot be opened \(EACCES/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** What `sluice check` says to the configuration in this folder. */
function check(folder: string): string {
  const { stderr, status } = spawnSync(process.execPath, [MAIN, 'check', '-c', 's.yaml'], { cwd: folder });
  assert.equal(status, 1);
  return String(stderr);
}
