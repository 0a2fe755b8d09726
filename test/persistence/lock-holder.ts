/** Another process that has a database open as a broker has it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

const HOLD = `
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(process.argv[1]);
  db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; COMMIT');
  process.stdout.write('held');
  process.stdin.on('end', () => db.close()).resume();
`;

export interface LockHolder {
  readonly pid: number;
  release(): Promise<void>;
}

/** Resolves once the process has the lock. */
export async function holdLock(database: string): Promise<LockHolder> {
  const child: ChildProcess = spawn(process.execPath, ['-e', HOLD, database], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const exited = once(child, 'exit');
  await Promise.race([
    once(child.stdout!, 'data'),
    exited.then(() => {
      throw new Error('the holder of the lock ended');
    }),
  ]);
  return {
    pid: child.pid!,
    async release() {
      child.stdin!.end();
      await exited;
    },
  };
}
