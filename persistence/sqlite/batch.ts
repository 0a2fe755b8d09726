/**
 * Operations on their way from the broker's thread to the one that writes: fixed-size records of numbers, and beside them the bytes of
 * bodies, texts and blobs that they point to. Both go over without a copy and come back to be filled again.
 */
import type {
  StoredDelivery,
  StoredMessage,
  StoredSession,
  StoredSubscription,
} from '../../src/interfaces/store.ts';
import type { Clocks } from './lasting-time.ts';
import {
  bodyBytesMax,
  deliveryFlags,
  extraBytesMax,
  sessionBytesMax,
  subscriptionOptions,
  writeBody,
  writeExtra,
  writeSession,
} from './records.ts';

/** Kinds of records. */
export const Op = {
  /** Struck out: it was undone while its batch was still here. */
  NOTHING: 0,
  /** The body of a message that records behind it mention. */
  BODY: 1,
  ENQUEUE: 2,
  /** Packet identifier and flags of a delivery are now these. */
  UPDATE: 3,
  DONE: 4,
  SESSION_NEW: 5,
  SESSION_UPDATE: 6,
  SESSION_END: 7,
  SUBSCRIBE: 8,
  UNSUBSCRIBE: 9,
  INBOUND: 10,
  INBOUND_DONE: 11,
  RETAIN: 12,
  UNRETAIN: 13,
  /** Not a change: the answer shows what the records before it made. */
  PAGE: 14,
  /** Nothing: it is there so that its batch goes over and is seen to have other clocks. */
  TIME: 15,
} as const;

/**
 * A record: doubles 0 session, 1 position (or options, packet identifier, `after`), 2 message (or bytes of a page); then words 6 kind,
 * flags << 8 and packet identifier << 16, 7 offset in the bytes (or messages of a page), 8 length (or number of the page request),
 * 9 length of the client id.
 */
export const RECORD_DOUBLES = 5;
export const RECORD_WORDS = 10;
const RECORD_BYTES = 40;

const RECORDS_MIN = 256;
const BYTES_MIN = 65_536;
const SLOTS_MIN = 1_024;
/** Slots kept from one batch to the next; a larger table would cost more to clear than most batches cost to fill. */
const SLOTS_KEPT = 16_384;
/** Buffers over this are let go of after use, so that one burst does not stay in memory. */
const BUFFER_BYTES_KEPT = 8_388_608;

/** A batch as it travels; both buffers are transferred. */
export interface HandedBatch {
  readonly records: ArrayBuffer;
  readonly bytes: ArrayBuffer;
  readonly count: number;
  /** Bytes used of both. */
  readonly size: number;
  /** Messages with this handle or a higher one are new with this batch. */
  readonly firstHandle: number;
  /** `appended` of the store at the end of it. */
  readonly upTo: number;
  readonly clocks: Clocks;
}

/** What came back of a batch. */
export type SpareBuffers = Pick<HandedBatch, 'records' | 'bytes'>;

/** The batch that is being filled. */
export class Batch {
  readonly firstHandle: number;
  /** Page requests in it. */
  pages = 0;
  #doubles: Float64Array;
  #words: Int32Array;
  #bytes: Buffer;
  #count = 0;
  #used = 0;
  readonly #index: DeliveryIndex;
  /** Messages of earlier batches whose body is in this one too; made when first needed. */
  #known: Set<number> | null = null;

  /**
   * @param firstHandle the next handle that a message will get
   * @param spare buffers to fill again
   */
  constructor(firstHandle: number, index: DeliveryIndex, spare?: SpareBuffers) {
    this.firstHandle = firstHandle;
    const records = fit(spare?.records) ?? new ArrayBuffer(RECORDS_MIN * RECORD_BYTES);
    this.#doubles = new Float64Array(records);
    this.#words = new Int32Array(records);
    this.#bytes = Buffer.from(fit(spare?.bytes) ?? new ArrayBuffer(BYTES_MIN));
    this.#index = index;
    index.clear();
  }

  get count(): number {
    return this.#count;
  }

  /** Bytes of everything in it. */
  get size(): number {
    return this.#count * RECORD_BYTES + this.#used;
  }

  /** Ends it; nothing may be added any more. */
  handOver(upTo: number, clocks: Clocks): HandedBatch {
    const { firstHandle, size, count } = this;
    const records = this.#words.buffer as ArrayBuffer;
    return { records, bytes: this.#bytes.buffer as ArrayBuffer, count, size, firstHandle, upTo, clocks };
  }

  /** Puts the body of a message in, unless it is there. `isNew`: the handle was given to it just now. */
  body(handle: number, message: StoredMessage, isNew: boolean, offsetMs: number): void {
    if (!isNew) {
      if (handle >= this.firstHandle || this.#known?.has(handle) === true) return;
      this.#known ??= new Set();
      this.#known.add(handle);
    }
    this.#needBytes(bodyBytesMax(message));
    const start = this.#used;
    this.#used = writeBody(this.#bytes, start, message, offsetMs);
    this.#pointed(Op.BODY, 0, 0, handle, start);
  }

  enqueue(session: number, delivery: StoredDelivery, handle: number): void {
    const extraMax = extraBytesMax(delivery);
    const start = this.#used;
    if (extraMax > 0) {
      this.#needBytes(extraMax);
      this.#used = writeExtra(this.#bytes, start, session, delivery);
    }
    const at = this.#pointed(Op.ENQUEUE, session, delivery.position, handle, start);
    this.#setStage(at, Op.ENQUEUE, delivery);
    this.#index.set(session, delivery.position, at, this.#doubles);
  }

  /** A delivery got its packet identifier, or was released. What was said of it in this batch is changed in its place. */
  update(session: number, delivery: StoredDelivery): void {
    const before = this.#index.get(session, delivery.position, this.#doubles);
    const kind = before < 0 ? Op.NOTHING : this.#kindOf(before);
    if (kind !== Op.NOTHING) {
      this.#setStage(before, kind, delivery);
      return;
    }
    const at = this.#add(Op.UPDATE, session, delivery.position, 0);
    this.#setStage(at, Op.UPDATE, delivery);
    this.#index.set(session, delivery.position, at, this.#doubles);
  }

  /** A delivery is over. One that was enqueued in this batch is struck out. */
  done(session: number, position: number, handle: number): void {
    const before = this.#index.get(session, position, this.#doubles);
    const kind = before < 0 ? Op.NOTHING : this.#kindOf(before);
    if (kind === Op.ENQUEUE) this.#words[before * RECORD_WORDS + 6] = Op.NOTHING;
    else {
      if (kind === Op.UPDATE) this.#words[before * RECORD_WORDS + 6] = Op.NOTHING;
      this.#add(Op.DONE, session, position, handle);
    }
  }

  session(session: number, stored: StoredSession, isNew: boolean, offsetMs: number): void {
    this.#needBytes(3 * stored.clientId.length + sessionBytesMax(stored));
    const start = this.#used;
    const clientIdBytes = this.#bytes.write(stored.clientId, start);
    this.#used = writeSession(this.#bytes, start + clientIdBytes, stored, offsetMs);
    const at = this.#pointed(isNew ? Op.SESSION_NEW : Op.SESSION_UPDATE, session, 0, 0, start);
    this.#words[at * RECORD_WORDS + 9] = clientIdBytes;
  }

  sessionEnd(session: number): void {
    this.#add(Op.SESSION_END, session, 0, 0);
  }

  subscribe(session: number, subscription: StoredSubscription): void {
    this.#filter(Op.SUBSCRIBE, session, subscriptionOptions(subscription), subscription.filter);
  }

  unsubscribe(session: number, filter: string): void {
    this.#filter(Op.UNSUBSCRIBE, session, 0, filter);
  }

  inbound(session: number, packetId: number, isDone: boolean): void {
    this.#add(isDone ? Op.INBOUND_DONE : Op.INBOUND, session, packetId, 0);
  }

  retain(handle: number): void {
    this.#add(Op.RETAIN, 0, 0, handle);
  }

  unretain(handle: number): void {
    this.#add(Op.UNRETAIN, 0, 0, handle);
  }

  /** Makes it a batch, even if nothing else comes: the clocks are to be written. */
  time(): void {
    this.#add(Op.TIME, 0, 0, 0);
  }

  page(session: number, after: number, messagesMax: number, bytesMax: number, request: number): void {
    this.pages++;
    const at = this.#add(Op.PAGE, session, after, bytesMax) * RECORD_WORDS;
    this.#words[at + 7] = messagesMax;
    this.#words[at + 8] = request;
    // What the page shows must not be changed behind its back.
    this.#index.clear();
  }

  #filter(kind: number, session: number, options: number, filter: string): void {
    this.#needBytes(3 * filter.length);
    const start = this.#used;
    this.#used = start + this.#bytes.write(filter, start);
    this.#pointed(kind, session, options, 0, start);
  }

  /** Adds a record that points to the bytes from `start` to the end of what is used. */
  #pointed(kind: number, session: number, position: number, message: number, start: number): number {
    const at = this.#add(kind, session, position, message);
    this.#words[at * RECORD_WORDS + 7] = start;
    this.#words[at * RECORD_WORDS + 8] = this.#used - start;
    return at;
  }

  #add(kind: number, session: number, position: number, message: number): number {
    const at = this.#count++;
    const double = at * RECORD_DOUBLES;
    if (double + RECORD_DOUBLES > this.#doubles.length) this.#growRecords();
    this.#doubles[double] = session;
    this.#doubles[double + 1] = position;
    this.#doubles[double + 2] = message;
    this.#words[at * RECORD_WORDS + 6] = kind;
    return at;
  }

  #setStage(at: number, kind: number, delivery: StoredDelivery): void {
    this.#words[at * RECORD_WORDS + 6] = kind | (deliveryFlags(delivery) << 8) | (delivery.packetId << 16);
  }

  #kindOf(at: number): number {
    return this.#words[at * RECORD_WORDS + 6] & 0xff;
  }

  #growRecords(): void {
    const grown = new Float64Array(this.#doubles.length * 2);
    grown.set(this.#doubles);
    this.#doubles = grown;
    this.#words = new Int32Array(grown.buffer);
  }

  #needBytes(more: number): void {
    const needed = this.#used + more;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.from(new ArrayBuffer(Math.max(needed, this.#bytes.length * 2)));
    this.#bytes.copy(grown, 0, 0, this.#used);
    this.#bytes = grown;
  }
}

function fit(buffer: ArrayBuffer | undefined): ArrayBuffer | null {
  return buffer !== undefined && buffer.byteLength <= BUFFER_BYTES_KEPT ? buffer : null;
}

/**
 * Where in the open batch a delivery was last mentioned: a hash table of record numbers, whose keys are in the records themselves.
 * A Map would need a key made for each delivery.
 */
export class DeliveryIndex {
  /** Number of the record + 1; 0: free. */
  #slots = new Uint32Array(SLOTS_MIN);
  #used = 0;

  clear(): void {
    if (this.#slots.length > SLOTS_KEPT) this.#slots = new Uint32Array(SLOTS_KEPT);
    else if (this.#used > 0) this.#slots.fill(0);
    this.#used = 0;
  }

  /** Number of the record; -1: there is none. */
  get(session: number, position: number, records: Float64Array): number {
    return this.#slots[this.#find(session, position, records)] - 1;
  }

  set(session: number, position: number, at: number, records: Float64Array): void {
    const slot = this.#find(session, position, records);
    if (this.#slots[slot] === 0) this.#used++;
    this.#slots[slot] = at + 1;
    if (this.#used * 2 > this.#slots.length) this.#grow(records);
  }

  #find(session: number, position: number, records: Float64Array): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hash = Math.imul(session, 0x9e3779b1) ^ Math.imul(position, 0x85ebca6b);
    hash ^= hash >>> 15;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const double = (slots[slot] - 1) * RECORD_DOUBLES;
      if (double < 0 || (records[double] === session && records[double + 1] === position)) return slot;
    }
  }

  #grow(records: Float64Array): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    for (const entry of old) {
      if (entry === 0) continue;
      const double = (entry - 1) * RECORD_DOUBLES;
      this.#slots[this.#find(records[double], records[double + 1], records)] = entry;
    }
  }
}
