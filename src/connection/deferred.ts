/** Packets that wait for the store, in the order they must leave. */
export class DeferredPackets {
  #items: { sequence: number; bytes: Buffer; release: (() => void) | null }[] = [];

  get length(): number {
    return this.#items.length;
  }

  /** `release` is called when the packet leaves. */
  push(sequence: number, bytes: Buffer, release: (() => void) | null): void {
    this.#items.push({ sequence, bytes, release });
  }

  /** Gives everything that rests on operations up to `durable` to `send`; what stands behind a packet that waits, waits too. */
  releaseUpTo(durable: number, send: (bytes: Buffer) => void): void {
    let count = 0;
    for (const item of this.#items) {
      if (item.sequence > durable) break;
      send(item.bytes);
      item.release?.();
      count++;
    }
    if (count > 0) this.#items.splice(0, count);
  }
}
