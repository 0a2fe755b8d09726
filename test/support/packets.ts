/** Short ways to write packets down in tests, well-formed and otherwise. */
import type {
  AcknowledgePacket,
  AuthPacket,
  ConnectPacket,
  DisconnectPacket,
  PingreqPacket,
  Properties,
  PublishPacket,
  QoS,
  SubscribePacket,
  SubscriptionRequest,
  UnsubscribePacket,
  Will,
} from '../../src/codec/packets.ts';

export interface ConnectOptions {
  version?: 3 | 4 | 5;
  clientId?: string;
  cleanStart?: boolean;
  keepAliveSeconds?: number;
  username?: string | null;
  password?: string | null;
  will?: Omit<Partial<Will>, 'payload'> & { topic: string; payload?: string };
  properties?: Properties;
}

/** CONNECT; clean start, keep alive 0, version 5 unless told. */
export function connect(options: ConnectOptions = {}): ConnectPacket {
  const { will } = options;
  return {
    type: 1,
    protocolVersion: options.version ?? 5,
    cleanStart: options.cleanStart ?? true,
    keepAliveSeconds: options.keepAliveSeconds ?? 0,
    clientId: options.clientId ?? 'client',
    will: will === undefined ? null : completeWill(will),
    username: options.username ?? null,
    password: options.password == null ? null : Buffer.from(options.password),
    properties: options.properties ?? {},
  };
}

function completeWill(will: NonNullable<ConnectOptions['will']>): Will {
  return {
    topic: will.topic,
    payload: Buffer.from(will.payload ?? 'will'),
    qos: will.qos ?? 0,
    retain: will.retain ?? false,
    properties: will.properties ?? {},
  };
}

export interface PublishOptions {
  qos?: QoS;
  retain?: boolean;
  dup?: boolean;
  packetId?: number;
  properties?: Properties;
}

/** PUBLISH; QoS 0 and packet id 0 unless told. */
export function publish(
  topic: string,
  payload: string | Uint8Array,
  options: PublishOptions = {},
): PublishPacket {
  return {
    type: 3,
    topic,
    payload: Buffer.from(payload as string),
    dup: options.dup ?? false,
    qos: options.qos ?? 0,
    retain: options.retain ?? false,
    packetId: options.packetId ?? 0,
    properties: options.properties ?? {},
  };
}

function acknowledge(type: 4 | 5 | 6 | 7, packetId: number, reasonCode: number): AcknowledgePacket {
  return { type, packetId, reasonCode, properties: {} };
}
export const puback = (packetId: number, reasonCode = 0): AcknowledgePacket =>
  acknowledge(4, packetId, reasonCode);
export const pubrec = (packetId: number, reasonCode = 0): AcknowledgePacket =>
  acknowledge(5, packetId, reasonCode);
export const pubrel = (packetId: number, reasonCode = 0): AcknowledgePacket =>
  acknowledge(6, packetId, reasonCode);
export const pubcomp = (packetId: number, reasonCode = 0): AcknowledgePacket =>
  acknowledge(7, packetId, reasonCode);

/** A filter at QoS 0, or a filter with options. */
export type FilterOptions = string | (Partial<SubscriptionRequest> & { filter: string });

export function subscribe(
  packetId: number,
  filters: readonly FilterOptions[],
  properties: Properties = {},
): SubscribePacket {
  const subscriptions = filters.map((entry): SubscriptionRequest => {
    const request = typeof entry === 'string' ? { filter: entry } : entry;
    return { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0, ...request };
  });
  return { type: 8, packetId, properties, subscriptions };
}

export function unsubscribe(packetId: number, filters: string[]): UnsubscribePacket {
  return { type: 10, packetId, properties: {}, filters };
}

export const pingreq = (): PingreqPacket => ({ type: 12 });

export function disconnect(reasonCode = 0, properties: Properties = {}): DisconnectPacket {
  return { type: 14, reasonCode, properties };
}

export function auth(reasonCode: number, properties: Properties = {}): AuthPacket {
  return { type: 15, reasonCode, properties };
}

/**
 * A packet byte by byte: the first byte, then its body, whose length is filled in.
 * Numbers are bytes, strings become length-prefixed UTF-8, buffers go in as they are.
 */
export function raw(first: number, ...body: (number | string | Uint8Array)[]): Buffer {
  const bytes = Buffer.concat(body.map(part));
  const length: number[] = [];
  let rest = bytes.length;
  do {
    length.push(rest > 127 ? (rest & 127) | 128 : rest);
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from([first, ...length]), bytes]);
}

function part(value: number | string | Uint8Array): Uint8Array {
  if (typeof value === 'number') return Buffer.from([value]);
  if (typeof value !== 'string') return value;
  const text = Buffer.from(value);
  return Buffer.concat([Buffer.from([text.length >> 8, text.length & 255]), text]);
}
