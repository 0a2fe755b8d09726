import type { QoS } from '../codec/packets.ts';
import type { StoredSubscription } from '../interfaces/store.ts';
import type { Session } from './session.ts';

/** One session's subscription to one filter. */
export class Subscription implements StoredSubscription {
  readonly session: Session;
  readonly filter: string;
  /** The share name of `$share/NAME/filter`; null for an ordinary subscription. */
  readonly shareName: string | null;
  /** The filter that topic names are matched with, `$share/NAME/` taken off. */
  readonly topicFilter: string;
  readonly qos: QoS;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  readonly identifier: number;
  /** The data stream that it was made on, where its messages go; 0: the control stream. Not stored: it ends with the stream. */
  stream = 0;

  constructor(session: Session, stored: StoredSubscription, shareName: string | null, topicFilter: string) {
    this.session = session;
    this.filter = stored.filter;
    this.shareName = shareName;
    this.topicFilter = topicFilter;
    this.qos = stored.qos;
    this.noLocal = stored.noLocal;
    this.retainAsPublished = stored.retainAsPublished;
    this.retainHandling = stored.retainHandling;
    this.identifier = stored.identifier;
  }
}
