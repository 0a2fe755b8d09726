import type { Session } from '../session/session.ts';
import type { Subscription } from '../session/subscription.ts';

/** The sessions that share one `$share/NAME/filter` (MQTT 5.0 section 4.8.2). */
export class SharedGroup {
  readonly #members: Subscription[] = [];
  /** Where a session stands in the list, so that a large group costs no more to change than a small one. */
  readonly #indexes = new Map<Session, number>();
  #next = 0;

  get size(): number {
    return this.#members.length;
  }

  /** Adds a member, or replaces its options. */
  add(subscription: Subscription): void {
    const index = this.#indexes.get(subscription.session) ?? this.#members.length;
    this.#members[index] = subscription;
    this.#indexes.set(subscription.session, index);
  }

  remove({ session }: Subscription): void {
    const index = this.#indexes.get(session);
    if (index === undefined) return;
    this.#indexes.delete(session);
    const last = this.#members.pop()!;
    if (last.session === session) return;
    this.#members[index] = last;
    this.#indexes.set(last.session, index);
  }

  some(predicate: (member: Subscription) => boolean): boolean {
    return this.#members.some(predicate);
  }

  /**
   * Whose turn it is, in rotation among those `allowed`: whoever can take the message at once, else whoever is
   * connected, else a session that will come back. Null when nobody may have it.
   */
  pick(allowed: (member: Subscription) => boolean): Subscription | null {
    const members = this.#members;
    let connected: Subscription | null = null;
    let offline: Subscription | null = null;
    for (let step = 0; step < members.length; step++) {
      const index = (this.#next + step) % members.length;
      const member = members[index];
      const { session, stream } = member;
      const ready = session.readyOn(stream);
      const { receiver } = session;
      // Rights are asked only of those who could be the answer.
      if (!ready && (receiver === null ? offline : connected) !== null) continue;
      if (!allowed(member)) continue;
      if (ready) {
        this.#next = index + 1;
        return member;
      }
      if (receiver !== null) connected = member;
      else offline = member;
    }
    this.#next++;
    return connected ?? offline;
  }
}
