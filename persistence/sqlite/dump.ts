/**
 * The portable form of a store: lines of JSON. The first says what it is, the last that it is whole; in between, what points to
 * something stands behind it. Times are wall-clock milliseconds since 1970, null: never; payloads and properties are base64.
 */

import type {
  StoredDelivery,
  StoredMessage,
  StoredSession,
  StoredSubscription,
} from '../../src/interfaces/store.ts';
import { isValidTopicFilter, isValidTopicName, parseShared } from '../../src/topics/names.ts';

export const DUMP_FORMAT = 'sluice-store';
export const DUMP_VERSION = 1;

/** Kinds of lines that carry rows. */
export const DUMP_KINDS = ['session', 'subscription', 'inbound', 'message', 'delivery', 'retained'] as const;
export type DumpKind = (typeof DUMP_KINDS)[number];

/** A line as it is read. Ids are those of the dump. */
export type DumpLine =
  | { readonly kind: 'session'; readonly id: number; readonly session: StoredSession }
  | { readonly kind: 'subscription'; readonly session: number; readonly subscription: StoredSubscription }
  | { readonly kind: 'inbound'; readonly session: number; readonly packetId: number }
  /** `storeHandle` is the id, `expiresAtMs` by the wall clock. */
  | { readonly kind: 'message'; readonly message: StoredMessage }
  | {
      readonly kind: 'delivery';
      readonly session: number;
      readonly message: number;
      readonly delivery: Omit<StoredDelivery, 'message'>;
    }
  | { readonly kind: 'retained'; readonly message: number }
  | { readonly kind: 'end' };

type QoS = StoredMessage['qos'];

/** Largest id and position that a store can hold. */
const ID_MAX = 2 ** 46 - 1;
const PACKET_ID_MAX = 65_535;
const SUBSCRIPTION_ID_MAX = 268_435_455;
const SECONDS_MAX = 4_294_967_295;
const TEXT_BYTES_MAX = 65_535;

/** The first line. */
export function headerLine(commitNumber: number, writtenBy: string): string {
  return line({ format: DUMP_FORMAT, version: DUMP_VERSION, writtenBy, commitNumber });
}

/** The last line. */
export function endLine(leftOut: number): string {
  return line({ kind: 'end', leftOut });
}

export function sessionLine(id: number, session: StoredSession): string {
  const { clientId, owner, expirySeconds, disconnectedAtMs, will } = session;
  return line({
    kind: 'session',
    id,
    clientId,
    owner,
    expirySeconds,
    disconnectedAt: disconnectedAtMs,
    will:
      will === null
        ? null
        : {
            delaySeconds: will.delaySeconds,
            expirySeconds: will.expirySeconds,
            ...messageFields(will.message),
          },
  });
}

export function subscriptionLine(session: number, subscription: StoredSubscription): string {
  return line({ kind: 'subscription', session, ...subscription });
}

export function inboundLine(session: number, packetId: number): string {
  return line({ kind: 'inbound', session, packetId });
}

export function messageLine(message: StoredMessage): string {
  return line({ kind: 'message', id: message.storeHandle, ...messageFields(message) });
}

export function deliveryLine(
  session: number,
  message: number,
  delivery: Omit<StoredDelivery, 'message'>,
): string {
  const { position, qos, retain, released, packetId, identifiers, sharedFilter } = delivery;
  const fields = { position, message, qos, retain, released, packetId, identifiers, sharedFilter };
  return line({ kind: 'delivery', session, ...fields });
}

export function retainedLine(message: number): string {
  return line({ kind: 'retained', message });
}

function messageFields({
  topic,
  qos,
  retain,
  expiresAtMs,
  publisherId,
  properties,
  payload,
}: StoredMessage): object {
  return {
    topic,
    qos,
    retain,
    expiresAt: expiresAtMs === 0 ? null : expiresAtMs,
    publisherId,
    properties: properties.toString('base64'),
    payload: payload.toString('base64'),
  };
}

function line(fields: object): string {
  return `${JSON.stringify(fields)}\n`;
}

/** What is wrong with a line; whoever reads the file adds its number. */
export class DumpProblem extends Error {}

/**
 * The first line of a dump.
 * @throws DumpProblem
 */
export function readHeader(text: string): void {
  const fields = new Fields(text);
  const format = fields.take('format');
  if (format !== DUMP_FORMAT) throw new DumpProblem(`"format" should be "${DUMP_FORMAT}"`);
  const version = fields.integer('version', 1, Number.MAX_SAFE_INTEGER);
  if (version > DUMP_VERSION) {
    throw new DumpProblem(
      `it has version ${version}, and this version of Sluice reads up to ${DUMP_VERSION}`,
    );
  }
}

/**
 * A line behind the first.
 * @throws DumpProblem
 */
export function readLine(text: string): DumpLine {
  const fields = new Fields(text);
  const kind = fields.take('kind');
  const read = typeof kind === 'string' ? readers.get(kind) : undefined;
  if (read === undefined) throw new DumpProblem(`unknown kind ${shown(kind)}`);
  const result = read(fields);
  fields.end();
  return result;
}

const readers: ReadonlyMap<string, (fields: Fields) => DumpLine> = new Map<
  string,
  (fields: Fields) => DumpLine
>([
  ['session', readSessionLine],
  ['subscription', readSubscriptionLine],
  [
    'inbound',
    (fields) => ({
      kind: 'inbound',
      session: fields.id('session'),
      packetId: fields.integer('packetId', 1, PACKET_ID_MAX),
    }),
  ],
  ['message', (fields) => ({ kind: 'message', message: readMessage(fields, fields.id('id')) })],
  ['delivery', readDeliveryLine],
  ['retained', (fields) => ({ kind: 'retained', message: fields.id('message') })],
  [
    'end',
    (fields) => {
      fields.integer('leftOut', 0, Number.MAX_SAFE_INTEGER);
      return { kind: 'end' };
    },
  ],
]);

function readSessionLine(fields: Fields): DumpLine {
  const id = fields.id('id');
  const will = fields.object('will');
  return {
    kind: 'session',
    id,
    session: {
      clientId: fields.text('clientId', 1),
      owner: fields.textOrNull('owner'),
      expirySeconds: fields.number('expirySeconds', 0, SECONDS_MAX),
      disconnectedAtMs: fields.time('disconnectedAt') || null,
      will:
        will === null
          ? null
          : {
              delaySeconds: will.number('delaySeconds', 0, SECONDS_MAX),
              expirySeconds: will.number('expirySeconds', -1, SECONDS_MAX),
              message: will.endAfter(readMessage(will, 0)),
            },
    },
  };
}

function readSubscriptionLine(fields: Fields): DumpLine {
  return {
    kind: 'subscription',
    session: fields.id('session'),
    subscription: {
      filter: fields.filter('filter'),
      qos: fields.qos(),
      noLocal: fields.boolean('noLocal'),
      retainAsPublished: fields.boolean('retainAsPublished'),
      retainHandling: fields.integer('retainHandling', 0, 2) as 0 | 1 | 2,
      identifier: fields.integer('identifier', 0, SUBSCRIPTION_ID_MAX),
    },
  };
}

function readMessage(fields: Fields, id: number): StoredMessage {
  return {
    topic: fields.topic('topic'),
    payload: fields.bytes('payload'),
    qos: fields.qos(),
    retain: fields.boolean('retain'),
    properties: fields.bytes('properties'),
    expiresAtMs: fields.time('expiresAt'),
    publisherId: fields.text('publisherId', 0),
    storeHandle: id,
  };
}

function readDeliveryLine(fields: Fields): DumpLine {
  const sharedFilter = fields.isNull('sharedFilter') ? null : fields.filter('sharedFilter');
  return {
    kind: 'delivery',
    session: fields.id('session'),
    message: fields.id('message'),
    delivery: {
      position: fields.id('position'),
      qos: fields.qos(),
      retain: fields.boolean('retain'),
      released: fields.boolean('released'),
      packetId: fields.integer('packetId', 0, PACKET_ID_MAX),
      identifiers: fields.identifiers('identifiers'),
      sharedFilter,
    },
  };
}

/** The fields of one line. Each must be there and right, and none may be left over. */
class Fields {
  readonly #fields: Map<string, unknown>;

  constructor(source: string | object) {
    let value: unknown = source;
    if (typeof source === 'string') {
      try {
        value = JSON.parse(source);
      } catch (error) {
        throw new DumpProblem(`not JSON (${(error as Error).message})`);
      }
    }
    if (value === null || typeof value !== 'object' || Array.isArray(value)) {
      throw new DumpProblem('not a JSON object');
    }
    this.#fields = new Map(Object.entries(value));
  }

  take(name: string): unknown {
    if (!this.#fields.has(name)) throw new DumpProblem(`"${name}" is missing`);
    const value = this.#fields.get(name);
    this.#fields.delete(name);
    return value;
  }

  isNull(name: string): boolean {
    if (this.#fields.get(name) !== null) return false;
    this.take(name);
    return true;
  }

  end(): void {
    for (const name of this.#fields.keys()) throw new DumpProblem(`unknown field ${shown(name)}`);
  }

  endAfter<T>(value: T): T {
    this.end();
    return value;
  }

  number(name: string, min: number, max: number): number {
    const value = this.take(name);
    if (typeof value === 'number' && value >= min && value <= max) return value;
    throw new DumpProblem(`"${name}" should be a number from ${min} to ${max}, not ${shown(value)}`);
  }

  integer(name: string, min: number, max: number): number {
    const value = this.number(name, min, max);
    if (Number.isInteger(value)) return value;
    throw new DumpProblem(`"${name}" should be a whole number, not ${value}`);
  }

  id(name: string): number {
    return this.integer(name, 1, ID_MAX);
  }

  qos(): QoS {
    return this.integer('qos', 0, 2) as QoS;
  }

  /** Null is 0: never. */
  time(name: string): number {
    return this.isNull(name) ? 0 : this.number(name, 1, Number.MAX_SAFE_INTEGER);
  }

  boolean(name: string): boolean {
    const value = this.take(name);
    if (typeof value === 'boolean') return value;
    throw new DumpProblem(`"${name}" should be true or false, not ${shown(value)}`);
  }

  text(name: string, charactersMin: number): string {
    const value = this.take(name);
    const fits = typeof value === 'string' && value.length >= charactersMin && value.isWellFormed();
    if (fits && Buffer.byteLength(value) <= TEXT_BYTES_MAX) return value;
    throw new DumpProblem(`"${name}" should be text of at most ${TEXT_BYTES_MAX} bytes, not ${shown(value)}`);
  }

  textOrNull(name: string): string | null {
    return this.isNull(name) ? null : this.text(name, 0);
  }

  topic(name: string): string {
    const topic = this.text(name, 1);
    if (isValidTopicName(topic, Number.POSITIVE_INFINITY)) return topic;
    throw new DumpProblem(`"${name}" should be a topic without wildcards, not ${shown(topic)}`);
  }

  filter(name: string): string {
    const filter = this.text(name, 1);
    const parts = parseShared(filter);
    const inner = parts === null ? filter : parts === 'invalid' ? '' : parts.filter;
    if (isValidTopicFilter(inner, Number.POSITIVE_INFINITY)) return filter;
    throw new DumpProblem(`"${name}" should be a topic filter, not ${shown(filter)}`);
  }

  bytes(name: string): Buffer {
    const value = this.take(name);
    // Node skips what is not base64; only what is written back just the same is.
    if (typeof value === 'string') {
      const bytes = Buffer.from(value, 'base64');
      if (bytes.toString('base64') === value) return bytes;
    }
    throw new DumpProblem(`"${name}" should be base64, not ${shown(value)}`);
  }

  identifiers(name: string): number[] | null {
    const value = this.take(name);
    if (value === null) return null;
    const isIdentifier = (each: unknown) =>
      Number.isInteger(each) && (each as number) >= 1 && (each as number) <= SUBSCRIPTION_ID_MAX;
    if (Array.isArray(value) && value.length > 0 && value.every(isIdentifier)) return value;
    throw new DumpProblem(`"${name}" should be null or subscription identifiers, not ${shown(value)}`);
  }

  object(name: string): Fields | null {
    const value = this.take(name);
    if (value === null) return null;
    if (typeof value === 'object') return new Fields(value);
    throw new DumpProblem(`"${name}" should be null or an object, not ${shown(value)}`);
  }
}

const SHOWN_CHARACTERS_MAX = 60;

/** A value as a message can carry it. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text;
}
