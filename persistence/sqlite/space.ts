/** Whether there is room for the store to grow. */
import type { StatsFs } from 'node:fs';

/** Room that was tight is enough again with a quarter more, so that the answer does not flicker. */
const MARGIN_SHARE = 1.25;
const PAGE_BYTES = 4_096;

/** Room on the disk and in the database, in bytes. */
export interface Room {
  readonly onDisk: number;
  /** In pages that the database has and does not use. */
  readonly within: number;
}

export function roomFor({ bavail, bsize }: StatsFs, freePages: number): Room {
  return { onDisk: bavail * bsize, within: freePages * PAGE_BYTES };
}

/**
 * Whether there is less room than `bytesMin`. Free pages of the database count, because it does not shrink when its queues do;
 * but half of the least must be on the disk, where the log has to grow.
 * @param wasTight the last answer
 */
export function isTight({ onDisk, within }: Room, bytesMin: number, wasTight: boolean): boolean {
  const least = wasTight ? bytesMin * MARGIN_SHARE : bytesMin;
  return onDisk < least / 2 || onDisk + within < least;
}
