/** A set of ids at eight bytes each, where a Set would take some forty: dumps can have tens of millions. */
export class IdSet {
  #ids = new Float64Array(1_024);
  #size = 0;
  #isSorted = true;

  /** Adds an id that was not added before. */
  add(id: number): void {
    if (this.#size === this.#ids.length) {
      const grown = new Float64Array(this.#ids.length * 2);
      grown.set(this.#ids);
      this.#ids = grown;
    }
    if (this.#size > 0 && this.#ids[this.#size - 1] > id) this.#isSorted = false;
    this.#ids[this.#size++] = id;
  }

  has(id: number): boolean {
    if (!this.#isSorted) {
      this.#ids.subarray(0, this.#size).sort();
      this.#isSorted = true;
    }
    let low = 0;
    let high = this.#size;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ids[middle] < id) low = middle + 1;
      else high = middle;
    }
    return low < this.#size && this.#ids[low] === id;
  }
}
