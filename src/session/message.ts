import type { QoS } from '../codec/packets.ts';
import type { PublishSource } from '../codec/publish-source.ts';
import type { StoredMessage } from '../interfaces/store.ts';

const EMPTY = Buffer.alloc(0);

/** What a new message is made of; buffers are kept, not copied. */
export interface MessageFields {
  topic: string;
  /** The topic in UTF-8; made from `topic` when absent. */
  topicBytes?: Buffer;
  payload: Buffer;
  qos: QoS;
  retain: boolean;
  properties?: Buffer;
  expiresAtMs?: number;
  publisherId?: string;
  storeHandle?: number;
}

/** An application message that waits: queued, in flight or retained. Shared between sessions, and immutable but for the store's handle. */
export class Message implements StoredMessage, PublishSource {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly properties: Buffer;
  readonly expiresAtMs: number;
  readonly publisherId: string;
  readonly topicBytes: Buffer;
  storeHandle: number;

  constructor(fields: MessageFields) {
    this.topic = fields.topic;
    this.payload = fields.payload;
    this.qos = fields.qos;
    this.retain = fields.retain;
    this.properties = fields.properties ?? EMPTY;
    this.expiresAtMs = fields.expiresAtMs ?? 0;
    this.publisherId = fields.publisherId ?? '';
    this.topicBytes = fields.topicBytes ?? Buffer.from(fields.topic);
    this.storeHandle = fields.storeHandle ?? 0;
  }

  /** Its parts, to make a changed copy from. */
  fields(): MessageFields {
    const { topic, topicBytes, payload, qos, retain, properties, expiresAtMs, publisherId } = this;
    return { topic, topicBytes, payload, qos, retain, properties, expiresAtMs, publisherId };
  }

  get topicStart(): number {
    return 0;
  }
  get topicEnd(): number {
    return this.topicBytes.length;
  }
  get payloadBytes(): Buffer {
    return this.payload;
  }
  get payloadStart(): number {
    return 0;
  }
  get payloadEnd(): number {
    return this.payload.length;
  }
  get propertyBytes(): Buffer {
    return this.properties;
  }
  get propertyStart(): number {
    return 0;
  }
  get propertyEnd(): number {
    return this.properties.length;
  }

  /** What a queue counts for it, in bytes. */
  get bytes(): number {
    return this.topicBytes.length + this.payload.length + this.properties.length;
  }

  /** Seconds left at `nowMs`, rounded up; -1: no expiry; 0: expired. [MQTT-3.3.2-6] */
  expirySeconds(nowMs: number): number {
    if (this.expiresAtMs === 0) return -1;
    // Whole milliseconds: a rounding error must not give back more seconds than the publisher gave.
    return Math.max(0, Math.ceil((Math.floor(this.expiresAtMs) - Math.floor(nowMs)) / 1000));
  }
}
