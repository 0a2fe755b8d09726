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
  /** The store's own name for it, set by the store alone; 0: not known to the store. */
  storeHandle: number;
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
  /** Monotonic milliseconds (Clock.now) of the disconnect, negative when that was before the clock began; null: connected. */
  readonly disconnectedAtMs: number | null;
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

/**
 * One change of state. Operations of a session are applied in the order they were appended. A store reads what it is given
 * before `append` returns: a delivery may change afterwards.
 */
export type StoreOperation =
  | { readonly kind: 'session'; readonly session: StoredSession }
  | { readonly kind: 'session-end'; readonly clientId: string }
  | { readonly kind: 'subscribe'; readonly clientId: string; readonly subscription: StoredSubscription }
  | { readonly kind: 'unsubscribe'; readonly clientId: string; readonly filter: string }
  /** `enqueue`: a new one. `sent`: it has got its packet identifier. `released`: PUBREC came. `done`: it is over. */
  | {
      readonly kind: 'enqueue' | 'sent' | 'released' | 'done';
      readonly clientId: string;
      readonly delivery: StoredDelivery;
    }
  | { readonly kind: 'inbound' | 'inbound-done'; readonly clientId: string; readonly packetId: number }
  /** `replaced`: the topic's message until now. */
  | { readonly kind: 'retain'; readonly message: StoredMessage; readonly replaced: StoredMessage | null }
  | { readonly kind: 'unretain'; readonly message: StoredMessage };

/** What waits for a session and has no packet identifier yet. It stays in the store until it is asked for. */
export interface StoredQueue {
  readonly messages: number;
  /** Topic, payload and property bytes of all of them. */
  readonly bytes: number;
}

/** A session as a store hands it over at start. */
export interface StoredSessionState {
  readonly session: StoredSession;
  readonly subscriptions: Iterable<StoredSubscription>;
  /** Those that have a packet identifier, in the order of their positions. */
  readonly inFlight: Iterable<StoredDelivery>;
  readonly queue: StoredQueue;
  /** The highest position of any delivery; 0: none. */
  readonly lastPosition: number;
  readonly inbound: Iterable<number>;
}

/** What a store hands over at start. */
export interface StoredState {
  readonly sessions: Iterable<StoredSessionState>;
  readonly retained: Iterable<StoredMessage>;
}

/** What a store tells its broker. None is called from within `append`. */
export interface StoreEvents {
  /** `durable` has moved on. */
  durable(): void;
  /** `full` has changed. */
  full(): void;
  /** The store can no longer keep its promise; nothing becomes durable any more. */
  failed(error: Error): void;
}

/** A part of one session's queue: from behind `after`, in the order of positions, without those that have a packet identifier. */
export interface PageRequest {
  readonly clientId: string;
  /** Position that the page begins behind. */
  readonly after: number;
  readonly messagesMax: number;
  /** A page ends with the delivery that reaches this many bytes. */
  readonly bytesMax: number;
}

/**
 * An append log of operations with a watermark of what is on stable storage. The operations appended in one turn of the
 * event loop become durable together: a QoS 2 message and its packet identifier must not be parted by a crash.
 */
export interface Store {
  /** Opens and reads what is there. Rejects with a `ConfigError` that says what is wrong and what would be right. */
  open(events: StoreEvents): Promise<StoredState>;
  /** Adds one operation; cheap, never waits. */
  append(operation: StoreOperation): void;
  /** Number of operations appended since open. */
  readonly appended: number;
  /** Number of operations that are durable: an acknowledgement that rests on operation n may leave once `durable >= n`. */
  readonly durable: number;
  /** True while there is no room for more: what would make the store grow is refused, the rest goes on. */
  readonly full: boolean;
  /** Reads a page; everything appended before the call is seen. Empty: nothing is there. Rejects when the store has failed. */
  page(request: PageRequest): Promise<StoredDelivery[]>;
  /** Makes everything durable and closes. */
  close(): Promise<void>;
}
