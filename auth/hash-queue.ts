/** Keeps a flood of logins from taking the machine: few hashes at once, few waiting, the rest are told to come back. */

/** Two keep two cores busy at full rate and leave libuv's other threads to files and name look-ups. */
export const HASHES_AT_ONCE_MAX = 2;
/** At about 96 logins a second the last in line waits under three seconds, well inside the CONNECT deadline. */
export const HASHES_WAITING_MAX = 256;

/** One for the whole process; share it between listeners. */
export class HashQueue {
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #atOnceMax: number;
  readonly #waitingMax: number;

  constructor(atOnceMax = HASHES_AT_ONCE_MAX, waitingMax = HASHES_WAITING_MAX) {
    this.#atOnceMax = atOnceMax;
    this.#waitingMax = waitingMax;
  }

  /** Tasks that wait for their turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs `task` when its turn comes, first come first served, and settles as it does. Null: the queue is full. */
  offer<T>(task: () => Promise<T>): Promise<T> | null {
    if (this.#running < this.#atOnceMax) {
      this.#running++;
      return this.#run(task);
    }
    if (this.#waiting.length >= this.#waitingMax) return null;
    // The slot is handed over, not freed and taken again, so that no newcomer slips in between.
    return new Promise<void>((turn) => this.#waiting.push(turn)).then(() => this.#run(task));
  }

  async #run<T>(task: () => Promise<T>): Promise<T> {
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
