import type { Broker } from '../broker/broker.ts';
import { announcesV5 } from '../codec/announced-version.ts';
import { encodeWithin } from '../codec/encode.ts';
import { type ConnackPacket, PacketType, type ProtocolVersion } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import { ProtocolError } from '../errors.ts';
import type { EnhancedAuthentication } from '../handlers/authenticate.ts';
import { dispatchPacket } from '../handlers/dispatch.ts';
import { extendRun } from '../handlers/extend-run.ts';
import type { Credential } from '../interfaces/auth.ts';
import type { Wire, WireEvents } from '../interfaces/transport.ts';
import {
  DEFERRED_PACKETS_MAX,
  DEFERRED_PACKETS_SHORT_MAX,
  SWEEP_INTERVAL_MS,
  UNAUTHENTICATED_BYTES_MAX,
} from '../limits.ts';
import type { Lane, Receiver } from '../session/receiver.ts';
import type { Session } from '../session/session.ts';
import { DataStreams } from './data-streams.ts';
import type { Door } from './door.ts';
import { Intake } from './intake.ts';
import { PacketStream } from './packet-stream.ts';
import type { TopicAliases } from './topic-aliases.ts';

/** `new`: before CONNECT. `authenticating`: CONNECT waits for its verdict, perhaps for AUTH packets too. `closing`: our last bytes are on their way. */
export type ConnectionState = 'new' | 'authenticating' | 'connected' | 'closing' | 'closed';

/** Over the largest packet that MQTT can express. */
const UNLIMITED_BYTES = 268_435_461;

/**
 * One live network connection: bytes in, packets to the handlers; packets out, bytes to the wire. It is its own control stream; where the
 * transport has streams it may have others beside it.
 */
export class Connection extends PacketStream implements WireEvents, Receiver {
  readonly id = 0;
  readonly connection: Connection = this;
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
  /** When we began to end the connection, monotonic milliseconds. */
  endedAtMs = 0;
  /** Monotonic milliseconds at which its credential ends; 0: never. */
  loginEndsAtMs = 0;
  /** What it logged in with, where that can be taken back. */
  credential: Credential | null = null;
  /** The client's Maximum Packet Size in bytes. */
  packetBytesMax = UNLIMITED_BYTES;
  /** The client wants reason strings and user properties (Request Problem Information). */
  problemInformation = true;
  aliases: TopicAliases | null = null;
  /** QoS 1 publishes of the client whose PUBACK still waits for the store. */
  unacknowledged = 0;
  /** A 3.x client has messages here that it will get no acknowledgement for: the store was full. */
  unanswered = false;
  /** Unreleased QoS 2 messages that the session brought along from an earlier connection. */
  inboundBefore = 0;
  /** What it may send a second; null: as much as it likes. */
  readonly #intake: Intake | null;
  /** Made when the client opens the first. */
  #streams: DataStreams | null = null;
  #endReason: number | undefined;

  constructor(broker: Broker, door: Door, wire: Wire) {
    super(broker, door, wire, door.limits.outBytesMax);
    this.acceptedAtMs = broker.clock.now();
    this.lastReceivedAtMs = this.acceptedAtMs;
    this.frameBytesMax = door.limits.connectPacketBytesMax;
    this.#intake = Intake.of(door.limits, this.acceptedAtMs);
  }

  /** True when QoS 1 and 2 may go out: a few writes wait, and no more. The rest waits in the queue, where all receivers of a message share it. */
  get writable(): boolean {
    return this.opened && this.out.waitingBytes <= this.aheadBytesMax;
  }

  /** True when QoS 0 may go out: with it no more than `outBytesMax` waits, or nothing waits before it; under overload, if the wire is free. */
  hasRoomFor(bytes: number): boolean {
    const { waitingBytes } = this.out;
    if (waitingBytes === 0) return this.opened;
    if (this.broker.overload.shedding && this.out.blocked) return false;
    // What is queued waits for the buffer to empty, and would wait for ever if QoS 0 went on filling it.
    const queued = this.session !== null && this.session.waiting > 0;
    const max = queued ? this.aheadBytesMax : this.door.limits.outBytesMax;
    return this.opened && waitingBytes + bytes <= max;
  }

  /** True when nothing more can be sent. */
  get isOver(): boolean {
    return this.state === 'closing' || this.state === 'closed';
  }

  /** True when something stops the input of all its streams: a rate, or a store that is behind. */
  get isHeldBack(): boolean {
    return this.#intake?.heldBack === true || this.#storeIsBehind;
  }

  // Data streams

  get hasLanes(): boolean {
    return this.#streams !== null && this.#streams.size > 0;
  }

  lane(id: number): Lane {
    return this.#streams?.get(id) ?? this;
  }

  stream(wire: Wire): WireEvents | null {
    if (this.isOver) return null;
    this.#streams ??= new DataStreams(this);
    return this.#streams.open(wire);
  }

  // Wire events

  data(chunk: Buffer): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    const { statistics, clock } = this.broker;
    statistics.bytesReceived += chunk.length;
    const published = statistics.publishReceived;
    this.lastReceivedAtMs = clock.now();
    try {
      // Checked before the length, so that a stranger's first byte decides. [MQTT-3.1.0-1]
      if (this.state === 'new' && chunk.length > 0 && this.framer.heldBytes === 0 && chunk[0] !== 0x10)
        throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'the first packet is not a CONNECT');
      // So that even a CONNECT that cannot be read is answered in the version it was sent in.
      if (this.state === 'new' && announcesV5(chunk)) this.version = 5;
      this.framer.push(chunk);
      if (this.state === 'authenticating' && this.framer.heldBytes > UNAUTHENTICATED_BYTES_MAX)
        throw new ProtocolError(
          ReasonCode.QUOTA_EXCEEDED,
          'too much was sent before the CONNECT was decided',
        );
    } catch (error) {
      this.fail(error);
    }
    this.endRun();
    this.chunkRead(published, chunk.length);
  }

  /** To be told of each chunk of each stream, when its packets are handled; `published`: the PUBLISH packets received before. */
  chunkRead(published: number, bytes: number): void {
    const { statistics, overload } = this.broker;
    if (this.#intake !== null) this.#meter(statistics.publishReceived - published, bytes);
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
    this.roomAgain();
  }

  closed(error?: Error): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.out.close();
    this.#streams?.endAll();
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
      ? this.out.waitingBytes <= this.door.limits.outBytesMax && !this.isHeldBack
      : awaitsAuth || this.framer.heldBytes < UNAUTHENTICATED_BYTES_MAX / 2;
    this.listen(open);
    if ((this.opened || awaitsAuth) && open && this.framer.stopped) this.#resumeFramer();
    if (this.#streams !== null) this.#streams.watchInput();
  }

  /** Looks at what time brings: silence, the end of its login, a reader that stands still, a rate that is paid back. */
  sweep(nowMs: number): void {
    // [MQTT-3.1.2-22] A client that we do not listen to is not silent.
    const silentMs = this.inputPaused ? 0 : nowMs - this.lastReceivedAtMs;
    if (this.silenceMaxMs > 0 && silentMs > this.silenceMaxMs) this.broker.keepAliveOver(this);
    else if (this.loginEndsAtMs > 0 && nowMs >= this.loginEndsAtMs) this.broker.loginOver(this);
    else if (this.isStalled(nowMs)) this.broker.readerStalled(this);
    else if (silentMs > SWEEP_INTERVAL_MS) this.out.trim();
    if (this.#streams !== null) this.#streams.sweep(nowMs, silentMs);
    if (this.#intake?.heldBack && this.#intake.release(nowMs)) this.watchInput();
  }

  /** Bytes that the client makes us keep: those it does not read, and the begin of a packet that it does not end. */
  get heldBytes(): number {
    const own = this.out.waitingBytes + (this.session?.waitingBytes ?? 0) + this.framer.heldBytes;
    return this.#streams === null ? own : own + this.#streams.waitingBytes + this.#streams.framerBytes;
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
    return this.deferredCount + (this.#streams?.deferredCount ?? 0) >= max;
  }

  #resumeFramer(): void {
    const { statistics } = this.broker;
    const published = statistics.publishReceived;
    try {
      this.framer.resume();
    } catch (error) {
      this.fail(error);
    }
    this.endRun();
    // Its bytes were counted when they came.
    if (this.#intake !== null) this.#meter(statistics.publishReceived - published, 0);
    this.watchInput();
  }

  // Sending

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
      this.sendBytes(bytes);
      this.opened = true;
      return true;
    }
    const release = () => {
      if (this.state !== 'connected') return;
      this.opened = true;
      this.session?.pump();
    };
    this.defer({ sequence, bytes, release });
    return true;
  }

  /** The store has moved on. True when packets still wait for it. */
  durable(): boolean {
    this.releaseDurable();
    this.#streams?.releaseDurable();
    this.watchInput();
    return this.deferredCount + (this.#streams?.deferredCount ?? 0) > 0;
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
    this.#streams?.endAll();
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
    this.#streams?.endAll();
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
  roomAgain(): void {
    if (this.state !== 'connected') return;
    this.session?.pump();
    this.watchInput();
  }
}
