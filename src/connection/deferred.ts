/** A packet that may leave once the store's operations up to `sequence` are durable. */
export interface DeferredPacket {
  readonly sequence: number;
  readonly bytes: Buffer;
  /** Called once the packet need wait no longer, also where its connection has ended meanwhile. */
  readonly release: (() => void) | null;
}

/** Packets that wait for the store, in the order they must leave. */
export class DeferredPackets {
  #items: DeferredPacket[] = [];

  get length(): number {
    return this.#items.length;
  }

  push(packet: DeferredPacket): void {
    this.#items.push(packet);
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

  /** Takes out everything. */
  takeAll(): DeferredPacket[] {
    return this.#items.splice(0);
  }
}
