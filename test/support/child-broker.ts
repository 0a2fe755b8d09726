/** A broker as users run it: the command line in a process of its own, on free ports, in a directory that goes away. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { hash } from 'argon2';
import { ensureDevCertificates, localNames, makeBrowserCertificate } from '../../cli/certificates.ts';

const ROOT = path.join(import.meta.dirname, '..', '..');
/** Generous: the machine may be busy with other test files. */
const START_MS = 30_000;
const STOP_MS = 10_000;
const DOOR_URL = /^(?:mqtts?|wss?|unix|wt|quic):\/\/\S+/;

export interface ChildBrokerOptions {
  /** Listener URLs; port 0 picks a free one. Default: `mqtt://127.0.0.1:0`. mqtts, wss and quic get development certificates, wt one for browsers. */
  readonly doors?: readonly string[];
  /** Keys added to every listener, e.g. `origins`. */
  readonly listener?: Readonly<Record<string, unknown>>;
  /** Keys added to the listener of this URL. */
  readonly listenerOf?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** User names and passwords; without any, anonymous clients are let in. */
  readonly users?: Readonly<Record<string, string>>;
  /** Lines for the password file as they are, e.g. with hashes of another kind. */
  readonly passwordLines?: readonly string[];
  /** Text of the ACL file. */
  readonly acl?: string;
  /** Whether clients without a user name get in. Default: only when there are no users. */
  readonly allowAnonymous?: boolean;
  /** More of the configuration, by top-level key. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Flags of Node itself, e.g. `--trace-gc`. */
  readonly nodeFlags?: readonly string[];
  /** A command that is put before Node's, such as `ip netns exec NAME`; its process must become that of Node. */
  readonly through?: readonly string[];
  /** File descriptors the broker may have. Default: what this process has. */
  readonly openFilesMax?: number;
}

export interface ChildBroker {
  readonly pid: number;
  /** The doors as the broker printed them, real ports and all, in the order of `doors`. */
  readonly urls: readonly string[];
  /** The authority that signed the doors' certificate, a PEM file. */
  readonly caFile: string;
  readonly directory: string;
  /** What the broker has printed on standard output and standard error so far. */
  output(): string;
  /** The first door of this scheme. */
  url(scheme: string): string;
  port(scheme: string): number;
  /** Ends the broker as a service manager would, and removes its directory. Resolves to its exit code; null when it had to be killed. */
  stop(): Promise<number | null>;
}

/** Starts a broker and waits until it is ready. Rejects with its output when it is not. */
export async function startChildBroker(options: ChildBrokerOptions = {}): Promise<ChildBroker> {
  const directory = mkdtempSync(path.join(tmpdir(), 'sluice-child-'));
  try {
    const configFile = await writeConfig(directory, options);
    return await launch(directory, configFile, options);
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

async function writeConfig(directory: string, options: ChildBrokerOptions): Promise<string> {
  const doors = options.doors ?? ['mqtt://127.0.0.1:0'];
  const { ca, cert, key } = await ensureDevCertificates(path.join(directory, 'certs'), Date.now());
  const webTransport = {
    cert: path.join(directory, 'certs', 'webtransport.pem'),
    key: path.join(directory, 'certs', 'webtransport.key'),
  };
  if (doors.some((url) => url.startsWith('wt:')))
    await makeBrowserCertificate(webTransport, localNames(), Date.now());
  const listeners = doors.map((url) => {
    const tls = /^(mqtts|wss):/.test(url)
      ? { tls: { cert, key, ca } }
      : url.startsWith('quic:')
        ? { tls: { cert, key } }
        : {};
    const browser = url.startsWith('wt:') ? { tls: webTransport } : {};
    return { url, ...tls, ...browser, ...options.listener, ...options.listenerOf?.[url] };
  });
  const auth: Record<string, unknown> = {};
  const lines = [...(options.passwordLines ?? [])];
  for (const [user, password] of Object.entries(options.users ?? {}))
    lines.push(`${user}:${await hash(password)}`);
  auth.allowAnonymous = options.allowAnonymous ?? lines.length === 0;
  if (lines.length > 0) auth.passwordFile = writePrivate(directory, 'passwd', `${lines.join('\n')}\n`);
  if (options.acl !== undefined) auth.aclFile = writePrivate(directory, 'acl', options.acl);
  const log = { level: 'info', file: path.join(directory, 'sluice.log') };
  const config = { listeners, auth, log, ...options.config };
  // Every JSON text is a YAML text.
  return writePrivate(directory, 'sluice.yaml', JSON.stringify(config, null, 2));
}

function writePrivate(directory: string, name: string, text: string): string {
  const file = path.join(directory, name);
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

/** The build when there is one (what users run), otherwise the sources. */
function commandLine(): string {
  const built = path.join(ROOT, 'dist', 'cli', 'main.js');
  return existsSync(built) ? built : path.join(ROOT, 'cli', 'main.ts');
}

async function launch(
  directory: string,
  configFile: string,
  options: ChildBrokerOptions,
): Promise<ChildBroker> {
  const args = [...(options.nodeFlags ?? []), commandLine(), 'serve', '-c', configFile];
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICE_')));
  const limit = options.openFilesMax === undefined ? '' : `ulimit -n ${options.openFilesMax} && `;
  // The shell replaces itself, so that the child's pid is the broker's.
  const command = [...(options.through ?? []), process.execPath, ...args];
  const child = spawn('/bin/sh', ['-c', `${limit}exec "$@"`, 'sh', ...command], {
    cwd: directory,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = collectOutput(child);
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  void exited.then(() => process.removeListener('exit', kill));
  await waitUntilReady(child, output);
  const urls = output.text
    .split('\n')
    .map((line) => DOOR_URL.exec(line)?.[0])
    .filter((url) => url !== undefined);
  const url = (scheme: string): string => {
    const found = urls.find((candidate) => candidate.startsWith(`${scheme}://`));
    if (found === undefined) throw new Error(`the broker opened no ${scheme} door:\n${output.text}`);
    return found;
  };
  return {
    pid: child.pid!,
    urls,
    caFile: path.join(directory, 'certs', 'ca.pem'),
    directory,
    output: () => output.text,
    url,
    port: (scheme) => Number(/:(\d+)(?:\/|$)/.exec(url(scheme))![1]),
    stop: () => stop(child, exited, directory),
  };
}

function collectOutput(child: ChildProcess): { text: string } {
  const output = { text: '' };
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output.text += text;
    });
  }
  return output;
}

function waitUntilReady(child: ChildProcess, output: { text: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`the broker ${why}:\n${output.text}`));
    };
    const timer = setTimeout(() => fail(`was not ready after ${START_MS / 1000} s`), START_MS);
    child.once('exit', (code, signal) => fail(`ended (${code ?? signal}) before it was ready`));
    child.once('error', (error) => fail(`could not be started (${error.message})`));
    child.stdout!.on('data', () => {
      if (!/^ready\b/m.test(output.text)) return;
      clearTimeout(timer);
      resolve();
    });
  });
}

async function stop(
  child: ChildProcess,
  exited: Promise<number | null>,
  directory: string,
): Promise<number | null> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  const code = await exited;
  clearTimeout(timer);
  rmSync(directory, { recursive: true, force: true });
  return code;
}
