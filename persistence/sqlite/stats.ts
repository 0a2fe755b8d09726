/** What is in a store, counted. */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '../../src/errors.ts';
import { describeHolder, isBusy } from './folder.ts';
import { closeReadOnly, openReadOnly, readingProblem } from './read-only.ts';
import { TABLE_NAMES, type TableName } from './rows.ts';
import { schemaVersion, storeFiles } from './schema.ts';

export interface QueueStats {
  readonly clientId: string;
  readonly messages: number;
  /** Topic, payload and property bytes. */
  readonly bytes: number;
}

export interface StoreStats {
  /** Bytes of each file that is there, by its name. */
  readonly files: Readonly<Record<string, number>>;
  /** Bytes of the database that its rows do not use; `compact` gives them back. */
  readonly freeBytes: number;
  readonly schemaVersion: number;
  readonly commitNumber: number;
  readonly rows: Readonly<Record<TableName, number>>;
  readonly queued: { readonly messages: number; readonly bytes: number };
  /** Sent, and not yet acknowledged. */
  readonly inFlight: number;
  readonly longestQueues: readonly QueueStats[];
  readonly retained: { readonly messages: number; readonly bytes: number };
}

const LONGEST_QUEUES_MAX = 10;

/**
 * Counts what the store in folder `dir` holds, without checking it.
 * @throws ConfigError when there is no store, or another process has it, or it cannot be read
 */
export function readStats(dir: string): StoreStats {
  const { database, log, mark } = storeFiles(dir);
  const files = Object.fromEntries(
    [database, log, mark].flatMap((file) => {
      const size = statSync(file, { throwIfNoEntry: false })?.size;
      return size === undefined ? [] : [[basename(file), size]];
    }),
  );
  if (files[basename(database)] === undefined) throw noStore(dir);
  const db = openReadOnly(database);
  try {
    const version = schemaVersion(db, database);
    if (version === 0) throw noStore(dir);
    return { files, schemaVersion: version, ...count(db) };
  } catch (error) {
    throw refusalOf(error, database, dir);
  } finally {
    closeReadOnly(db, database);
  }
}

/** What a reader says when it cannot have, or not read, the database. */
export function refusalOf(error: unknown, database: string, dir: string): Error {
  if (error instanceof ConfigError) return error;
  if (isBusy(error))
    return new ConfigError(database, `in use by ${describeHolder(database)}`, 'Stop it first');
  return new ConfigError(
    database,
    readingProblem(error),
    `"sluice store verify --dir ${dir}" says what is wrong`,
  );
}

function noStore(dir: string): ConfigError {
  return new ConfigError(dir, 'there is no store, or an empty one', 'Name the folder of a store');
}

function count(db: DatabaseSync): Omit<StoreStats, 'files' | 'schemaVersion'> {
  const number = (sql: string): number => Number(Object.values(db.prepare(sql).get() ?? {})[0] ?? 0);
  const rows = Object.fromEntries(
    TABLE_NAMES.map((name) => [name, number(`SELECT count(*) FROM ${name}`)]),
  ) as Record<TableName, number>;
  // What is left of sessions that ended is no longer anybody's queue.
  const queues = db
    .prepare(
      `SELECT client_id, messages, bytes, sent FROM
         (SELECT session, sum(packet = 0) AS messages, sum(iif(packet = 0, bytes, 0)) AS bytes, sum(packet > 0) AS sent
          FROM delivery GROUP BY session)
       JOIN session ON session.id = session ORDER BY messages DESC, client_id`,
    )
    .all();
  const total = (column: string) => queues.reduce((sum, queue) => sum + Number(queue[column]), 0);
  return {
    freeBytes: number('PRAGMA freelist_count') * number('PRAGMA page_size'),
    commitNumber: number("SELECT value FROM meta WHERE name = 'commit_number'"),
    rows,
    queued: { messages: total('messages'), bytes: total('bytes') },
    inFlight: total('sent'),
    longestQueues: queues.slice(0, LONGEST_QUEUES_MAX).flatMap(({ client_id, messages, bytes }) => {
      return messages === 0
        ? []
        : [{ clientId: String(client_id), messages: Number(messages), bytes: Number(bytes) }];
    }),
    retained: {
      messages: rows.retained,
      bytes: number('SELECT sum(length(body)) FROM retained JOIN message ON message.id = retained.message'),
    },
  };
}
