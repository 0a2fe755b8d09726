/** Turns batches of operations into rows. Runs on the store's own thread, within a transaction that the caller begins and ends. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type HandedBatch, Op, RECORD_DOUBLES, RECORD_WORDS } from './batch.ts';
import { type Clocks, clocksOf, isSet } from './lasting-time.ts';
import {
  deliveryChecksum,
  endedChecksum,
  inboundChecksum,
  metaChecksum,
  SQL_DELIVERY_CHECKSUM_MOVED,
  sessionChecksum,
  subscriptionChecksum,
} from './records.ts';
import { References } from './references.ts';
import { META_NAMES, type MetaName } from './schema.ts';

/** The numbers in `meta`. */
export type Counts = Record<MetaName, number>;

/** A request for a page, as it stands in a batch. */
export interface PageOrder {
  readonly session: number;
  readonly after: number;
  readonly messagesMax: number;
  readonly bytesMax: number;
  readonly request: number;
}

/** Deliveries of ended sessions that one transaction removes: a few milliseconds. */
const ENDED_DELIVERIES_AT_ONCE = 1_000;
const CLOCKS_INTERVAL_MS = 1_000;

/** Reads the rows of `meta`. */
export function readCounts(db: DatabaseSync): Counts {
  const counts = Object.fromEntries(META_NAMES.map((name) => [name, 0])) as Counts;
  for (const row of db.prepare('SELECT name, value FROM meta').all())
    counts[row.name as MetaName] = row.value as number;
  return counts;
}

export class Applier {
  /** Whether anything was changed since `begin`. */
  isChanged = false;
  /** Whether deliveries of ended sessions are left. */
  isCleaning = true;
  readonly #statements: Statements;
  readonly #references: References;
  #written: Counts;
  #counts: Counts;
  // The batch that is being applied.
  #doubles = new Float64Array(0);
  #words = new Int32Array(0);
  #bytes: Buffer = Buffer.alloc(0);

  constructor(db: DatabaseSync) {
    this.#statements = prepare(db);
    this.#references = new References(db);
    this.#written = readCounts(db);
    this.#counts = { ...this.#written };
  }

  get commitNumber(): number {
    return this.#written.commit_number;
  }

  /** Forgets what a transaction that was rolled back has counted. */
  begin(): void {
    this.isChanged = false;
    this.#counts = { ...this.#written };
  }

  /** Ends the changes of a transaction: whoever reads the commit number has all of it. */
  writeCounts(): void {
    this.#counts.commit_number++;
    for (const name of META_NAMES) {
      const value = this.#counts[name];
      if (value !== this.#written[name]) this.#statements.putMeta.run(value, metaChecksum(name, value), name);
    }
  }

  /** The transaction is on the disk. */
  committed(): void {
    this.#written = { ...this.#counts };
  }

  /** Applies all of a batch; `answer` is called for each page in it, with what the records before it have made. */
  apply(batch: HandedBatch, answer: (order: PageOrder) => void): void {
    this.#doubles = new Float64Array(batch.records);
    this.#words = new Int32Array(batch.records);
    this.#bytes = Buffer.from(batch.bytes);
    this.#references.begin(this.#bytes, batch.firstHandle);
    this.#setClocks(batch.clocks);
    for (let at = 0; at < batch.count; at++) {
      const kind = this.#words[at * RECORD_WORDS + 6] & 0xff;
      if (kind === Op.NOTHING || kind === Op.TIME) continue;
      if (kind === Op.PAGE) this.#page(at, answer);
      else if (kind === Op.BODY) this.#body(at);
      else {
        this.isChanged = true;
        this.#change(kind, at);
      }
    }
    this.#settle();
  }

  /** Removes a part of what sessions that ended have left. */
  removeEnded(): void {
    const { oldestEnded, removeDeliveries, removeEnded } = this.#statements;
    const session = oldestEnded.get() as unknown as [number] | undefined;
    this.isCleaning = session !== undefined;
    if (session === undefined) return;
    this.isChanged = true;
    const removed = removeDeliveries.all(session[0], ENDED_DELIVERIES_AT_ONCE) as unknown as [number][];
    this.#references.begin(this.#bytes, Number.POSITIVE_INFINITY);
    for (const [message] of removed) this.#references.add(message, -1);
    this.#settle();
    if (removed.length < ENDED_DELIVERIES_AT_ONCE) removeEnded.run(session[0]);
  }

  /** Not at every commit: only what they are to each other and the time away from it matter. */
  #setClocks({ lastingMs, wallMs }: Clocks): void {
    const counts = this.#counts;
    const wasSet = isSet({ lastingMs, wallMs }, clocksOf(counts));
    if (wasSet) this.isChanged = true;
    else if (lastingMs - counts.lasting_ms < CLOCKS_INTERVAL_MS) return;
    counts.lasting_ms = lastingMs;
    counts.wall_ms = wallMs;
  }

  #settle(): void {
    this.#counts.retained += this.#references.settle();
  }

  #change(kind: number, at: number): void {
    const session = this.#doubles[at * RECORD_DOUBLES];
    const position = this.#doubles[at * RECORD_DOUBLES + 1];
    const message = this.#doubles[at * RECORD_DOUBLES + 2];
    switch (kind) {
      case Op.ENQUEUE:
        this.#enqueue(at, session, position, message);
        return;
      case Op.UPDATE: {
        const stage = this.#words[at * RECORD_WORDS + 6];
        this.#statements.updateDelivery.run((stage >>> 8) & 0xff, stage >>> 16, session, position);
        return;
      }
      case Op.DONE:
        this.#done(session, position, message);
        return;
      case Op.RETAIN:
      case Op.UNRETAIN:
        this.#references.retain(message, kind === Op.RETAIN);
        return;
      case Op.INBOUND: {
        const checksum = inboundChecksum(session, position);
        this.#counts.inbound += changes(this.#statements.putInbound.run(session, position, checksum));
        return;
      }
      case Op.INBOUND_DONE:
        this.#counts.inbound -= changes(this.#statements.removeInbound.run(session, position));
        return;
      case Op.SUBSCRIBE:
      case Op.UNSUBSCRIBE:
        this.#subscription(kind, at, session, position);
        return;
      case Op.SESSION_END:
        this.#sessionEnd(session);
        return;
      default:
        this.#putSession(kind === Op.SESSION_NEW, at, session);
    }
  }

  #body(at: number): void {
    const word = at * RECORD_WORDS;
    const start = this.#words[word + 7] >>> 0;
    this.#references.body(this.#doubles[at * RECORD_DOUBLES + 2], start, start + this.#words[word + 8]);
  }

  #enqueue(at: number, session: number, position: number, message: number): void {
    const word = at * RECORD_WORDS;
    const stage = this.#words[word + 6];
    const flags = (stage >>> 8) & 0xff;
    const packet = stage >>> 16;
    const extraBytes = this.#words[word + 8];
    const extra = extraBytes === 0 ? null : this.#slice(this.#words[word + 7] >>> 0, extraBytes);
    const bytes = this.#references.countedBytes(message);
    const checksum = deliveryChecksum(session, position, message, bytes, flags, packet, extraBytes);
    const { addDelivery } = this.#statements;
    const run = () =>
      changes(addDelivery.run(session, position, message, bytes, flags, packet, extra, checksum));
    if (run() === 0) {
      // A position that is taken: the newer delivery stands.
      this.#done(session, position, message);
      run();
    }
    this.#references.add(message, 1);
  }

  #done(session: number, position: number, message: number): void {
    if (changes(this.#statements.removeDelivery.run(session, position, message)) === 1) {
      this.#references.add(message, -1);
      return;
    }
    // It is not there, or its message came without its handle: then the row says which it is.
    const row = this.#statements.messageOf.get(session, position) as unknown as [number] | undefined;
    if (row !== undefined) this.#done(session, position, row[0]);
  }

  #subscription(kind: number, at: number, session: number, options: number): void {
    const word = at * RECORD_WORDS;
    const filter = this.#text(this.#words[word + 7] >>> 0, this.#words[word + 8]);
    const { addSubscription, changeSubscription, removeSubscription } = this.#statements;
    if (kind === Op.UNSUBSCRIBE) {
      this.#counts.subscriptions -= changes(removeSubscription.run(session, filter));
      return;
    }
    const checksum = subscriptionChecksum(session, filter, options);
    if (changes(addSubscription.run(session, filter, options, checksum)) === 1) this.#counts.subscriptions++;
    else changeSubscription.run(options, checksum, session, filter);
  }

  #putSession(isNew: boolean, at: number, session: number): void {
    const word = at * RECORD_WORDS;
    const start = this.#words[word + 7] >>> 0;
    const clientIdBytes = this.#words[word + 9];
    const clientId = this.#text(start, clientIdBytes);
    const record = this.#slice(start + clientIdBytes, this.#words[word + 8] - clientIdBytes);
    const checksum = sessionChecksum(session, clientId, record);
    if (!isNew) {
      this.#statements.changeSession.run(record, checksum, session);
      return;
    }
    this.#statements.addSession.run(session, clientId, record, checksum);
    this.#counts.sessions++;
  }

  #sessionEnd(session: number): void {
    const { removeSession, removeSubscriptions, removeInbounds, anyDelivery, addEnded } = this.#statements;
    this.#counts.sessions -= changes(removeSession.run(session));
    this.#counts.subscriptions -= changes(removeSubscriptions.run(session));
    this.#counts.inbound -= changes(removeInbounds.run(session));
    if (anyDelivery.get(session) === undefined) return;
    addEnded.run(session, endedChecksum(session));
    this.isCleaning = true;
  }

  #page(at: number, answer: (order: PageOrder) => void): void {
    this.#settle();
    const double = at * RECORD_DOUBLES;
    const word = at * RECORD_WORDS;
    answer({
      session: this.#doubles[double],
      after: this.#doubles[double + 1],
      bytesMax: this.#doubles[double + 2],
      messagesMax: this.#words[word + 7],
      request: this.#words[word + 8],
    });
    // Answered once: a batch that has to be applied again must not answer again.
    this.#words[word + 6] = Op.NOTHING;
  }

  #slice(start: number, length: number): Buffer {
    return this.#bytes.subarray(start, start + length);
  }

  #text(start: number, length: number): string {
    return this.#bytes.toString('utf8', start, start + length);
  }
}

function changes(result: { changes: number | bigint }): number {
  return result.changes as number;
}

type Statements = ReturnType<typeof prepare>;

function prepare(db: DatabaseSync) {
  const arrays = (sql: string): StatementSync => {
    const statement = db.prepare(sql);
    statement.setReturnArrays(true);
    return statement;
  };
  return {
    putMeta: db.prepare('UPDATE meta SET value = ?, checksum = ? WHERE name = ?'),
    addDelivery: db.prepare(
      'INSERT OR IGNORE INTO delivery (session, position, message, bytes, flags, packet, extra, checksum)' +
        ' VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    ),
    updateDelivery: db.prepare(
      `UPDATE delivery SET checksum = ${SQL_DELIVERY_CHECKSUM_MOVED}, flags = ?1, packet = ?2` +
        ' WHERE session = ?3 AND position = ?4',
    ),
    removeDelivery: db.prepare('DELETE FROM delivery WHERE session = ? AND position = ? AND message = ?'),
    messageOf: arrays('SELECT message FROM delivery WHERE session = ? AND position = ?'),
    anyDelivery: arrays('SELECT position FROM delivery WHERE session = ? LIMIT 1'),
    removeDeliveries: arrays(
      'DELETE FROM delivery WHERE session = ?1 AND position IN' +
        ' (SELECT position FROM delivery WHERE session = ?1 ORDER BY position LIMIT ?2) RETURNING message',
    ),
    addEnded: db.prepare('INSERT OR IGNORE INTO ended (session, checksum) VALUES (?, ?)'),
    oldestEnded: arrays('SELECT session FROM ended ORDER BY session LIMIT 1'),
    removeEnded: db.prepare('DELETE FROM ended WHERE session = ?'),
    addSession: db.prepare('INSERT INTO session (id, client_id, record, checksum) VALUES (?, ?, ?, ?)'),
    changeSession: db.prepare('UPDATE session SET record = ?, checksum = ? WHERE id = ?'),
    removeSession: db.prepare('DELETE FROM session WHERE id = ?'),
    addSubscription: db.prepare(
      'INSERT OR IGNORE INTO subscription (session, filter, options, checksum) VALUES (?, ?, ?, ?)',
    ),
    changeSubscription: db.prepare(
      'UPDATE subscription SET options = ?, checksum = ? WHERE session = ? AND filter = ?',
    ),
    removeSubscription: db.prepare('DELETE FROM subscription WHERE session = ? AND filter = ?'),
    removeSubscriptions: db.prepare('DELETE FROM subscription WHERE session = ?'),
    putInbound: db.prepare('INSERT OR IGNORE INTO inbound (session, packet, checksum) VALUES (?, ?, ?)'),
    removeInbound: db.prepare('DELETE FROM inbound WHERE session = ? AND packet = ?'),
    removeInbounds: db.prepare('DELETE FROM inbound WHERE session = ?'),
  };
}
