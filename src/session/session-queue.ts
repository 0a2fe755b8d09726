import type { StoredQueue } from '../interfaces/store.ts';
import { QUEUE_FRONT_MESSAGES_MAX, QUEUE_PAGE_BYTES_MAX } from '../limits.ts';
import { CountedWarning } from './counted-warning.ts';
import type { Delivery } from './delivery.ts';
import { PagedQueue } from './paged-queue.ts';
import type { SessionContext } from './session-context.ts';

/** Whose queue it is. */
interface Owner {
  readonly clientId: string;
  readonly owner: string | null;
  /** There is more to send. */
  pump(): void;
  /** A message that had to make room is over. */
  done(delivery: Delivery): void;
}

/** What waits for one session: bounded, counted, and fetched from the store when it is due. */
export class SessionQueue extends PagedQueue {
  readonly #context: SessionContext;
  readonly #owner: Owner;
  #dropWarning: CountedWarning | null = null;
  #ended = false;

  constructor(context: SessionContext, owner: Owner) {
    super(context.queueMemory);
    this.#context = context;
    this.#owner = owner;
  }

  override push(delivery: Delivery, stored: boolean): void {
    super.push(delivery, stored);
    this.#count(1, delivery.message.bytes);
  }

  override unshiftAll(deliveries: Delivery[]): void {
    if (deliveries.length === 0) return;
    super.unshiftAll(deliveries);
    for (const delivery of deliveries) this.#count(1, delivery.message.bytes);
  }

  override shift(): Delivery | undefined {
    const delivery = super.shift();
    if (delivery !== undefined) this.#count(-1, -delivery.message.bytes);
    return delivery;
  }

  override restore(queue: StoredQueue): void {
    super.restore(queue);
    this.#count(queue.messages, queue.bytes);
  }

  /** The session is over. Returns what is in memory; the rest is counted as dropped. */
  end(): Delivery[] {
    this.#ended = true;
    this.#count(-this.length, -this.bytes);
    const { loaded, forgotten } = this.drain();
    this.#context.statistics.publishDropped += forgotten;
    return loaded;
  }

  /** True when there is room for another message of `bytes`; drops the oldest for it where that is the rule. */
  makeRoom(bytes: number, stored: boolean): boolean {
    const { limits, queueWhenFull, pressure } = this.#context;
    const { queueMessagesMax, queueBytesMax } = limits;
    // What a store has can be paged out; a session without one would take more memory.
    if (pressure.memoryShort && !stored) return false;
    const fits = (): boolean => this.length < queueMessagesMax && this.bytes + bytes <= queueBytesMax;
    if (fits()) return true;
    if (queueWhenFull === 'drop-newest' || bytes > queueBytesMax) return false;
    while (!fits()) {
      const oldest = this.shiftUnsent();
      if (oldest === undefined) return this.#oldestIsAway();
      this.drop(oldest.message.topic);
      this.#owner.done(oldest);
    }
    return true;
  }

  /** Brings more into memory, if it is due. */
  fill(): void {
    if (!this.wantsPage) return;
    const { store, log } = this.#context;
    const { clientId, owner: username } = this.#owner;
    this.load(store, clientId).then(
      (missing) => {
        if (missing > 0) {
          this.#context.statistics.queuedMessages -= missing;
          log.error('session.queue_short', { clientId, username, missing });
        }
        if (!this.#ended) this.#owner.pump();
      },
      // The store has failed, and says so to everybody.
      () => {},
    );
  }

  /** Counts messages that the session does not get, and says so at most once a minute. */
  drop(topic: string, count = 1): void {
    const { statistics, clock, log } = this.#context;
    statistics.publishDropped += count;
    const { clientId, owner: username } = this.#owner;
    const waiting = this.length;
    this.#dropWarning ??= new CountedWarning();
    this.#dropWarning.note(log, clock, 'session.messages_dropped', count, () => ({
      clientId,
      username,
      topic,
      waiting,
    }));
  }

  /** The oldest message is on its way from the store: until it is here, the queue may grow by as much as one page. */
  #oldestIsAway(): boolean {
    const { queueMessagesMax, queueBytesMax } = this.#context.limits;
    this.fill();
    return (
      this.paged &&
      this.length < queueMessagesMax + QUEUE_FRONT_MESSAGES_MAX &&
      this.bytes < queueBytesMax + QUEUE_PAGE_BYTES_MAX
    );
  }

  #count(messages: number, bytes: number): void {
    this.#context.statistics.queuedMessages += messages;
    this.#context.statistics.queuedBytes += bytes;
  }
}
