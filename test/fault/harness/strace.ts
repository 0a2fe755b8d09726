/** Faults of system calls, put into a running broker from outside: strace attaches to it and changes what the kernel answers. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

const SYNC_CALLS = 'fdatasync,fsync';
/** About an hour: longer than any test. */
const FOR_EVER_US = 3_600_000_000;

/** Why strace cannot be used here, or null when it can. */
export function whyNoStrace(): string | null {
  const trial = spawnSync('strace', ['-f', '-qq', '-e', 'inject=getcwd:delay_enter=1', 'true'], {
    encoding: 'utf8',
  });
  if (trial.error !== undefined) return 'strace is not installed';
  if (trial.status !== 0) return `strace cannot trace and inject here: ${trial.stderr.trim().split('\n')[0]}`;
  return null;
}

/** One strace that is attached to a broker. */
export class Strace {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  constructor(child: ChildProcess) {
    this.#child = child;
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    this.#ended = new Promise((resolve) => {
      child.once('close', () => {
        process.removeListener('exit', kill);
        resolve();
      });
    });
  }

  /** Ends strace. Kill the broker before: what strace holds up goes on without it. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  /** Lets go of the broker. */
  async detach(): Promise<void> {
    this.#child.kill('SIGINT');
    await this.#ended;
  }
}

/** Each sync to the disk takes this much longer, from now on. */
export function delaySyncs(pid: number, milliseconds: number): Promise<Strace> {
  return attach(pid, SYNC_CALLS, `delay_enter=${milliseconds * 1_000}`);
}

/** No sync to the disk ever ends, from now on. */
export function holdSyncs(pid: number): Promise<Strace> {
  return attach(pid, SYNC_CALLS, `delay_enter=${FOR_EVER_US}`);
}

/** No write to a database or its log ever ends, from now on. */
export function holdWrites(pid: number): Promise<Strace> {
  return attach(pid, 'pwrite64', `delay_enter=${FOR_EVER_US}`);
}

/** From the `nth` on, counted from now in each thread, every sync fails with an error of the device. */
export function failSyncs(pid: number, nth: number): Promise<Strace> {
  return attach(pid, SYNC_CALLS, `error=EIO:when=${nth}+`);
}

async function attach(pid: number, calls: string, fault: string): Promise<Strace> {
  const filter = ['-e', `trace=${calls}`, '-e', `inject=${calls}:${fault}`, '-e', 'signal=none'];
  const args = ['-f', ...filter, '-o', '/dev/null', '-p', String(pid)];
  const child = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const strace = new Strace(child);
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (/attached/.test(said)) resolve();
    });
    child.once('error', reject);
    child.once('close', () => reject(new Error(`strace ended before it had attached:\n${said}`)));
  });
  return strace;
}
