/** Gives the parts of a check to threads, so that they use the processors there are and the event loop goes on. */
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type CheckResult, type CheckTask, runCheckTask } from './check-tasks.ts';
import type { CheckWorkerData } from './check-worker.ts';
import { openReadOnly } from './read-only.ts';

/** More would wait for the disk. */
const THREADS_MAX = 4;
/** Reading less than this takes less time than starting threads. */
const ALONE_BYTES_MAX = 8_388_608;

/** Threads that are worth it for a database of this size, in bytes; 0: none, the caller's will do. */
export function threadsFor(bytes: number): number {
  return bytes <= ALONE_BYTES_MAX ? 0 : Math.min(availableParallelism(), THREADS_MAX);
}

/**
 * Does all tasks, in this order as far as threads are free, and tells each result as it comes.
 * @param threads 0: in this thread
 */
export async function runCheckTasks(
  data: CheckWorkerData,
  tasks: readonly CheckTask[],
  threads: number,
  onResult: (result: CheckResult, task: CheckTask) => void,
): Promise<void> {
  const waiting = tasks.values();
  if (threads === 0) {
    const db = openReadOnly(data.database);
    try {
      for (const task of waiting) {
        onResult(runCheckTask(db, task, data.problemsMax), task);
        await setImmediate();
      }
    } finally {
      db.close();
    }
    return;
  }
  await Promise.all(Array.from({ length: threads }, () => runThread(data, waiting, onResult)));
}

async function runThread(
  data: CheckWorkerData,
  waiting: IterableIterator<CheckTask>,
  onResult: (result: CheckResult, task: CheckTask) => void,
): Promise<void> {
  // The compiler rewrites imports, not URLs: take the extension that this file itself has.
  const entry = new URL(`./check-worker${extname(import.meta.url)}`, import.meta.url);
  const worker = new Worker(entry, { workerData: data, execArgv: [] });
  // An error of the thread rejects whichever of the two is awaited.
  const exited = once(worker, 'exit');
  exited.catch(() => {
    // Awaited below, but not before the last task.
  });
  try {
    for (const task of waiting) {
      worker.postMessage(task);
      const [result] = (await Promise.race([once(worker, 'message'), exited])) as [CheckResult | number];
      if (typeof result === 'number') throw new Error(`A checking thread ended with code ${result}.`);
      onResult(result, task);
    }
    worker.postMessage(null);
    await exited;
  } catch (error) {
    await worker.terminate();
    throw error;
  }
}
