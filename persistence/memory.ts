/** A store in memory: outlives connections and broker instances, not the process. Everything is durable at once. */
import type {
  PageRequest,
  Store,
  StoredDelivery,
  StoredMessage,
  StoredSession,
  StoredSessionState,
  StoredState,
  StoredSubscription,
  StoreEvents,
  StoreOperation,
} from '../src/interfaces/store.ts';

class SessionRecord {
  session: StoredSession;
  readonly subscriptions = new Map<string, StoredSubscription>();
  /** In the order of positions, because positions only grow. */
  readonly deliveries = new Map<number, StoredDelivery>();
  readonly inbound = new Set<number>();

  constructor(session: StoredSession) {
    this.session = session;
  }

  state(): StoredSessionState {
    const inFlight: StoredDelivery[] = [];
    let messages = 0;
    let bytes = 0;
    let lastPosition = 0;
    for (const delivery of this.deliveries.values()) {
      lastPosition = delivery.position;
      if (delivery.packetId > 0) inFlight.push(delivery);
      else {
        messages++;
        bytes += bytesOf(delivery.message);
      }
    }
    return {
      session: this.session,
      subscriptions: [...this.subscriptions.values()],
      inFlight,
      queue: { messages, bytes },
      lastPosition,
      inbound: [...this.inbound],
    };
  }
}

export class MemoryStore implements Store {
  readonly full = false;
  readonly #sessions = new Map<string, SessionRecord>();
  readonly #retained = new Map<string, StoredMessage>();
  #appended = 0;

  get appended(): number {
    return this.#appended;
  }

  get durable(): number {
    return this.#appended;
  }

  async open(_events: StoreEvents): Promise<StoredState> {
    return {
      sessions: [...this.#sessions.values()].map((record) => record.state()),
      retained: [...this.#retained.values()],
    };
  }

  append(operation: StoreOperation): void {
    this.#appended++;
    switch (operation.kind) {
      case 'retain':
        this.#retained.set(operation.message.topic, operation.message);
        return;
      case 'unretain':
        this.#retained.delete(operation.message.topic);
        return;
      case 'session':
        this.#putSession(operation.session);
        return;
      case 'session-end':
        this.#sessions.delete(operation.clientId);
        return;
      default:
        this.#appendToSession(operation);
    }
  }

  async page({ clientId, after, messagesMax, bytesMax }: PageRequest): Promise<StoredDelivery[]> {
    const page: StoredDelivery[] = [];
    let bytes = 0;
    for (const delivery of this.#sessions.get(clientId)?.deliveries.values() ?? []) {
      if (delivery.position <= after || delivery.packetId > 0) continue;
      page.push(delivery);
      bytes += bytesOf(delivery.message);
      if (page.length >= messagesMax || bytes >= bytesMax) break;
    }
    return page;
  }

  async close(): Promise<void> {}

  #putSession(session: StoredSession): void {
    const record = this.#sessions.get(session.clientId);
    if (record) record.session = session;
    else this.#sessions.set(session.clientId, new SessionRecord(session));
  }

  #appendToSession(operation: Extract<StoreOperation, { clientId: string }>): void {
    const record = this.#sessions.get(operation.clientId);
    if (!record) return;
    switch (operation.kind) {
      case 'subscribe':
        record.subscriptions.set(operation.subscription.filter, operation.subscription);
        return;
      case 'unsubscribe':
        record.subscriptions.delete(operation.filter);
        return;
      case 'enqueue':
        record.deliveries.set(operation.delivery.position, copyOf(operation.delivery));
        return;
      case 'sent':
      case 'released':
        // Kept in its place: a key that is set again stays where it was.
        if (record.deliveries.has(operation.delivery.position))
          record.deliveries.set(operation.delivery.position, copyOf(operation.delivery));
        return;
      case 'done':
        record.deliveries.delete(operation.delivery.position);
        return;
      case 'inbound':
        record.inbound.add(operation.packetId);
        return;
      case 'inbound-done':
        record.inbound.delete(operation.packetId);
    }
  }
}

/** A delivery as it is now: its owner goes on changing its own. */
function copyOf(delivery: StoredDelivery): StoredDelivery {
  const { position, message, qos, retain, identifiers, sharedFilter, packetId, released } = delivery;
  return { position, message, qos, retain, identifiers, sharedFilter, packetId, released };
}

function bytesOf({ topic, payload, properties }: StoredMessage): number {
  return Buffer.byteLength(topic) + payload.length + properties.length;
}
