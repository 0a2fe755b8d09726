/** What the files of a store are called and how the database is laid out, with the steps from one version to the next. */
import path from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '../../src/errors.ts';
import { metaChecksum } from './records.ts';

/** `PRAGMA application_id`: "Sluc". */
export const APPLICATION_ID = 0x536c7563;
/** `PRAGMA user_version` of what this version writes. */
export const SCHEMA_VERSION = 1;

/** Permission bits, set whatever the umask says. */
export const FOLDER_MODE = 0o700;
export const FILE_MODE = 0o600;

/** Pages of the write-ahead log from which on they are copied into the database: 16 MB, a few tenths of a second of load. */
export const CHECKPOINT_PAGES = 4_000;
/** The write-ahead log is cut to this length when it begins anew, so that one burst does not keep the disk. */
const LOG_BYTES_KEPT = 67_108_864;
/** Page cache of the one writing connection: the inner pages of the trees with a million rows fit. */
const WRITER_CACHE_KIB = 16_000;

/** The files of a store. While a store is open, nothing else in the process may open and close them: that drops SQLite's locks. */
export interface StoreFiles {
  readonly database: string;
  /** SQLite's write-ahead log, beside the database. */
  readonly log: string;
  /** Number of the last commit that is known to be durable. */
  readonly mark: string;
  /** Keeps room for the next start. */
  readonly reserve: string;
}

/** The files of the store in folder `dir`. */
export function storeFiles(dir: string): StoreFiles {
  const database = path.join(dir, 'sluice.db');
  return {
    database,
    log: `${database}-wal`,
    mark: path.join(dir, 'sluice.mark'),
    reserve: path.join(dir, 'sluice.reserve'),
  };
}

/** The rows of `meta`: the number of commits, how many rows these tables hold, and two clocks (lasting-time.ts). */
export const META_NAMES = [
  ...(['commit_number', 'sessions', 'subscriptions', 'retained', 'inbound'] as const),
  ...(['lasting_ms', 'wall_ms'] as const),
] as const;
export type MetaName = (typeof META_NAMES)[number];

/**
 * Version 1. Integers are below 2^46. `delivery.bytes` is what a queue counts for the message; `ended` holds the ids of sessions
 * that are gone but whose deliveries have yet to be removed. docs/decisions/0010-durable-store.md has the rest.
 */
const TABLES = `
  CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL, checksum INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE session (
    id INTEGER PRIMARY KEY, client_id TEXT NOT NULL UNIQUE, record BLOB NOT NULL, checksum INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE subscription (
    session INTEGER NOT NULL, filter TEXT NOT NULL, options INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (session, filter)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE message (
    id INTEGER PRIMARY KEY, refs INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL
  ) STRICT;
  CREATE TABLE delivery (
    session INTEGER NOT NULL, position INTEGER NOT NULL, message INTEGER NOT NULL, bytes INTEGER NOT NULL,
    flags INTEGER NOT NULL, packet INTEGER NOT NULL, extra BLOB, checksum INTEGER NOT NULL,
    PRIMARY KEY (session, position)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE inbound (
    session INTEGER NOT NULL, packet INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (session, packet)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE retained (message INTEGER PRIMARY KEY, checksum INTEGER NOT NULL) STRICT;
  CREATE TABLE ended (session INTEGER PRIMARY KEY, checksum INTEGER NOT NULL) STRICT;
`;

/** Step n brings a database of version n to version n + 1. Steps are only ever added. */
const STEPS: readonly ((db: DatabaseSync) => void)[] = [
  (db) => {
    db.exec(TABLES);
    const insert = db.prepare('INSERT INTO meta (name, value, checksum) VALUES (?, 0, ?)');
    for (const name of META_NAMES) insert.run(name, metaChecksum(name, 0));
  },
];

/**
 * Version of an open database; 0: nothing is in it yet. `file` is for the message.
 * @throws ConfigError when it belongs to another program, or was written by a newer version of this one
 */
export function schemaVersion(db: DatabaseSync, file: string): number {
  const application = pragmaNumber(db, 'application_id');
  const version = pragmaNumber(db, 'user_version');
  const isEmpty = db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.n === 0;
  if (isEmpty && application === 0 && version === 0) return 0;
  if (application !== APPLICATION_ID || version < 1)
    throw new ConfigError(
      file,
      'is a database of another program',
      'Set persistence.dir to a folder of its own',
    );
  if (version > SCHEMA_VERSION)
    throw new ConfigError(
      file,
      `has schema version ${version}, and this version of Sluice knows up to ${SCHEMA_VERSION}`,
      'Start the version that wrote it, or a newer one',
    );
  return version;
}

/**
 * Brings a database that is open for writing to `SCHEMA_VERSION`, forward only, each step in a transaction of its own.
 * @returns the version it had
 * @throws ConfigError as `schemaVersion` does
 */
export function migrate(db: DatabaseSync, file: string): number {
  const from = schemaVersion(db, file);
  for (let version = from; version < SCHEMA_VERSION; version++) {
    db.exec('BEGIN IMMEDIATE');
    try {
      STEPS[version](db);
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${version + 1}; COMMIT`);
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }
  return from;
}

/**
 * Takes the file for this connection alone; the log needs no shared memory then. Exclusive locking must come before anything
 * that touches the file.
 * @throws the error of SQLite (code 5, busy) when another connection has it
 */
export function takeExclusively(db: DatabaseSync): void {
  db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; COMMIT');
}

/** Settings of the connection that writes. `isSynced`: each commit reaches the disk before it returns. */
export function prepareWriter(db: DatabaseSync, isSynced: boolean): void {
  // No spilling: what cannot be committed because the disk is full can still be read within its transaction.
  // Copying the log is asked for explicitly, because SQLite ignores errors of the automatic way.
  db.exec(`
    PRAGMA synchronous = ${isSynced ? 'FULL' : 'NORMAL'};
    PRAGMA cache_size = -${WRITER_CACHE_KIB};
    PRAGMA cache_spill = OFF;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = ${LOG_BYTES_KEPT};
    PRAGMA temp_store = MEMORY;
  `);
}

function pragmaNumber(db: DatabaseSync, name: string): number {
  return Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0] ?? 0);
}
