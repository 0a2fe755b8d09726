/** A store that tests keep from becoming durable, that can be full or fail, and that can crash. */
import { MemoryStore } from '../../persistence/memory.ts';
import type {
  PageRequest,
  Store,
  StoredDelivery,
  StoredState,
  StoreEvents,
  StoreOperation,
} from '../../src/interfaces/store.ts';

export class HeldStore implements Store {
  readonly #log: StoreOperation[] = [];
  /** What pages are read from: everything appended, durable or not. */
  readonly #memory = new MemoryStore();
  #durable = 0;
  #held = false;
  #full = false;
  #events: StoreEvents | null = null;

  get appended(): number {
    return this.#log.length;
  }

  get durable(): number {
    return this.#durable;
  }

  get full(): boolean {
    return this.#full;
  }

  async open(events: StoreEvents): Promise<StoredState> {
    this.#events = events;
    return await this.#memory.open(events);
  }

  append(operation: StoreOperation): void {
    // What is written is what it was at the time, not what becomes of it.
    this.#log.push(copyOf(operation));
    this.#memory.append(operation);
    if (!this.#held) this.#durable = this.#log.length;
  }

  page(request: PageRequest): Promise<StoredDelivery[]> {
    return this.#memory.page(request);
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
    this.#events?.durable();
  }

  /** There is no room for more, or there is again. */
  fill(full: boolean): void {
    this.#full = full;
    this.#events?.full();
  }

  /** The store can no longer write. */
  fail(error: Error): void {
    this.#held = true;
    this.#events?.failed(error);
  }

  /** What a broker finds after a crash: a store with what was durable. */
  crash(): MemoryStore {
    const store = new MemoryStore();
    for (const operation of this.#log.slice(0, this.#durable)) store.append(operation);
    return store;
  }
}

function copyOf(operation: StoreOperation): StoreOperation {
  return 'delivery' in operation
    ? { ...operation, delivery: { ...fieldsOf(operation.delivery) } }
    : operation;
}

function fieldsOf(delivery: StoredDelivery): StoredDelivery {
  const { position, message, qos, retain, identifiers, sharedFilter, packetId, released } = delivery;
  return { position, message, qos, retain, identifiers, sharedFilter, packetId, released };
}
