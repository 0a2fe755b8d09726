/** A store whose watermark moves only when a test says so, and as far as it says. */
import { MemoryStore } from '../../persistence/memory.ts';
import type {
  PageRequest,
  Store,
  StoredDelivery,
  StoredState,
  StoreEvents,
  StoreOperation,
} from '../../src/interfaces/store.ts';

export class SteppedStore implements Store {
  readonly full = false;
  readonly #memory = new MemoryStore();
  #durable = 0;
  #events: StoreEvents | null = null;

  get appended(): number {
    return this.#memory.appended;
  }

  get durable(): number {
    return this.#durable;
  }

  async open(events: StoreEvents): Promise<StoredState> {
    this.#events = events;
    return await this.#memory.open(events);
  }

  append(operation: StoreOperation): void {
    this.#memory.append(operation);
  }

  page(request: PageRequest): Promise<StoredDelivery[]> {
    return this.#memory.page(request);
  }

  async close(): Promise<void> {}

  /** The first `sequence` operations are durable; all of them unless told. */
  moveTo(sequence: number = this.appended): void {
    this.#durable = sequence;
    this.#events?.durable();
  }
}
