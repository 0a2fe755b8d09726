/** A thread that does parts of a store's check; `CheckThreads` starts it. */
import { parentPort, workerData } from 'node:worker_threads';
import { type CheckResult, type CheckTask, runCheckTask } from './check-tasks.ts';
import { openReadOnly } from './read-only.ts';

export interface CheckWorkerData {
  readonly database: string;
  readonly problemsMax: number;
}

const { database, problemsMax } = workerData as CheckWorkerData;
const db = openReadOnly(database);

/** Null ends the thread. */
parentPort?.on('message', (task: CheckTask | null) => {
  if (task !== null) {
    parentPort?.postMessage(runCheckTask(db, task, problemsMax) satisfies CheckResult);
    return;
  }
  db.close();
  parentPort?.close();
});
