import type { Store, StoredDelivery, StoredQueue } from '../interfaces/store.ts';
import {
  DELIVERY_OVERHEAD_BYTES,
  QUEUE_FRONT_MESSAGES_MAX,
  QUEUE_FRONTS_BYTES_MAX,
  QUEUE_PAGE_BYTES_MAX,
  QUEUE_PAGE_BYTES_MIN,
} from '../limits.ts';
import { Delivery, STREAM_UNKNOWN } from './delivery.ts';
import { Message } from './message.ts';
import { DeliveryQueue } from './queue.ts';

/** Bytes that the queues of all sessions hold in memory for what is in the store as well. */
export class QueueMemory {
  readonly #pressure: { readonly memoryShort: boolean };
  bytes = 0;

  constructor(pressure: { readonly memoryShort: boolean }) {
    this.#pressure = pressure;
  }

  get used(): boolean {
    return this.bytes >= QUEUE_FRONTS_BYTES_MAX || this.#pressure.memoryShort;
  }
}

/**
 * What waits for one session, oldest first: the front of it in memory, the rest in the store until it is asked for.
 * Without a store to lean on (a session that ends with its connection) everything is in memory.
 */
export class PagedQueue {
  readonly #memory: QueueMemory;
  readonly #front = new DeliveryQueue();
  /** What is in the store alone. */
  #pagedMessages = 0;
  #pagedBytes = 0;
  /** Position up to which everything that waits has been in memory. */
  #loadedTo = 0;
  #loading = false;

  constructor(memory: QueueMemory) {
    this.#memory = memory;
  }

  get length(): number {
    return this.#front.length + this.#pagedMessages;
  }

  /** Topic, payload and property bytes of all that waits. */
  get bytes(): number {
    return this.#front.bytes + this.#pagedBytes;
  }

  /** The same for what is in memory. */
  get frontBytes(): number {
    return this.#front.bytes;
  }

  /** True when messages wait in the store alone. */
  get paged(): boolean {
    return this.#pagedMessages > 0;
  }

  /** Adds at the end. `stored`: the store has it too, so that it need not stay in memory. */
  push(delivery: Delivery, stored: boolean): void {
    const full = this.#front.length >= QUEUE_FRONT_MESSAGES_MAX || this.#memory.used;
    if (stored && (this.paged || full)) {
      this.#pagedMessages++;
      this.#pagedBytes += delivery.message.bytes;
    } else this.#add(delivery);
  }

  /** Takes over what the store says waits there. */
  restore({ messages, bytes }: StoredQueue): void {
    this.#pagedMessages += messages;
    this.#pagedBytes += bytes;
  }

  /** Puts deliveries, oldest first, before everything that waits. */
  unshiftAll(deliveries: Delivery[]): void {
    this.#front.unshiftAll(deliveries);
    for (const delivery of deliveries) this.#memory.bytes += costOf(delivery);
  }

  /** The next one; undefined: nothing waits, or it has yet to be loaded. */
  peek(): Delivery | undefined {
    return this.#front.peek();
  }

  shift(): Delivery | undefined {
    const delivery = this.#front.shift();
    if (delivery !== undefined) this.#memory.bytes -= costOf(delivery);
    return delivery;
  }

  /** Takes out the oldest one that was never sent; undefined: none is in memory. */
  shiftUnsent(): Delivery | undefined {
    if (this.peek()?.packetId === 0) return this.shift();
    const all = this.#front.drain();
    const index = all.findIndex((each) => each.packetId === 0);
    const taken = index < 0 ? [] : all.splice(index, 1);
    this.#front.unshiftAll([...taken, ...all]);
    return taken.length === 0 ? undefined : this.shift();
  }

  /** Takes out everything that is in memory, oldest first, and forgets the rest; returns how many those are with it. */
  drain(): { loaded: Delivery[]; forgotten: number } {
    const loaded = this.#front.drain();
    for (const delivery of loaded) this.#memory.bytes -= costOf(delivery);
    const forgotten = this.#pagedMessages;
    this.#pagedMessages = 0;
    this.#pagedBytes = 0;
    return { loaded, forgotten };
  }

  /** True when the front is short while more waits in the store, and nobody is fetching it yet. */
  get wantsPage(): boolean {
    return this.#pagedMessages > 0 && !this.#loading && this.#front.length < QUEUE_FRONT_MESSAGES_MAX / 2;
  }

  /**
   * Fetches the next page to the front. Resolves to the number of messages that the store was to have and has not: 0
   * unless it is damaged. Rejects when the store has failed.
   */
  async load(store: Store, clientId: string): Promise<number> {
    this.#loading = true;
    const request = {
      clientId,
      after: this.#loadedTo,
      messagesMax: QUEUE_FRONT_MESSAGES_MAX,
      bytesMax: this.#memory.used ? QUEUE_PAGE_BYTES_MIN : QUEUE_PAGE_BYTES_MAX,
    };
    let page: StoredDelivery[];
    try {
      page = await store.page(request);
    } finally {
      this.#loading = false;
    }
    // The session has ended meanwhile.
    if (this.#pagedMessages === 0) return 0;
    for (const stored of page) {
      const delivery = deliveryOf(stored);
      this.#pagedMessages--;
      this.#pagedBytes -= delivery.message.bytes;
      this.#add(delivery);
    }
    // What is not there cannot be waited for.
    const missing = page.length === 0 ? this.#pagedMessages : 0;
    if (missing > 0) {
      this.#pagedMessages = 0;
      this.#pagedBytes = 0;
    }
    return missing;
  }

  #add(delivery: Delivery): void {
    this.#front.push(delivery);
    this.#loadedTo = delivery.position;
    this.#memory.bytes += costOf(delivery);
  }
}

/** A delivery as the session keeps it, made from what the store has. */
export function deliveryOf(stored: StoredDelivery): Delivery {
  const { position, qos, retain, identifiers, sharedFilter } = stored;
  const message = stored.message instanceof Message ? stored.message : new Message(stored.message);
  const delivery = new Delivery(position, message, qos, retain, identifiers, sharedFilter);
  delivery.packetId = stored.packetId;
  delivery.released = stored.released;
  delivery.stream = STREAM_UNKNOWN;
  return delivery;
}

function costOf({ message }: Delivery): number {
  return message.bytes + DELIVERY_OVERHEAD_BYTES;
}
