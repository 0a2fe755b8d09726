/** Whether there is room for the store to grow. */
import { statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { CHECKPOINT_PAGES, type StoreFiles } from './schema.ts';

/** Room that was tight is enough again with a quarter more, so that the answer does not flicker. */
const MARGIN_SHARE = 1.25;
const PAGE_BYTES = 4_096;

/** Room on the disk and in the files that are there, in bytes. */
export interface Room {
  readonly onDisk: number;
  /** In pages that the database has and does not use. */
  readonly inDatabase: number;
  /** Length of the log, which is written anew from its beginning whenever it has been copied. */
  readonly inLog: number;
}

/**
 * @param freePages pages that the database has and does not use
 * @param pagesToCome what the log holds: as much as the database may grow by when it is copied
 */
export function roomOf({ database, log }: StoreFiles, freePages: number, pagesToCome: number): Room {
  const { bavail, bsize } = statfsSync(path.dirname(database));
  return {
    onDisk: bavail * bsize - pagesToCome * PAGE_BYTES,
    inDatabase: freePages * PAGE_BYTES,
    inLog: statSync(log, { throwIfNoEntry: false })?.size ?? 0,
  };
}

/**
 * Whether there is less room than `bytesMin`. Free pages of the database count, because it does not shrink when its queues do;
 * but the log must have room as well.
 * @param wasTight the last answer
 */
export function isTight({ onDisk, inDatabase, inLog }: Room, bytesMin: number, wasTight: boolean): boolean {
  const least = wasTight ? bytesMin * MARGIN_SHARE : bytesMin;
  const leastForLog = Math.min(least, CHECKPOINT_PAGES * PAGE_BYTES);
  return onDisk + inDatabase < least || onDisk + inLog < leastForLog;
}
