/** Which ways to log in hold at which listener. */
import type { Attempt, Authenticator, Exchange, Verdict } from '../src/interfaces/auth.ts';

/** Sends each attempt to the authenticator of the listener it came in by. */
export class ListenerAuthenticator implements Authenticator {
  readonly #main: Authenticator;
  readonly #byDoor: ReadonlyMap<string, Authenticator>;

  /**
   * @param main for every listener without one of its own
   * @param byDoor by the listener's URL as configured
   */
  constructor(main: Authenticator, byDoor: ReadonlyMap<string, Authenticator>) {
    this.#main = main;
    this.#byDoor = byDoor;
  }

  authenticate(attempt: Attempt): Verdict | Promise<Verdict> {
    return this.#at(attempt).authenticate(attempt);
  }

  exchange(method: string, attempt: Attempt): Exchange | null {
    return this.#at(attempt).exchange?.(method, attempt) ?? null;
  }

  #at({ peer }: Attempt): Authenticator {
    return this.#byDoor.get(peer.door) ?? this.#main;
  }
}
