/** What a session asks of the connection that it is attached to. Types only. */

import type { QoS } from '../codec/packets.ts';
import type { PublishRun } from '../router/publish-run.ts';
import type { Delivery } from './delivery.ts';
import type { Outgoing } from './outgoing.ts';

/** `full`: its buffer is at its bound, keep the message. `too-large`: over the client's Maximum Packet Size, never sent. */
export type SendResult = 'sent' | 'full' | 'too-large';

/** One ordered way to the client. */
export interface Lane {
  /** 0: the control stream, or all there is; else the data stream that has this number, and no other ever had or will have. */
  readonly id: number;
  /** False while so much waits to be written that a message had better wait in the session's queue. */
  readonly writable: boolean;
  /**
   * Appends a run of QoS 0 PUBLISH packets as received. `other`: this receiver needs them in another form, one by one.
   */
  sendRun(run: PublishRun): SendResult | 'other';
  /** Appends the PUBLISH. `packetId` is 0 at QoS 0. */
  sendPublish(
    out: Outgoing,
    qos: QoS,
    retain: boolean,
    identifiers: readonly number[] | null,
    packetId: number,
  ): SendResult;
  /** Appends the PUBLISH of a delivery, with its remaining expiry, once everything up to `sequence` is durable. */
  sendDelivery(
    delivery: Delivery,
    packetId: number,
    dup: boolean,
    expirySeconds: number,
    sequence: number,
  ): SendResult;
  /** Appends a PUBREL once everything up to `sequence` is durable. */
  sendPubrel(packetId: number, sequence: number): void;
}

/** A connection: by itself the lane of its control stream. */
export interface Receiver extends Lane {
  /** Unacknowledged QoS 1 and 2 messages that it takes: the client's Receive Maximum or our own lower bound. */
  readonly window: number;
  /** True when there is a lane beside its own. */
  readonly hasLanes: boolean;
  /** The lane with this number; its own where that one has ended. */
  lane(id: number): Lane;
  /** Another connection has the session now: says so and closes. [MQTT-3.1.4-3] */
  takeOver(): void;
}
