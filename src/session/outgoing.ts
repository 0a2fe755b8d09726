import type { QoS } from '../codec/packets.ts';
import {
  frameLength,
  PublishShape,
  packetIdOffset,
  publishRemainingLength,
  writePublish,
} from '../codec/publish-frame.ts';
import type { PublishSource } from '../codec/publish-source.ts';
import { Message } from './message.ts';

const SHAPES = 12;
const SCRATCH_BYTES_MIN = 4_096;
/** A scratch buffer over this is given back after use, so that one large message does not stay in memory. */
const SCRATCH_BYTES_KEPT = 131_072;

/** Index of a shape: one for each version family, QoS and retain flag. */
export function shapeIndex(v5: boolean, qos: QoS, retain: boolean): number {
  return (v5 ? 6 : 0) + qos * 2 + (retain ? 1 : 0);
}

/**
 * One application message while it is handed to its receivers. A broker has one instance and fills it again for every
 * message: each shape is encoded once, and a Message object is made only if somebody must keep it.
 */
export class Outgoing {
  topic = '';
  publisherId = '';
  /** Message expiry in seconds as received; -1: none. */
  expirySeconds = -1;
  /** Receivers that had no room for it at QoS 1 or 2. */
  refused = 0;
  /** The selected frame, see `select`. */
  buffer: Buffer;
  start = 0;
  end = 0;
  /** Offset of the packet identifier from `start`. */
  idOffset = 0;
  #source: PublishSource | null = null;
  #nowMs = 0;
  #message: Message | null = null;
  #encoded = 0;
  #scratch: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES_MIN);
  #scratchUsed = 0;
  readonly #shape = new PublishShape();
  readonly #buffers: Buffer[];
  readonly #starts = new Uint32Array(SHAPES);
  readonly #ends = new Uint32Array(SHAPES);
  readonly #idOffsets = new Uint32Array(SHAPES);

  constructor() {
    this.buffer = this.#scratch;
    this.#buffers = new Array(SHAPES).fill(this.#scratch);
  }

  /** Takes the next message. `nowMs` is the monotonic time that its expiry counts from. */
  fill(
    source: PublishSource,
    topic: string,
    expirySeconds: number,
    publisherId: string,
    nowMs: number,
    message: Message | null,
  ): void {
    this.#source = source;
    this.topic = topic;
    this.expirySeconds = expirySeconds;
    this.publisherId = publisherId;
    this.#nowMs = nowMs;
    this.#message = message;
    this.refused = 0;
    this.#encoded = 0;
    this.#scratchUsed = 0;
  }

  /** Says that the bytes received are already the frame of this shape, and need not be encoded again. */
  offerVerbatim(index: number, buffer: Buffer, start: number, end: number, idOffset: number): void {
    this.#remember(index, buffer, start, end, idOffset);
  }

  /** Lets go of the buffers. */
  clear(): void {
    this.#source = null;
    this.#message = null;
    if (this.#scratch.length > SCRATCH_BYTES_KEPT) {
      this.#scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES_MIN);
      this.#buffers.fill(this.#scratch);
      this.buffer = this.#scratch;
    }
  }

  get source(): PublishSource {
    return this.#source!;
  }

  /** Points `buffer`, `start`, `end` and `idOffset` at the frame of this shape. */
  select(v5: boolean, qos: QoS, retain: boolean): void {
    const index = shapeIndex(v5, qos, retain);
    if ((this.#encoded & (1 << index)) === 0) this.#encode(index, v5, qos, retain);
    this.buffer = this.#buffers[index];
    this.start = this.#starts[index];
    this.end = this.#ends[index];
    this.idOffset = this.#idOffsets[index];
  }

  /** The message as an object that outlives this call. */
  message(): Message {
    this.#message ??= this.#copy();
    return this.#message;
  }

  #copy(): Message {
    const source = this.source;
    const payload = Buffer.allocUnsafe(source.payloadEnd - source.payloadStart);
    source.payloadBytes.copy(payload, 0, source.payloadStart, source.payloadEnd);
    const fields = {
      topic: this.topic,
      payload,
      qos: source.qos,
      retain: false,
      expiresAtMs: this.expirySeconds < 0 ? 0 : Math.floor(this.#nowMs) + this.expirySeconds * 1000,
      publisherId: this.publisherId,
    };
    if (source.propertyEnd === source.propertyStart) return new Message(fields);
    const properties = Buffer.from(source.propertyBytes.subarray(source.propertyStart, source.propertyEnd));
    return new Message({ ...fields, properties });
  }

  #encode(index: number, v5: boolean, qos: QoS, retain: boolean): void {
    const shape = this.#shape;
    shape.v5 = v5;
    shape.qos = qos;
    shape.retain = retain;
    shape.expirySeconds = v5 ? this.expirySeconds : -1;
    const source = this.source;
    const remaining = publishRemainingLength(source, shape);
    const start = this.#scratchUsed;
    this.#reserve(start + frameLength(remaining));
    const end = writePublish(this.#scratch, start, source, shape, remaining);
    this.#scratchUsed = end;
    this.#remember(index, this.#scratch, start, end, qos > 0 ? packetIdOffset(source, shape, remaining) : 0);
  }

  /** Frames encoded before keep the buffer they were written to. */
  #reserve(bytes: number): void {
    if (this.#scratch.length >= bytes) return;
    this.#scratch = Buffer.allocUnsafeSlow(Math.max(bytes, this.#scratch.length * 2));
  }

  #remember(index: number, buffer: Buffer, start: number, end: number, idOffset: number): void {
    this.#encoded |= 1 << index;
    this.#buffers[index] = buffer;
    this.#starts[index] = start;
    this.#ends[index] = end;
    this.#idOffsets[index] = idOffset;
  }
}
