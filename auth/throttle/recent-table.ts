/** A table of bounded size for what strangers cause: what was not touched for the longest time goes first. */
import { hash } from 'node:crypto';

/** Longer names stand in keys by their digest: a stranger may send 64 KB. */
const NAME_CHARACTERS_MAX = 48;

/** A user name or client id as part of a key: never longer than 49 characters, and no two names alike. */
export function keyOfName(name: string | null): string {
  if (name === null) return '-';
  return name.length <= NAME_CHARACTERS_MAX ? `=${name}` : `#${hash('sha256', name, 'base64url')}`;
}

export class RecentTable<T> {
  readonly #entriesMax: number;
  /** In the order of the last touch: a Map keeps insertion order, and a touch inserts anew. */
  readonly #entries = new Map<string, T>();

  /** @param entriesMax beyond it the entry that was touched longest ago is forgotten */
  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Looks without touching. */
  get(key: string): T | undefined {
    return this.#entries.get(key);
  }

  /** Puts an entry in, or moves it to the end. */
  touch(key: string, entry: T): void {
    this.#entries.delete(key);
    if (this.#entries.size >= this.#entriesMax) this.#dropOldest();
    this.#entries.set(key, entry);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  /** The entries and their keys, touched longest ago first. */
  entries(): IterableIterator<[string, T]> {
    return this.#entries.entries();
  }

  #dropOldest(): void {
    for (const key of this.#entries.keys()) {
      this.#entries.delete(key);
      return;
    }
  }
}
