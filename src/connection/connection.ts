import type { Broker } from '../broker/broker.ts';
import { announcesV5 } from '../codec/announced-version.ts';
import { encodeWithin } from '../codec/encode.ts';
import {
  type ConnackPacket,
  type Packet,
  PacketType,
  type ProtocolVersion,
  type QoS,
} from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import { ProtocolError } from '../errors.ts';
import type { EnhancedAuthentication } from '../handlers/authenticate.ts';
import { dispatchPacket } from '../handlers/dispatch.ts';
import { extendRun } from '../handlers/extend-run.ts';
import type { Wire, WireEvents } from '../interfaces/transport.ts';
import {
  DEFERRED_PACKETS_MAX,
  DEFERRED_PACKETS_SHORT_MAX,
  OUT_AHEAD_BYTES_MAX,
  SWEEP_INTERVAL_MS,
  UNAUTHENTICATED_BYTES_MAX,
} from '../limits.ts';
import type { PublishRun } from '../router/publish-run.ts';
import type { Delivery } from '../session/delivery.ts';
import type { Outgoing } from '../session/outgoing.ts';
import type { Receiver, SendResult } from '../session/receiver.ts';
import type { Session } from '../session/session.ts';
import { DeferredPackets } from './deferred.ts';
import type { Door } from './door.ts';
import { Framer, type FrameSink } from './framer.ts';
import { Intake } from './intake.ts';
import { OutBuffer } from './out-buffer.ts';
import { encodeDelivery, writeDelivery, writeOutgoing, writeRun } from './publish-writer.ts';
import type { TopicAliases } from './topic-aliases.ts';
import type { TopicState } from './topic-state.ts';

/** `new`: before CONNECT. `authenticating`: CONNECT waits for its verdict, perhaps for AUTH packets too. `closing`: our last bytes are on their way. */
export type ConnectionState = 'new' | 'authenticating' | 'connected' | 'closing' | 'closed';

/** Over the largest packet that MQTT can express. */
const UNLIMITED_BYTES = 268_435_461;

/** One live network connection: bytes in, packets to the handlers; packets out, bytes to the wire. */
export class Connection implements WireEvents, FrameSink, Receiver {
  readonly broker: Broker;
  readonly door: Door;
  readonly wire: Wire;
  readonly out: OutBuffer;
  readonly acceptedAtMs: number;
  state: ConnectionState = 'new';
  version: ProtocolVersion = 4;
  clientId = '';
  username: string | null = null;
  session: Session | null = null;
  /** Null: the CONNECT named no authentication method. */
  enhanced: EnhancedAuthentication | null = null;
  /** True once CONNACK has left: nothing goes out before it, and no packet behind CONNECT is looked at. [MQTT-3.2.0-1] */
  opened = false;
  /** Milliseconds of silence after which the client counts as gone; 0: never. */
  silenceMaxMs = 0;
  lastReceivedAtMs: number;
  /** True once the client said goodbye in a way that drops its will. */
  willCancelled = false;
  /** Largest packet taken from the client, in bytes; a lower bound holds until CONNECT was accepted. */
  frameBytesMax: number;
  window = 0;
  /** Who ended the connection: `peer` when it just went. */
  endedBy: 'peer' | 'client' | 'broker' = 'peer';
  /** The reason code it ended with; 0: none to speak of. */
  endCode = 0;
  /** Since when the wire has held the same bytes, as the sweep saw it; 0: it takes what it is given. Monotonic milliseconds. */
  stalledSinceMs = 0;
  /** When we began to end the connection, monotonic milliseconds. */
  endedAtMs = 0;
  /** Monotonic milliseconds at which its credential ends; 0: never. */
  loginEndsAtMs = 0;
  /** The client's Maximum Packet Size in bytes. */
  packetBytesMax = UNLIMITED_BYTES;
  /** The client wants reason strings and user properties (Request Problem Information). */
  problemInformation = true;
  aliases: TopicAliases | null = null;
  lastTopic: TopicState | null = null;
  /** Topics that the client gave aliases to; null until the first. */
  inboundAliases: Map<number, TopicState> | null = null;
  /** QoS 1 publishes of the client whose PUBACK still waits for the store. */
  unacknowledged = 0;
  /** A 3.x client has messages here that it will get no acknowledgement for: the store was full. */
  unanswered = false;
  /** Unreleased QoS 2 messages that the session brought along from an earlier connection. */
  inboundBefore = 0;
  /** What it may send a second; null: as much as it likes. */
  readonly #intake: Intake | null;
  /** Made when the first packet must wait for the store. */
  #deferred: DeferredPackets | null = null;
  readonly #framer: Framer;
  /** Unsent bytes over which QoS 1 and 2 messages stay in the queue. */
  readonly #aheadBytesMax: number;
  #inputPaused = false;
  #endReason: number | undefined;

  constructor(broker: Broker, door: Door, wire: Wire) {
    this.broker = broker;
    this.door = door;
    this.wire = wire;
    const { outBytesMax } = door.limits;
    this.#aheadBytesMax = Math.min(outBytesMax, OUT_AHEAD_BYTES_MAX);
    const bounds = { growsTo: outBytesMax, tellsOver: this.#aheadBytesMax };
    this.out = new OutBuffer(wire, broker.flusher, bounds, () => this.#roomAgain());
    this.acceptedAtMs = broker.clock.now();
    this.lastReceivedAtMs = this.acceptedAtMs;
    this.frameBytesMax = door.limits.connectPacketBytesMax;
    this.#framer = new Framer(this);
    this.#intake = Intake.of(door.limits, this.acceptedAtMs);
  }

  /** True when QoS 1 and 2 may go out: a few writes wait, and no more. The rest waits in the queue, where all receivers of a message share it. */
  get writable(): boolean {
    return this.opened && this.out.waitingBytes <= this.#aheadBytesMax;
  }

  /** True when QoS 0 may go out: with it no more than `outBytesMax` waits, or nothing waits before it; under overload, if the wire is free. */
  hasRoomFor(bytes: number): boolean {
    const { waitingBytes } = this.out;
    if (waitingBytes === 0) return this.opened;
    if (this.broker.overload.shedding && this.out.blocked) return false;
    // What is queued waits for the buffer to empty, and would wait for ever if QoS 0 went on filling it.
    const queued = this.session !== null && this.session.waiting > 0;
    const max = queued ? this.#aheadBytesMax : this.door.limits.outBytesMax;
    return this.opened && waitingBytes + bytes <= max;
  }

  /** True while nothing is read from the client. */
  get inputPaused(): boolean {
    return this.#inputPaused;
  }

  // Wire events

  data(chunk: Buffer): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    const { statistics, clock, overload } = this.broker;
    statistics.bytesReceived += chunk.length;
    const published = statistics.publishReceived;
    this.lastReceivedAtMs = clock.now();
    try {
      // Checked before the length, so that a stranger's first byte decides. [MQTT-3.1.0-1]
      if (this.state === 'new' && chunk.length > 0 && this.#framer.heldBytes === 0 && chunk[0] !== 0x10)
        throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'the first packet is not a CONNECT');
      // So that even a CONNECT that cannot be read is answered in the version it was sent in.
      if (this.state === 'new' && announcesV5(chunk)) this.version = 5;
      this.#framer.push(chunk);
      if (this.state === 'authenticating' && this.#framer.heldBytes > UNAUTHENTICATED_BYTES_MAX)
        throw new ProtocolError(
          ReasonCode.QUOTA_EXCEEDED,
          'too much was sent before the CONNECT was decided',
        );
    } catch (error) {
      this.fail(error);
    }
    this.#endRun();
    if (this.#intake !== null) this.#meter(statistics.publishReceived - published, chunk.length);
    const bytesMoved = statistics.bytesReceived + statistics.publishBytesSent;
    if (bytesMoved >= overload.checkAtBytes) this.broker.checkMemory(bytesMoved);
    this.watchInput();
  }

  drain(): void {
    this.stalledSinceMs = 0;
    this.out.drained();
    if (this.state === 'closing') {
      if (!this.out.blocked) this.wire.end(this.#endReason);
      return;
    }
    this.#roomAgain();
  }

  closed(error?: Error): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.out.close();
    this.broker.connectionClosed(this, error);
  }

  frame(buffer: Buffer, start: number, bodyStart: number, end: number): boolean {
    if (this.state === 'closing' || this.state === 'closed') return false;
    this.broker.statistics.messagesReceived++;
    if (extendRun(this, buffer, start, bodyStart, end)) return true;
    this.broker.endRun();
    dispatchPacket(this, buffer, start, bodyStart, end);
    return this.state === 'connected' ? this.opened : this.state === 'new';
  }

  /**
   * The one place that stops and resumes input: while a CONNECT waits for its verdict or its CONNACK for the store, while a
   * client does not read what it caused, so that output stays bounded, and while it is over a rate.
   */
  watchInput(): void {
    if (this.state === 'new' || this.state === 'closing' || this.state === 'closed') return;
    // A paused wire does not notice that its peer has left, so that it is paused no sooner than need be.
    const awaitsAuth = this.#awaitsAuth;
    const open = this.opened
      ? this.out.waitingBytes <= this.door.limits.outBytesMax &&
        this.#intake?.heldBack !== true &&
        !this.#storeIsBehind
      : awaitsAuth || this.#framer.heldBytes < UNAUTHENTICATED_BYTES_MAX / 2;
    if (open === this.#inputPaused) {
      this.#inputPaused = !open;
      // A client that we did not listen to has not been silent.
      this.lastReceivedAtMs = this.broker.clock.now();
      if (open) this.wire.resume();
      else this.wire.pause();
    }
    if ((this.opened || awaitsAuth) && open && this.#framer.stopped) this.#resumeFramer();
  }

  /** Looks at what time brings: silence, the end of its login, a reader that stands still, a rate that is paid back. */
  sweep(nowMs: number): void {
    const { limits } = this.door;
    // [MQTT-3.1.2-22] A client that we do not listen to is not silent.
    const silentMs = this.#inputPaused ? 0 : nowMs - this.lastReceivedAtMs;
    if (this.silenceMaxMs > 0 && silentMs > this.silenceMaxMs) this.broker.keepAliveOver(this);
    else if (this.loginEndsAtMs > 0 && nowMs >= this.loginEndsAtMs) this.broker.loginOver(this);
    else if (!this.out.blocked) {
      if (silentMs > SWEEP_INTERVAL_MS) this.out.trim();
    } else if (this.stalledSinceMs === 0) this.stalledSinceMs = nowMs;
    else if (nowMs - this.stalledSinceMs >= limits.stalledReaderSeconds * 1000)
      this.broker.readerStalled(this);
    if (this.#intake?.heldBack && this.#intake.release(nowMs)) this.watchInput();
  }

  /** Bytes that the client makes us keep: those it does not read, and the begin of a packet that it does not end. */
  get heldBytes(): number {
    return this.out.waitingBytes + (this.session?.waitingBytes ?? 0) + this.#framer.heldBytes;
  }

  /** Counts the topic filters of a SUBSCRIBE. */
  takeFilters(count: number): void {
    this.#intake?.takeFilters(count);
  }

  #meter(messages: number, bytes: number): void {
    if (this.state !== 'connected') return;
    const result = this.#intake!.take(messages, bytes, this.lastReceivedAtMs);
    if (result === 'begins') this.broker.rateExceeded(this, false);
    else if (result === 'too-long') this.broker.rateExceeded(this, true);
  }

  /** True while more waits for the store than it should take to write it. */
  get #storeIsBehind(): boolean {
    const max = this.broker.overload.memoryShort ? DEFERRED_PACKETS_SHORT_MAX : DEFERRED_PACKETS_MAX;
    return this.#deferred !== null && this.#deferred.length >= max;
  }

  #resumeFramer(): void {
    const { statistics } = this.broker;
    const published = statistics.publishReceived;
    try {
      this.#framer.resume();
    } catch (error) {
      this.fail(error);
    }
    this.#endRun();
    // Its bytes were counted when they came.
    if (this.#intake !== null) this.#meter(statistics.publishReceived - published, 0);
    this.watchInput();
  }

  #endRun(): void {
    try {
      this.broker.endRun();
    } catch (error) {
      this.fail(error);
    }
  }

  // Sending

  /** Appends a packet in the client's version, trimmed to its Maximum Packet Size; false when it cannot be made to fit. [MQTT-3.1.2-24] */
  send(packet: Packet): boolean {
    if (this.state === 'closed') return false;
    const bytes = encodeWithin(packet, this.version, this.packetBytesMax);
    if (bytes === null) return false;
    this.#sendBytes(bytes);
    return true;
  }

  /** Sends once everything the store was given up to `sequence` is durable, and behind all that waits for the same. */
  sendWhenDurable(sequence: number, packet: Packet, release: (() => void) | null = null): void {
    if (!this.#mustWait(sequence)) {
      this.send(packet);
      release?.();
      return;
    }
    const bytes = encodeWithin(packet, this.version, this.packetBytesMax);
    if (bytes !== null) this.#defer(sequence, bytes, release);
  }

  /** CONNACK, the first packet out; false when it is over the client's Maximum Packet Size. */
  sendConnack(sequence: number, packet: ConnackPacket): boolean {
    if (this.version !== 5 && sequence <= this.broker.store.durable) {
      this.broker.statistics.messagesSent++;
      this.out.appendAck(0x20, (packet.sessionPresent ? 0x100 : 0) | packet.reasonCode);
      this.opened = true;
      return true;
    }
    const bytes = encodeWithin(packet, this.version, this.packetBytesMax);
    if (bytes === null) return false;
    if (sequence <= this.broker.store.durable) {
      this.#sendBytes(bytes);
      this.opened = true;
      return true;
    }
    this.#defer(sequence, bytes, () => {
      if (this.state !== 'connected') return;
      this.opened = true;
      this.session?.pump();
    });
    return true;
  }

  /** PUBACK, PUBREC, PUBREL or PUBCOMP with reason code 0, once `sequence` is durable. */
  sendAck(firstByte: number, packetId: number, sequence: number, release: (() => void) | null = null): void {
    if (!this.#mustWait(sequence)) {
      this.broker.statistics.messagesSent++;
      this.out.appendAck(firstByte, packetId);
      release?.();
      return;
    }
    this.#defer(sequence, Buffer.from([firstByte, 2, packetId >>> 8, packetId & 0xff]), release);
  }

  sendPubrel(packetId: number, sequence: number): void {
    this.sendAck(0x62, packetId, sequence);
  }

  /** The store has moved on. True when packets still wait for it. */
  durable(): boolean {
    this.#deferred?.releaseUpTo(this.broker.store.durable, (bytes) => this.#sendBytes(bytes));
    this.watchInput();
    return this.#hasDeferred;
  }

  sendRun(run: PublishRun): SendResult | 'other' {
    return writeRun(this, run);
  }

  sendPublish(
    out: Outgoing,
    qos: QoS,
    retain: boolean,
    identifiers: readonly number[] | null,
    packetId: number,
  ): SendResult {
    return writeOutgoing(this, out, qos, retain, identifiers, packetId);
  }

  sendDelivery(
    delivery: Delivery,
    packetId: number,
    dup: boolean,
    expirySeconds: number,
    sequence: number,
  ): SendResult {
    if (sequence === 0 || !this.#mustWait(sequence))
      return writeDelivery(this, delivery, packetId, dup, expirySeconds);
    const bytes = encodeDelivery(this, delivery, packetId, dup, expirySeconds);
    if (bytes === null) return 'too-large';
    this.#defer(sequence, bytes, null);
    return 'sent';
  }

  // Ending

  takeOver(): void {
    this.broker.log.info('client.taken_over', this.logFields);
    this.disconnect(ReasonCode.SESSION_TAKEN_OVER);
  }

  /** Tells the client why, as far as its version can, and closes. [MQTT-4.13.1-1] */
  disconnect(reasonCode: number, reasonString?: string): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    if (this.version === 5 && this.opened) {
      const properties = reasonString !== undefined && this.problemInformation ? { reasonString } : {};
      this.send({ type: PacketType.DISCONNECT, reasonCode, properties });
    }
    this.close(reasonCode);
  }

  /** Sends what is in the buffer and closes. */
  close(reasonCode?: number): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    if (this.endedBy === 'peer') this.endedBy = 'broker';
    this.endCode = reasonCode ?? 0;
    this.out.flush();
    this.state = 'closing';
    this.endedAtMs = this.broker.clock.now();
    this.broker.connectionGone(this);
    // What is still in the buffer goes out when the wire has given the last one back; the sweep bounds the wait.
    if (this.out.blocked) this.#endReason = reasonCode;
    else this.wire.end(reasonCode);
  }

  /** Ends the connection of a peer that takes nothing any more: what is in the buffer is lost, and free at once. */
  cut(reasonCode: number): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    this.endedBy = 'broker';
    this.endCode = reasonCode;
    this.state = 'closing';
    this.endedAtMs = this.broker.clock.now();
    this.broker.connectionGone(this);
    this.out.close();
    this.wire.abort();
  }

  /** Ends the connection for an error of the peer's, or for one of ours. */
  fail(error: unknown): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    this.broker.connectionFailed(this, error);
  }

  /** Fields for every log line about this connection. */
  get logFields(): object {
    const { clientId, username } = this;
    const { address, port } = this.wire.peer;
    // In brackets, or nobody could tell the port from the end of an IPv6 address.
    const host = port > 0 && address.includes(':') ? `[${address}]` : address;
    return { clientId, username, address: port > 0 ? `${host}:${port}` : host, door: this.door.name };
  }

  // Inside

  /** An enhanced authentication at CONNECT waits for the client: input is looked at again, though only for AUTH. */
  get #awaitsAuth(): boolean {
    return this.state === 'authenticating' && this.enhanced?.awaitsClient === true;
  }

  /** The wire has taken what stood in the way: whoever waited for room goes on. */
  #roomAgain(): void {
    if (this.state !== 'connected') return;
    this.session?.pump();
    this.watchInput();
  }

  #sendBytes(bytes: Buffer): void {
    if (this.state === 'closed' || this.state === 'closing') return;
    this.broker.statistics.messagesSent++;
    this.out.append(bytes, 0, bytes.length);
  }

  /** True for a packet that rests on what is not durable yet, or would overtake one that does. */
  #mustWait(sequence: number): boolean {
    return this.#hasDeferred || sequence > this.broker.store.durable;
  }

  get #hasDeferred(): boolean {
    return this.#deferred !== null && this.#deferred.length > 0;
  }

  #defer(sequence: number, bytes: Buffer, release: (() => void) | null): void {
    this.#deferred ??= new DeferredPackets();
    this.#deferred.push(sequence, bytes, release);
    this.broker.awaitDurable(this);
  }
}
