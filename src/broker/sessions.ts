import type { StoredMessage, StoredSessionState, StoredSubscription } from '../interfaces/store.ts';
import { SESSION_ENDS_PER_TURN_MAX, WILLS_PER_TURN_MAX } from '../limits.ts';
import type { Router } from '../router/router.ts';
import { Message } from '../session/message.ts';
import { Session } from '../session/session.ts';
import type { SessionContext, SessionWill } from '../session/session-context.ts';
import { Subscription } from '../session/subscription.ts';
import { parseShared } from '../topics/names.ts';
import { Deadlines } from './deadlines.ts';
import { Paced } from './paced.ts';

/** Session Expiry Interval for "never" (MQTT 5.0 section 3.1.2.11.2). */
const NEVER_SECONDS = 0xffff_ffff;

/** Every session by client id: made, resumed, left behind, expired; and the wills that go with them. */
export class Sessions {
  readonly #context: SessionContext;
  readonly #router: Router;
  readonly #publishWill: (will: SessionWill, session: Session) => void;
  readonly #byClientId = new Map<string, Session>();
  readonly #expiries = new Deadlines<Session>();
  readonly #wills = new Deadlines<Session>();
  /** Sessions whose will is to be published now, as far as a turn can take it. */
  readonly #firing: Paced<Session>;
  #sweeping = false;
  #closed = false;
  /** By client id the store's operation that ended a session, of those that may not be durable yet. */
  readonly #endings = new Map<string, number>();
  #lastEnding = 0;

  constructor(
    context: SessionContext,
    router: Router,
    publishWill: (will: SessionWill, session: Session) => void,
  ) {
    this.#context = context;
    this.#router = router;
    this.#publishWill = publishWill;
    this.#firing = new Paced(WILLS_PER_TURN_MAX, (session) => this.#fire(session));
  }

  get size(): number {
    return this.#byClientId.size;
  }

  get full(): boolean {
    return this.#byClientId.size >= this.#context.limits.sessionsMax;
  }

  get(clientId: string): Session | undefined {
    return this.#byClientId.get(clientId);
  }

  /**
   * The session for a CONNECT: the known one, or a new one when there is none or `cleanStart` asks for it.
   * [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6]
   */
  open(
    clientId: string,
    owner: string | null,
    cleanStart: boolean,
    expirySeconds: number,
  ): { session: Session; present: boolean } {
    const known = this.#byClientId.get(clientId);
    // What a client publishes when it is back comes after its will.
    this.#firing.runNow(clientId);
    if (known !== undefined && cleanStart) {
      this.end(known);
      this.#firing.runNow(clientId);
    }
    if (known !== undefined && !cleanStart) {
      this.#expiries.delete(known);
      // [MQTT-3.1.3-9] back in time: the delayed will is not published
      this.#wills.delete(known);
      known.will = null;
      known.disconnectedAtMs = null;
      this.setExpiry(known, expirySeconds);
      return { session: known, present: true };
    }
    const session = new Session(this.#context, clientId, owner);
    session.expirySeconds = expirySeconds;
    this.#byClientId.set(clientId, session);
    return { session, present: false };
  }

  /**
   * The store's operation that the CONNACK of `session` rests on; 0: none. Not only what the session is must be durable,
   * but also the end of the client's session before it: what the client was told is gone may not be back after a crash.
   */
  connackSequence(session: Session): number {
    return Math.max(session.sequence, this.#endings.get(session.clientId) ?? 0);
  }

  /** Changes how long the session outlives its connection; one that need no longer do so leaves the store. */
  setExpiry(session: Session, expirySeconds: number): void {
    const { store } = this.#context;
    session.expirySeconds = expirySeconds;
    // What waits in the store alone is still to be delivered.
    const leaves = session.stored && !session.persistent && !session.paged;
    if (leaves) {
      store.append({ kind: 'session-end', clientId: session.clientId });
      session.stored = false;
      this.#noteEnding(session.clientId);
    } else this.store(session);
  }

  /** The connection of the session is gone; `willCancelled` when the client said goodbye. [MQTT-3.1.2-8] [MQTT-3.1.2-10] */
  disconnected(session: Session, willCancelled: boolean): void {
    session.detach();
    const { clock } = this.#context;
    const now = clock.now();
    const { will } = session;
    if (willCancelled) session.will = null;
    // That of a session which ends now is published by `end`.
    else if (will !== null && will.delaySeconds === 0 && session.persistent)
      this.#firing.add(session.clientId, session);
    else if (will !== null && session.persistent)
      this.#wills.set(session, now + Math.min(will.delaySeconds, session.expirySeconds) * 1000);
    if (!session.persistent) {
      this.end(session);
      return;
    }
    session.disconnectedAtMs = Math.floor(now);
    this.store(session);
    if (session.expirySeconds !== NEVER_SECONDS)
      this.#expiries.set(session, now + session.expirySeconds * 1000);
  }

  /** Ends a session: its will if it still has one, its subscriptions, what waits. [MQTT-3.1.2-8] */
  end(session: Session): void {
    this.#expiries.delete(session);
    this.#wills.delete(session);
    this.#byClientId.delete(session.clientId);
    if (session.will !== null) this.#firing.add(session.clientId, session);
    for (const filter of [...session.subscriptions.keys()]) this.#router.unsubscribe(session, filter);
    for (const { sharedFilter, qos, packetId, message, notBefore } of session.end()) {
      // [MQTT-4.8.2-4] [MQTT-4.8.2-5] QoS 2 that was sent belongs to this client alone; the rest goes to other members.
      if (sharedFilter !== null && (packetId === 0 || qos === 1))
        this.#router.redeliver(sharedFilter, message);
      // Held until this session came, and not sent to it: the next subscriber gets it.
      else if (sharedFilter === null && notBefore > 0 && packetId === 0)
        this.#router.publishMessage(message, null);
    }
    if (session.stored) this.#noteEnding(session.clientId);
  }

  #noteEnding(clientId: string): void {
    const { appended, durable } = this.#context.store;
    if (durable >= this.#lastEnding) this.#endings.clear();
    this.#endings.set(clientId, appended);
    this.#lastEnding = appended;
  }

  /** Publishes wills and ends sessions whose time has come: a part in this turn, the rest in the next ones. */
  sweep(nowMs: number): void {
    if (this.#sweeping || this.#closed) return;
    const wills = this.#wills.due(nowMs, WILLS_PER_TURN_MAX);
    for (const session of wills) this.#firing.add(session.clientId, session);
    const expired = this.#expiries.due(nowMs, SESSION_ENDS_PER_TURN_MAX);
    for (const session of expired) {
      this.#context.statistics.sessionsExpired++;
      const { clientId, owner: username, waiting } = session;
      this.#context.log.info('session.expired', { clientId, username, waiting });
      this.end(session);
    }
    if (wills.length < WILLS_PER_TURN_MAX && expired.length < SESSION_ENDS_PER_TURN_MAX) return;
    this.#sweeping = true;
    setImmediate(() => {
      this.#sweeping = false;
      this.sweep(nowMs);
    });
  }

  /** The broker ends: publishes every will that was to be published by now, so that none is lost. */
  close(): void {
    this.#closed = true;
    this.#firing.runAll();
  }

  /** Takes over a session that the store has from before the start. */
  load(stored: StoredSessionState): void {
    const { clock } = this.#context;
    const { clientId, owner, expirySeconds, disconnectedAtMs, will } = stored.session;
    const now = clock.now();
    const session = new Session(this.#context, clientId, owner);
    session.expirySeconds = expirySeconds;
    this.#byClientId.set(clientId, session);
    for (const each of stored.subscriptions) this.#subscribe(session, each);
    session.restore(stored);
    // Connected when the broker ended: its time away begins now, and is written down, or every restart would begin it anew.
    const goneAt = disconnectedAtMs ?? Math.floor(now);
    session.disconnectedAtMs = goneAt;
    if (will !== null) {
      session.will = { ...will, message: messageOf(will.message) };
      this.#wills.set(session, Math.max(now, goneAt + will.delaySeconds * 1000));
    }
    if (expirySeconds !== NEVER_SECONDS) this.#expiries.set(session, goneAt + expirySeconds * 1000);
    if (disconnectedAtMs === null) this.store(session);
  }

  #subscribe(session: Session, stored: StoredSubscription): void {
    const shared = parseShared(stored.filter);
    if (shared === 'invalid') return;
    const shareName = shared === null ? null : shared.group;
    this.#router.subscribe(
      new Subscription(session, stored, shareName, shared === null ? stored.filter : shared.filter),
    );
  }

  /** Writes down what the session is now, if it is one for the store. */
  store(session: Session): void {
    session.stored ||= session.persistent;
    if (session.stored) this.#context.store.append({ kind: 'session', session: session.toStored() });
  }

  #fire(session: Session): void {
    const { will } = session;
    session.will = null;
    this.#wills.delete(session);
    if (will === null) return;
    try {
      this.#publishWill(will, session);
    } catch (error) {
      // In a turn of its own nobody else would catch it, and it must not take the other wills along.
      this.#context.log.error('will.failed', { clientId: session.clientId, error: String(error) });
    }
    // Without its will: a restart must not publish it again.
    if (session.disconnectedAtMs !== null && this.#byClientId.get(session.clientId) === session)
      this.store(session);
  }
}

function messageOf(stored: StoredMessage): Message {
  return stored instanceof Message ? stored : new Message(stored);
}
