import type { QoS } from '../codec/packets.ts';
import type { Identity } from '../interfaces/auth.ts';
import type { StoredSession, StoredSessionState, StoreOperation } from '../interfaces/store.ts';
import type { PublishRun } from '../router/publish-run.ts';
import { Delivery, STREAM_UNKNOWN } from './delivery.ts';
import { Inflight, Stage } from './inflight.ts';
import type { Message } from './message.ts';
import type { Outgoing } from './outgoing.ts';
import { deliveryOf } from './paged-queue.ts';
import type { Lane, Receiver } from './receiver.ts';
import { type RetainedSource, RetainedSources } from './retained-sources.ts';
import type { SessionContext, SessionWill } from './session-context.ts';
import { SessionQueue } from './session-queue.ts';
import type { Subscription } from './subscription.ts';

/** What outlives a connection (MQTT 5.0 section 4.1): subscriptions, and messages on their way in either direction. */
export class Session {
  readonly clientId: string;
  /** User name of whoever made the session; nobody else may resume it. Null: anonymous. */
  readonly owner: string | null;
  identity: Identity;
  readonly subscriptions = new Map<string, Subscription>();
  /** Seconds that the session outlives its connection; 0xFFFFFFFF: for ever. */
  expirySeconds = 0;
  will: SessionWill | null = null;
  /** Wall-clock milliseconds of the disconnect; 0 while connected. */
  disconnectedAtMs: number | null = null;
  receiver: Receiver | null = null;
  readonly #context: SessionContext;
  readonly #inflight = new Inflight();
  readonly #queue: SessionQueue;
  /** Packet identifiers of QoS 2 messages received and not yet released. These two are made when first needed. */
  #inbound: Set<number> | null = null;
  #retained: RetainedSources | null = null;
  /** What a data stream that ended has left unacknowledged, to be sent again before all else; null: nothing. */
  #again: Delivery[] | null = null;
  #nextPosition = 1;

  constructor(context: SessionContext, clientId: string, owner: string | null) {
    this.#context = context;
    this.clientId = clientId;
    this.owner = owner;
    this.identity = { username: owner, clientId };
    this.#queue = new SessionQueue(context, this);
  }

  /** True when the session outlives its connection. */
  get persistent(): boolean {
    return this.expirySeconds > 0;
  }

  /** True when the store has the session: because it outlives its connection, or because messages for it are only there. */
  stored = false;

  /** Messages that wait to be sent. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Bytes of those of them that are in memory. */
  get waitingBytes(): number {
    return this.#queue.frontBytes;
  }

  /** True when messages wait that are in the store alone. */
  get paged(): boolean {
    return this.#queue.paged;
  }

  /** What an acknowledgement of this session's own state rests on: the store's last operation, or nothing. */
  get sequence(): number {
    return this.stored ? this.#context.store.appended : 0;
  }

  /** True when a message for this data stream (0: the control stream) would be sent at once. */
  readyOn(stream: number): boolean {
    const receiver = this.receiver;
    return receiver !== null && this.#isReady(receiver, stream === 0 ? receiver : receiver.lane(stream));
  }

  #isReady(receiver: Receiver, lane: Lane): boolean {
    return lane.writable && this.#queue.length === 0 && this.#again === null && this.#windowOpen(receiver);
  }

  /**
   * Sends the message now, or queues it, or drops it where QoS 0 allows that. False: at QoS 1 or 2 there was no room for it.
   * @param stream the data stream that it is for; 0: the control stream
   */
  deliver(
    out: Outgoing,
    qos: QoS,
    retain: boolean,
    identifiers: readonly number[] | null,
    sharedFilter: string | null,
    stream: number,
  ): boolean {
    const receiver = this.receiver;
    const lane = stream === 0 || receiver === null ? receiver : receiver.lane(stream);
    // With QoS 0 queueing on, nothing overtakes what was queued while the client was away.
    if (qos === 0 && lane !== null && !this.#queuesQos0) {
      const result = lane.sendPublish(out, 0, retain, identifiers, 0);
      if (result === 'full') this.#queue.drop(out.topic);
      return true;
    }
    if (qos > 0 && receiver !== null && lane !== null && this.#isReady(receiver, lane)) {
      this.#sendNow(lane, out, qos, retain, identifiers, sharedFilter);
      return true;
    }
    if (qos === 0 && !(this.#context.queueQos0 && this.persistent)) return true;
    return this.#enqueue(out.message(), qos, retain, identifiers, sharedFilter, stream) || qos === 0;
  }

  /** True when QoS 0 goes behind what is queued already. */
  get #queuesQos0(): boolean {
    return this.#context.queueQos0 && this.persistent && this.#queue.length > 0;
  }

  /** Sends a run of QoS 0 messages; false when they must be delivered one by one. */
  deliverRun(run: PublishRun, stream: number): boolean {
    const receiver = this.receiver;
    if (receiver === null) return !(this.#context.queueQos0 && this.persistent);
    if (this.#queuesQos0) return false;
    const lane = stream === 0 ? receiver : receiver.lane(stream);
    const result = lane.sendRun(run);
    if (result === 'full') this.#queue.drop(run.route?.topic ?? '', run.count);
    return result !== 'other';
  }

  /** Queues a message that was held for its first subscriber: it is bounded where it was held, and leaves once the move is durable. */
  deliverHeld(
    message: Message,
    qos: QoS,
    identifiers: readonly number[] | null,
    sharedFilter: string | null,
    stream: number,
  ): void {
    const delivery = this.#add(message, qos, false, identifiers, sharedFilter, stream);
    delivery.notBefore = this.#context.store.appended;
  }

  /** Takes a source of retained messages for `filter`; it replaces an unfinished one for the same filter. */
  deliverRetained(filter: string, source: RetainedSource): void {
    this.#retained ??= new RetainedSources(this.#context.retainedTurns, () => this.pump());
    this.#retained.set(filter, source);
    this.pump();
  }

  /** Ends a retained source, because the subscription is gone. */
  cancelRetained(filter: string): void {
    this.#retained?.delete(filter);
  }

  /** Sends what waits, as far as the window and the receiver's buffer allow. */
  pump(): void {
    const receiver = this.receiver;
    if (receiver === null || (this.#again !== null && !this.#sendAgain(receiver))) return;
    for (;;) {
      const next = this.#queue.peek();
      if (next === undefined) break;
      const lane = this.#laneOf(receiver, next);
      // One stream that stands still keeps back what is queued behind it, until it is ended.
      if (!lane.writable) break;
      if (next.qos > 0 && !this.#windowOpen(receiver)) return;
      this.#queue.shift();
      this.#sendWaiting(lane, next);
      this.#queue.fill();
    }
    this.#queue.fill();
    if (this.#retained !== null && this.#queue.length === 0) this.#pumpRetained(receiver, this.#retained);
  }

  /** PUBACK came. False: the packet identifier is not waiting for one. */
  puback(packetId: number): boolean {
    if (this.#inflight.stageOf(packetId) !== Stage.PUBACK) return false;
    this.#finish(packetId);
    return true;
  }

  /**
   * PUBREC came; `failed` when its reason code is 0x80 or above. PUBREL goes where it came from. False: unknown packet
   * identifier. [MQTT-4.3.3-4]
   */
  pubrec(packetId: number, failed: boolean, lane: Lane): boolean {
    const stage = this.#inflight.stageOf(packetId);
    if (stage !== Stage.PUBREC && stage !== Stage.PUBCOMP) return false;
    if (failed && stage === Stage.PUBREC) {
      this.#finish(packetId);
      return true;
    }
    const delivery = this.#inflight.deliveryOf(packetId);
    if (stage === Stage.PUBREC) {
      this.#inflight.setStage(packetId, Stage.PUBCOMP);
      if (delivery !== null) {
        delivery.released = true;
        this.#append({ kind: 'released', clientId: this.clientId, delivery });
      }
    }
    lane.sendPubrel(packetId, this.sequence);
    return true;
  }

  /** PUBCOMP came. False: the packet identifier is not waiting for one. */
  pubcomp(packetId: number): boolean {
    if (this.#inflight.stageOf(packetId) !== Stage.PUBCOMP) return false;
    this.#finish(packetId);
    return true;
  }

  /** QoS 2 messages received and not yet released. */
  get inboundCount(): number {
    return this.#inbound?.size ?? 0;
  }

  hasInbound(packetId: number): boolean {
    return this.#inbound?.has(packetId) ?? false;
  }

  /** Notes a QoS 2 message received; it is not delivered again until `releaseInbound`. [MQTT-4.3.3-10] */
  noteInbound(packetId: number): void {
    this.#inbound ??= new Set();
    this.#inbound.add(packetId);
    this.#append({ kind: 'inbound', clientId: this.clientId, packetId });
  }

  /** PUBREL came. False: no such QoS 2 message. */
  releaseInbound(packetId: number): boolean {
    if (this.#inbound?.delete(packetId) !== true) return false;
    this.#append({ kind: 'inbound-done', clientId: this.clientId, packetId });
    return true;
  }

  /** A connection takes over: what was in flight is sent again, in order, before what is queued. [MQTT-4.4.0-1] [MQTT-4.6.0-1] */
  attach(receiver: Receiver): void {
    this.receiver = receiver;
    const unacknowledged: Delivery[] = [];
    for (const delivery of this.#inflight.drain()) {
      if (delivery.released) {
        this.#inflight.restore(delivery.packetId, delivery, Stage.PUBCOMP);
        receiver.sendPubrel(delivery.packetId, 0);
      } else unacknowledged.push(delivery);
    }
    this.#queue.unshiftAll(unacknowledged);
    this.pump();
  }

  /** The connection is gone. */
  detach(): void {
    this.receiver = null;
    this.#again = null;
  }

  /**
   * A data stream has ended, and the connection has not. What it left unacknowledged is sent again on the control stream, in order, as on a
   * new connection: the client may never have got it.
   */
  laneEnded(stream: number): void {
    const receiver = this.receiver;
    if (receiver === null) return;
    for (const delivery of this.#inflight.sentOn(stream)) {
      delivery.stream = 0;
      if (delivery.released) {
        receiver.sendPubrel(delivery.packetId, this.sequence);
        continue;
      }
      this.#again ??= [];
      this.#again.push(delivery);
    }
    this.pump();
  }

  /** False: there is more than the control stream takes now. */
  #sendAgain(receiver: Receiver): boolean {
    for (let next = this.#again?.[0]; next !== undefined; next = this.#again?.[0]) {
      if (!receiver.writable) return false;
      this.#again!.shift();
      // Acknowledged meanwhile, on another stream.
      if (!this.#inflight.awaits(next)) continue;
      if (this.#mayReceive(next)) this.#sendInflight(receiver, next, true);
      else this.#forget(next.packetId);
    }
    this.#again = null;
    return true;
  }

  #laneOf(receiver: Receiver, delivery: Delivery): Lane {
    if (delivery.stream === STREAM_UNKNOWN)
      delivery.stream = receiver.hasLanes ? this.#context.streamOf(this, delivery) : 0;
    return delivery.stream === 0 ? receiver : receiver.lane(delivery.stream);
  }

  /** Takes over what the store has of the session at start. */
  restore({ inFlight, queue, lastPosition, inbound }: StoredSessionState): void {
    this.stored = true;
    this.#nextPosition = lastPosition + 1;
    for (const packetId of inbound) {
      this.#inbound ??= new Set();
      this.#inbound.add(packetId);
    }
    const unacknowledged: Delivery[] = [];
    const taken = new Set<number>();
    for (const each of inFlight) {
      const delivery = deliveryOf(each);
      if (taken.has(delivery.packetId)) this.#unsend(delivery);
      else taken.add(delivery.packetId);
      if (delivery.released) this.#inflight.restore(delivery.packetId, delivery, Stage.PUBCOMP);
      else unacknowledged.push(delivery);
    }
    this.#queue.restore(queue);
    this.#queue.unshiftAll(unacknowledged);
  }

  /** Another message has its packet identifier, as no store of ours should say: it is sent as if for the first time. */
  #unsend(delivery: Delivery): void {
    const { clientId, owner: username } = this;
    const { packetId, message } = delivery;
    this.#context.log.error('session.packet_id_twice', {
      clientId,
      username,
      packetId,
      topic: message.topic,
    });
    delivery.packetId = 0;
    delivery.released = false;
  }

  /** The session is over. Returns what waited for it in memory and was not acknowledged; the rest is counted as dropped. */
  end(): Delivery[] {
    const waiting = this.#inflight.drain();
    for (const delivery of this.#queue.end()) waiting.push(delivery);
    this.#retained = null;
    this.#append({ kind: 'session-end', clientId: this.clientId });
    return waiting;
  }

  /** The session as the store keeps it. */
  toStored(): StoredSession {
    const { clientId, owner, expirySeconds, disconnectedAtMs, will } = this;
    return { clientId, owner, expirySeconds, disconnectedAtMs, will };
  }

  /** [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3] */
  #windowOpen(receiver: Receiver): boolean {
    return this.#inflight.size < receiver.window && this.#inflight.bytes < this.#context.limits.queueBytesMax;
  }

  #sendNow(
    lane: Lane,
    out: Outgoing,
    qos: QoS,
    retain: boolean,
    identifiers: readonly number[] | null,
    sharedFilter: string | null,
  ): void {
    // Without a session to resume, or a stream that may end, nothing is ever sent again: the packet identifier alone is enough.
    const delivery =
      this.stored || sharedFilter !== null || lane.id !== 0
        ? new Delivery(this.#nextPosition++, out.message(), qos, retain, identifiers, sharedFilter)
        : null;
    const packetId = this.#inflight.add(delivery, qos === 1 ? Stage.PUBACK : Stage.PUBREC);
    if (delivery !== null) {
      delivery.packetId = packetId;
      delivery.stream = lane.id;
      this.#append({ kind: 'enqueue', clientId: this.clientId, delivery });
    }
    const sequence = this.#sendSequence(qos);
    const result =
      delivery !== null && sequence > 0
        ? lane.sendDelivery(delivery, packetId, false, out.expirySeconds, sequence)
        : lane.sendPublish(out, qos, retain, identifiers, packetId);
    if (result === 'too-large') this.#forget(packetId);
  }

  /** What must be durable before a PUBLISH leaves: at QoS 2 its packet identifier, or a crash would repeat the message. */
  #sendSequence(qos: QoS): number {
    return qos === 2 ? this.sequence : 0;
  }

  #sendWaiting(lane: Lane, delivery: Delivery): void {
    const expirySeconds = delivery.message.expirySeconds(this.#context.clock.now());
    const again = delivery.packetId !== 0;
    if (!this.#mayReceive(delivery) || (!again && expirySeconds === 0)) {
      this.done(delivery);
      return;
    }
    if (delivery.qos === 0) {
      lane.sendDelivery(delivery, 0, false, expirySeconds, delivery.notBefore);
      this.done(delivery);
      return;
    }
    const stage = delivery.qos === 1 ? Stage.PUBACK : Stage.PUBREC;
    const kept = this.stored || delivery.sharedFilter !== null || lane.id !== 0 ? delivery : null;
    delivery.stream = lane.id;
    if (again) this.#inflight.restore(delivery.packetId, kept, stage);
    else {
      delivery.packetId = this.#inflight.add(kept, stage);
      this.#append({ kind: 'sent', clientId: this.clientId, delivery });
    }
    this.#sendInflight(lane, delivery, again);
  }

  /** Sends a delivery that has its packet identifier. */
  #sendInflight(lane: Lane, delivery: Delivery, again: boolean): void {
    const { packetId, qos, notBefore, message } = delivery;
    const expirySeconds = message.expirySeconds(this.#context.clock.now());
    const sequence = Math.max(this.#sendSequence(qos), notBefore);
    const result = lane.sendDelivery(delivery, packetId, again, expirySeconds, sequence);
    if (result === 'too-large') this.#forget(packetId);
  }

  /** Asked again for what waited, and for what is sent again: the right may be gone, or its client be here with a smaller credential. */
  #mayReceive({ message }: Delivery): boolean {
    return this.#context.authorizer.may(this.identity, 'receive', message.topic);
  }

  #pumpRetained(receiver: Receiver, retained: RetainedSources): void {
    while (receiver.writable && this.#windowOpen(receiver)) {
      const next = retained.next();
      if (next === null) break;
      const { message, qos, identifiers, stream } = next;
      const lane = stream === 0 ? receiver : receiver.lane(stream);
      if (!lane.writable) {
        this.#add(message, qos, true, identifiers, null, stream);
        break;
      }
      // At QoS 0 nothing is kept, so that it has no position in the store.
      const position = qos > 0 ? this.#nextPosition++ : 0;
      const delivery = new Delivery(position, message, qos, true, identifiers, null);
      if (qos > 0) this.#append({ kind: 'enqueue', clientId: this.clientId, delivery });
      this.#sendWaiting(lane, delivery);
    }
    if (retained.size === 0) this.#retained = null;
  }

  /** False: the queue is full, and this is what it loses. */
  #enqueue(
    message: Message,
    qos: QoS,
    retain: boolean,
    identifiers: readonly number[] | null,
    sharedFilter: string | null,
    stream: number,
  ): boolean {
    // QoS 0 was promised to nobody: a store without room is kept for what was.
    if (!this.#queue.makeRoom(message.bytes, this.stored) || (qos === 0 && this.#context.store.full)) {
      this.#queue.drop(message.topic);
      return false;
    }
    this.#add(message, qos, retain, identifiers, sharedFilter, stream);
    return true;
  }

  #add(
    message: Message,
    qos: QoS,
    retain: boolean,
    identifiers: readonly number[] | null,
    sharedFilter: string | null,
    stream: number,
  ): Delivery {
    const delivery = new Delivery(this.#nextPosition++, message, qos, retain, identifiers, sharedFilter);
    delivery.stream = stream;
    this.#append({ kind: 'enqueue', clientId: this.clientId, delivery });
    this.#queue.push(delivery, this.stored);
    return delivery;
  }

  #finish(packetId: number): void {
    this.#forget(packetId);
    if (this.#queue.length > 0 || this.#retained !== null) this.pump();
  }

  #forget(packetId: number): void {
    const delivery = this.#inflight.deliveryOf(packetId);
    this.#inflight.remove(packetId);
    if (delivery !== null) this.done(delivery);
  }

  /** A delivery is over: the store need not keep it. */
  done(delivery: Delivery): void {
    if (delivery.position > 0) this.#append({ kind: 'done', clientId: this.clientId, delivery });
  }

  #append(operation: StoreOperation): void {
    if (this.stored) this.#context.store.append(operation);
  }
}
