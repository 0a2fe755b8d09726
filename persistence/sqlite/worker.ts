/** The thread of a store. It writes what is handed over and answers in the order of what happened. */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { Counts } from './apply.ts';
import type { HandedBatch } from './batch.ts';
import { type Report, Writer, type WriterSettings } from './writer.ts';

/** What the thread is told. */
export type Order =
  | { readonly kind: 'open'; readonly expected: Counts }
  | { readonly kind: 'batch'; readonly batch: HandedBatch }
  | { readonly kind: 'close' };

/** What the thread tells. `failed` is the last but for the end of the thread itself. */
export type Answer =
  | Report
  | { readonly kind: 'failed'; readonly problem: string }
  /** Whether everything is durable: not so when the disk is full. */
  | { readonly kind: 'closed'; readonly isComplete: boolean };

const TICK_MS = 1_000;

class StoreThread {
  readonly #port: MessagePort;
  readonly #settings: WriterSettings;
  #writer: Writer | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isCleaningSoon = false;

  constructor(port: MessagePort, settings: WriterSettings) {
    this.#port = port;
    this.#settings = settings;
    port.on('message', (order: Order) => this.#guarded(() => this.#obey(order)));
  }

  #obey(first: Order): void {
    const batches: HandedBatch[] = [];
    let close = false;
    // Everything that waits goes into one transaction.
    for (let order: Order | undefined = first; order !== undefined; order = this.#next()) {
      if (order.kind === 'batch') batches.push(order.batch);
      else if (order.kind === 'open') this.#open(order.expected);
      else close = true;
    }
    if (batches.length > 0) this.#opened().write(batches);
    if (close) this.#close();
    else this.#cleanSoon();
  }

  #next(): Order | undefined {
    return receiveMessageOnPort(this.#port)?.message;
  }

  #open(expected: Counts): void {
    this.#writer = new Writer(this.#settings, expected, (report) => this.#answer(report));
    this.#timer = setInterval(() => {
      this.#guarded(() => this.#opened().tick());
      this.#cleanSoon();
    }, TICK_MS);
  }

  #opened(): Writer {
    if (this.#writer === null) throw new Error('the store is not open');
    return this.#writer;
  }

  /** What ended sessions left is removed part by part, behind whatever else is to be done. */
  #cleanSoon(): void {
    if (this.#isCleaningSoon || this.#writer?.isCleaning !== true) return;
    this.#isCleaningSoon = true;
    setImmediate(() => {
      this.#isCleaningSoon = false;
      if (this.#writer === null) return;
      this.#guarded(() => this.#opened().write([]));
      this.#cleanSoon();
    });
  }

  #close(): void {
    const isComplete = this.#opened().close();
    this.#end();
    this.#answer({ kind: 'closed', isComplete });
    this.#port.close();
  }

  #end(): void {
    this.#writer = null;
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  /** After any error the thread writes nothing more: an attempt that succeeds would prove nothing. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#end();
      this.#answer({ kind: 'failed', problem: describe(error) });
      this.#port.close();
    }
  }

  #answer(answer: Answer): void {
    if (answer.kind === 'spare') this.#port.postMessage(answer, [answer.spare.records, answer.spare.bytes]);
    else this.#port.postMessage(answer, answer.kind === 'page' ? [answer.page.bytes] : []);
  }
}

function describe(error: unknown): string {
  const { message, errcode } = error as { message: string; errcode?: number };
  return errcode === undefined ? message : `${message} (SQLite error ${errcode})`;
}

if (parentPort !== null) new StoreThread(parentPort, workerData as WriterSettings);
