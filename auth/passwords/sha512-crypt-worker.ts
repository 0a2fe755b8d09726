/** Runs SHA-512-crypt in a thread of its own; CryptThread starts it. */
import { parentPort } from 'node:worker_threads';
import { sha512Crypt } from './sha512-crypt.ts';

export interface CryptJob {
  readonly id: number;
  readonly password: Uint8Array;
  readonly salt: Uint8Array;
  readonly rounds: number;
}

export interface CryptAnswer {
  readonly id: number;
  readonly digest: Uint8Array;
}

parentPort?.on('message', (job: CryptJob) => {
  const digest = sha512Crypt(job.password, job.salt, job.rounds);
  parentPort?.postMessage({ id: job.id, digest } satisfies CryptAnswer);
});
