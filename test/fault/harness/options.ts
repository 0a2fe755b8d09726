/** What a session's subscription to one filter can be at each moment, as far as its client can know. */
import type { QoS } from '../../../src/codec/packets.ts';

/** A subscription as it was asked for. */
export interface Options {
  readonly qos: QoS;
  readonly identifier: number;
}

/** Null: no subscription. */
type Possible = ReadonlySet<Options | null>;

const NONE: Possible = new Set([null]);

/** Between request and answer both the old and the new are possible; so they stay when no answer came. */
export class Timeline {
  readonly #at: number[] = [-1];
  readonly #possible: Possible[] = [NONE];

  get #now(): Possible {
    return this.#possible.at(-1)!;
  }

  /** Asked for at event `at`, which makes it possible. */
  ask(at: number, options: Options | null): void {
    this.#put(at, new Set([...this.#now, options]));
  }

  /** Granted: certain from now on. */
  settle(at: number, options: Options | null): void {
    this.#put(at, new Set([options]));
  }

  /** Refused: what was asked for last is not there. */
  refuse(at: number, options: Options): void {
    this.#put(at, new Set([...this.#now].filter((other) => other !== options)));
  }

  /** Everything that was possible at some moment from event `from` to event `to`. */
  during(from: number, to: number): Possible {
    let index = this.#indexAt(from);
    const first = this.#possible[index];
    if (this.#at[index + 1] === undefined || this.#at[index + 1] > to) return first;
    const all = new Set(first);
    for (index++; index < this.#at.length && this.#at[index] <= to; index++)
      for (const options of this.#possible[index]) all.add(options);
    return all;
  }

  #put(at: number, possible: Possible): void {
    this.#at.push(at);
    this.#possible.push(possible);
  }

  #indexAt(event: number): number {
    let low = 0;
    let high = this.#at.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#at[middle] <= event) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Whether `topic` is matched by `filter`; of a shared subscription's filter, its inner one. */
export function matches(filter: string, topic: string): boolean {
  const levels = topicFilterOf(filter).split('/');
  const names = topic.split('/');
  for (const [index, level] of levels.entries()) {
    if (level === '#') return true;
    if (level !== '+' && level !== names[index]) return false;
  }
  return levels.length === names.length;
}

/** `$share/GROUP/` taken off. */
function topicFilterOf(filter: string): string {
  return isShared(filter) ? filter.split('/').slice(2).join('/') : filter;
}

export function isShared(filter: string): boolean {
  return filter.startsWith('$share/');
}
