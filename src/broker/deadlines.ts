/** Things that fall due, in buckets of a second: setting and clearing cost the same whatever waits, with no timer for each. */
export class Deadlines<T> {
  readonly #buckets = new Map<number, Set<T>>();
  readonly #bucketOf = new Map<T, number>();
  #sweptTo = Number.NEGATIVE_INFINITY;

  /** Sets or moves the deadline of `item` to `atMs` (monotonic milliseconds); it falls due up to a second later. */
  set(item: T, atMs: number): void {
    this.delete(item);
    const bucket = Math.max(Math.ceil(atMs / 1000), this.#sweptTo + 1);
    let items = this.#buckets.get(bucket);
    if (items === undefined) {
      items = new Set();
      this.#buckets.set(bucket, items);
    }
    items.add(item);
    this.#bucketOf.set(item, bucket);
  }

  delete(item: T): void {
    const bucket = this.#bucketOf.get(item);
    if (bucket === undefined) return;
    this.#bucketOf.delete(item);
    const items = this.#buckets.get(bucket);
    items?.delete(item);
    if (items?.size === 0) this.#buckets.delete(bucket);
  }

  /** Takes out what is due at `nowMs`, earliest first, up to `countMax`; called again, it goes on with the rest. */
  due(nowMs: number, countMax: number): T[] {
    const now = Math.floor(nowMs / 1000);
    const items: T[] = [];
    if (now <= this.#sweptTo) return items;
    const from = this.#sweptTo + 1;
    // Second by second, or through all that is there where time has leapt.
    if (now - from < this.#buckets.size) {
      for (let bucket = from; bucket <= now; bucket++) if (!this.#take(bucket, items, countMax)) return items;
    } else {
      const due = [...this.#buckets.keys()].filter((bucket) => bucket <= now).sort((a, b) => a - b);
      for (const bucket of due) if (!this.#take(bucket, items, countMax)) return items;
    }
    this.#sweptTo = now;
    return items;
  }

  /** False when the count was reached before the bucket was empty; it is then the first of the next call. */
  #take(bucket: number, into: T[], countMax: number): boolean {
    const items = this.#buckets.get(bucket);
    if (items !== undefined) {
      for (const item of items) {
        if (into.length >= countMax) return false;
        into.push(item);
        items.delete(item);
        this.#bucketOf.delete(item);
      }
      this.#buckets.delete(bucket);
    }
    this.#sweptTo = bucket;
    return true;
  }
}
