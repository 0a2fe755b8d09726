/** Writes the rows of a new store, line by line of a dump, and looks whether what they point to is there. */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { StoredDelivery } from '../../src/interfaces/store.ts';
import { DUMP_KINDS, type DumpKind, type DumpLine, DumpProblem } from './dump.ts';
import {
  bodyBytesMax,
  countedBytes,
  deliveryChecksum,
  deliveryFlags,
  extraBytesMax,
  inboundChecksum,
  messageChecksum,
  metaChecksum,
  readBody,
  retainedChecksum,
  sessionBytesMax,
  sessionChecksum,
  subscriptionChecksum,
  subscriptionOptions,
  writeBody,
  writeExtra,
  writeSession,
} from './records.ts';
import { type MetaName, migrate } from './schema.ts';

/** Number of the only commit that a new store has. */
export const COMMIT_NUMBER = 1;
const SQLITE_CONSTRAINT = 19;
/** The trees of a store with a million rows fit. */
const CACHE_KIB = 64_000;
const BUFFER_BYTES_MIN = 65_536;

/** What only an import has to know: topics that are retained, and packet identifiers in use. */
const TEMPORARY = `
  CREATE TEMP TABLE retained_topic (topic TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
  CREATE TEMP TABLE in_flight (session INTEGER, packet INTEGER, PRIMARY KEY (session, packet)) STRICT, WITHOUT ROWID;
  CREATE TEMP TABLE pointed (message INTEGER PRIMARY KEY, n INTEGER) STRICT;
`;

type Rows = Exclude<DumpLine, { kind: 'end' }>;
type Of<K extends DumpKind> = Extract<Rows, { kind: K }>;

/** One new store. Nothing else may have the file. */
export class StoreBuilder {
  readonly #db: DatabaseSync;
  readonly #insert: Readonly<Record<DumpKind | 'retained_topic' | 'in_flight', StatementSync>>;
  readonly #headOf: StatementSync;
  readonly #bodyOf: StatementSync;
  readonly #rows = Object.fromEntries(DUMP_KINDS.map((kind) => [kind, 0])) as Record<DumpKind, number>;
  readonly #sessions = new Set<number>();
  #buffer = Buffer.alloc(BUFFER_BYTES_MIN);

  /** @param file an empty file, which becomes the database */
  constructor(file: string) {
    this.#db = new DatabaseSync(file);
    // A build that is interrupted is thrown away: nothing has to be safe before its end.
    this.#db.exec(
      `PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -${CACHE_KIB}`,
    );
    migrate(this.#db, file);
    this.#db.exec(`${TEMPORARY} BEGIN`);
    const into = (table: string, ...columns: string[]): StatementSync => {
      const marks = columns.map(() => '?').join(', ');
      return this.#db.prepare(`INSERT INTO ${table} (${columns.join(', ')}) VALUES (${marks})`);
    };
    this.#insert = {
      session: into('session', 'id', 'client_id', 'record', 'checksum'),
      subscription: into('subscription', 'session', 'filter', 'options', 'checksum'),
      inbound: into('inbound', 'session', 'packet', 'checksum'),
      message: into('message', 'id', 'refs', 'checksum', 'body'),
      delivery: into(
        'delivery',
        ...['session', 'position', 'message', 'bytes', 'flags', 'packet', 'extra', 'checksum'],
      ),
      retained: into('retained', 'message', 'checksum'),
      retained_topic: into('retained_topic', 'topic'),
      in_flight: into('in_flight', 'session', 'packet'),
    };
    this.#headOf = this.#db.prepare(
      'SELECT substr(body, 1, 9) AS head, length(body) AS bytes FROM message WHERE id = ?',
    );
    this.#bodyOf = this.#db.prepare('SELECT body FROM message WHERE id = ?');
  }

  /** @throws DumpProblem */
  add(line: Rows): void {
    this.#rows[line.kind]++;
    switch (line.kind) {
      case 'session':
        this.#session(line);
        break;
      case 'subscription':
        this.#subscription(line);
        break;
      case 'inbound':
        this.#inbound(line);
        break;
      case 'message':
        this.#message(line);
        break;
      case 'delivery':
        this.#delivery(line);
        break;
      case 'retained':
        this.#retained(line);
    }
  }

  /** Counts what points to what, commits and closes. */
  finish(): { rows: Record<DumpKind, number>; unused: number } {
    this.#db.exec(`
      INSERT INTO pointed SELECT message, count(*) FROM
        (SELECT message FROM delivery UNION ALL SELECT message FROM retained) GROUP BY message;
      UPDATE message SET refs = n FROM pointed WHERE pointed.message = message.id`);
    const unused = Number(this.#db.prepare('DELETE FROM message WHERE refs = 0').run().changes);
    const update = this.#db.prepare('UPDATE meta SET value = ?, checksum = ? WHERE name = ?');
    const put = (name: MetaName, value: number) => update.run(value, metaChecksum(name, value), name);
    put('commit_number', COMMIT_NUMBER);
    put('sessions', this.#rows.session);
    put('subscriptions', this.#rows.subscription);
    put('retained', this.#rows.retained);
    put('inbound', this.#rows.inbound);
    this.#db.exec('COMMIT; PRAGMA journal_mode = WAL');
    this.#db.close();
    return { rows: this.#rows, unused };
  }

  /** For a build that is given up. */
  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  #session({ id, session }: Of<'session'>): void {
    const record = this.#bytes(sessionBytesMax(session), (target) => writeSession(target, 0, session, 0));
    const { clientId } = session;
    const checksum = sessionChecksum(id, clientId, record);
    once(
      () => this.#insert.session.run(id, clientId, record, checksum),
      `session ${id}, or one of client ${JSON.stringify(clientId)},`,
    );
    this.#sessions.add(id);
  }

  #subscription({ session, subscription }: Of<'subscription'>): void {
    this.#requireSession(session);
    const { filter } = subscription;
    const options = subscriptionOptions(subscription);
    const checksum = subscriptionChecksum(session, filter, options);
    once(
      () => this.#insert.subscription.run(session, filter, options, checksum),
      `subscription ${JSON.stringify(filter)} of session ${session}`,
    );
  }

  #inbound({ session, packetId }: Of<'inbound'>): void {
    this.#requireSession(session);
    const checksum = inboundChecksum(session, packetId);
    once(
      () => this.#insert.inbound.run(session, packetId, checksum),
      `inbound ${packetId} of session ${session}`,
    );
  }

  #message({ message }: Of<'message'>): void {
    const { storeHandle: id } = message;
    const body = this.#bytes(bodyBytesMax(message), (target) => writeBody(target, 0, message, 0));
    once(() => this.#insert.message.run(id, 0, messageChecksum(id, body), body), `message ${id}`);
  }

  #delivery({ session, message, delivery: without }: Of<'delivery'>): void {
    this.#requireSession(session);
    const found = this.#headOf.get(message) as { head: Uint8Array; bytes: number } | undefined;
    if (found === undefined) throw notAbove(`message ${message}`);
    const { position, packetId, released } = without;
    if (released && packetId === 0) throw new DumpProblem('"released" should be false without a packetId');
    const bytes = countedBytes(Buffer.from(found.head), 0, found.bytes);
    // Only what a delivery says of itself is written; its message stands elsewhere.
    const delivery = without as StoredDelivery;
    const flags = deliveryFlags(delivery);
    const extraMax = extraBytesMax(delivery);
    const extra =
      extraMax === 0 ? null : this.#bytes(extraMax, (target) => writeExtra(target, 0, session, delivery));
    const extraBytes = extra?.length ?? 0;
    const checksum = deliveryChecksum(session, position, message, bytes, flags, packetId, extraBytes);
    once(
      () => this.#insert.delivery.run(session, position, message, bytes, flags, packetId, extra, checksum),
      `delivery ${position} of session ${session}`,
    );
    if (packetId > 0) {
      once(() => this.#insert.in_flight.run(session, packetId), `packetId ${packetId} of session ${session}`);
    }
  }

  #retained({ message }: Of<'retained'>): void {
    const found = this.#bodyOf.get(message) as { body: Uint8Array } | undefined;
    if (found === undefined) throw notAbove(`message ${message}`);
    const { topic } = readBody(found.body, message, 0);
    once(
      () => this.#insert.retained_topic.run(topic),
      `a retained message of topic ${JSON.stringify(topic)}`,
    );
    once(() => this.#insert.retained.run(message, retainedChecksum(message)), `retained ${message}`);
  }

  #requireSession(session: number): void {
    if (!this.#sessions.has(session)) throw notAbove(`session ${session}`);
  }

  /** What `write` writes, in memory that the next call uses again. */
  #bytes(bytesMax: number, write: (target: Buffer) => number): Buffer {
    if (this.#buffer.length < bytesMax) this.#buffer = Buffer.alloc(bytesMax);
    return this.#buffer.subarray(0, write(this.#buffer));
  }
}

function notAbove(what: string): DumpProblem {
  return new DumpProblem(`${what} is not in the lines above`);
}

/** Inserts what must not be there yet. */
function once(insert: () => unknown, what: string): void {
  try {
    insert();
  } catch (error) {
    const { errcode } = error as { errcode?: unknown };
    if (typeof errcode !== 'number' || (errcode & 0xff) !== SQLITE_CONSTRAINT) throw error;
    throw new DumpProblem(`${what} is there already`);
  }
}
