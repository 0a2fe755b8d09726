import type { SharedOrigin } from '../session/delivery.ts';
import type { Message } from '../session/message.ts';
import type { Subscription } from '../session/subscription.ts';

/** The sessions that share one `$share/NAME/filter` (MQTT 5.0 section 4.8.2). */
export class SharedGroup implements SharedOrigin {
  readonly shareName: string;
  readonly topicFilter: string;
  #members: Subscription[] = [];
  #next = 0;
  readonly #onOrphan: (group: SharedGroup, message: Message) => void;

  /** `onOrphan` is given messages whose session ended before it acknowledged them. */
  constructor(
    shareName: string,
    topicFilter: string,
    onOrphan: (group: SharedGroup, message: Message) => void,
  ) {
    this.shareName = shareName;
    this.topicFilter = topicFilter;
    this.#onOrphan = onOrphan;
  }

  redeliver(message: Message): void {
    this.#onOrphan(this, message);
  }

  get size(): number {
    return this.#members.length;
  }

  /** Adds a member, or replaces its options. */
  add(subscription: Subscription): void {
    const index = this.#members.findIndex((member) => member.session === subscription.session);
    if (index < 0) this.#members.push(subscription);
    else this.#members[index] = subscription;
  }

  remove(subscription: Subscription): void {
    this.#members = this.#members.filter((member) => member.session !== subscription.session);
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
      const member = members[(this.#next + step) % members.length];
      if (!allowed(member)) continue;
      if (member.session.ready) {
        this.#next = (this.#next + step + 1) % members.length;
        return member;
      }
      if (member.session.receiver !== null) connected ??= member;
      else offline ??= member;
    }
    this.#next = (this.#next + 1) % Math.max(1, members.length);
    return connected ?? offline;
  }
}
