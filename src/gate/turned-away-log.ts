/** Tells the log who was turned away: each one while they are few, sums while they are many. */
import type { Log } from '../interfaces/log.ts';

const EVENT = 'stranger.turned_away';
/** Lines a second that name somebody; the log's own bound is for each address, and a flood comes from thousands. */
const LINES_MAX = 100;

export class TurnedAwayLog {
  readonly #log: Log;
  #lines = 0;
  /** Reason to the number that was not named. */
  readonly #unnamed = new Map<string, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  tell(door: string, address: string, reason: string): void {
    if (this.#lines < LINES_MAX) {
      this.#lines++;
      this.#log.warn(EVENT, { door, address, reason });
    } else this.#unnamed.set(reason, (this.#unnamed.get(reason) ?? 0) + 1);
  }

  /** To be called once a second. */
  sumUp(): void {
    this.#lines = 0;
    for (const [reason, more] of this.#unnamed) this.#log.warn(EVENT, { reason, more });
    this.#unnamed.clear();
  }
}
