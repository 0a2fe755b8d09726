/** The tables of a store as they are read for a check or an export: their keys, and whether a row is as it was written. */
import {
  deliveryChecksum,
  endedChecksum,
  inboundChecksum,
  messageChecksum,
  metaChecksum,
  readExtra,
  retainedChecksum,
  sessionChecksum,
  subscriptionChecksum,
} from './records.ts';

export const TABLE_NAMES = [
  'meta',
  'session',
  'subscription',
  'message',
  'delivery',
  'inbound',
  'retained',
  'ended',
] as const;
export type TableName = (typeof TABLE_NAMES)[number];

export type Value = number | string | Uint8Array | null;
export type Row = readonly Value[];
export type Key = readonly (number | string)[];

/** How a table is walked. */
export interface Table {
  readonly name: TableName;
  /** The first columns are the key. */
  readonly columns: readonly string[];
  /** Below every key; its length is that of the key. */
  readonly start: Key;
  /** Null for a sound row, or what is wrong with it. */
  problemOf(row: Row): string | null;
  /** The key of a row in words. */
  describe(key: Key): string;
}

/** Keys are positive; damaged ones can be anything. */
const LOWEST = Number.MIN_SAFE_INTEGER;
const WRONG = 'its checksum does not fit';

/** Whether these values are integers that a store writes. */
function areIntegers(values: Value[]): values is number[] {
  return values.every((value) => Number.isSafeInteger(value) && (value as number) >= 0);
}

function judge(fits: boolean): string | null {
  return fits ? null : WRONG;
}

function problemOfDelivery(row: Row): string | null {
  const integers = row.slice(0, 7);
  const extra = row[7];
  if (!areIntegers(integers) || !(extra === null || extra instanceof Uint8Array)) return WRONG;
  const [session, position, message, bytes, flags, packet, checksum] = integers;
  const extraBytes = extra?.length ?? 0;
  const right = deliveryChecksum(session, position, message, bytes, flags, packet, extraBytes);
  return checksum === right ? problemOfExtra(extra, session, position) : WRONG;
}

/** What is wrong with the column `extra` of a delivery. */
export function problemOfExtra(extra: Uint8Array | null, session: number, position: number): string | null {
  try {
    readExtra(extra, session, position);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

export const TABLES: { readonly [name in TableName]: Table } = {
  meta: {
    name: 'meta',
    columns: ['name', 'value', 'checksum'],
    start: [''],
    problemOf: ([name, value, checksum]) =>
      judge(
        typeof name === 'string' &&
          areIntegers([value, checksum]) &&
          checksum === metaChecksum(name, value as number),
      ),
    describe: ([name]) => `${name}`,
  },
  session: {
    name: 'session',
    columns: ['id', 'client_id', 'record', 'checksum'],
    start: [LOWEST],
    problemOf: ([id, clientId, record, checksum]) =>
      judge(
        areIntegers([id, checksum]) &&
          typeof clientId === 'string' &&
          record instanceof Uint8Array &&
          checksum === sessionChecksum(id as number, clientId, record),
      ),
    describe: ([id]) => `${id}`,
  },
  subscription: {
    name: 'subscription',
    columns: ['session', 'filter', 'options', 'checksum'],
    start: [LOWEST, ''],
    problemOf: ([session, filter, options, checksum]) =>
      judge(
        areIntegers([session, options, checksum]) &&
          typeof filter === 'string' &&
          checksum === subscriptionChecksum(session as number, filter, options as number),
      ),
    describe: ([session, filter]) => `${JSON.stringify(filter)} of session ${session}`,
  },
  message: {
    name: 'message',
    columns: ['id', 'refs', 'checksum', 'body'],
    start: [LOWEST],
    problemOf: ([id, refs, checksum, body]) =>
      judge(
        areIntegers([id, refs, checksum]) &&
          body instanceof Uint8Array &&
          checksum === messageChecksum(id as number, body),
      ),
    describe: ([id]) => `${id}`,
  },
  delivery: {
    name: 'delivery',
    columns: ['session', 'position', 'message', 'bytes', 'flags', 'packet', 'checksum', 'extra'],
    start: [LOWEST, LOWEST],
    problemOf: problemOfDelivery,
    describe: ([session, position]) => `${position} of session ${session}`,
  },
  inbound: {
    name: 'inbound',
    columns: ['session', 'packet', 'checksum'],
    start: [LOWEST, LOWEST],
    problemOf: ([session, packet, checksum]) =>
      judge(
        areIntegers([session, packet, checksum]) &&
          checksum === inboundChecksum(session as number, packet as number),
      ),
    describe: ([session, packet]) => `${packet} of session ${session}`,
  },
  retained: {
    name: 'retained',
    columns: ['message', 'checksum'],
    start: [LOWEST],
    problemOf: ([message, checksum]) =>
      judge(areIntegers([message, checksum]) && checksum === retainedChecksum(message as number)),
    describe: ([message]) => `${message}`,
  },
  ended: {
    name: 'ended',
    columns: ['session', 'checksum'],
    start: [LOWEST],
    problemOf: ([session, checksum]) =>
      judge(areIntegers([session, checksum]) && checksum === endedChecksum(session as number)),
    describe: ([session]) => `${session}`,
  },
};
