/** A store in memory: outlives connections and broker instances, not the process. Everything is durable at once. */
import type {
  Store,
  StoredDelivery,
  StoredMessage,
  StoredSession,
  StoredState,
  StoredSubscription,
  StoreOperation,
} from '../src/interfaces/store.ts';

interface SessionRecord {
  session: StoredSession;
  subscriptions: Map<string, StoredSubscription>;
  deliveries: Map<number, StoredDelivery>;
  inbound: Set<number>;
}

export class MemoryStore implements Store {
  readonly #sessions = new Map<string, SessionRecord>();
  readonly #retained = new Map<string, StoredMessage>();
  #appended = 0;

  get appended(): number {
    return this.#appended;
  }

  get durable(): number {
    return this.#appended;
  }

  async open(_onDurable: () => void): Promise<StoredState> {
    const sessions = [...this.#sessions.values()].map((record) => ({
      session: record.session,
      subscriptions: [...record.subscriptions.values()],
      deliveries: [...record.deliveries.values()],
      inbound: [...record.inbound],
    }));
    return { sessions, retained: [...this.#retained.values()] };
  }

  append(operation: StoreOperation): void {
    this.#appended++;
    switch (operation.kind) {
      case 'retain':
        this.#retained.set(operation.message.topic, operation.message);
        return;
      case 'unretain':
        this.#retained.delete(operation.topic);
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

  async close(): Promise<void> {}

  #putSession(session: StoredSession): void {
    const record = this.#sessions.get(session.clientId);
    if (record) record.session = session;
    else
      this.#sessions.set(session.clientId, {
        session,
        subscriptions: new Map(),
        deliveries: new Map(),
        inbound: new Set(),
      });
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
        record.deliveries.set(operation.delivery.position, operation.delivery);
        return;
      case 'sent':
        this.#change(record, operation.position, { packetId: operation.packetId });
        return;
      case 'released':
        this.#change(record, operation.position, { released: true });
        return;
      case 'done':
        record.deliveries.delete(operation.position);
        return;
      case 'inbound':
        record.inbound.add(operation.packetId);
        return;
      case 'inbound-done':
        record.inbound.delete(operation.packetId);
    }
  }

  #change(record: SessionRecord, position: number, change: Partial<StoredDelivery>): void {
    const delivery = record.deliveries.get(position);
    if (delivery) record.deliveries.set(position, { ...delivery, ...change });
  }
}
