import type { Clock } from '../interfaces/clock.ts';
import type { Log } from '../interfaces/log.ts';

const INTERVAL_MS = 60_000;

/** A log line for what may happen thousands of times a second: at most one a minute, with the number since the last. */
export class CountedWarning {
  #count = 0;
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  /** Notes that it happened `count` times; `fields` are those of the line, made only when there is one. */
  note(log: Log, clock: Clock, event: string, count: number, fields: () => object): void {
    this.#count += count;
    const now = clock.now();
    if (now - this.#loggedAtMs < INTERVAL_MS) return;
    this.#loggedAtMs = now;
    log.warn(event, { ...fields(), count: this.#count });
    this.#count = 0;
  }
}
