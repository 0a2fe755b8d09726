/** The thread that computes SHA-512-crypt, so that thousands of rounds do not stop the event loop. */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { CryptAnswer, CryptJob } from './sha512-crypt-worker.ts';

interface Pending {
  resolve(digest: Buffer): void;
  reject(error: Error): void;
}

/** Starts its thread at the first job and keeps it; an idle thread does not hold the process open. */
export class CryptThread {
  #worker: Worker | null = null;
  #nextId = 0;
  readonly #pending = new Map<number, Pending>();

  /** The 86 characters of crypt(3), as ASCII. Rejects when the thread breaks or is closed. */
  digest(password: Uint8Array, salt: Uint8Array, rounds: number): Promise<Buffer> {
    this.#worker ??= this.#start();
    const worker = this.#worker;
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.ref();
      // Copies: a view into a pooled buffer would take the whole pool along.
      worker.postMessage({
        id,
        password: Uint8Array.from(password),
        salt: Uint8Array.from(salt),
        rounds,
      } satisfies CryptJob);
    });
  }

  /** Ends the thread; jobs that wait are rejected. A later job starts a new one. */
  async close(): Promise<void> {
    const worker = this.#worker;
    this.#abandon(new Error('The password hashing thread was closed.'));
    await worker?.terminate();
  }

  #start(): Worker {
    // The compiler rewrites imports, not URLs: take the extension that this file itself has.
    const entry = new URL(`./sha512-crypt-worker${extname(import.meta.url)}`, import.meta.url);
    const worker = new Worker(entry, { execArgv: [] });
    worker.on('message', (answer: CryptAnswer) => {
      const pending = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if (this.#pending.size === 0) worker.unref();
      pending?.resolve(Buffer.from(answer.digest));
    });
    worker.on('error', (error) => {
      if (this.#worker === worker) this.#abandon(error as Error);
    });
    worker.on('exit', () => {
      if (this.#worker === worker) this.#abandon(new Error('The password hashing thread ended.'));
    });
    return worker;
  }

  #abandon(error: Error): void {
    this.#worker = null;
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }
}
