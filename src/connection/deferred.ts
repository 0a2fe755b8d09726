/** Packets that wait for the store, in the order they must leave. */
export class DeferredPackets {
  #items: { sequence: number; bytes: Buffer; release: (() => void) | null }[] = [];

  get length(): number {
    return this.#items.length;
  }

  /** `release` is called once the packet need wait no longer, also where its connection has ended meanwhile. */
  push(sequence: number, bytes: Buffer, release: (() => void) | null): void {
    this.#items.push({ sequence, bytes, release });
  }

  /** Gives everything that rests on operations up to `durable` to `send`; what stands behind a packet that waits, waits too. */
  releaseUpTo(durable: number, send: (bytes: Buffer) => void): void {
    const items = this.#items;
    let count = 0;
    while (count < items.length && items[count].sequence <= durable) count++;
    if (count === 0) return;
    // Taken out first: an error in the midst must not send anything a second time.
    for (const item of items.splice(0, count)) {
      send(item.bytes);
      item.release?.();
    }
  }
}
