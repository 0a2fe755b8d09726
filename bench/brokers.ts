/** Starts the brokers under test, each with a password and an ACL (or open to all), on a free loopback port. */
import { type ChildProcess, spawn } from 'node:child_process';
import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { startChildBroker } from '../test/support/child-broker.ts';
import { pathOf } from '../test/tools/apt.ts';

export const USER = 'bench';
export const PASSWORD = 'bench password';
export const BROKER_NAMES = ['sluice', 'mosquitto', 'aedes'] as const;
export type BrokerName = (typeof BROKER_NAMES)[number];

/** Room for the 10 000 connections of the idle scenario and then some. */
const OPEN_FILES_MAX = 16_384;
const START_MS = 10_000;
/**
 * As many as the generator's publisher has under way. With Mosquitto's default of 20 its QoS 2 stalls for good (2.0.11)
 * and its QoS 1 is slower, and a goal must not be met by a stalled rival.
 */
const MOSQUITTO_INFLIGHT_MESSAGES = 100;
/** Cheap on purpose: thousands of clients log in before each measurement, and logins are not what is measured. */
const HASH_ITERATIONS = 101;

export interface RunningBroker {
  readonly pid: number;
  readonly port: number;
  /** Of all listeners, in the order of `doors`; only Sluice has more than one. */
  readonly ports: readonly number[];
  /** What it printed so far. */
  output(): string;
  stop(): Promise<void>;
}

export interface BrokerOptions {
  /** Lets everybody in without a password and allows everything. */
  readonly open: boolean;
  readonly nodeFlags?: readonly string[];
  /** Mosquitto writes its state to the disk every second, and bounds no queue. */
  readonly persistent?: boolean;
  /** Listeners of Sluice. Default: one of plain TCP. */
  readonly doors?: readonly string[];
  /** Keys added to the listener of this URL. */
  readonly listenerOf?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** More of Sluice's configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export function isInstalled(name: BrokerName): boolean {
  return name !== 'mosquitto' || pathOf('mosquitto') !== null;
}

export function startBroker(name: BrokerName, options: BrokerOptions): Promise<RunningBroker> {
  if (name === 'sluice') return startSluice(options);
  return name === 'mosquitto' ? startMosquitto(options) : startAedes(options);
}

async function startSluice(options: BrokerOptions): Promise<RunningBroker> {
  const broker = await startChildBroker({
    ...(options.open
      ? {}
      : { passwordLines: [passwordLine()], acl: `user ${USER}\nallow readwrite bench/#\n` }),
    ...(options.nodeFlags === undefined ? {} : { nodeFlags: options.nodeFlags }),
    ...(options.doors === undefined ? {} : { doors: options.doors }),
    ...(options.listenerOf === undefined ? {} : { listenerOf: options.listenerOf }),
    ...(options.config === undefined ? {} : { config: options.config }),
    openFilesMax: OPEN_FILES_MAX,
  });
  return {
    pid: broker.pid,
    port: broker.port('mqtt'),
    ports: broker.urls.map((url) => Number(/:(\d+)/.exec(url.slice(url.indexOf('//')))![1])),
    output: broker.output,
    stop: async () => void (await broker.stop()),
  };
}

async function startMosquitto(options: BrokerOptions): Promise<RunningBroker> {
  const port = await freePort();
  const directory = mkdtempSync(path.join(tmpdir(), 'sluice-bench-'));
  const file = (name: string, text: string): string => {
    writeFileSync(path.join(directory, name), text, { mode: 0o600 });
    return path.join(directory, name);
  };
  const access = options.open
    ? 'allow_anonymous true\n'
    : `allow_anonymous false\npassword_file ${file('passwd', `${passwordLine()}\n`)}\nacl_file ${file('acl', `user ${USER}\ntopic readwrite bench/#\n`)}\n`;
  // It would give up root, and with it the right to read these files.
  const user = process.getuid?.() === 0 ? 'user root\n' : '';
  const settings = `listener ${port} 127.0.0.1\nlog_type error\nmax_inflight_messages ${MOSQUITTO_INFLIGHT_MESSAGES}\n`;
  const disk = options.persistent
    ? `persistence true\npersistence_location ${directory}/\nautosave_interval 1\nmax_queued_messages 0\n`
    : '';
  const config = file('mosquitto.conf', `${settings}${disk}${user}${access}`);
  const broker = await startProcess([pathOf('mosquitto')!, '-c', config], port);
  const stop = async (): Promise<void> => {
    await broker.stop();
    rmSync(directory, { recursive: true, force: true });
  };
  return { ...broker, stop };
}

async function startAedes(options: BrokerOptions): Promise<RunningBroker> {
  const port = await freePort();
  const script = path.join(import.meta.dirname, './aedes-broker.ts');
  const login = options.open ? ['', ''] : [USER, PASSWORD];
  return startProcess([process.execPath, script, String(port), ...login], port);
}

async function startProcess(command: readonly string[], port: number): Promise<RunningBroker> {
  const script = `ulimit -n ${OPEN_FILES_MAX}; exec "$@"`;
  const child = spawn('/bin/sh', ['-c', script, 'sh', ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  void exited.then(() => process.removeListener('exit', kill));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await exited;
  };
  await waitForPort(port, child, () => output);
  return { pid: child.pid!, port, ports: [port], output: () => output, stop };
}

async function waitForPort(port: number, child: ChildProcess, output: () => string): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`${child.spawnargs.slice(4).join(' ')} did not start:\n${output()}`);
    }
    await wait(50);
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** PBKDF2 in mosquitto_passwd's notation, which Sluice reads too: both brokers do the same work for a login. */
export function passwordLine(): string {
  const salt = randomBytes(12);
  const digest = pbkdf2Sync(PASSWORD, salt, HASH_ITERATIONS, 64, 'sha512');
  return `${USER}:$7$${HASH_ITERATIONS}$${salt.toString('base64')}$${digest.toString('base64')}`;
}
