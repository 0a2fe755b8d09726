import type { StoredMessage } from '../interfaces/store.ts';
import type { RetainedMessages } from '../router/retained.ts';
import { CountedWarning } from '../session/counted-warning.ts';
import { Message } from '../session/message.ts';
import type { Outgoing } from '../session/outgoing.ts';
import type { SessionContext } from '../session/session-context.ts';

/** Retained messages looked at for expiry in one sweep: a million are gone through in a quarter of an hour. */
const SWEEP_MESSAGES_MAX = 1_000;

/** Keeps retained messages within their limits, in the store and in time. */
export class RetainKeeper {
  readonly #context: SessionContext;
  readonly #retained: RetainedMessages;
  #sweeping: Iterator<Message> | null = null;
  readonly #refusedWarning = new CountedWarning();

  constructor(context: SessionContext, retained: RetainedMessages) {
    this.#context = context;
    this.#retained = retained;
  }

  load(messages: Iterable<StoredMessage>): void {
    for (const message of messages)
      this.#retained.set(message instanceof Message ? message : new Message(message));
  }

  /** Keeps the message that is on its way; an empty payload clears. [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] */
  retain(out: Outgoing): boolean {
    const { source, topic } = out;
    if (source.payloadStart < source.payloadEnd) return this.keep(out.message());
    this.forget(topic);
    return true;
  }

  /** The same for a message at rest. False: over `retainedMessagesMax` or `retainedBytesMax`. */
  keep(message: Message): boolean {
    if (message.payload.length === 0) {
      this.forget(message.topic);
      return true;
    }
    const { limits, statistics, store, pressure } = this.#context;
    const replaced = this.#retained.get(message.topic);
    const count = this.#retained.count + (replaced === null ? 1 : 0);
    const bytes = this.#retained.bytes + message.bytes - (replaced?.bytes ?? 0);
    const isShort = pressure.memoryShort && bytes > this.#retained.bytes;
    if (isShort || count > limits.retainedMessagesMax || bytes > limits.retainedBytesMax) {
      statistics.retainedRefused++;
      this.#logRefused(message.topic);
      return false;
    }
    this.#retained.set(message);
    store.append({ kind: 'retain', message, replaced });
    return true;
  }

  /** Clears retained messages that have expired, a part at a time. */
  sweep(nowMs: number): void {
    this.#sweeping ??= this.#retained.all();
    for (let count = 0; count < SWEEP_MESSAGES_MAX; count++) {
      const next = this.#sweeping.next();
      if (next.done) {
        this.#sweeping = null;
        return;
      }
      if (next.value.expirySeconds(nowMs) === 0) this.forget(next.value.topic);
    }
  }

  /** Clears the topic's retained message, if it has one. */
  forget(topic: string): void {
    const message = this.#retained.get(topic);
    if (message === null) return;
    this.#retained.delete(topic);
    this.#context.store.append({ kind: 'unretain', message });
  }

  #logRefused(topic: string): void {
    const { clock, log, limits } = this.#context;
    const { retainedMessagesMax, retainedBytesMax } = limits;
    const fields = { topic, retainedMessagesMax, retainedBytesMax };
    this.#refusedWarning.note(log, clock, 'retain.quota_exceeded', 1, () => fields);
  }
}
