/** Opens a database to look at it and nothing else: neither the file nor its log is changed, whatever is wrong with them. */
import { rmSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

/**
 * A connection that reads. It never copies the log into the database, and it keeps writers away as long as it has read anything.
 * Files are read, not mapped: a file that is cut meanwhile is an error then, not the end of the process.
 */
export function openReadOnly(database: string): DatabaseSync {
  const db = new DatabaseSync(database, { readOnly: true, timeout: 0 });
  // cell_size_check: a page whose cells do not fit is an error, not a guess.
  db.exec('PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON');
  return db;
}

/**
 * Closes a connection that reads, and removes what SQLite makes for readers and leaves behind: shared memory, which writers of a
 * store never use, and an empty log. Only while a read transaction keeps writers away: they would go on writing into a log that
 * has no name any more.
 */
export function closeReadOnly(db: DatabaseSync, database: string): void {
  const log = `${database}-wal`;
  try {
    db.exec('BEGIN; SELECT count(*) FROM sqlite_schema');
    rmSync(`${database}-shm`, { force: true });
    if (statSync(log, { throwIfNoEntry: false })?.size === 0) rmSync(log);
  } catch (error) {
    // Held by a writer, or not readable at all: then its files stay as they are.
    readingProblem(error);
  } finally {
    db.close();
  }
}

/** What an error says, for a problem. Only errors of SQLite and of its values are expected; anything else is a defect. */
export function readingProblem(error: unknown): string {
  const { code, message } = error as { code?: unknown; message: string };
  if (code === 'ERR_SQLITE_ERROR' || code === 'ERR_OUT_OF_RANGE') return message;
  throw error;
}
