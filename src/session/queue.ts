import type { Delivery } from './delivery.ts';

/** First in, first out, bounded by its owner: deliveries that wait for a connection or for a place in the window. */
export class DeliveryQueue {
  #items: (Delivery | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** Topic, payload and property bytes of all that waits. */
  get bytes(): number {
    return this.#bytes;
  }

  push(delivery: Delivery): void {
    this.#items.push(delivery);
    this.#bytes += delivery.message.bytes;
  }

  /** Puts deliveries, oldest first, before everything that waits. */
  unshiftAll(deliveries: Delivery[]): void {
    this.#items = [...deliveries, ...this.#items.slice(this.#head)];
    this.#head = 0;
    for (const delivery of deliveries) this.#bytes += delivery.message.bytes;
  }

  peek(): Delivery | undefined {
    return this.#items[this.#head];
  }

  shift(): Delivery | undefined {
    if (this.#head === this.#items.length) return undefined;
    const delivery = this.#items[this.#head]!;
    this.#items[this.#head++] = undefined;
    this.#bytes -= delivery.message.bytes;
    // Compacting at half-empty keeps shift at constant cost on average.
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head >= 64 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return delivery;
  }

  /** Takes everything out, oldest first. */
  drain(): Delivery[] {
    const all = this.#items.slice(this.#head) as Delivery[];
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
    return all;
  }
}
