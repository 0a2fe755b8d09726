/** What sessions are given. Types only. */
import type { Authorizer } from '../interfaces/auth.ts';
import type { Clock } from '../interfaces/clock.ts';
import type { Log } from '../interfaces/log.ts';
import type { Store } from '../interfaces/store.ts';
import type { Limits } from '../limits.ts';
import type { Statistics } from '../statistics.ts';
import type { Delivery } from './delivery.ts';
import type { Message } from './message.ts';
import type { QueueMemory } from './paged-queue.ts';
import type { RetainedTurns } from './retained-sources.ts';
import type { Session } from './session.ts';

/** What every session of a broker shares. */
export interface SessionContext {
  readonly limits: Limits;
  readonly store: Store;
  readonly authorizer: Authorizer;
  readonly statistics: Statistics;
  readonly clock: Clock;
  readonly log: Log;
  /** True: QoS 0 messages are queued for sessions that are not connected. */
  readonly queueQos0: boolean;
  /** What a full queue loses: the message that comes, or those that have waited longest. */
  readonly queueWhenFull: 'drop-newest' | 'drop-oldest';
  readonly queueMemory: QueueMemory;
  readonly retainedTurns: RetainedTurns;
  /** The data stream that a message now goes to of which the store did not say; 0: the control stream. */
  readonly streamOf: (session: Session, delivery: Delivery) => number;
  /** `memoryShort`: nothing more is kept in memory than must be. */
  readonly pressure: { readonly memoryShort: boolean };
}

export interface SessionWill {
  readonly message: Message;
  /** Will Delay Interval. */
  readonly delaySeconds: number;
  /** Message expiry in seconds, counted from when the will is published; -1: none. */
  readonly expirySeconds: number;
}
