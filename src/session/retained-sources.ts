import type { QoS } from '../codec/packets.ts';
import { RETAINED_STEPS_PER_TURN_MAX } from '../limits.ts';
import type { Message } from './message.ts';

export interface RetainedEntry {
  readonly message: Message;
  readonly qos: QoS;
  readonly identifiers: readonly number[] | null;
  /** The data stream of the subscription; 0: the control stream. */
  readonly stream: number;
}

/** Retained messages of a new subscription, taken as the receiver has room; null is a step that led to none. */
export type RetainedSource = Iterator<RetainedEntry | null, void>;

/** The walks of all sessions through the retained messages share what a turn of the event loop can take. */
export class RetainedTurns {
  #steps = 0;
  #scheduled = false;
  /** Sessions that have more to get, those that have waited longest first. */
  readonly #waiting = new Set<RetainedSources>();
  readonly #turn = (): void => {
    this.#scheduled = false;
    this.#steps = 0;
    for (const each of this.#waiting) {
      if (this.#steps >= RETAINED_STEPS_PER_TURN_MAX) break;
      this.#waiting.delete(each);
      each.goOn();
    }
    if (this.#waiting.size > 0) this.#schedule();
  };

  /** Takes one step; false: none is left in this turn, and `sources` is told to go on in a later one. */
  step(sources: RetainedSources): boolean {
    this.#schedule();
    if (this.#steps < RETAINED_STEPS_PER_TURN_MAX) {
      this.#steps++;
      return true;
    }
    this.#waiting.add(sources);
    return false;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#turn);
  }
}

/**
 * What one session has yet to get of retained messages, by filter. It is walked a part at a time: neither a million
 * messages that the client takes at once, nor a million that it may not receive, keep the others waiting.
 */
export class RetainedSources {
  readonly #turns: RetainedTurns;
  readonly #sources = new Map<string, RetainedSource>();
  /** To be called in a later turn when `next` gave null although there is more. */
  readonly goOn: () => void;

  constructor(turns: RetainedTurns, goOn: () => void) {
    this.#turns = turns;
    this.goOn = goOn;
  }

  get size(): number {
    return this.#sources.size;
  }

  set(filter: string, source: RetainedSource): void {
    this.#sources.set(filter, source);
  }

  delete(filter: string): void {
    this.#sources.delete(filter);
  }

  /** The next message; null: there is none, or none in this turn. */
  next(): RetainedEntry | null {
    for (const [filter, source] of this.#sources) {
      for (;;) {
        if (!this.#turns.step(this)) return null;
        const next = source.next();
        if (next.done) break;
        if (next.value !== null) return next.value;
      }
      this.#sources.delete(filter);
    }
    return null;
  }
}
