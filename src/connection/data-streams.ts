import type { ProtocolError } from '../errors.ts';
import type { Wire, WireEvents } from '../interfaces/transport.ts';
import { DATA_STREAM_OUT_SHARE, DATA_STREAMS_EARLY_MAX } from '../limits.ts';
import { CountedWarning } from '../session/counted-warning.ts';
import type { Connection } from './connection.ts';
import { DataStream } from './data-stream.ts';

/** The data streams of one connection, and what they may have together. */
export class DataStreams {
  readonly #connection: Connection;
  readonly #byId = new Map<number, DataStream>();
  readonly #refusedWarning = new CountedWarning();
  readonly #failedWarning = new CountedWarning();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Takes a stream that the client opened; null: there are enough. */
  open(wire: Wire): WireEvents | null {
    const connection = this.#connection;
    const { statistics, log, clock } = connection.broker;
    const { dataStreamsMax, outBytesMax } = connection.door.limits;
    const max = connection.opened ? dataStreamsMax : Math.min(dataStreamsMax, DATA_STREAMS_EARLY_MAX);
    if (this.#byId.size >= max) {
      statistics.dataStreamsRefused++;
      const fields = () => ({ ...connection.logFields, limit: max });
      this.#refusedWarning.note(log, clock, 'stream.refused', 1, fields);
      return null;
    }
    // Numbered through the life of the broker, so that a number that is kept somewhere never means another stream.
    const id = ++statistics.dataStreamsOpened;
    statistics.dataStreams++;
    const stream = new DataStream(
      connection,
      this,
      id,
      wire,
      Math.floor(outBytesMax * DATA_STREAM_OUT_SHARE),
    );
    this.#byId.set(id, stream);
    return stream;
  }

  get(id: number): DataStream | undefined {
    return this.#byId.get(id);
  }

  delete(stream: DataStream): void {
    if (this.#byId.delete(stream.id)) this.#connection.broker.statistics.dataStreams--;
  }

  /** The client did something wrong on a stream, which ends. */
  failed(stream: DataStream, { reasonCode, message: error }: ProtocolError): void {
    const { statistics, log, clock } = stream.broker;
    statistics.protocolErrors++;
    statistics.dataStreamsFailed++;
    const fields = () => ({ ...stream.logFields, reasonCode, error });
    this.#failedWarning.note(log, clock, 'stream.protocol_error', 1, fields);
  }

  /** True when all of them together have no room for `bytes` more; where nothing waits, one packet has room. */
  isFull(bytes: number): boolean {
    const { waitingBytes } = this;
    return waitingBytes > 0 && waitingBytes + bytes > this.#connection.door.limits.outBytesMax;
  }

  /** Unsent bytes of all of them. */
  get waitingBytes(): number {
    let bytes = 0;
    for (const { out } of this.#byId.values()) bytes += out.waitingBytes;
    return bytes;
  }

  /** Bytes of packets that are not complete. */
  get framerBytes(): number {
    let bytes = 0;
    for (const { framer } of this.#byId.values()) bytes += framer.heldBytes;
    return bytes;
  }

  /** Packets that wait for the store. */
  get deferredCount(): number {
    let count = 0;
    for (const stream of this.#byId.values()) count += stream.deferredCount;
    return count;
  }

  releaseDurable(): void {
    for (const stream of this.#byId.values()) stream.releaseDurable();
  }

  /** False: a rate, the store, or what the client does not read stops the input of all of them, or the CONNACK has not left. */
  get mayListen(): boolean {
    const { opened, state, isHeldBack } = this.#connection;
    return opened && state === 'connected' && !isHeldBack && !this.isFull(0);
  }

  watchInput(): void {
    const { mayListen } = this;
    for (const stream of this.#byId.values()) if (stream.watchInput(mayListen)) return;
  }

  sweep(nowMs: number, silentMs: number): void {
    for (const stream of this.#byId.values()) stream.sweep(nowMs, silentMs);
  }

  /** The connection ends, and all of them with it. */
  endAll(): void {
    for (const stream of this.#byId.values()) {
      this.delete(stream);
      stream.endWithConnection();
    }
  }
}
