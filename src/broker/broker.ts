import { randomBytes } from 'node:crypto';
import { UnsupportedVersionError } from '../codec/decode.ts';
import type { ProtocolVersion } from '../codec/packets.ts';
import { PublishShape } from '../codec/publish-frame.ts';
import { PublishView } from '../codec/publish-view.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import { Connection } from '../connection/connection.ts';
import type { Door } from '../connection/door.ts';
import { ConnectRate } from '../connection/intake.ts';
import { Flusher } from '../connection/out-buffer.ts';
import { ProtocolError } from '../errors.ts';
import { answerRefused } from '../handlers/refuse-connect.ts';
import type { Authenticator, Authorizer, Grants, Identity } from '../interfaces/auth.ts';
import type { Clock } from '../interfaces/clock.ts';
import type { Log } from '../interfaces/log.ts';
import type { Store, StoredSessionState } from '../interfaces/store.ts';
import type { Wire, WireEvents } from '../interfaces/transport.ts';
import {
  DEFAULT_LIMITS,
  END_TIMEOUT_MS,
  type Limits,
  OUT_BUFFER_BYTES_MAX,
  STOP_TIMEOUT_MS,
  SWEEP_INTERVAL_MS,
} from '../limits.ts';
import { HeldTopics, isHoldKey } from '../router/held-topics.ts';
import { PublishRun } from '../router/publish-run.ts';
import { Router } from '../router/router.ts';
import { Message } from '../session/message.ts';
import type { Outgoing } from '../session/outgoing.ts';
import { QueueMemory } from '../session/paged-queue.ts';
import { type RetainedSource, RetainedTurns } from '../session/retained-sources.ts';
import type { Session } from '../session/session.ts';
import type { SessionContext, SessionWill } from '../session/session-context.ts';
import type { Subscription } from '../session/subscription.ts';
import { Statistics } from '../statistics.ts';
import { Admission } from './admission.ts';
import { Overload, type OverloadOptions } from './overload.ts';
import { RetainKeeper } from './retain-keeper.ts';
import { Sessions } from './sessions.ts';
import { type BrokerSettings, DEFAULT_SETTINGS } from './settings.ts';
import { SysTopics } from './sys-topics.ts';

/** Least time between two clients that are disconnected for overload, in milliseconds, where the sweep is too slow. */
const DROP_INTERVAL_MS = 50;

export interface BrokerOptions {
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: Partial<Limits>;
  readonly settings?: Partial<BrokerSettings>;
  /** Without it nobody watches event loop and memory. */
  readonly overload?: OverloadOptions;
  /** The store has failed: nothing more is acknowledged that rests on it, and the process should end. */
  readonly onStoreFailed?: (error: Error) => void;
}

/** What a listener may set for its own connections. */
export interface DoorOptions {
  readonly versions?: readonly ProtocolVersion[];
  readonly connectionsMax?: number;
  readonly limits?: Partial<Limits>;
}

/** The owner of it all: sessions, routes, connections. Knows no socket, file or wall clock; several live in one process. */
export class Broker {
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: Limits;
  readonly settings: BrokerSettings;
  readonly statistics = new Statistics();
  readonly flusher = new Flusher();
  readonly router: Router;
  /** Messages that wait for the first subscriber to their topic. */
  readonly held: HeldTopics;
  readonly sessions: Sessions;
  /** Filled again for every PUBLISH that comes in, and for every one of its own shape that goes out. */
  readonly publishView: PublishView;
  readonly shape = new PublishShape();
  /** QoS 0 packets of the chunk being read that go on as one piece. */
  readonly run = new PublishRun();
  readonly overload: Overload;
  readonly admission: Admission;
  readonly #connections = new Set<Connection>();
  readonly #awaitingStore = new Set<Connection>();
  readonly #retainKeeper: RetainKeeper;
  readonly #sysTopics: SysTopics;
  readonly #onStoreFailed: (error: Error) => void;
  #stops: (() => void)[] = [];
  #closing = false;
  #droppedAtMs = 0;

  constructor(options: BrokerOptions) {
    this.authenticator = options.authenticator;
    this.authorizer = options.authorizer;
    this.store = options.store;
    this.clock = options.clock;
    this.log = options.log;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.settings = { ...DEFAULT_SETTINGS, ...options.settings };
    this.#onStoreFailed = options.onStoreFailed ?? (() => {});
    this.publishView = new PublishView(this.limits.userPropertiesMax);
    const { limits, store, authorizer, statistics, clock, log } = this;
    const { queueQos0, queueWhenFull } = this.settings;
    this.overload = new Overload(options.overload ?? null, log, statistics);
    const pressure = this.overload;
    this.admission = new Admission({ limits, overload: pressure, statistics, clock });
    const queueMemory = new QueueMemory(pressure);
    const retainedTurns = new RetainedTurns();
    const shared = { limits, store, authorizer, statistics, clock, log, pressure };
    const streamOf: SessionContext['streamOf'] = (session, delivery) =>
      this.router.streamOf(session, delivery);
    const context = { ...shared, queueQos0, queueWhenFull, queueMemory, retainedTurns, streamOf };
    this.held = new HeldTopics(this.settings.hold, context);
    this.router = new Router(authorizer, statistics, clock, this.held);
    this.sessions = new Sessions(context, this.router, (will, session) => this.#publishWill(will, session));
    this.#retainKeeper = new RetainKeeper(context, this.router.retained);
    this.#sysTopics = new SysTopics(this);
  }

  /** Reads the store and starts the clockwork. Connections may come once it has resolved. */
  async start(): Promise<void> {
    const state = await this.store.open({
      durable: () => this.#storeMoved(),
      full: () => this.#storeFull(),
      failed: (error) => this.#storeFailed(error),
    });
    this.#retainKeeper.load(state.retained);
    const held: StoredSessionState[] = [];
    for (const each of state.sessions) {
      if (isHoldKey(each.session.clientId)) held.push(each);
      else this.sessions.load(each);
    }
    for (const { session, lastPosition } of held) await this.held.load(session.clientId, lastPosition);
    this.#stops.push(this.clock.every(SWEEP_INTERVAL_MS, () => this.#sweep()));
    const { sysIntervalSeconds } = this.settings;
    if (sysIntervalSeconds === 0) return;
    this.#sysTopics.publish();
    this.#stops.push(this.clock.every(sysIntervalSeconds * 1000, () => this.#sysTopics.publish()));
  }

  /** Says goodbye to every client (0x8B) and closes the store. The transports are closed by whoever opened them. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const stop of this.#stops) stop();
    this.#stops = [];
    for (const connection of [...this.#connections]) connection.disconnect(ReasonCode.SERVER_SHUTTING_DOWN);
    this.sessions.close();
    const stopSweep = this.clock.every(SWEEP_INTERVAL_MS, () => {
      for (const connection of this.#connections) this.#sweepUnconnected(connection, this.clock.now());
      if (this.#connections.size === 0) stopSweep();
    });
    await this.store.close();
  }

  /** Makes a listener's rules: the broker's limits with the listener's own over them. Give the result to `accept`. */
  door(name: string, options: DoorOptions = {}): Door {
    const { versions = [3, 4, 5], connectionsMax = 0, limits } = options;
    const own = { ...this.limits, ...limits };
    return {
      name,
      versions,
      connectionsMax,
      limits: own,
      connectRate: ConnectRate.of(own, this.clock.now()),
    };
  }

  /** Takes a new wire. Beyond `connectionsMax` it is kept only long enough to be told so. */
  accept(wire: Wire, door: Door): WireEvents {
    const connection = new Connection(this, door, wire);
    this.#connections.add(connection);
    this.statistics.connectionsOpened++;
    if (!this.admission.arrived(connection) || this.#closing) {
      this.statistics.connectionsRefused++;
      this.log.warn('client.too_many', connection.logFields);
      wire.abort();
    }
    return connection;
  }

  get connections(): ReadonlySet<Connection> {
    return this.#connections;
  }

  /** Disconnects every client, logged in or not yet, that `who` says yes to; in MQTT 5 it is told why. Returns how many. */
  disconnectWhere(who: (connection: Connection) => boolean, reasonCode: number): number {
    const chosen = [...this.#connections].filter(
      (connection) => connection.state !== 'closing' && connection.state !== 'closed' && who(connection),
    );
    for (const connection of chosen) connection.disconnect(reasonCode);
    return chosen.length;
  }

  /** A client id for a client that sent none: 128 random bits, so that nobody guesses another's. [MQTT-3.1.3-6] */
  assignClientId(): string {
    return `auto-${randomBytes(16).toString('hex')}`;
  }

  /** The session is used with this identity from now on. What was decided for another one no longer holds. */
  identify(session: Session, identity: Identity): void {
    const { grants, door } = session.identity;
    session.identity = identity;
    const isSame = sameGrants(grants, identity.grants) && door === identity.door;
    if (!isSame && session.subscriptions.size > 0) this.router.rightsChanged();
  }

  connectionOpened(connection: Connection): void {
    connection.wire.visit?.loggedIn();
    const { statistics } = this;
    statistics.connected++;
    if (statistics.connected > statistics.connectedMax) statistics.connectedMax = statistics.connected;
    this.log.info('client.connected', { ...connection.logFields, version: connection.version });
  }

  /** The peer broke the protocol, or we have a defect: answered, logged, closed. Nobody else notices. */
  connectionFailed(connection: Connection, error: unknown): void {
    const known = error instanceof ProtocolError;
    const reasonCode = known ? error.reasonCode : ReasonCode.UNSPECIFIED_ERROR;
    const message = error instanceof Error ? error.message : String(error);
    this.statistics.protocolErrors++;
    if (known)
      this.log.warn('client.protocol_error', { ...connection.logFields, reasonCode, error: message });
    else {
      const stack = error instanceof Error ? error.stack : undefined;
      this.log.error('client.internal_error', { ...connection.logFields, error: message, stack });
    }
    try {
      if (connection.session !== null) connection.disconnect(reasonCode, known ? message : 'internal error');
      else this.#failUnconnected(connection, error, reasonCode, message);
    } catch (second) {
      this.log.error('client.internal_error', { ...connection.logFields, error: String(second) });
      connection.wire.abort();
    }
  }

  /** We end the connection, or it has ended: the session goes on without it. Called once or twice; the second does nothing. */
  connectionGone(connection: Connection): void {
    const { session } = connection;
    if (session === null) return;
    connection.session = null;
    this.statistics.connected--;
    if (session.receiver === connection) this.sessions.disconnected(session, connection.willCancelled);
  }

  /** The wire is closed. */
  connectionClosed(connection: Connection, error?: Error): void {
    this.connectionGone(connection);
    if (!this.#connections.delete(connection)) return;
    this.#awaitingStore.delete(connection);
    this.admission.left(connection);
    // Refused ones had their line then.
    if (!connection.opened) return;
    const { endedBy: by, endCode: reasonCode } = connection;
    const cause = error === undefined ? {} : { error: error.message };
    this.log.info('client.disconnected', { ...connection.logFields, by, reasonCode, ...cause });
  }

  /** Delivers the run of QoS 0 packets, if there is one. */
  endRun(): void {
    const { run, statistics, publishView } = this;
    if (run.count === 0) return;
    statistics.publishReceived += run.count;
    statistics.publishBytesReceived += run.end - run.start;
    try {
      this.router.dispatchRun(run, publishView, this.clock.now());
    } finally {
      run.clear();
    }
  }

  /** The connection has packets that wait for the store. */
  awaitDurable(connection: Connection): void {
    this.#awaitingStore.add(connection);
  }

  /** Keeps or clears the topic's retained message; false when a limit forbids it. */
  retain(out: Outgoing): boolean {
    return this.#retainKeeper.retain(out);
  }

  /** Forgets the topic's retained message: an older value must not stand for a newer one that was acknowledged. */
  forgetRetained(topic: string): void {
    this.#retainKeeper.forget(topic);
  }

  /** The retained messages that a subscription gets, one at a time. Rights are asked when a message is taken. */
  *retainedFor(subscription: Subscription): RetainedSource {
    const { session, topicFilter } = subscription;
    for (const message of this.router.retained.match(topicFilter)) {
      const isFor =
        message !== null &&
        message.expirySeconds(this.clock.now()) !== 0 &&
        this.authorizer.may(session.identity, 'receive', message.topic);
      if (!isFor) {
        yield null;
        continue;
      }
      // Subscribed to again meanwhile: the new options hold.
      const { qos, identifier, stream } = session.subscriptions.get(subscription.filter) ?? subscription;
      const identifiers = identifier > 0 ? [identifier] : null;
      yield { message, qos: message.qos < qos ? message.qos : qos, identifiers, stream };
    }
  }

  /** Publishes a value of the broker's own, retained but in no store. */
  publishSys(topic: string, value: string): void {
    const message = new Message({ topic, payload: Buffer.from(value), qos: 0, retain: true });
    this.router.retained.set(message);
    this.router.publishMessage(message, null);
  }

  #publishWill(will: SessionWill, session: Session): void {
    const { message, expirySeconds } = will;
    // Asked again: the right may be gone since CONNECT.
    if (!this.authorizer.may(session.identity, 'publish', message.topic)) {
      this.log.warn('will.denied', {
        clientId: session.clientId,
        username: session.owner,
        topic: message.topic,
      });
      this.statistics.publishDenied++;
      return;
    }
    const expiresAtMs = expirySeconds < 0 ? 0 : Math.floor(this.clock.now()) + expirySeconds * 1000;
    const fired = expiresAtMs === 0 ? message : new Message({ ...message.fields(), expiresAtMs });
    if (fired.retain && !this.#retainKeeper.keep(fired)) this.#retainKeeper.forget(fired.topic);
    this.router.publishMessage(fired, session);
  }

  #failUnconnected(connection: Connection, error: unknown, reasonCode: number, message: string): void {
    if (!(error instanceof UnsupportedVersionError)) {
      // A 3.x client is closed without an answer. [MQTT-3.1.4-1]
      if (connection.version === 5 && !connection.opened) answerRefused(connection, reasonCode, message);
      else connection.close(reasonCode);
      return;
    }
    // [MQTT-3.1.2-2] a client of a later version understands the CONNACK of ours; older ones get that of 3.1.1.
    // The top bit is how bridges mark themselves; it says nothing of the version.
    connection.version = (error.protocolLevel & 0x7f) >= 5 ? 5 : 4;
    answerRefused(connection, reasonCode, message);
  }

  #storeMoved(): void {
    const waiting = [...this.#awaitingStore];
    this.#awaitingStore.clear();
    for (const connection of waiting) {
      try {
        if (connection.durable()) this.#awaitingStore.add(connection);
      } catch (error) {
        connection.fail(error);
      }
    }
  }

  #storeFull(): void {
    const { publishRefused } = this.statistics;
    if (this.store.full) {
      this.log.error('store.full', { publishRefused });
      return;
    }
    this.log.info('store.has_room', { publishRefused });
    for (const connection of this.#connections) {
      // Only on a new connection does a 3.x client send again what was not acknowledged. [MQTT-4.4.0-1]
      if (connection.unanswered) connection.disconnect(ReasonCode.QUOTA_EXCEEDED);
    }
  }

  #storeFailed(error: Error): void {
    this.log.error('store.failed', { error: error.message });
    this.#onStoreFailed(error);
  }

  /** Keep alive, CONNECT timeout, will delay, expiry. */
  #sweep(): void {
    const now = this.clock.now();
    for (const connection of this.#connections) {
      if (connection.state === 'connected') connection.sweep(now);
      else this.#sweepUnconnected(connection, now);
    }
    this.overload.sweep();
    if (this.overload.step === 3) this.#dropHeaviest();
    this.sessions.sweep(now);
    this.#retainKeeper.sweep(now);
    this.held.sweep(now);
  }

  /** So many bytes were moved that memory is looked at before the next sweep. */
  checkMemory(bytesMoved: number): void {
    this.overload.checkMemory(bytesMoved);
    const now = this.clock.now();
    // Looking at every connection takes a while itself.
    if (this.overload.step < 3 || now - this.#droppedAtMs < DROP_INTERVAL_MS) return;
    this.#droppedAtMs = now;
    this.#dropHeaviest();
  }

  /** Disconnects the one client that makes us keep most; who keeps up makes us keep next to nothing. */
  #dropHeaviest(): void {
    let heaviest: Connection | null = null;
    let most = OUT_BUFFER_BYTES_MAX;
    for (const connection of this.#connections) {
      const { heldBytes } = connection;
      if (heldBytes <= most || connection.state === 'closing') continue;
      heaviest = connection;
      most = heldBytes;
    }
    if (heaviest === null) return;
    this.statistics.overloadDisconnected++;
    this.log.warn('overload.disconnected', { ...heaviest.logFields, heldBytes: most });
    if (heaviest.out.blocked) heaviest.cut(ReasonCode.QUOTA_EXCEEDED);
    else heaviest.disconnect(ReasonCode.QUOTA_EXCEEDED, 'the broker is overloaded');
  }

  /** It has taken nothing of what is on its way to it for `stalledReaderSeconds`. */
  readerStalled(connection: Connection): void {
    this.statistics.readersStalled++;
    const { waitingBytes } = connection.out;
    this.log.warn('client.stalled', { ...connection.logFields, waitingBytes });
    connection.cut(ReasonCode.QUOTA_EXCEEDED);
  }

  /** It sends more than it may: held back from now on, or, at last, disconnected. */
  rateExceeded(connection: Connection, isLast: boolean): void {
    if (!isLast) {
      this.statistics.clientsHeldBack++;
      this.log.info('client.held_back', connection.logFields);
      return;
    }
    this.statistics.clientsOverRate++;
    this.log.warn('client.over_rate', connection.logFields);
    connection.disconnect(ReasonCode.MESSAGE_RATE_TOO_HIGH, 'over the rate for too long');
  }

  keepAliveOver(connection: Connection): void {
    this.log.info('client.keep_alive_timeout', connection.logFields);
    connection.disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT);
  }

  loginOver(connection: Connection): void {
    this.log.info('client.login_ended', connection.logFields);
    connection.disconnect(ReasonCode.MAXIMUM_CONNECT_TIME, 'the credential has ended');
  }

  #sweepUnconnected(connection: Connection, now: number): void {
    // When the broker stops, a peer that has our last bytes and does not close is not waited for as long.
    const patienceMs = this.#closing && !connection.out.blocked ? STOP_TIMEOUT_MS : END_TIMEOUT_MS;
    if (connection.state === 'closing' && now - connection.endedAtMs >= patienceMs) connection.wire.abort();
    if (connection.state !== 'new' && connection.state !== 'authenticating') return;
    if (now - connection.acceptedAtMs <= connection.door.limits.connectTimeoutSeconds * 1000) return;
    this.log.info('client.connect_timeout', connection.logFields);
    connection.state = 'closing';
    connection.endedAtMs = now;
    connection.wire.abort();
  }
}

/** Each token brings grants of its own, mostly those of the one before. */
function sameGrants(a: Grants | null | undefined, b: Grants | null | undefined): boolean {
  if (a === b) return true;
  if (!a || !b) return !a && !b;
  return sameTexts(a.publish, b.publish) && sameTexts(a.subscribe, b.subscribe);
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}
