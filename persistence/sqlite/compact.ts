/** Gives the disk back what a store no longer uses. */
import { statfsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '../../src/errors.ts';
import { checkStore, requireSound } from './check.ts';
import { storeFiles, takeExclusively } from './schema.ts';
import { refusalOf } from './stats.ts';

export interface CompactReport {
  /** Bytes of database and log together. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** SQLite writes all pages that are in use twice: into a temporary file and into the log. */
const COPIES = 2;
/** For what belongs to pages and is not one: heads of frames, the file system's own. */
const MARGIN = 1.05;

/**
 * Writes the database of the store in folder `dir` anew, in one transaction: an interruption leaves it as it was. It is checked
 * before.
 * @param option what named the folder, for errors
 * @throws ConfigError when there is no store, when it is in use or damaged, or when there is not enough room
 */
export async function compactStore(dir: string, option = 'persistence.dir'): Promise<CompactReport> {
  const check = await checkStore(dir);
  if (check.isNew)
    throw new ConfigError(dir, 'there is no store, or an empty one', 'Name the folder of a store');
  requireSound(dir, check, option);
  const { database, log } = storeFiles(dir);
  const bytes = () =>
    [database, log].reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);
  const bytesBefore = bytes();
  const db = new DatabaseSync(database, { timeout: 0 });
  const temporary = process.env.SQLITE_TMPDIR;
  try {
    takeExclusively(db);
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    requireRoom(db, dir);
    // Beside the database, where the room was found; the system's folder can be small, or in memory.
    process.env.SQLITE_TMPDIR = resolve(dir);
    db.exec('PRAGMA synchronous = FULL; PRAGMA temp_store = FILE; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)');
  } catch (error) {
    throw refusalOf(error, database, dir);
  } finally {
    if (temporary === undefined) delete process.env.SQLITE_TMPDIR;
    else process.env.SQLITE_TMPDIR = temporary;
    db.close();
  }
  return { bytesBefore, bytesAfter: bytes() };
}

function requireRoom(db: DatabaseSync, dir: string): void {
  const pragma = (name: string): number => Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
  const used = (pragma('page_count') - pragma('freelist_count')) * pragma('page_size');
  const needed = Math.ceil(used * COPIES * MARGIN);
  const { bavail, bsize } = statfsSync(dir);
  if (bavail * bsize >= needed) return;
  throw new ConfigError(
    dir,
    `compacting needs ${inMebibytes(needed)} MiB of free disk, and ${inMebibytes(bavail * bsize)} MiB are there`,
    'Make room, or export the store and import it on another disk',
  );
}

function inMebibytes(bytes: number): number {
  return Math.ceil(bytes / 1_048_576);
}
