/** The seam for what must outlive a connection or the process. Types only. */
import type { QoS } from '../codec/packets.ts';

/** An application message at rest. Immutable, and shared by every session that waits for it. */
export interface StoredMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  /** MQTT 5 properties to forward as encoded bytes, without message expiry, alias and subscription identifiers. */
  readonly properties: Buffer;
  /** Monotonic milliseconds (Clock.now) at which the message expires; 0: never. */
  readonly expiresAtMs: number;
  /** Client id of the publisher; empty for the broker itself. */
  readonly publisherId: string;
}

export interface StoredWill {
  readonly message: StoredMessage;
  readonly delaySeconds: number;
  /** Message expiry in seconds, counted from when the will is published; -1: none. */
  readonly expirySeconds: number;
}

export interface StoredSession {
  readonly clientId: string;
  readonly owner: string | null;
  readonly expirySeconds: number;
  /** Wall-clock milliseconds of the disconnect; 0 while connected. */
  readonly disconnectedAtWallMs: number;
  readonly will: StoredWill | null;
}

export interface StoredSubscription {
  /** As the client wrote it, `$share/group/` included. */
  readonly filter: string;
  readonly qos: QoS;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** 0: none. */
  readonly identifier: number;
}

/** One message on its way to one session. `position` orders them and never repeats within a session. */
export interface StoredDelivery {
  readonly position: number;
  readonly message: StoredMessage;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly identifiers: readonly number[] | null;
  /** `$share/NAME/filter` of the shared subscription it was chosen for, so that another member can get it; null: none. */
  readonly sharedFilter: string | null;
  /** 0 until it was sent. */
  readonly packetId: number;
  /** True once PUBREC came and only PUBREL and PUBCOMP are left. */
  readonly released: boolean;
}

/** One change of state. Operations of a session are applied in the order they were appended. */
export type StoreOperation =
  | { readonly kind: 'session'; readonly session: StoredSession }
  | { readonly kind: 'session-end'; readonly clientId: string }
  | { readonly kind: 'subscribe'; readonly clientId: string; readonly subscription: StoredSubscription }
  | { readonly kind: 'unsubscribe'; readonly clientId: string; readonly filter: string }
  | { readonly kind: 'enqueue'; readonly clientId: string; readonly delivery: StoredDelivery }
  | { readonly kind: 'sent'; readonly clientId: string; readonly position: number; readonly packetId: number }
  | { readonly kind: 'released'; readonly clientId: string; readonly position: number }
  | { readonly kind: 'done'; readonly clientId: string; readonly position: number }
  | { readonly kind: 'inbound'; readonly clientId: string; readonly packetId: number }
  | { readonly kind: 'inbound-done'; readonly clientId: string; readonly packetId: number }
  | { readonly kind: 'retain'; readonly message: StoredMessage }
  | { readonly kind: 'unretain'; readonly topic: string };

/** What a store hands over at start. */
export interface StoredState {
  readonly sessions: Iterable<{
    readonly session: StoredSession;
    readonly subscriptions: Iterable<StoredSubscription>;
    readonly deliveries: Iterable<StoredDelivery>;
    readonly inbound: Iterable<number>;
  }>;
  readonly retained: Iterable<StoredMessage>;
}

/**
 * An append log of operations with a watermark of what is on stable storage. The operations appended in one turn of the
 * event loop become durable together: a QoS 2 message and its packet identifier must not be parted by a crash.
 */
export interface Store {
  /** Opens and reads what is there. `onDurable` is called whenever `durable` has moved on by itself. */
  open(onDurable: () => void): Promise<StoredState>;
  /** Adds one operation; cheap, never waits. */
  append(operation: StoreOperation): void;
  /** Number of operations appended since open. */
  readonly appended: number;
  /** Number of operations that are durable: an acknowledgement that rests on operation n may leave once `durable >= n`. */
  readonly durable: number;
  /** Makes everything durable and closes. */
  close(): Promise<void>;
}
