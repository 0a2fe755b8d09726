/** Work that may come in a storm: as much of it as a turn of the event loop should take is done at once, the rest in turns of its own. */
export class Paced<T> {
  readonly #perTurnMax: number;
  readonly #run: (item: T) => void;
  /** By client id, oldest first. Its bound is that of what is in it: one item for each session. */
  readonly #waiting = new Map<string, T>();
  #doneInTurn = 0;
  #scheduled = false;
  readonly #turn = (): void => {
    this.#scheduled = false;
    this.#doneInTurn = 0;
    for (const [key, item] of this.#waiting) {
      if (this.#doneInTurn >= this.#perTurnMax) break;
      this.#waiting.delete(key);
      this.#do(item);
    }
  };

  constructor(perTurnMax: number, run: (item: T) => void) {
    this.#perTurnMax = perTurnMax;
    this.#run = run;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Runs the item now, or behind all that waits. What waits under the same key is run before it. */
  add(key: string, item: T): void {
    if (this.#waiting.size === 0 && this.#doneInTurn < this.#perTurnMax) {
      this.#do(item);
      return;
    }
    this.runNow(key);
    this.#waiting.set(key, item);
    this.#schedule();
  }

  /** Runs what waits under this key. */
  runNow(key: string): void {
    const item = this.#waiting.get(key);
    if (item === undefined) return;
    this.#waiting.delete(key);
    this.#do(item);
  }

  /** Runs everything that waits. */
  runAll(): void {
    for (const [key, item] of this.#waiting) {
      this.#waiting.delete(key);
      this.#do(item);
    }
  }

  #do(item: T): void {
    this.#doneInTurn++;
    this.#schedule();
    this.#run(item);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#turn);
  }
}
