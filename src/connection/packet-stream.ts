import type { Broker } from '../broker/broker.ts';
import { encodeWithin } from '../codec/encode.ts';
import type { Packet, ProtocolVersion, QoS } from '../codec/packets.ts';
import type { Wire } from '../interfaces/transport.ts';
import { OUT_AHEAD_BYTES_MAX } from '../limits.ts';
import type { PublishRun } from '../router/publish-run.ts';
import type { Delivery } from '../session/delivery.ts';
import type { Outgoing } from '../session/outgoing.ts';
import type { Lane, SendResult } from '../session/receiver.ts';
import type { Connection } from './connection.ts';
import { type DeferredPacket, DeferredPackets } from './deferred.ts';
import type { Door } from './door.ts';
import { Framer, type FrameSink } from './framer.ts';
import { OutBuffer } from './out-buffer.ts';
import { encodeDelivery, writeDelivery, writeOutgoing, writeRun } from './publish-writer.ts';
import type { TopicAliases } from './topic-aliases.ts';
import type { TopicState } from './topic-state.ts';

/**
 * Packets of one client in order, both ways: the control stream, which is the Connection itself, or one of its data streams. What a packet
 * causes for its sender leaves on the stream that it came on.
 */
export abstract class PacketStream implements FrameSink, Lane {
  readonly broker: Broker;
  readonly door: Door;
  readonly wire: Wire;
  readonly out: OutBuffer;
  readonly framer: Framer;
  /** Unsent bytes over which QoS 1 and 2 messages stay in the queue. */
  readonly aheadBytesMax: number;
  lastTopic: TopicState | null = null;
  /** Topics that the client gave aliases to on this stream; null until the first. */
  inboundAliases: Map<number, TopicState> | null = null;
  /** Since when the wire has held the same bytes, as the sweep saw it; 0: it takes what it is given. Monotonic milliseconds. */
  stalledSinceMs = 0;
  /** True while nothing is read from it. */
  inputPaused = false;
  /** The client has subscribed on it. */
  hasSubscribed = false;
  /** Made when the first packet must wait for the store. */
  #deferred: DeferredPackets | null = null;

  abstract readonly id: number;
  abstract readonly connection: Connection;
  abstract readonly version: ProtocolVersion;
  abstract readonly packetBytesMax: number;
  /** Aliases that we give topics; null: none. */
  abstract readonly aliases: TopicAliases | null;
  abstract readonly frameBytesMax: number;
  abstract readonly writable: boolean;
  /** True when nothing more can be sent. */
  abstract readonly isOver: boolean;
  abstract readonly logFields: object;

  /** @param outBytesMax unsent bytes that it may have */
  constructor(broker: Broker, door: Door, wire: Wire, outBytesMax: number) {
    this.broker = broker;
    this.door = door;
    this.wire = wire;
    this.aheadBytesMax = Math.min(outBytesMax, OUT_AHEAD_BYTES_MAX);
    const bounds = { growsTo: outBytesMax, tellsOver: this.aheadBytesMax };
    this.out = new OutBuffer(wire, broker.flusher, bounds, () => this.roomAgain());
    this.framer = new Framer(this);
  }

  abstract frame(buffer: Buffer, start: number, bodyStart: number, end: number): boolean;
  abstract hasRoomFor(bytes: number): boolean;
  /** The wire has taken what stood in the way: whoever waited for room goes on. */
  abstract roomAgain(): void;
  /** Ends the stream, or all of the connection, for an error of the peer's, or for one of ours. */
  abstract fail(error: unknown): void;

  /** Delivers the run of QoS 0 packets that the chunk ended with. */
  endRun(): void {
    try {
      this.broker.endRun();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Stops or resumes input. */
  listen(open: boolean): void {
    if (open !== this.inputPaused) return;
    this.inputPaused = !open;
    // A client that we did not listen to has not been silent.
    this.connection.lastReceivedAtMs = this.broker.clock.now();
    if (open) this.wire.resume();
    else this.wire.pause();
  }

  /** To be asked with every sweep: has the wire held the same bytes for too long? */
  isStalled(nowMs: number): boolean {
    if (!this.out.blocked) return false;
    if (this.stalledSinceMs === 0) this.stalledSinceMs = nowMs;
    return nowMs - this.stalledSinceMs >= this.door.limits.stalledReaderSeconds * 1000;
  }

  // Sending

  /** Appends a packet in the client's version, trimmed to its Maximum Packet Size; false when it cannot be made to fit. [MQTT-3.1.2-24] */
  send(packet: Packet): boolean {
    const bytes = encodeWithin(packet, this.version, this.packetBytesMax);
    if (bytes === null) return false;
    this.sendBytes(bytes);
    return true;
  }

  /** Sends once everything the store was given up to `sequence` is durable, and behind all that waits for the same. */
  sendWhenDurable(sequence: number, packet: Packet, release: (() => void) | null = null): void {
    if (!this.mustWait(sequence)) {
      this.send(packet);
      release?.();
      return;
    }
    const bytes = encodeWithin(packet, this.version, this.packetBytesMax);
    if (bytes !== null) this.defer({ sequence, bytes, release });
  }

  /** PUBACK, PUBREC, PUBREL or PUBCOMP with reason code 0, once `sequence` is durable. */
  sendAck(firstByte: number, packetId: number, sequence: number, release: (() => void) | null = null): void {
    if (!this.mustWait(sequence)) {
      this.broker.statistics.messagesSent++;
      this.out.appendAck(firstByte, packetId);
      release?.();
      return;
    }
    const bytes = Buffer.from([firstByte, 2, packetId >>> 8, packetId & 0xff]);
    this.defer({ sequence, bytes, release });
  }

  sendPubrel(packetId: number, sequence: number): void {
    this.sendAck(0x62, packetId, sequence);
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
    if (sequence === 0 || !this.mustWait(sequence))
      return writeDelivery(this, delivery, packetId, dup, expirySeconds);
    const bytes = encodeDelivery(this, delivery, packetId, dup, expirySeconds);
    if (bytes === null) return 'too-large';
    this.defer({ sequence, bytes, release: null });
    return 'sent';
  }

  /** Appends an encoded packet. */
  sendBytes(bytes: Buffer): void {
    if (this.isOver) return;
    this.broker.statistics.messagesSent++;
    this.out.append(bytes, 0, bytes.length);
  }

  // What waits for the store

  /** Packets that wait for the store. */
  get deferredCount(): number {
    return this.#deferred === null ? 0 : this.#deferred.length;
  }

  /** True for a packet that rests on what is not durable yet, or would overtake one that does. */
  mustWait(sequence: number): boolean {
    return (this.#deferred !== null && this.#deferred.length > 0) || sequence > this.broker.store.durable;
  }

  defer(packet: DeferredPacket): void {
    this.#deferred ??= new DeferredPackets();
    this.#deferred.push(packet);
    this.broker.awaitDurable(this.connection);
  }

  /** The store has moved on. */
  releaseDurable(): void {
    this.#deferred?.releaseUpTo(this.broker.store.durable, (bytes) => this.sendBytes(bytes));
  }

  /** Takes out everything that waits for the store. */
  takeDeferred(): DeferredPacket[] {
    return this.#deferred === null ? [] : this.#deferred.takeAll();
  }
}
