/** A bad network on this machine: two network namespaces and a link between them that delays and loses packets. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { compileProgram } from '../load.ts';
import type { Congestion } from './task.ts';

const SOURCE = path.join(import.meta.dirname, 'lossy-link.c');
/** For measurements of networks (RFC 2544). */
const HOSTS = ['198.18.0.1', '198.18.0.2'] as const;
const DEVICE = 'sluice0';
const NAME_PREFIX = 'sluice-bench-';
const MTU_BYTES = 1_500;
const ALLOWED = '/proc/sys/net/ipv4/tcp_allowed_congestion_control';

export interface LinkOptions {
  /** In each direction, of single packets, independent of each other. */
  readonly lossShare: number;
  /** In each direction. */
  readonly delayMs: number;
  readonly rateMbit: number;
  /** What may wait for its turn at that rate. */
  readonly queueBytes: number;
  /** Of the kernel's TCP at both ends. */
  readonly congestion: Congestion;
  /** The kernel's own, where it has it, or `lossy-link.c`. */
  readonly means: 'auto' | 'netem' | 'emulator';
}

/** What the emulator counted in one direction: packets that came, and of them those lost at random and for want of room. */
export interface LinkCounters {
  readonly packets: number;
  readonly bytes: number;
  readonly lost: number;
  readonly overflowed: number;
}

/** The broker stands at end 0, its clients at end 1. */
export type LinkEnd = 0 | 1;

export class Link {
  readonly means: 'netem' | 'emulator';
  readonly #namespaces: readonly [string, string];
  readonly #emulator: ChildProcess | null;
  readonly #remove: () => void;

  private constructor(
    means: 'netem' | 'emulator',
    namespaces: readonly [string, string],
    emulator: ChildProcess | null,
    remove: () => void,
  ) {
    this.means = means;
    this.#namespaces = namespaces;
    this.#emulator = emulator;
    this.#remove = remove;
  }

  /** Makes it. Rejects with what is missing when this machine or this user cannot. */
  static async open(options: LinkOptions): Promise<Link> {
    if (process.platform !== 'linux') throw new Error('network namespaces are a thing of Linux');
    if (process.getuid?.() !== 0) throw new Error('making network namespaces takes root');
    removeStale();
    const names = [`${NAME_PREFIX}${process.pid}-0`, `${NAME_PREFIX}${process.pid}-1`] as const;
    let emulator: ChildProcess | null = null;
    const remove = (): void => {
      process.removeListener('exit', remove);
      emulator?.kill('SIGKILL');
      for (const name of names) spawnSync('ip', ['netns', 'del', name]);
    };
    process.once('exit', remove);
    try {
      for (const name of names) ip('netns', 'add', name);
      const isKernels = options.means !== 'emulator' && makeNetem(names, options);
      if (!isKernels && options.means === 'netem') throw new Error('this kernel has no netem (sch_netem)');
      if (!isKernels) emulator = await startEmulator(names, options);
      for (const [end, name] of names.entries()) prepare(name, HOSTS[end], options.congestion);
      return new Link(isKernels ? 'netem' : 'emulator', names, emulator, remove);
    } catch (error) {
      remove();
      throw error;
    }
  }

  host(end: LinkEnd): string {
    return HOSTS[end];
  }

  /** A command that runs this one at that end; its process is that of the command. */
  at(end: LinkEnd): string[] {
    return ['ip', 'netns', 'exec', this.#namespaces[end]];
  }

  /** What was counted so far, from each end; null: the kernel does not tell. */
  async counters(): Promise<readonly [LinkCounters, LinkCounters] | null> {
    if (this.#emulator === null) return null;
    const answer = once(this.#emulator.stdout!, 'data') as Promise<[Buffer]>;
    this.#emulator.stdin!.write('\n');
    return JSON.parse(String((await answer)[0])) as [LinkCounters, LinkCounters];
  }

  /** Removes it, with what still runs on it left without a network. */
  close(): void {
    this.#remove();
  }
}

/** False: the kernel cannot. */
function makeNetem(names: readonly [string, string], options: LinkOptions): boolean {
  const { delayMs, lossShare, rateMbit, queueBytes } = options;
  const peer = ['peer', 'name', DEVICE, 'netns', names[1]];
  const veth = ['link', 'add', DEVICE, 'netns', names[0], 'type', 'veth', ...peer];
  if (spawnSync('ip', veth).status !== 0) return false;
  const underWayBytes = (rateMbit * 1e6 * (delayMs / 1e3)) / 8;
  const packets = Math.ceil((queueBytes + underWayBytes) / MTU_BYTES);
  for (const name of names) {
    // Else TCP hands over many packets as one, to be lost as one.
    ip('-n', name, 'link', 'set', DEVICE, 'gso_max_segs', '1');
    const loss = ['delay', `${delayMs}ms`, 'loss', `${lossShare * 100}%`, 'rate', `${rateMbit}mbit`];
    const netem = ['qdisc', 'add', 'dev', DEVICE, 'root', 'netem', 'limit', String(packets), ...loss];
    if (spawnSync('tc', ['-n', name, ...netem]).status === 0) continue;
    ip('-n', names[0], 'link', 'del', DEVICE);
    return false;
  }
  return true;
}

async function startEmulator(names: readonly [string, string], options: LinkOptions): Promise<ChildProcess> {
  if (!existsSync('/dev/net/tun')) throw new Error('neither netem nor /dev/net/tun is there');
  const numbers = {
    '--delay-us': options.delayMs * 1e3,
    '--loss-ppm': options.lossShare * 1e6,
    '--rate-kbit': options.rateMbit * 1e3,
    '--queue-bytes': options.queueBytes,
  };
  const args = Object.entries(numbers).flatMap(([flag, value]) => [flag, String(Math.round(value))]);
  const child = spawn(compileProgram(SOURCE), [...names, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let problem = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    problem += text;
  });
  const ended = once(child, 'close').then(() => {
    throw new Error(`the link cannot be made: ${problem.trim()}`);
  });
  await Promise.race([once(child.stdout, 'data'), ended]);
  ended.catch(() => {});
  return child;
}

function prepare(name: string, host: string, congestion: Congestion): void {
  ip('-n', name, 'link', 'set', 'lo', 'up');
  ip('-n', name, 'addr', 'add', `${host}/30`, 'dev', DEVICE);
  ip('-n', name, 'link', 'set', DEVICE, 'mtu', String(MTU_BYTES), 'txqueuelen', '10000', 'up');
  // No connection is to know what an earlier one has found out about the network.
  if (!set(name, 'tcp_no_metrics_save', '1')) throw new Error('tcp_no_metrics_save cannot be set');
  const isSet = set(name, 'tcp_congestion_control', congestion) || setRestricted(name, congestion);
  if (!isSet) throw new Error(`this kernel does not let TCP use ${congestion}; try --congestion`);
}

/** A namespace may only use what the kernel allows to everybody; that is widened for as long as this takes. */
function setRestricted(name: string, congestion: Congestion): boolean {
  const allowed = readFileSync(ALLOWED, 'utf8').trim();
  try {
    writeFileSync(ALLOWED, `${allowed} ${congestion}`);
  } catch {
    return false;
  }
  const isSet = set(name, 'tcp_congestion_control', congestion);
  writeFileSync(ALLOWED, allowed);
  return isSet;
}

function set(name: string, key: string, value: string): boolean {
  const script = `echo ${value} > /proc/sys/net/ipv4/${key}`;
  return spawnSync('ip', ['netns', 'exec', name, 'sh', '-c', script]).status === 0;
}

/** What an earlier run left behind that was killed. */
function removeStale(): void {
  const listed = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout ?? '';
  for (const [name, pid] of listed.matchAll(new RegExp(`${NAME_PREFIX}(\\d+)-\\d`, 'g')))
    if (!existsSync(`/proc/${pid}`)) spawnSync('ip', ['netns', 'del', name]);
}

function ip(...args: readonly string[]): void {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' });
  if (error !== undefined) throw new Error('ip is not installed (Debian: apt-get install iproute2)');
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr.trim()}`);
}
