/**
 * A file that keeps some room for the next start: whoever reads a database with a log needs a little space on the disk, and a
 * broker that is restarted on a full one must come back.
 */
import { randomBytes } from 'node:crypto';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { FILE_MODE, type StoreFiles } from './schema.ts';
import { roomOf } from './space.ts';

const RESERVE_BYTES = 1_048_576;
/** Shared memory grows by such a block for so many bytes of log (sqlite.org/walformat.html, "WAL-Index File Format"). */
const INDEX_BLOCK_BYTES = 32_768;
const LOG_BYTES_PER_INDEX_BLOCK = 16_000_000;

/**
 * Gives the reserve up if the disk has no room without it.
 * @returns bytes that are still missing for reading the store; 0: none
 */
export function makeRoomToRead(files: StoreFiles): number {
  const { onDisk, inLog } = roomOf(files, 0, 0);
  const needed = INDEX_BLOCK_BYTES * (1 + Math.ceil(inLog / LOG_BYTES_PER_INDEX_BLOCK));
  if (onDisk >= needed) return 0;
  const inIndex = statSync(`${files.database}-shm`, { throwIfNoEntry: false })?.size ?? 0;
  rmSync(files.reserve, { force: true });
  return Math.max(0, needed - roomOf(files, 0, 0).onDisk - inIndex);
}

/** Makes the reserve if it is not there and there is room for it. */
export function keepReserve({ reserve }: StoreFiles): void {
  if (statSync(reserve, { throwIfNoEntry: false })?.size === RESERVE_BYTES) return;
  rmSync(reserve, { force: true });
  try {
    // Random, or a file system that compresses would keep nothing free.
    writeFileSync(reserve, randomBytes(RESERVE_BYTES), { mode: FILE_MODE, flag: 'wx' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
    rmSync(reserve, { force: true });
  }
}
