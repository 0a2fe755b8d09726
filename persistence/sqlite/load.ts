/** Opens a store for the first time, or reads what the last process left: sessions and retained messages, row by row. */
import { closeSync, constants, fchmodSync, fsyncSync, openSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '../../src/errors.ts';
import type { Clock } from '../../src/interfaces/clock.ts';
import type {
  StoredDelivery,
  StoredMessage,
  StoredSessionState,
  StoredState,
  StoredSubscription,
} from '../../src/interfaces/store.ts';
import { type Counts, readCounts } from './apply.ts';
import { StoreDamage } from './damage.ts';
import { describeHolder, isBusy } from './folder.ts';
import { clocksOf, offsetAtOpen } from './lasting-time.ts';
import { checkDelivery, type DeliveryRow, SELECT_DELIVERIES } from './page.ts';
import {
  encodeMark,
  readBody,
  readDeliveryFlags,
  readExtra,
  readSession,
  readSubscription,
  sessionChecksum,
  subscriptionChecksum,
} from './records.ts';
import { arrays, readRetained } from './retained-rows.ts';
import { FILE_MODE, migrate, type StoreFiles, takeExclusively } from './schema.ts';

/** Messages that several deliveries in flight point to, remembered while loading so that they share one body. */
const SHARED_MESSAGES_MAX = 100_000;

/** A store that is open for reading. */
export interface Loaded {
  /** Can be gone through once. */
  readonly state: StoredState;
  readonly counts: Counts;
  /** Highest handle of any message. */
  readonly lastHandle: number;
  /** Highest id of any session. */
  readonly lastSession: number;
  readonly sessionIds: Map<string, number>;
  /** Reads what was not asked for yet, and lets go of the database. */
  finish(): void;
  /** Lasting time minus `Clock.now`. */
  readonly offsetMs: number;
}

/**
 * Takes a store over, makes it when there is none, and brings its schema up to date. The folder must be there.
 * @throws ConfigError when it is in use, foreign, or newer than this version
 */
export function loadStore(files: StoreFiles, clock: Clock): Loaded {
  // An empty file is what a crash leaves that came before the first table.
  const found = statSync(files.database, { throwIfNoEntry: false });
  if (found === undefined || found.size === 0) makeFiles(files);
  const db = openDatabase(files.database);
  try {
    takeExclusively(db);
    migrate(db, files.database);
    return read(db, clock);
  } catch (error) {
    db.close();
    throw refusalOf(error, files.database);
  }
}

function openDatabase(file: string): DatabaseSync {
  try {
    return new DatabaseSync(file, { timeout: 0 });
  } catch (error) {
    throw refusalOf(error, file);
  }
}

function refusalOf(error: unknown, file: string): unknown {
  if (isBusy(error))
    return new ConfigError(
      file,
      `in use by ${describeHolder(file)}`,
      'Stop it first, or give each broker a folder of its own',
    );
  if (error instanceof StoreDamage || (error as { errcode?: unknown }).errcode !== undefined)
    return new ConfigError(
      file,
      (error as Error).message,
      'Run `sluice store verify`, and put back a copy that is sound',
    );
  return error;
}

/** Makes both files and their entries in the folder durable, so that no power cut leaves a store without its mark. */
function makeFiles({ database, mark }: StoreFiles): void {
  makeFile(mark, encodeMark(0));
  makeFile(database, Buffer.alloc(0));
  const folder = openSync(path.dirname(database), constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function makeFile(file: string, content: Uint8Array): void {
  const descriptor = openSync(file, constants.O_WRONLY | constants.O_CREAT, FILE_MODE);
  try {
    // Whatever the umask took away.
    fchmodSync(descriptor, FILE_MODE);
    writeSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function read(db: DatabaseSync, clock: Clock): Loaded {
  const counts = readCounts(db);
  const offsetMs = offsetAtOpen(clocksOf(counts), clock);
  const sessionIds = new Map<string, number>();
  const ids = arrays(db, 'SELECT client_id, id FROM session').iterate();
  for (const [clientId, id] of ids as unknown as Iterable<[string, number]>) sessionIds.set(clientId, id);
  let unread = 2;
  const onEnd = () => {
    if (--unread === 0) db.close();
  };
  const sessions = new Rows(readSessions(db, offsetMs), onEnd);
  const retained = new Rows(readRetained(db, offsetMs), onEnd);
  return {
    state: { sessions, retained },
    counts,
    offsetMs,
    lastHandle: highest(db, 'SELECT max(id) FROM message'),
    lastSession: Math.max(
      highest(db, 'SELECT max(id) FROM session'),
      highest(db, 'SELECT max(session) FROM ended'),
      highest(db, 'SELECT max(session) FROM delivery'),
    ),
    sessionIds,
    finish() {
      sessions.drain();
      retained.drain();
    },
  };
}

/** What a generator gives, to whoever asks first: rows that are not asked for in time are read into memory. */
class Rows<T> implements Iterable<T> {
  #source: Iterator<T>;
  readonly #onEnd: () => void;
  #hasEnded = false;

  constructor(source: Iterator<T>, onEnd: () => void) {
    this.#source = source;
    this.#onEnd = onEnd;
  }

  [Symbol.iterator](): Iterator<T> {
    return { next: () => this.#next() };
  }

  drain(): void {
    if (this.#hasEnded) return;
    const rest = [...this];
    this.#source = rest.values();
  }

  #next(): IteratorResult<T> {
    const result = this.#source.next();
    if (result.done === true && !this.#hasEnded) {
      this.#hasEnded = true;
      this.#onEnd();
    }
    return result;
  }
}

/** A query in the order of sessions, read in step with the table of sessions. */
class Cursor<Row extends readonly [session: number, ...unknown[]]> {
  readonly #rows: Iterator<Row>;
  readonly #none: readonly Row[] = [];
  /** Null: none is left. */
  #next: Row | null;

  constructor(db: DatabaseSync, sql: string) {
    this.#rows = arrays(db, sql).iterate() as unknown as Iterator<Row>;
    this.#next = this.#rows.next().value ?? null;
  }

  /** The rows of this session; sessions must be asked for in order. Those in between have ended. */
  take(session: number): readonly Row[] {
    while (this.#next !== null && this.#next[0] < session) this.#advance();
    if (this.#next?.[0] !== session) return this.#none;
    const rows: Row[] = [];
    for (; this.#next?.[0] === session; this.#advance()) rows.push(this.#next);
    return rows;
  }

  #advance(): void {
    this.#next = this.#rows.next().value ?? null;
  }
}

type SubscriptionRow = [session: number, filter: string, options: number, checksum: number];
type QueueRow = [session: number, messages: number, bytes: number, lastPosition: number];

function* readSessions(db: DatabaseSync, offsetMs: number): Generator<StoredSessionState> {
  const subscriptions = new Cursor<SubscriptionRow>(
    db,
    'SELECT session, filter, options, checksum FROM subscription ORDER BY session, filter',
  );
  const queues = new Cursor<QueueRow>(
    db,
    'SELECT session, sum(packet = 0), sum(iif(packet = 0, bytes, 0)), max(position) FROM delivery' +
      ' GROUP BY session ORDER BY session',
  );
  const inFlight = new Cursor<DeliveryRow>(
    db,
    `${SELECT_DELIVERIES} WHERE d.packet > 0 ORDER BY d.session, d.position`,
  );
  const inbound = new Cursor<[number, number]>(
    db,
    'SELECT session, packet FROM inbound ORDER BY session, packet',
  );
  const shared = new Map<number, StoredMessage>();
  const rows = arrays(db, 'SELECT id, client_id, record, checksum FROM session ORDER BY id').iterate();
  for (const row of rows as unknown as Iterable<[number, string, Uint8Array, number]>) {
    const [id, clientId, record, checksum] = row;
    if (checksum !== sessionChecksum(id, clientId, record))
      throw new StoreDamage(`session ${id}`, 'its checksum does not fit');
    const [queue] = queues.take(id);
    yield {
      session: readSession(Buffer.from(record), clientId, offsetMs),
      subscriptions: subscriptions.take(id).map(subscriptionOf),
      inFlight: inFlight.take(id).map((each) => deliveryOf(each, shared, offsetMs)),
      queue: { messages: queue?.[1] ?? 0, bytes: queue?.[2] ?? 0 },
      lastPosition: queue?.[3] ?? 0,
      inbound: inbound.take(id).map(([, packet]) => packet),
    };
  }
}

function subscriptionOf([session, filter, options, checksum]: SubscriptionRow): StoredSubscription {
  if (checksum !== subscriptionChecksum(session, filter, options))
    throw new StoreDamage(
      `subscription ${JSON.stringify(filter)} of session ${session}`,
      'its checksum does not fit',
    );
  return readSubscription(filter, options);
}

function deliveryOf(row: DeliveryRow, shared: Map<number, StoredMessage>, offsetMs: number): StoredDelivery {
  const [session, position, id, , flags, packetId, extra, , refs] = row;
  const body = checkDelivery(row);
  let message = shared.get(id);
  if (message === undefined) {
    message = readBody(Buffer.from(body), id, offsetMs);
    if ((refs ?? 0) > 1 && shared.size < SHARED_MESSAGES_MAX) shared.set(id, message);
  }
  const { qos, retain, released } = readDeliveryFlags(flags);
  const { identifiers, sharedFilter } = readExtra(extra, session, position);
  return { position, message, qos, retain, identifiers, sharedFilter, packetId, released };
}

function highest(db: DatabaseSync, sql: string): number {
  return Number(Object.values(db.prepare(sql).get() ?? {})[0] ?? 0);
}
