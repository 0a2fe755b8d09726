/** The rows of messages: how many deliveries and retained rows point to each is summed over a batch, and written once. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { StoreDamage } from './damage.ts';
import { countedBytes, messageChecksum, retainedChecksum } from './records.ts';

/** Where a body lies in the bytes of the batch. */
interface BodyPlace {
  readonly start: number;
  readonly end: number;
}

export class References {
  readonly #addMessage: StatementSync;
  readonly #moveRefs: StatementSync;
  readonly #removeMessage: StatementSync;
  readonly #addRetained: StatementSync;
  readonly #removeRetained: StatementSync;
  #bytes: Buffer = Buffer.alloc(0);
  #first = Number.POSITIVE_INFINITY;
  // Messages new with this batch: index is handle - #first; those below #settled have their row, or need none.
  #refs = new Int32Array(1_024);
  #starts = new Uint32Array(1_024);
  #ends = new Uint32Array(1_024);
  #fresh = 0;
  #settled = 0;
  // All others.
  readonly #deltas = new Map<number, number>();
  readonly #bodies = new Map<number, BodyPlace>();
  readonly #retained = new Map<number, boolean>();

  constructor(db: DatabaseSync) {
    this.#addMessage = db.prepare('INSERT INTO message (id, refs, checksum, body) VALUES (?, ?, ?, ?)');
    this.#moveRefs = db.prepare('UPDATE message SET refs = refs + ?1 WHERE id = ?2 AND refs + ?1 > 0');
    this.#removeMessage = db.prepare('DELETE FROM message WHERE id = ? AND refs = ?');
    this.#addRetained = db.prepare('INSERT OR IGNORE INTO retained (message, checksum) VALUES (?, ?)');
    this.#removeRetained = db.prepare('DELETE FROM retained WHERE message = ?');
  }

  /** Begins a batch. `firstHandle`: handles from here on are new with it. */
  begin(bytes: Buffer, firstHandle: number): void {
    this.#bytes = bytes;
    this.#first = firstHandle;
    this.#fresh = 0;
    this.#settled = 0;
    // Cleared also here, because a batch may have been given up halfway.
    this.#deltas.clear();
    this.#bodies.clear();
    this.#retained.clear();
  }

  /** The body of a message lies here in the bytes of the batch. New messages come in the order of their handles. */
  body(message: number, start: number, end: number): void {
    if (message < this.#first) {
      this.#bodies.set(message, { start, end });
      return;
    }
    const index = message - this.#first;
    if (index >= this.#refs.length) this.#grow();
    this.#refs[index] = 0;
    this.#starts[index] = start;
    this.#ends[index] = end;
    this.#fresh = index + 1;
  }

  /** What a queue counts for a message whose body is in the batch. */
  countedBytes(message: number): number {
    const { start, end } = this.#placeOf(message);
    return countedBytes(this.#bytes, start, end);
  }

  add(message: number, delta: number): void {
    const index = message - this.#first;
    if (index >= this.#settled) this.#refs[index] += delta;
    else this.#deltas.set(message, (this.#deltas.get(message) ?? 0) + delta);
  }

  retain(message: number, isRetained: boolean): void {
    this.#retained.set(message, isRetained);
  }

  /** Writes what was summed up; gives the change in the number of retained messages. */
  settle(): number {
    const retained = this.#settleRetained();
    for (let index = this.#settled; index < this.#fresh; index++) {
      if (this.#refs[index] > 0) this.#insert(this.#first + index, this.#refs[index]);
    }
    this.#settled = this.#fresh;
    for (const [message, delta] of this.#deltas) {
      if (delta !== 0) this.#move(message, delta);
    }
    this.#deltas.clear();
    return retained;
  }

  #settleRetained(): number {
    let change = 0;
    for (const [message, isRetained] of this.#retained) {
      const delta = isRetained
        ? (this.#addRetained.run(message, retainedChecksum(message)).changes as number)
        : -(this.#removeRetained.run(message).changes as number);
      if (delta !== 0) this.add(message, delta);
      change += delta;
    }
    this.#retained.clear();
    return change;
  }

  #move(message: number, delta: number): void {
    if (delta < 0 && this.#removeMessage.run(message, -delta).changes === 1) return;
    if (this.#moveRefs.run(delta, message).changes === 1) return;
    // It has had no reference left since an earlier batch, or in this one, and comes anew.
    if (delta > 0) this.#insert(message, delta);
    else throw new StoreDamage(`message ${message}`, 'fewer references are counted than there are');
  }

  #insert(message: number, refs: number): void {
    const { start, end } = this.#placeOf(message);
    const body = this.#bytes.subarray(start, end);
    this.#addMessage.run(message, refs, messageChecksum(message, body), body);
  }

  #placeOf(message: number): BodyPlace {
    const index = message - this.#first;
    if (index >= 0 && index < this.#fresh) return { start: this.#starts[index], end: this.#ends[index] };
    const place = this.#bodies.get(message);
    if (place === undefined) throw new Error(`the body of message ${message} is not in its batch`);
    return place;
  }

  #grow(): void {
    const length = this.#refs.length * 2;
    const grown = <T extends Int32Array | Uint32Array>(old: T, made: T): T => {
      made.set(old);
      return made;
    };
    this.#refs = grown(this.#refs, new Int32Array(length));
    this.#starts = grown(this.#starts, new Uint32Array(length));
    this.#ends = grown(this.#ends, new Uint32Array(length));
  }
}
