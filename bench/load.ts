/** The load generator: compiled once, run as a process of its own so that it takes nothing from the broker's. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { pathOf, whyMissing } from '../test/tools/apt.ts';

const SOURCE = path.join(import.meta.dirname, 'mqload.c');
const CACHE = path.join(import.meta.dirname, '..', 'node_modules', '.cache', 'bench');
/** A run that takes this long hangs: the generator gives up by itself after a minute. */
const RUN_MS_MAX = 180_000;

/** One measured run. Rates are per second, latencies in microseconds; of an idle run only the last three are set. */
export interface Measured {
  readonly publishedPerSecond: number;
  readonly receivedPerSecond: number;
  readonly published: number;
  readonly received: number;
  readonly lost: number;
  readonly unacknowledged: number;
  readonly cpuUsPerMessage: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly rssMb: number;
  readonly connectsPerSecond: number;
  readonly kbPerConnection: number;
}

/** Compiles the generator unless that was done since its source changed. Throws when there is no compiler. */
export function compileLoadGenerator(): string {
  return compileProgram(SOURCE);
}

/** Compiles a program of one C file unless that was done since it changed; answers where it is. Throws when there is no compiler. */
export function compileProgram(source: string): string {
  const binary = path.join(CACHE, path.basename(source, '.c'));
  if (existsSync(binary) && statSync(binary).mtimeMs > statSync(source).mtimeMs) return binary;
  const compiler = pathOf('cc');
  if (compiler === null) throw new Error(whyMissing('cc'));
  mkdirSync(CACHE, { recursive: true });
  const result = spawnSync(compiler, ['-O2', '-o', binary, source], { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${source} does not compile:\n${result.stderr}`);
  return binary;
}

/** Runs the generator. Rejects when it printed no result, with what it said. */
export function runLoad(binary: string, args: readonly string[]): Promise<Measured> {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), RUN_MS_MAX);
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      const line = out.trim().split('\n').at(-1) ?? '';
      if (line.startsWith('{')) resolve(toMeasured(JSON.parse(line)));
      else reject(new Error(`mqload ${args.join(' ')} ended with ${code}: ${err.trim()}`));
    });
  });
}

function toMeasured(raw: Record<string, number> & { lat_us?: Record<string, number> }): Measured {
  return {
    publishedPerSecond: raw.pub_per_s ?? 0,
    receivedPerSecond: raw.recv_per_s ?? 0,
    published: raw.published ?? 0,
    received: raw.received ?? 0,
    lost: raw.lost ?? 0,
    unacknowledged: raw.unacked ?? 0,
    cpuUsPerMessage: raw.broker_cpu_us_per_msg ?? raw.cpu_us_per_conn ?? 0,
    p50Us: raw.lat_us?.p50 ?? 0,
    p99Us: raw.lat_us?.p99 ?? 0,
    rssMb: raw.broker_rss_mb ?? raw.rss_mb ?? 0,
    connectsPerSecond: raw.conn_per_s ?? 0,
    kbPerConnection: raw.kb_per_conn ?? 0,
  };
}
