/** Starts the process of an engine, listens to its heart, and ends it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { getPriority, setPriority } from 'node:os';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FRAME, Link, type LinkEvents } from './link.ts';

/** File descriptor of the link in the process. */
export const LINK_FD = 3;

/** Of what it says on its standard error before it dies: the beginning explains a crash, the end shows where it was. */
const LAST_WORDS_CHARACTERS_MAX = 2_000;
/** Nice value, on top of the broker's: whatever strangers make it compute waits behind what clients who are logged in want of the broker. */
const NICENESS = 5;
const PING_MS = 1_000;
/** A busy machine may keep a process waiting; a handshake storm fills a second or two. */
const PINGS_UNANSWERED_MAX = 10;

/** From the end of the link to that of the process. */
const EXIT_TIMEOUT_MS = 1_000;

export interface ProcessTimes {
  readonly pingMs: number;
  /** Pings in a row without a sign of life, before it is killed. */
  readonly pingsUnansweredMax: number;
}

export interface EngineProcessOptions {
  readonly events: Pick<LinkEvents, 'data' | 'frame' | 'drained'>;
  /** Resident memory beyond which it is killed. */
  readonly memoryMaxBytes: number;
  /** Of V8's memory; undefined: what V8 thinks right for the machine. */
  readonly heapMegabytesMax?: number | undefined;
  readonly times?: Partial<ProcessTimes> | undefined;
  /** Called once: it is gone, and what it sent was heard. */
  readonly onGone: (end: EngineEnd) => void;
  /** For tests. Default: `main` beside this file. */
  readonly entry?: URL | undefined;
}

/** How it ended. */
export interface EngineEnd {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it was killed; undefined: it was not. */
  readonly why: string | undefined;
  /** What it wrote on its standard error, or beginning and end of that. */
  readonly lastWords: string;
}

export class EngineProcess {
  readonly link: Link;
  readonly pid: number | undefined;
  /** Resident memory, as it told last. */
  memoryBytes: number;
  readonly #child: ChildProcess;
  readonly #memoryMaxBytes: number;
  readonly #pingsMax: number;
  readonly #pingMs: number;
  #pinging: NodeJS.Timeout | undefined;
  #unanswered: number;
  #why: string | undefined;
  #lastWords: string;

  constructor(options: EngineProcessOptions) {
    const { events, memoryMaxBytes, heapMegabytesMax, times, entry = defaultEntry(), onGone } = options;
    const { pingMs = PING_MS, pingsUnansweredMax = PINGS_UNANSWERED_MAX } = times ?? {};
    const child = spawn(process.execPath, [...nodeFlags(heapMegabytesMax), fileURLToPath(entry)], {
      // A pair of sockets that are nobody else's, so that there is nothing to find, guess or clear away.
      stdio: ['ignore', 'ignore', 'pipe', 'overlapped'],
      env: environment(),
      serialization: 'json',
      windowsHide: true,
    });
    this.pid = child.pid;
    beFirstToGo(child.pid);
    beSecondToRun(child.pid);
    this.memoryBytes = 0;
    this.#child = child;
    this.#memoryMaxBytes = memoryMaxBytes;
    this.#pingMs = pingMs;
    this.#pingsMax = pingsUnansweredMax;
    this.#pinging = undefined;
    this.#unanswered = 0;
    this.#why = undefined;
    this.#lastWords = '';
    let isGone = false;
    const gone = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
      if (isGone) return;
      isGone = true;
      clearInterval(this.#pinging);
      onGone({ exitCode, signal, why: this.#why, lastWords: this.#lastWords.trim() });
    };
    child.on('error', (error) => {
      this.#why ??= error.message;
      if (child.pid === undefined) gone(null, null);
    });
    // Behind `exit`: all that it sent has been read.
    child.on('close', gone);
    // Where there are no file descriptors left, there is nothing but the error.
    const socket = child.stdio === undefined ? new Socket().destroy() : (child.stdio[LINK_FD] as Socket);
    this.link = new Link(socket, {
      data: (stream, bytes) => {
        this.#unanswered = 0;
        events.data(stream, bytes);
      },
      frame: (type, id, payload) => {
        this.#unanswered = 0;
        if (type === FRAME.pong) this.#pong(payload);
        else events.frame(type, id, payload);
      },
      drained: () => events.drained(),
      gone: (error) => {
        // Who has closed is about to end, and is not to be told how.
        if (error === undefined) setTimeout(() => this.kill(), EXIT_TIMEOUT_MS).unref();
        else this.kill(error.message);
      },
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#lastWords = shorten(this.#lastWords + text);
    });
  }

  /** Listens to its heart from now on; while it loads it may be deaf for a while. */
  watch(): void {
    clearInterval(this.#pinging);
    this.#pinging = setInterval(() => this.#ping(), this.#pingMs);
    this.#pinging.unref();
  }

  /** Ends it at once. `onGone` follows. */
  kill(why?: string): void {
    this.#why ??= why;
    this.#child.kill('SIGKILL');
  }

  #ping(): void {
    // Counted and not timed: when this process was the one that slept, nothing is wrong with that one.
    if (this.#unanswered >= this.#pingsMax) this.kill(`it gave no sign of life to ${this.#unanswered} pings`);
    this.#unanswered++;
    this.link.frame(FRAME.ping);
  }

  #pong(payload: Buffer): void {
    this.memoryBytes = payload.length === 8 ? payload.readDoubleLE() : 0;
    if (this.memoryBytes <= this.#memoryMaxBytes) return;
    this.kill(`it took ${this.memoryBytes} bytes of memory, and may take ${this.#memoryMaxBytes}`);
  }
}

/** When memory is short the kernel is to end this process, and not the broker: up to half of all memory is added to what it counts. */
function beFirstToGo(pid: number | undefined): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '500');
  } catch {
    // Not Linux, or not allowed: then the largest goes first.
  }
}

/** On a machine that is busy. */
function beSecondToRun(pid: number | undefined): void {
  try {
    if (pid !== undefined) setPriority(pid, Math.min(getPriority() + NICENESS, 19));
  } catch {
    // It is gone already, and that is told elsewhere.
  }
}

function shorten(text: string): string {
  const half = LAST_WORDS_CHARACTERS_MAX / 2;
  return text.length <= LAST_WORDS_CHARACTERS_MAX ? text : `${text.slice(0, half)}${text.slice(-half)}`;
}

/** The compiler rewrites imports, not URLs: take the extension that this file itself has. */
function defaultEntry(): URL {
  return new URL('./main.ts'.replace('.ts', extname(import.meta.url)), import.meta.url);
}

/**
 * What was loaded into the broker by flag goes into the process, too; the rest is its own. Node's permissions keep its JavaScript from writing files and
 * from starting anything; they do not hold what is native.
 */
function nodeFlags(heapMegabytesMax: number | undefined): string[] {
  const flags = ['--permission', '--allow-fs-read=*', '--allow-addons', '--disable-warning=PERM0001'];
  if (process.allowedNodeEnvironmentFlags.has('--allow-net')) flags.push('--allow-net');
  if (heapMegabytesMax !== undefined) flags.push(`--max-old-space-size=${heapMegabytesMax}`);
  const { execArgv } = process;
  execArgv.forEach((flag, at) => {
    const [name] = flag.split('=', 1);
    if (!PRELOADS.has(name)) return;
    flags.push(flag);
    if (name === flag) flags.push(execArgv[at + 1]);
  });
  return flags;
}

const PRELOADS: ReadonlySet<string> = new Set(['--import', '--require', '-r']);

/** Nothing of the broker's, which may hold secrets. */
function environment(): NodeJS.ProcessEnv {
  const { SystemRoot } = process.env;
  return SystemRoot === undefined ? {} : { SystemRoot };
}
