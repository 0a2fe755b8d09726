/**
 * The promises of a durable broker as a judge of histories: nothing acknowledged is lost, no QoS 2 message comes twice, order
 * is kept per topic, sessions, subscriptions and retained messages are as acknowledged.
 *
 * A history is judged by what the clients could know. Whatever was asked for and not answered may have happened or not.
 * A session has no two filters that match one topic.
 */
import type { QoS } from '../../../src/codec/packets.ts';
import type { Event, MessageName } from './history.ts';
import { isShared, matches, type Options, Timeline } from './options.ts';

export interface Violation {
  readonly text: string;
  /** Whom and what it is about, as far as known, to find the events that led to it. */
  readonly client?: string;
  readonly message?: MessageName;
}

/** A message as its publisher knows it. */
interface Published {
  readonly topic: string;
  readonly number: number;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly clear: boolean;
  /** Event of the first sending. */
  readonly sentAt: number;
  /** Event of the last sending. */
  lastSentAt: number;
  /** Event of the acknowledgement; -1: none so far. */
  acknowledgedAt: number;
  /** Acknowledged with a reason code that refuses it. */
  refused: boolean;
}

/** What came of one message to one session. */
interface Arrival {
  deliveries: number;
  /** Deliveries at QoS 2. */
  exact: number;
}

class SessionView {
  /** Whether the broker has a session that survives its end; `perhaps`: one that was never confirmed. */
  there: 'no' | 'perhaps' | 'yes' = 'no';
  /** The same before the last CONNECT, which can make a session and not find the one it makes. */
  before: SessionView['there'] = 'no';
  connected = false;
  /** What the last CONNECT asked for. */
  asked = { cleanStart: true, lasting: false };
  readonly subscriptions = new Map<string, { timeline: Timeline; asked: Options | null }>();
  /** QoS 2 packet identifiers that were not released yet. */
  readonly held = new Map<number, MessageName>();
  readonly arrivals = new Map<string, Map<number, Arrival>>();
  /** The highest number that came, by topic and QoS. */
  readonly highest = new Map<string, number>();
  /** Event at which the session began. */
  beganAt = -1;
  /** Everything published before this event must have come; -1: no such promise. */
  drainedSince = -1;

  /** The subscription's timeline. */
  to(filter: string): { timeline: Timeline; asked: Options | null } {
    let found = this.subscriptions.get(filter);
    if (found === undefined) {
      found = { timeline: new Timeline(), asked: null };
      this.subscriptions.set(filter, found);
    }
    return found;
  }

  /** What the subscription that matches `topic` may have been; null where no filter ever matched. */
  during(topic: string, from: number, to: number): { filter: string; possible: (Options | null)[] } | null {
    for (const [filter, { timeline }] of this.subscriptions)
      if (matches(filter, topic)) return { filter, possible: [...timeline.during(from, to)] };
    return null;
  }

  /** True when `topic` comes by a shared subscription. */
  sharesIn(topic: string): boolean {
    return [...this.subscriptions.keys()].some((filter) => isShared(filter) && matches(filter, topic));
  }

  /** A new session began. */
  reset(at: number): void {
    for (const subscription of this.subscriptions.values()) subscription.timeline.settle(at, null);
    this.held.clear();
    this.arrivals.clear();
    this.highest.clear();
    this.drainedSince = -1;
    this.beganAt = at;
  }
}

/**
 * Everything in the history that breaks a promise; empty: nothing. `mayRefuse`: the store had no room at times, so that
 * Quota Exceeded is an answer.
 */
export function check(history: readonly Event[], mayRefuse = false): Violation[] {
  const judge = new Judge(mayRefuse);
  for (const [at, event] of history.entries()) judge.hear(event, at);
  judge.end();
  return judge.violations;
}

/** Quota Exceeded of MQTT 5.0, and in 3.1.1 Server Unavailable. */
const QUOTA_EXCEEDED: readonly number[] = [0x97, 3];
/** How the broker says goodbye to a client whose messages it had no room for; a 3.1.1 client hears nothing. */
const REFUSAL = /^$|^0x97/;

class Judge {
  readonly violations: Violation[] = [];
  readonly #sessions = new Map<string, SessionView>();
  readonly #published = new Map<string, Map<number, Published>>();
  readonly #mayRefuse: boolean;

  constructor(mayRefuse: boolean) {
    this.#mayRefuse = mayRefuse;
  }

  hear(event: Event, at: number): void {
    switch (event.kind) {
      case 'connect':
        this.#connect(event, at);
        return;
      case 'connack':
        this.#connack(event, at);
        return;
      case 'subscribe':
      case 'suback':
      case 'unsubscribe':
      case 'unsuback':
        this.#subscription(event, at);
        return;
      case 'publish':
        this.#publish(event, at);
        return;
      case 'acknowledged':
      case 'pubcomp':
        this.#answer(event, at);
        return;
      case 'message':
        this.#message(event, at);
        return;
      case 'pubrel':
        this.#session(event.client).held.delete(event.packetId);
        return;
      case 'retained':
        this.#retained(event, at);
        return;
      case 'drained':
        this.#session(event.client).drainedSince = event.since;
        return;
      case 'closed':
        this.#closed(event.client, at);
        if (event.by === 'broker' && !(this.#mayRefuse && REFUSAL.test(event.why)))
          this.#fault(`the broker closed the connection of ${event.client}: ${event.why}`, event.client);
        return;
      case 'broken':
        this.#fault(`${event.client}: ${event.what}`, event.client);
        return;
    }
  }

  /** Judges what can only be known at the end: that nothing is missing. */
  end(): void {
    for (const messages of this.#published.values()) {
      for (const message of messages.values()) {
        if (message.retain || message.acknowledgedAt < 0 || message.refused) continue;
        this.#mustHaveArrived(message);
      }
    }
  }

  #connect(event: Extract<Event, { kind: 'connect' }>, at: number): void {
    const session = this.#session(event.client);
    const { cleanStart, lasting } = event;
    session.asked = { cleanStart, lasting };
    session.before = session.there;
    if (cleanStart) for (const { timeline } of session.subscriptions.values()) timeline.ask(at, null);
    if (lasting && session.there === 'no') session.there = 'perhaps';
    if (!lasting && session.there === 'yes') session.there = 'perhaps';
  }

  #connack({ client, present, code }: Extract<Event, { kind: 'connack' }>, at: number): void {
    const session = this.#session(client);
    const { cleanStart, lasting } = session.asked;
    if (code !== 0) {
      if (!this.#mayRefuse || !QUOTA_EXCEEDED.includes(code))
        this.#fault(`${client} was refused with code ${code}`, client);
      return;
    }
    if (present && cleanStart) this.#fault(`${client} asked for a new session and got an old one`, client);
    else if (present && session.before === 'no')
      this.#fault(`${client} got a session that was over by what the broker had answered`, client);
    else if (!present && !cleanStart && session.before === 'yes')
      this.#fault(`the session of ${client} is lost, and was acknowledged`, client);
    if (!present) session.reset(at);
    session.there = lasting ? 'yes' : 'no';
    session.connected = true;
  }

  /** A session that does not last is over with its connection, also for the client. */
  #closed(client: string, at: number): void {
    const session = this.#session(client);
    if (session.connected && !session.asked.lasting) session.reset(at);
    session.connected = false;
  }

  #subscription(
    event: Extract<Event, { kind: 'subscribe' | 'suback' | 'unsubscribe' | 'unsuback' }>,
    at: number,
  ): void {
    const subscription = this.#session(event.client).to(event.filter);
    const { timeline } = subscription;
    switch (event.kind) {
      case 'subscribe':
        subscription.asked = { qos: event.qos, identifier: event.identifier };
        timeline.ask(at, subscription.asked);
        return;
      case 'suback':
        if (event.code >= 0x80) timeline.refuse(at, subscription.asked!);
        else timeline.settle(at, subscription.asked);
        if (event.code < 0x80 && event.code !== subscription.asked!.qos)
          this.#fault(`${event.client} was granted QoS ${event.code} for ${event.filter}`, event.client);
        return;
      case 'unsubscribe':
        timeline.ask(at, null);
        return;
      case 'unsuback':
        timeline.settle(at, null);
    }
  }

  #publish(event: Extract<Event, { kind: 'publish' }>, at: number): void {
    const { topic, number, qos, retain, clear } = event;
    let messages = this.#published.get(topic);
    if (messages === undefined) {
      messages = new Map();
      this.#published.set(topic, messages);
    }
    const known = messages.get(number);
    if (known !== undefined) {
      known.lastSentAt = at;
      return;
    }
    const sent = { sentAt: at, lastSentAt: at, acknowledgedAt: -1, refused: false };
    messages.set(number, { topic, number, qos, retain, clear, ...sent });
  }

  #answer(event: Extract<Event, { kind: 'acknowledged' | 'pubcomp' }>, at: number): void {
    const { client, topic, number } = event;
    if (event.kind === 'pubcomp') {
      if (event.code !== 0 && event.asked < 2)
        this.#fault(
          `the packet identifier of ${topic} ${number} was acknowledged by PUBREC and is unknown to PUBREL`,
          client,
          event,
        );
      return;
    }
    const message = this.#published.get(topic)?.get(number);
    if (message === undefined || message.acknowledgedAt >= 0) return;
    message.acknowledgedAt = at;
    message.refused = event.code >= 0x80;
    if (message.refused && !(this.#mayRefuse && QUOTA_EXCEEDED.includes(event.code)))
      this.#fault(`${topic} ${number} was refused with code ${event.code}`, client, event);
  }

  #message(event: Extract<Event, { kind: 'message' }>, at: number): void {
    const { client, topic, number, qos, packetId, dup } = event;
    const message = this.#named(event);
    if (event.fault !== '' || message === undefined) {
      const why = event.fault === '' ? 'nobody has published it' : event.fault;
      this.#fault(`${client} got ${topic} ${number}: ${why}`, client, event);
      return;
    }
    const session = this.#session(client);
    if (qos === 2) {
      const holds = session.held.get(packetId);
      if (holds !== undefined) {
        const same = holds.topic === topic && holds.number === number;
        const held = `${client} holds ${holds.topic} ${holds.number} by packet identifier ${packetId}`;
        if (!same) this.#fault(`${held} and got ${topic} ${number} by it`, client, event);
        else if (!dup) this.#fault(`${held} and got it again without DUP`, client, event);
        return;
      }
      session.held.set(packetId, event);
    }
    if (message.retain) return;
    this.#mayArrive(session, message, event, at);
    this.#arrive(session, message, event);
  }

  /** The message that came. An empty one does not say which it is: any that removes the retained message. */
  #named({ topic, number }: MessageName): Published | undefined {
    const messages = this.#published.get(topic);
    if (number > 0) return messages?.get(number);
    return [...(messages?.values() ?? [])].find(({ clear }) => clear);
  }

  /** There was a subscription for it, with these options. */
  #mayArrive(
    session: SessionView,
    message: Published,
    event: Extract<Event, { kind: 'message' }>,
    at: number,
  ): void {
    const { client, topic, number } = event;
    const until = message.acknowledgedAt < 0 ? at : message.acknowledgedAt;
    const possible = session.during(topic, message.sentAt, until)?.possible ?? [null];
    const identifier = event.identifiers.join();
    const fits = possible.some((options) => {
      if (options === null || Math.min(options.qos, message.qos) !== event.qos) return false;
      return identifier === (options.identifier === 0 ? '' : String(options.identifier));
    });
    if (fits) return;
    const known = possible.map((options) => (options === null ? 'none' : JSON.stringify(options)));
    const came = `QoS ${event.qos}, identifiers [${identifier}]`;
    this.#fault(
      `${client} got ${topic} ${number} with ${came}; its subscription at that time was ${known.join(' or ')}`,
      client,
      event,
    );
  }

  #arrive(session: SessionView, message: Published, event: Extract<Event, { kind: 'message' }>): void {
    const { client, topic, number, qos } = event;
    let arrivals = session.arrivals.get(topic);
    if (arrivals === undefined) {
      arrivals = new Map();
      session.arrivals.set(topic, arrivals);
    }
    let arrival = arrivals.get(number);
    if (arrival === undefined) {
      arrival = { deliveries: 0, exact: 0 };
      arrivals.set(number, arrival);
      // [MQTT-4.6.0-6] order is a promise for one QoS, and of subscriptions that are not shared
      const stream = `${topic} ${qos}`;
      const highest = session.highest.get(stream) ?? 0;
      // What the publisher sent again behind the other may come behind it: the first time there may have been no subscription.
      const other = this.#published.get(topic)?.get(highest);
      const wasSentBehind = other !== undefined && message.lastSentAt > other.sentAt;
      if (number < highest && !wasSentBehind && !session.sharesIn(topic))
        this.#fault(`${client} got ${topic} ${number} for the first time after ${highest}`, client, event);
      session.highest.set(stream, Math.max(number, highest));
    }
    arrival.deliveries++;
    if (qos === 2) arrival.exact++;
    const mixed = message.qos === 2 && arrival.exact > 0 && arrival.deliveries > arrival.exact;
    if (arrival.exact > 1 || mixed)
      this.#fault(`${client} got ${topic} ${number} twice, and it is QoS 2`, client, event);
  }

  #mustHaveArrived(message: Published): void {
    const { topic, number, sentAt, acknowledgedAt } = message;
    const groups = new Map<string, SessionView[]>();
    const unsure = new Set<string>();
    for (const [client, session] of this.#sessions) {
      const match = session.beganAt > acknowledgedAt ? null : session.during(topic, sentAt, acknowledgedAt);
      if (match === null) continue;
      const { filter, possible } = match;
      const certain = possible.every((options) => options !== null && options.qos > 0);
      const drained = session.drainedSince >= acknowledgedAt;
      if (isShared(filter)) {
        if (certain && drained) groups.set(filter, [...(groups.get(filter) ?? []), session]);
        else if (possible.some((options) => options !== null)) unsure.add(filter);
      } else if (certain && drained && !session.arrivals.get(topic)?.has(number))
        this.#fault(`${topic} ${number} was acknowledged and never came to ${client}`, client, message);
    }
    // Where somebody may have been a member and may have got it, nothing is known.
    for (const [filter, members] of groups)
      if (!unsure.has(filter)) this.#oneMember(filter, members, message);
  }

  /** One member of the shared subscription has it, and of QoS 2 no more than one. */
  #oneMember(filter: string, members: readonly SessionView[], { topic, number }: Published): void {
    const arrivals = members.flatMap((session) => session.arrivals.get(topic)?.get(number) ?? []);
    const exact = arrivals.reduce((sum, arrival) => sum + arrival.exact, 0);
    const name = { topic, number };
    if (arrivals.length === 0)
      this.violations.push({ text: `${topic} ${number} came to no member of ${filter}`, message: name });
    if (exact > 1)
      this.violations.push({ text: `${topic} ${number} came to two members of ${filter}`, message: name });
  }

  #retained(event: Extract<Event, { kind: 'retained' }>, at: number): void {
    const { client, topic, number, since } = event;
    const messages = [...(this.#published.get(topic)?.values() ?? [])];
    let acknowledged: Published | null = null;
    for (const message of messages) {
      const settled = message.acknowledgedAt >= 0 && message.acknowledgedAt < since && !message.refused;
      if (settled && message.number > (acknowledged?.number ?? 0)) acknowledged = message;
    }
    const oldest = acknowledged?.number ?? 0;
    const known = `the last acknowledged value is ${acknowledged?.clear ? 'none, by ' : ''}${oldest}`;
    const name = { topic, number: number ?? oldest };
    if (number === null) {
      const cleared = messages.some(({ clear, number: other }) => clear && other >= oldest);
      if (acknowledged !== null && !cleared)
        this.#fault(`${topic} has no retained message; ${known}`, client, name);
      return;
    }
    const value = messages.find((message) => message.number === number);
    if (value === undefined || value.clear || value.sentAt > at)
      this.#fault(`${topic} has a retained message that was never published: ${number}`, client, name);
    else if (number < oldest)
      this.#fault(`the retained message of ${topic} is ${number}; ${known}`, client, name);
  }

  #session(client: string): SessionView {
    let session = this.#sessions.get(client);
    if (session === undefined) {
      session = new SessionView();
      this.#sessions.set(client, session);
    }
    return session;
  }

  #fault(text: string, client: string, message?: MessageName): void {
    const about = message === undefined ? {} : { message: { topic: message.topic, number: message.number } };
    this.violations.push({ text, client, ...about });
  }
}
