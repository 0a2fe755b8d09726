import type { QoS } from '../codec/packets.ts';
import type { StoredDelivery } from '../interfaces/store.ts';
import type { Message } from './message.ts';

/** As `stream` of a delivery that comes from the store, which does not know it. */
export const STREAM_UNKNOWN = -1;

/** One message on its way to one session: queued (packetId 0, or kept from before a reconnect) or in flight. */
export class Delivery implements StoredDelivery {
  readonly position: number;
  readonly message: Message;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly identifiers: readonly number[] | null;
  readonly sharedFilter: string | null;
  packetId = 0;
  /** The store's operation that must be durable before it is sent; 0: none. */
  notBefore = 0;
  released = false;
  /** The data stream that it is for, or was sent on; 0: the control stream. */
  stream = 0;

  constructor(
    position: number,
    message: Message,
    qos: QoS,
    retain: boolean,
    identifiers: readonly number[] | null,
    sharedFilter: string | null,
  ) {
    this.position = position;
    this.message = message;
    this.qos = qos;
    this.retain = retain;
    this.identifiers = identifiers;
    this.sharedFilter = sharedFilter;
  }
}
