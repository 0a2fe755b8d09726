/**
 * Reading a store whose first page is damaged: it holds where every table begins, so without it SQLite reads nothing. But each
 * store of one version begins its tables on the same pages, so that the first page of an empty one does as well.
 */
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { FILE_MODE, migrate, type StoreFiles } from './schema.ts';

const PAGE_BYTES = 4_096;
// Offsets in the header of a database.
const WRITE_VERSION = 18;
const CHANGE_COUNTER = 24;
const PAGE_COUNT = 28;
const FREE_PAGES = 32;
const COUNTER_OF_PAGE_COUNT = 92;
/** Written with a log. */
const WAL_VERSION = 2;

/**
 * Copies database and log beside the originals, which nobody may have open, and replaces the first page in the copy.
 * @returns the copy; `removeCopy` takes it away
 */
export function copyWithFirstPage({ database, log }: StoreFiles): string {
  const copy = `${database}.rescue`;
  removeCopy(copy);
  copyFileSync(database, copy);
  chmodSync(copy, FILE_MODE);
  if (existsSync(log)) {
    copyFileSync(log, `${copy}-wal`);
    chmodSync(`${copy}-wal`, FILE_MODE);
  }
  const descriptor = openSync(copy, 'r+');
  try {
    writeSync(descriptor, firstPage(Math.floor(fstatSync(descriptor).size / PAGE_BYTES)), 0, PAGE_BYTES, 0);
  } finally {
    closeSync(descriptor);
  }
  return copy;
}

export function removeCopy(copy: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(`${copy}${suffix}`, { force: true });
}

/** The first page of an empty store, for a file of this many pages of which none is known to be free. */
function firstPage(pages: number): Buffer {
  const model = new DatabaseSync(':memory:');
  migrate(model, ':memory:');
  const page = Buffer.from(model.serialize().subarray(0, PAGE_BYTES));
  model.close();
  page.writeUInt8(WAL_VERSION, WRITE_VERSION);
  page.writeUInt8(WAL_VERSION, WRITE_VERSION + 1);
  page.writeUInt32BE(pages, PAGE_COUNT);
  page.writeBigUInt64BE(0n, FREE_PAGES);
  // The page count only holds when these two are the same.
  page.writeUInt32BE(1, CHANGE_COUNTER);
  page.writeUInt32BE(1, COUNTER_OF_PAGE_COUNT);
  return page;
}
