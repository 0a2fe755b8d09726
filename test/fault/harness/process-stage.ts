/** The broker as users run it, in a process of its own on a folder that outlives it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Random } from '../../codec/random-packets.ts';
import { dialSocket, type Link } from './link.ts';
import type { Stage } from './stage.ts';
import type { Strace } from './strace.ts';

const ROOT = path.join(import.meta.dirname, '..', '..', '..');
/** Generous: the machine may be busy with other test files. */
const START_MS = 60_000;
/** About as long as a start takes. */
const INTERRUPT_MS_MAX = 500;

export interface ProcessOptions {
  /** More of the configuration, by top-level key; `persistence.dir` is set unless given. */
  readonly config?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** The program to run the broker with, e.g. strace and its flags; it must become the broker's parent without being in between. */
  readonly wrapper?: readonly string[];
}

/** How a broker's process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class ProcessStage implements Stage {
  stopped = true;
  /** Everything of it, removed by `close`. */
  readonly directory: string;
  readonly #options: ProcessOptions;
  #wrapper: readonly string[];
  #child: ChildProcess | null = null;
  #ended: Promise<Ending> = Promise.resolve({ code: 0, signal: null });
  #strace: Strace | null = null;
  #output = '';
  #port = 0;

  constructor(options: ProcessOptions = {}) {
    this.#options = options;
    this.#wrapper = options.wrapper ?? [];
    this.directory = mkdtempSync(path.join(tmpdir(), 'sluice-fault-'));
    mkdirSync(path.join(this.directory, 'data'), { mode: 0o700 });
    this.configure({});
  }

  /** The broker's data folder. */
  get data(): string {
    return path.join(this.directory, 'data');
  }

  /** What the broker has printed since the last start. */
  get output(): string {
    return this.#output;
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  /** Changes the configuration from the next start on: keys of sections over those given first. */
  configure(changes: NonNullable<ProcessOptions['config']>): void {
    const { persistence, limits, ...rest } = this.#options.config ?? {};
    const config = {
      listeners: [{ url: 'mqtt://127.0.0.1:0' }],
      auth: { allowAnonymous: true },
      log: { level: 'warn', file: path.join(this.directory, 'sluice.log') },
      sys: { intervalSeconds: 0 },
      ...rest,
      limits: { queueMessagesMax: 1_000_000, queueBytesMax: 1_000_000_000, ...limits, ...changes.limits },
      persistence: { dir: this.data, ...persistence, ...changes.persistence },
    };
    // Every JSON text is a YAML text.
    writeFileSync(path.join(this.directory, 'sluice.yaml'), JSON.stringify(config), { mode: 0o600 });
  }

  /** Runs the broker under another program, or none, from the next start on. */
  wrap(...wrapper: string[]): void {
    this.#wrapper = wrapper;
  }

  async start(): Promise<void> {
    await this.gone();
    this.#spawn();
    if (!(await this.#ready())) throw new Error(`the broker ended before it was ready:\n${this.#output}`);
    this.#port = Number(/mqtt:\/\/127\.0\.0\.1:(\d+)/.exec(this.#output)?.[1]);
  }

  async interruptStart(random: Random): Promise<void> {
    this.#spawn();
    await Promise.race([wait(random.below(INTERRUPT_MS_MAX)), this.#ready()]);
    this.kill();
    await this.gone();
  }

  dial(): Promise<Link> {
    return dialSocket(this.#port);
  }

  kill(): void {
    this.stopped = true;
    this.#child?.kill('SIGKILL');
  }

  /** Asks it to stop, as a service manager would. */
  async stop(): Promise<Ending> {
    this.stopped = true;
    this.#child?.kill('SIGTERM');
    return await this.#ended;
  }

  /** Resolves once it has printed what matches, since its start. */
  said(pattern: RegExp): Promise<void> {
    const stdout = this.#child!.stdout!;
    return new Promise((resolve) => {
      const look = (): void => {
        if (!pattern.test(this.#output)) return;
        stdout.off('data', look);
        resolve();
      };
      stdout.on('data', look);
      look();
    });
  }

  /** Puts a fault into the running broker, until its end or `recover`. */
  async suffer(fault: (pid: number) => Promise<Strace>): Promise<void> {
    this.#strace = await fault(this.pid);
  }

  /** Takes the fault away. */
  async recover(): Promise<void> {
    await this.#strace?.detach();
    this.#strace = null;
  }

  /** It is about to end of its own accord, and that is no fault. */
  willEnd(): void {
    this.stopped = true;
  }

  /** Resolves when its process has ended, and says how. */
  ended(): Promise<Ending> {
    return this.#ended;
  }

  async gone(): Promise<void> {
    // A process that was killed while strace holds it up does not end before strace has.
    await this.#strace?.kill();
    this.#strace = null;
    await this.#ended;
  }

  quiet(): Promise<void> {
    return new Promise(() => {});
  }

  async close(): Promise<void> {
    this.kill();
    await this.gone();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #spawn(): void {
    const config = path.join(this.directory, 'sluice.yaml');
    // The sources and not the build: what is tested is what stands here. The cache makes the many starts as fast.
    const broker = [process.execPath, path.join(ROOT, 'cli', 'main.ts'), 'serve', '-c', config];
    const [command, ...args] = [...this.#wrapper, ...broker];
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICE_') && name !== 'NODE_OPTIONS'),
    );
    env.NODE_COMPILE_CACHE = path.join(this.directory, 'compile-cache');
    const child = spawn(command, args, { cwd: this.directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.#output = '';
    this.stopped = false;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    this.#ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        process.removeListener('exit', kill);
        if (this.#child === child) this.stopped = true;
        resolve({ code, signal });
      });
    });
  }

  /** True once it is ready, false when it has ended before. */
  async #ready(): Promise<boolean> {
    const child = this.#child!;
    const timer = setTimeout(() => child.kill('SIGKILL'), START_MS);
    try {
      return await Promise.race([this.said(/^ready\b/m).then(() => true), this.#ended.then(() => false)]);
    } finally {
      clearTimeout(timer);
    }
  }
}
