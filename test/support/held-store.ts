/** A store that tests keep from becoming durable, and that can crash. */
import { MemoryStore } from '../../persistence/memory.ts';
import type { Store, StoredState, StoreOperation } from '../../src/interfaces/store.ts';

export class HeldStore implements Store {
  readonly #log: StoreOperation[] = [];
  #durable = 0;
  #held = false;
  #onDurable: () => void = () => {};

  get appended(): number {
    return this.#log.length;
  }

  get durable(): number {
    return this.#durable;
  }

  async open(onDurable: () => void): Promise<StoredState> {
    this.#onDurable = onDurable;
    return await new MemoryStore().open(onDurable);
  }

  append(operation: StoreOperation): void {
    // What is written is what it was at the time, not what becomes of it.
    this.#log.push(copyOf(operation));
    if (!this.#held) this.#durable = this.#log.length;
  }

  async close(): Promise<void> {}

  /** From now on nothing becomes durable. */
  hold(): void {
    this.#held = true;
  }

  /** Everything is durable, and stays so from now on. */
  release(): void {
    this.#held = false;
    this.#durable = this.#log.length;
    this.#onDurable();
  }

  /** What a broker finds after a crash: a store with what was durable. */
  crash(): MemoryStore {
    const store = new MemoryStore();
    for (const operation of this.#log.slice(0, this.#durable)) store.append(operation);
    return store;
  }
}

function copyOf(operation: StoreOperation): StoreOperation {
  if (operation.kind !== 'enqueue') return operation;
  const { position, message, qos, retain, identifiers, sharedFilter, packetId, released } =
    operation.delivery;
  return {
    ...operation,
    delivery: { position, message, qos, retain, identifiers, sharedFilter, packetId, released },
  };
}
