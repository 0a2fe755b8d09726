/** The one connection that writes: transactions, the mark, copying the log, and what happens when the disk is full. */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { Applier, type Counts, readCounts } from './apply.ts';
import type { HandedBatch, SpareBuffers } from './batch.ts';
import { type Page, PageReader } from './page.ts';
import { encodeMark } from './records.ts';
import { keepReserve } from './reserve.ts';
import { CHECKPOINT_PAGES, prepareWriter, type StoreFiles, takeExclusively } from './schema.ts';
import { isTight, roomOf } from './space.ts';

export interface WriterSettings {
  readonly files: StoreFiles;
  /** Each commit is on the disk before it is reported. */
  readonly isSynced: boolean;
  /** Below this much free space the store says that it is full; 0: only when the disk is. */
  readonly diskFreeBytesMin: number;
  /** What has been said of it so far. */
  readonly isFull: boolean;
}

/** What the writer tells, in the order in which it happens. */
export type Report =
  | { readonly kind: 'committed'; readonly upTo: number; readonly bytes: number; readonly isWritten: boolean }
  | { readonly kind: 'spare'; readonly spare: SpareBuffers }
  | { readonly kind: 'page'; readonly page: Page }
  | { readonly kind: 'full'; readonly full: boolean };

/** SQLite's "database or disk is full". */
const SQLITE_FULL = 13;
const CHECKPOINT_PAGES_WHEN_FULL = 500;
/** Bytes of batches after which free space is looked at again without waiting for the second to pass, at most. */
const SPACE_CHECK_BYTES_MAX = 16_777_216;
/** And at most this part of the space to be left free: log and database both grow. */
const SPACE_CHECK_SHARE = 0.125;

export class Writer {
  readonly #settings: WriterSettings;
  readonly #report: (report: Report) => void;
  readonly #db: DatabaseSync;
  readonly #applier: Applier;
  readonly #pages: PageReader;
  readonly #mark: number;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #logState: StatementSync;
  readonly #freePages: StatementSync;
  /** Not yet committed, oldest first; more than what one transaction takes only while the disk is full. */
  #pending: HandedBatch[] = [];
  #isDiskFull = false;
  readonly #spaceCheckBytes: number;
  #isFull: boolean;
  #bytesUnchecked = 0;

  /**
   * Opens the database, which must hold what was read of it before.
   * @throws the error of SQLite, or Error when the store has changed meanwhile
   */
  constructor(settings: WriterSettings, expected: Counts, report: (report: Report) => void) {
    this.#settings = settings;
    this.#report = report;
    this.#isFull = settings.isFull;
    this.#spaceCheckBytes = Math.min(SPACE_CHECK_BYTES_MAX, settings.diskFreeBytesMin * SPACE_CHECK_SHARE);
    this.#db = new DatabaseSync(settings.files.database, { timeout: 0 });
    takeExclusively(this.#db);
    prepareWriter(this.#db, settings.isSynced);
    if (readCounts(this.#db).commit_number !== expected.commit_number)
      throw new Error(`${settings.files.database} was changed while it was being opened`);
    this.#applier = new Applier(this.#db);
    this.#pages = new PageReader(this.#db);
    this.#begin = this.#db.prepare('BEGIN');
    this.#commit = this.#db.prepare('COMMIT');
    this.#logState = this.#arrays('PRAGMA wal_checkpoint(NOOP)');
    this.#freePages = this.#arrays('PRAGMA freelist_count');
    this.#mark = openSync(settings.files.mark, 'r+');
    this.#writeMark();
    // Here alone, so that the mark says of the log that follows how it is written.
    fsyncSync(this.#mark);
    keepReserve(settings.files);
    this.#checkSpace();
  }

  /** Whether deliveries of ended sessions are left to be removed. */
  get isCleaning(): boolean {
    return this.#applier.isCleaning && !this.#isDiskFull;
  }

  /**
   * Applies and commits these batches with those that wait, and answers the pages in them.
   * @throws every error but that the disk is full; nothing may be asked of the writer after one
   */
  write(batches: readonly HandedBatch[]): void {
    for (const batch of batches) {
      this.#pending.push(batch);
      this.#bytesUnchecked += batch.size;
    }
    const wasDiskFull = this.#isDiskFull;
    if (!this.#commitPending(this.#pending.length) && !wasDiskFull) this.#commitBitByBit();
    if (this.#bytesUnchecked >= this.#spaceCheckBytes) this.#checkSpace();
  }

  /** To be called every second: looks at free space, and tries again what did not fit. */
  tick(): void {
    if (this.#isDiskFull) this.#commitBitByBit();
    this.#checkSpace();
  }

  /**
   * Copies the log into the database and closes both.
   * @returns whether everything is durable; not so when the disk is full
   */
  close(): boolean {
    try {
      if (this.#pending.length > 0) this.#commitBitByBit();
      this.#moveLog('TRUNCATE');
      this.#writeMark();
    } catch (error) {
      // What is in the log is durable there.
      if (!isDiskFull(error)) throw error;
    } finally {
      closeSync(this.#mark);
      this.#db.close();
    }
    return this.#pending.length === 0;
  }

  /** Applies all that waits, so that every page is answered; false: the disk is full, and all of it goes on waiting. */
  #commitPending(batches: number): boolean {
    const applier = this.#applier;
    const taken = this.#pending.slice(0, batches);
    try {
      this.#begin.run();
      applier.begin();
      for (const batch of taken)
        applier.apply(batch, (order) => this.#report({ kind: 'page', page: this.#pages.read(order) }));
      // Removing makes room in the end, but needs some first.
      if (!this.#isDiskFull) applier.removeEnded();
      if (applier.isChanged) applier.writeCounts();
      this.#commit.run();
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      if (!isDiskFull(error)) throw error;
      this.#isDiskFull = true;
      this.#setFull(true);
      return false;
    }
    this.#committed(taken, applier.isChanged);
    return true;
  }

  #committed(taken: readonly HandedBatch[], isChanged: boolean): void {
    this.#pending = this.#pending.slice(taken.length);
    if (isChanged) {
      this.#applier.committed();
      if (this.#settings.isSynced) this.#writeMark();
    }
    const last = taken.at(-1);
    if (last !== undefined) {
      const bytes = taken.reduce((sum, { size }) => sum + size, 0);
      this.#report({ kind: 'committed', upTo: last.upTo, bytes, isWritten: isChanged });
    }
    for (const { records, bytes } of taken) this.#report({ kind: 'spare', spare: { records, bytes } });
    // With little space left the log is kept short, so that what frees space has room to be written.
    const pagesMax = this.#isFull ? CHECKPOINT_PAGES_WHEN_FULL : CHECKPOINT_PAGES;
    if (isChanged && this.#pagesToCopy >= pagesMax) this.#tryToMoveLog();
  }

  /**
   * The way out of a full disk: a log that was copied is written anew from its beginning, which takes no more space, and what
   * is committed alone needs less of it.
   */
  #commitBitByBit(): void {
    do {
      try {
        this.#moveLog('PASSIVE');
      } catch (error) {
        if (!isDiskFull(error)) throw error;
        return;
      }
      if (this.#pending.length === 0) {
        this.#isDiskFull = false;
        return;
      }
    } while (this.#commitPending(1));
  }

  /** Copies the log unless the disk is too full for that; then it goes on growing, as far as there is room. */
  #tryToMoveLog(): void {
    try {
      this.#moveLog('PASSIVE');
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      this.#setFull(true);
    }
  }

  /** Copies the log into the database. Without syncing at each commit, this is when commits become durable. */
  #moveLog(mode: 'PASSIVE' | 'TRUNCATE'): void {
    this.#db.exec(`PRAGMA wal_checkpoint(${mode})`);
    if (!this.#settings.isSynced) this.#writeMark();
  }

  /** Not synced: a mark that is behind is only less sharp, and it is never ahead. */
  #writeMark(): void {
    try {
      writeSync(this.#mark, encodeMark(this.#applier.commitNumber, this.#settings.isSynced), 0, undefined, 0);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }

  #checkSpace(): void {
    this.#bytesUnchecked = 0;
    if (this.#isDiskFull) return;
    // What the log holds may still become growth of the database. Where that decides, it is found out.
    if (this.#isTight(this.#pagesToCopy) && !this.#isTight(0)) this.#tryToMoveLog();
    this.#setFull(this.#isTight(this.#pagesToCopy));
  }

  #isTight(pagesToCome: number): boolean {
    const [freePages] = this.#freePages.get() as unknown as [number];
    const room = roomOf(this.#settings.files, freePages, pagesToCome);
    return isTight(room, this.#settings.diskFreeBytesMin, this.#isFull);
  }

  /** Pages in the log that are not in the database yet. */
  get #pagesToCopy(): number {
    const [, pages, copied] = this.#logState.get() as unknown as [number, number, number];
    return Math.max(0, pages - copied);
  }

  #setFull(full: boolean): void {
    if (full === this.#isFull) return;
    this.#isFull = full;
    if (!full) keepReserve(this.#settings.files);
    this.#report({ kind: 'full', full });
  }

  #arrays(sql: string): StatementSync {
    const statement = this.#db.prepare(sql);
    statement.setReturnArrays(true);
    return statement;
  }
}

function isDiskFull(error: unknown): boolean {
  const { errcode } = error as { errcode?: unknown };
  return typeof errcode === 'number' && (errcode & 0xff) === SQLITE_FULL;
}
