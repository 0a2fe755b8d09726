import { PacketType, type ProtocolVersion } from '../codec/packets.ts';
import { ReasonCode } from '../codec/reason-codes.ts';
import { ProtocolError } from '../errors.ts';
import { dispatchOnStream } from '../handlers/dispatch.ts';
import { extendRun } from '../handlers/extend-run.ts';
import type { Wire, WireEvents } from '../interfaces/transport.ts';
import { SWEEP_INTERVAL_MS } from '../limits.ts';
import type { Connection } from './connection.ts';
import type { DataStreams } from './data-streams.ts';
import { PacketStream } from './packet-stream.ts';
import type { TopicAliases } from './topic-aliases.ts';

/** What a client does to the connection as a whole, wherever it does it, ends the connection. */
const CONNECTION_ERRORS: ReadonlySet<number> = new Set([
  ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
  // Only where the operator wants a refused PUBLISH to disconnect.
  ReasonCode.NOT_AUTHORIZED,
]);

/** PUBLISH to UNSUBACK: what a data stream carries, in either direction. */
function isForStreams(type: number): boolean {
  return type >= PacketType.PUBLISH && type <= PacketType.UNSUBACK;
}

/**
 * A further stream that the client opened: PUBLISH, SUBSCRIBE, UNSUBSCRIBE and their answers, of the session that its connection has. Nothing
 * is read before the CONNACK has left. What goes wrong on it ends it alone (docs/decisions/0020-data-streams.md).
 */
export class DataStream extends PacketStream implements WireEvents {
  readonly id: number;
  readonly connection: Connection;
  isOver = false;
  readonly #streams: DataStreams;
  readonly #outBytesMax: number;

  /** @param outBytesMax unsent bytes that this one may have */
  constructor(connection: Connection, streams: DataStreams, id: number, wire: Wire, outBytesMax: number) {
    super(connection.broker, connection.door, wire, outBytesMax);
    this.connection = connection;
    this.id = id;
    this.#streams = streams;
    this.#outBytesMax = outBytesMax;
    if (connection.opened) this.watchInput(streams.mayListen);
    else {
      this.inputPaused = true;
      this.framer.stop();
      wire.pause();
    }
  }

  get version(): ProtocolVersion {
    return this.connection.version;
  }

  get packetBytesMax(): number {
    return this.connection.packetBytesMax;
  }

  get frameBytesMax(): number {
    return this.connection.frameBytesMax;
  }

  /** None: an alias would belong to one stream, and a message may move to another. */
  get aliases(): TopicAliases | null {
    return null;
  }

  get logFields(): object {
    return { ...this.connection.logFields, stream: this.id };
  }

  get writable(): boolean {
    return !this.isOver && this.out.waitingBytes <= this.aheadBytesMax && !this.#streams.isFull(0);
  }

  /** As for the connection, but within the part that one stream may have, and within what all of them may have. */
  hasRoomFor(bytes: number): boolean {
    if (this.isOver) return false;
    const { waitingBytes } = this.out;
    if (waitingBytes === 0) return !this.#streams.isFull(bytes);
    if (this.broker.overload.shedding && this.out.blocked) return false;
    const { session } = this.connection;
    const queued = session !== null && session.waiting > 0;
    const max = queued ? this.aheadBytesMax : this.#outBytesMax;
    return waitingBytes + bytes <= max && !this.#streams.isFull(bytes);
  }

  data(chunk: Buffer): void {
    if (this.isOver) return;
    const { statistics } = this.broker;
    statistics.bytesReceived += chunk.length;
    const published = statistics.publishReceived;
    this.connection.lastReceivedAtMs = this.broker.clock.now();
    try {
      this.framer.push(chunk);
    } catch (error) {
      this.fail(error);
    }
    this.#chunkRead(published, chunk.length);
  }

  drain(): void {
    this.stalledSinceMs = 0;
    this.out.drained();
    this.roomAgain();
  }

  closed(): void {
    this.#end();
  }

  frame(buffer: Buffer, start: number, bodyStart: number, end: number): boolean {
    if (this.isOver || this.connection.state !== 'connected') return false;
    this.broker.statistics.messagesReceived++;
    if (extendRun(this, buffer, start, bodyStart, end)) return true;
    this.broker.endRun();
    const type = buffer[start] >> 4;
    if (!isForStreams(type))
      throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, `packet type ${type} on a data stream`);
    dispatchOnStream(this, buffer, start, bodyStart, end);
    return !this.isOver;
  }

  /**
   * Stops and resumes input: for what its client does not read of this stream, or, unless `mayListen`, for what stops all of them. True: it
   * had kept bytes, and handled them, so that all streams were looked at again.
   */
  watchInput(mayListen: boolean): boolean {
    if (this.isOver) return false;
    const open = mayListen && this.out.waitingBytes <= this.#outBytesMax;
    this.listen(open);
    if (!open || !this.framer.stopped) return false;
    const { statistics } = this.broker;
    const published = statistics.publishReceived;
    try {
      this.framer.resume();
    } catch (error) {
      this.fail(error);
    }
    // Its bytes were counted when they came.
    this.#chunkRead(published, 0);
    return true;
  }

  roomAgain(): void {
    if (!this.isOver) this.connection.roomAgain();
  }

  /** To be called with every sweep. */
  sweep(nowMs: number, silentMs: number): void {
    if (this.isStalled(nowMs)) {
      this.broker.statistics.readersStalled++;
      this.broker.log.warn('stream.stalled', { ...this.logFields, waitingBytes: this.out.waitingBytes });
      this.reset(ReasonCode.QUOTA_EXCEEDED);
    } else if (silentMs > SWEEP_INTERVAL_MS) this.out.trim();
  }

  fail(error: unknown): void {
    if (this.isOver) return;
    if (!(error instanceof ProtocolError) || CONNECTION_ERRORS.has(error.reasonCode)) {
      this.connection.fail(error);
      return;
    }
    this.#streams.failed(this, error);
    this.reset(error.reasonCode);
  }

  /** Ends this stream alone, and tells the client why by its error code. */
  reset(reasonCode: number): void {
    if (this.isOver) return;
    this.out.flush();
    this.#end();
    this.wire.end(reasonCode);
  }

  /** The connection ends: what is in the buffer is handed over, and nothing more is heard. */
  endWithConnection(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.out.flush();
    this.out.close();
    this.wire.end();
  }

  #chunkRead(published: number, bytes: number): void {
    this.endRun();
    // At once: behind the last chunk of a stream there is no later.
    if (!this.isOver) this.out.flush();
    this.connection.chunkRead(published, bytes);
  }

  /** The connection goes on without it, the session too: what it had under way goes on on the control stream. */
  #end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.out.close();
    const { connection } = this;
    this.#streams.delete(this);
    if (connection.state !== 'connected' || connection.session === null) return;
    const { PUBLISH, PUBREL } = PacketType;
    for (const packet of this.takeDeferred()) {
      const type = packet.bytes[0] >> 4;
      // The session sends these again by itself.
      if (type !== PUBLISH && type !== PUBREL) connection.defer(packet);
    }
    if (this.hasSubscribed) this.broker.router.streamEnded(connection.session, this.id);
    connection.session.laneEnded(this.id);
  }
}
