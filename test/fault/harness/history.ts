/** What the clients of a run did and saw, in order: all that the checker judges by. */
import type { QoS } from '../../../src/codec/packets.ts';

/** One application message: its topic has one publisher, which counts up from 1. */
export interface MessageName {
  readonly topic: string;
  readonly number: number;
}

interface OfClient {
  readonly client: string;
}
interface OfFilter extends OfClient {
  readonly filter: string;
}
interface OfMessage extends OfClient, MessageName {}

/** `connect` to `pubrel` and `publish` stand before the packet is sent, the answers when they were read. */
export type Event =
  /** `start`: the broker takes connections. `stop`: it was killed, or is known to have ended. */
  | { readonly kind: 'start' | 'stop'; readonly round: number }
  /** `lasting`: the session is to outlive the connection. */
  | (OfClient & { readonly kind: 'connect'; readonly cleanStart: boolean; readonly lasting: boolean })
  | (OfClient & { readonly kind: 'connack'; readonly present: boolean; readonly code: number })
  /** `by`: the client itself, the broker that was ended by the run, or the broker of its own accord. */
  | (OfClient & { readonly kind: 'closed'; readonly by: 'client' | 'stop' | 'broker'; readonly why: string })
  | (OfFilter & { readonly kind: 'subscribe'; readonly qos: QoS; readonly identifier: number })
  | (OfFilter & { readonly kind: 'suback'; readonly code: number })
  | (OfFilter & { readonly kind: 'unsubscribe' | 'unsuback' })
  /** Each time it is sent. `clear`: empty and retained, to remove the topic's retained message. */
  | (OfMessage & {
      readonly kind: 'publish';
      readonly qos: QoS;
      readonly retain: boolean;
      readonly clear: boolean;
      readonly dup: boolean;
      readonly packetId: number;
    })
  /** The answer by which the publisher may forget the message: PUBACK or PUBREC. */
  | (OfMessage & { readonly kind: 'acknowledged'; readonly code: number })
  /** `asked`: how many times PUBREL was sent for it. */
  | (OfMessage & { readonly kind: 'pubcomp'; readonly code: number; readonly asked: number })
  /** A PUBLISH came; number 0: an empty one. `fault`: what is wrong with its content, or empty. */
  | (OfMessage & {
      readonly kind: 'message';
      readonly qos: QoS;
      readonly retain: boolean;
      readonly dup: boolean;
      readonly packetId: number;
      readonly identifiers: readonly number[];
      readonly fault: string;
    })
  /** PUBREL came: the subscriber lets go of the packet identifier. */
  | (OfClient & { readonly kind: 'pubrel'; readonly packetId: number })
  /** The topic's retained message as one reader found it; null: none. `since`: the event at which it began to ask. */
  | (OfClient & {
      readonly kind: 'retained';
      readonly topic: string;
      readonly number: number | null;
      readonly since: number;
    })
  /** All that was published before event `since` must have come. */
  | (OfClient & { readonly kind: 'drained'; readonly since: number })
  /** The broker said something that it had no reason to say. */
  | (OfClient & { readonly kind: 'broken'; readonly what: string });

/** Kinds that are caused by the broker: a crash point is a number of these. */
const HEARD: ReadonlySet<Event['kind']> = new Set([
  'connack',
  'suback',
  'unsuback',
  'acknowledged',
  'pubcomp',
  'message',
  'pubrel',
]);

/** Append only. */
export class History {
  readonly events: Event[] = [];
  /** Events caused by the broker since the start of the run. */
  heard = 0;
  #alarms: { at: number; ring: () => void }[] = [];

  get length(): number {
    return this.events.length;
  }

  add(event: Event): void {
    this.events.push(event);
    if (!HEARD.has(event.kind)) return;
    this.heard++;
    if (this.#alarms.length === 0) return;
    const due = this.#alarms.filter((alarm) => alarm.at <= this.heard);
    this.#alarms = this.#alarms.filter((alarm) => alarm.at > this.heard);
    for (const { ring } of due) ring();
  }

  /** Calls `ring` as soon as `count` more events were heard; the result takes it back. */
  after(count: number, ring: () => void): () => void {
    const alarm = { at: this.heard + count, ring };
    this.#alarms.push(alarm);
    return () => {
      this.#alarms = this.#alarms.filter((other) => other !== alarm);
    };
  }
}

/** One line for a person. */
export function describe(event: Event, index: number): string {
  const { kind, ...rest } = event;
  return `#${index} ${kind} ${JSON.stringify(rest)}`;
}
