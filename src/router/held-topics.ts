import type { QoS } from '../codec/packets.ts';
import type { StoreOperation } from '../interfaces/store.ts';
import { QUEUE_PAGE_BYTES_MAX } from '../limits.ts';
import { CountedWarning } from '../session/counted-warning.ts';
import { Delivery } from '../session/delivery.ts';
import { Message } from '../session/message.ts';
import type { Outgoing } from '../session/outgoing.ts';
import { deliveryOf } from '../session/paged-queue.ts';
import type { SessionContext } from '../session/session-context.ts';
import type { Subscription } from '../session/subscription.ts';
import { topicMatches } from '../topics/names.ts';

/** Topics whose messages wait for their first subscriber. */
export interface HoldRule {
  readonly filter: string;
  readonly messagesMax: number;
  /** Topic, payload and property bytes of all that is held. */
  readonly bytesMax: number;
  /** Seconds that a message is held, or less where it expires by itself; 0: as long as it takes. */
  readonly expirySeconds: number;
}

/** Client id under which the store keeps what a rule holds: no client can have it. [MQTT-1.5.4-2] */
const KEY_PREFIX = '\0hold:';
const NEVER_SECONDS = 0xffff_ffff;
/** A rule that is no longer configured gives away what it has, and takes nothing more. */
const RETIRED = { messagesMax: 0, bytesMax: 0, expirySeconds: 0 };

/** True for the store's sessions that are not a client's. */
export function isHoldKey(clientId: string): boolean {
  return clientId.startsWith(KEY_PREFIX);
}

/**
 * What one rule holds, in the order it came, in memory and in the store. A message leaves in the same turn of the event loop
 * in which the session that gets it takes it over, so that no crash can double or lose it.
 */
export class Hold {
  readonly rule: HoldRule;
  readonly #context: SessionContext;
  readonly #key: string;
  readonly #held = new Set<Delivery>();
  #bytes = 0;
  #nextPosition = 1;
  #stored = false;
  readonly #dropWarning = new CountedWarning();

  constructor(rule: HoldRule, context: SessionContext) {
    this.rule = rule;
    this.#context = context;
    this.#key = KEY_PREFIX + rule.filter;
  }

  get size(): number {
    return this.#held.size;
  }

  /** Holds the message that nobody gets. False: there is no room for it. */
  keep(out: Outgoing, qos: QoS): boolean {
    const { messagesMax, bytesMax, expirySeconds } = this.rule;
    const { store, clock } = this.#context;
    const now = clock.now();
    let message = out.message();
    if (expirySeconds > 0) message = expiringBy(message, Math.floor(now) + expirySeconds * 1000);
    if (this.#held.size >= messagesMax || this.#bytes + message.bytes > bytesMax) this.sweep(now);
    // QoS 0 was promised to nobody: a store without room is kept for what was.
    const room = this.#held.size < messagesMax && this.#bytes + message.bytes <= bytesMax;
    if (!room || (qos === 0 && store.full)) {
      this.#drop(message.topic);
      return false;
    }
    if (!this.#stored) this.#begin();
    const delivery = new Delivery(this.#nextPosition++, message, qos, false, null, null);
    this.#add(delivery);
    this.#append('enqueue', delivery);
    return true;
  }

  /** Gives everything that a new subscription selects, and may have, to its session. */
  release(subscription: Subscription, mayReceive: (topic: string) => boolean): void {
    const { session, filter, shareName, topicFilter, noLocal, identifier, stream } = subscription;
    const now = this.#context.clock.now();
    const identifiers = identifier > 0 ? [identifier] : null;
    const sharedFilter = shareName === null ? null : filter;
    for (const delivery of this.#held) {
      const { message } = delivery;
      if (!topicMatches(topicFilter, message.topic) || !mayReceive(message.topic)) continue;
      if (noLocal && message.publisherId === session.clientId) continue;
      this.#remove(delivery);
      if (message.expirySeconds(now) === 0) continue;
      const qos = delivery.qos < subscription.qos ? delivery.qos : subscription.qos;
      session.deliverHeld(message, qos, identifiers, sharedFilter, stream);
    }
    session.pump();
  }

  /** Lets go of what has expired. */
  sweep(nowMs: number): void {
    for (const delivery of this.#held)
      if (delivery.message.expirySeconds(nowMs) === 0) this.#remove(delivery);
  }

  /** Reads back from the store what was held before the start. */
  async load(lastPosition: number): Promise<void> {
    const { store } = this.#context;
    this.#stored = true;
    for (let after = 0; ; ) {
      const request = { clientId: this.#key, after, messagesMax: 10_000, bytesMax: QUEUE_PAGE_BYTES_MAX };
      const page = await store.page(request);
      if (page.length === 0) break;
      for (const stored of page) this.#add(deliveryOf(stored));
      after = page[page.length - 1].position;
    }
    this.#nextPosition = lastPosition + 1;
  }

  #begin(): void {
    this.#stored = true;
    const session = { clientId: this.#key, owner: null, disconnectedAtMs: null, will: null };
    this.#context.store.append({ kind: 'session', session: { ...session, expirySeconds: NEVER_SECONDS } });
  }

  #add(delivery: Delivery): void {
    this.#held.add(delivery);
    this.#bytes += delivery.message.bytes;
    this.#count(1, delivery.message.bytes);
  }

  #remove(delivery: Delivery): void {
    this.#held.delete(delivery);
    this.#bytes -= delivery.message.bytes;
    this.#count(-1, -delivery.message.bytes);
    this.#append('done', delivery);
  }

  #append(kind: Extract<StoreOperation, { delivery: unknown }>['kind'], delivery: Delivery): void {
    this.#context.store.append({ kind, clientId: this.#key, delivery });
  }

  #count(messages: number, bytes: number): void {
    this.#context.statistics.heldMessages += messages;
    this.#context.statistics.heldBytes += bytes;
  }

  #drop(topic: string): void {
    const { statistics, clock, log } = this.#context;
    statistics.publishDropped++;
    const { filter } = this.rule;
    const held = this.#held.size;
    this.#dropWarning.note(log, clock, 'hold.messages_dropped', 1, () => ({ filter, topic, held }));
  }
}

/** Every rule and what it holds. */
export class HeldTopics {
  readonly #holds: Hold[];
  readonly #context: SessionContext;

  constructor(rules: readonly HoldRule[], context: SessionContext) {
    this.#context = context;
    this.#holds = rules.map((rule) => new Hold(rule, context));
  }

  /** The first rule for this topic; null: nothing is held for it. */
  of(topic: string): Hold | null {
    return this.#holds.find(({ rule }) => rule.messagesMax > 0 && topicMatches(rule.filter, topic)) ?? null;
  }

  /** Gives what waited for this subscription to its session. */
  release(subscription: Subscription): void {
    const { authorizer } = this.#context;
    const { identity } = subscription.session;
    for (const hold of this.#holds)
      if (hold.size > 0) hold.release(subscription, (topic) => authorizer.may(identity, 'receive', topic));
  }

  sweep(nowMs: number): void {
    for (const hold of this.#holds) if (hold.size > 0) hold.sweep(nowMs);
  }

  /** Takes over what the store has under `key`; what a rule that is gone has held still goes to its first subscriber. */
  async load(key: string, lastPosition: number): Promise<void> {
    const filter = key.slice(KEY_PREFIX.length);
    let hold = this.#holds.find(({ rule }) => rule.filter === filter);
    if (hold === undefined) {
      this.#context.log.warn('hold.retired', { filter });
      hold = new Hold({ ...RETIRED, filter }, this.#context);
      this.#holds.push(hold);
    }
    await hold.load(lastPosition);
  }
}

function expiringBy(message: Message, atMs: number): Message {
  if (message.expiresAtMs > 0 && message.expiresAtMs <= atMs) return message;
  return new Message({ ...message.fields(), expiresAtMs: atMs });
}
