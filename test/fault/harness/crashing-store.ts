/** A store whose disk is slow, full or broken as a seed says, and that can crash between any two batches. */
import { MemoryStore } from '../../../persistence/memory.ts';
import type {
  PageRequest,
  Store,
  StoredDelivery,
  StoredState,
  StoreEvents,
  StoreOperation,
} from '../../../src/interfaces/store.ts';
import type { Random } from '../../codec/random-packets.ts';

export interface Weather {
  /** Most turns of the event loop that a batch takes. */
  readonly delayTurnsMax: number;
  /** Batches after which nothing becomes durable any more; null: the disk is sound. */
  readonly failsAfterBatches: number | null;
  /** Batches after which there is no room, and those after which there is again; null: there is always room. */
  readonly fullBatches: readonly [from: number, to: number] | null;
}

/**
 * What is appended in one turn of the event loop is a batch, as the seam demands. Batches reach the disk in order; the
 * broker hears of it later, and may have crashed in between.
 */
export class CrashingStore implements Store {
  readonly #random: Random;
  readonly #weather: Weather;
  readonly #operations: StoreOperation[];
  /** What the disk had at start, in operations. */
  readonly #before: number;
  readonly #memory: MemoryStore;
  #events: StoreEvents | null = null;
  #durable = 0;
  /** Operations at the ends of the batches that are closed and not yet known to be durable. */
  #batches: number[] = [];
  #batchCount = 0;
  #ticking = false;
  #waitTurns = 0;
  #full = false;
  #dead = false;

  constructor(random: Random, weather: Weather, operations: readonly StoreOperation[] = []) {
    this.#random = random;
    this.#weather = weather;
    this.#operations = [...operations];
    this.#before = operations.length;
    this.#memory = new MemoryStore();
    for (const operation of operations) this.#memory.append(operation);
  }

  get appended(): number {
    return this.#operations.length - this.#before;
  }

  get durable(): number {
    return this.#durable;
  }

  get full(): boolean {
    return this.#full;
  }

  /** Batches closed so far. */
  get batches(): number {
    return this.#batchCount;
  }

  async open(events: StoreEvents): Promise<StoredState> {
    this.#events = events;
    return await this.#memory.open(events);
  }

  append(operation: StoreOperation): void {
    if (this.#dead) return;
    // What is written is what it was at the time, not what becomes of it.
    this.#operations.push(copyOf(operation));
    this.#memory.append(operation);
    this.#tick();
  }

  page(request: PageRequest): Promise<StoredDelivery[]> {
    return this.#memory.page(request);
  }

  async close(): Promise<void> {
    this.#dead = true;
  }

  /** The power is gone: returns what is on the disk, which is all that was durable and perhaps batches on their way. */
  crash(): readonly StoreOperation[] {
    this.#dead = true;
    const onTheirWay = this.#failed ? [] : this.#batches;
    const written = this.#random.below(onTheirWay.length + 1);
    const durable = written === 0 ? this.#durable : onTheirWay[written - 1];
    return this.#operations.slice(0, this.#before + durable);
  }

  get #failed(): boolean {
    const { failsAfterBatches } = this.#weather;
    return failsAfterBatches !== null && this.#batchCount > failsAfterBatches;
  }

  #tick(): void {
    if (this.#ticking) return;
    this.#ticking = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#ticking = false;
    if (this.#dead) return;
    const { appended } = this;
    if (appended > (this.#batches.at(-1) ?? this.#durable)) this.#closeBatch(appended);
    if (this.#failed) return;
    if (this.#batches.length > 0 && this.#waitTurns-- <= 0) {
      // Several at once, as a group commit does.
      const group = 1 + this.#random.below(this.#batches.length);
      this.#durable = this.#batches.splice(0, group).at(-1)!;
      this.#waitTurns = this.#random.below(this.#weather.delayTurnsMax + 1);
      this.#events?.durable();
    }
    if (this.#batches.length > 0 || this.appended > this.#durable) this.#tick();
  }

  #closeBatch(appended: number): void {
    this.#batches.push(appended);
    this.#batchCount++;
    const { failsAfterBatches, fullBatches } = this.#weather;
    if (this.#batchCount === (failsAfterBatches ?? -1) + 1)
      this.#events?.failed(new Error('EIO: i/o error, fdatasync'));
    if (fullBatches === null) return;
    const full = this.#batchCount >= fullBatches[0] && this.#batchCount < fullBatches[1];
    if (full === this.#full) return;
    this.#full = full;
    this.#events?.full();
  }
}

function copyOf(operation: StoreOperation): StoreOperation {
  if (!('delivery' in operation)) return operation;
  const { position, message, qos, retain, identifiers, sharedFilter, packetId, released } =
    operation.delivery;
  const delivery = { position, message, qos, retain, identifiers, sharedFilter, packetId, released };
  return { ...operation, delivery };
}
