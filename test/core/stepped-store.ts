/** A store whose watermark moves only when a test says so, and as far as it says. */
import { MemoryStore } from '../../persistence/memory.ts';
import type { Store, StoredState, StoreOperation } from '../../src/interfaces/store.ts';

export class SteppedStore implements Store {
  readonly #memory = new MemoryStore();
  #durable = 0;
  #onDurable: () => void = () => {};

  get appended(): number {
    return this.#memory.appended;
  }

  get durable(): number {
    return this.#durable;
  }

  async open(onDurable: () => void): Promise<StoredState> {
    this.#onDurable = onDurable;
    return await this.#memory.open(onDurable);
  }

  append(operation: StoreOperation): void {
    this.#memory.append(operation);
  }

  async close(): Promise<void> {}

  /** The first `sequence` operations are durable; all of them unless told. */
  moveTo(sequence: number = this.appended): void {
    this.#durable = sequence;
    this.#onDurable();
  }
}
