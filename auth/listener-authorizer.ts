/** Which rules hold for whom: those of the listener that a client came in by last, else the main ones. */
import type { Action, Authorizer, Identity } from '../src/interfaces/auth.ts';

/**
 * Asks the authorizer of `Identity.door`. A session that was only read from the store has no door yet: the main rules hold
 * for it until its client comes back.
 */
export class ListenerAuthorizer implements Authorizer {
  readonly #main: Authorizer;
  readonly #byDoor: ReadonlyMap<string, Authorizer>;
  readonly #all: readonly Authorizer[];

  /**
   * @param main for every listener without one of its own
   * @param byDoor by the listener's URL as configured; listeners may share one
   */
  constructor(main: Authorizer, byDoor: ReadonlyMap<string, Authorizer>) {
    this.#main = main;
    this.#byDoor = byDoor;
    this.#all = [...new Set([main, ...byDoor.values()])];
  }

  /** The sum: generations only grow, so that it changes when any of them does. */
  get generation(): number {
    let sum = 0;
    for (let at = 0; at < this.#all.length; at++) sum += this.#all[at].generation;
    return sum;
  }

  may(identity: Identity, action: Action, topic: string): boolean {
    const { door } = identity;
    const own = door === null || door === undefined ? undefined : this.#byDoor.get(door);
    return (own ?? this.#main).may(identity, action, topic);
  }
}
