/** The one connection that writes: transactions, the mark, copying the log, and what happens when the disk is full. */
import { closeSync, fsyncSync, openSync, statfsSync, writeSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { Applier, type Counts, readCounts } from './apply.ts';
import type { HandedBatch, SpareBuffers } from './batch.ts';
import { type Page, PageReader } from './page.ts';
import { encodeMark } from './records.ts';
import { CHECKPOINT_PAGES, prepareWriter, type StoreFiles, takeExclusively } from './schema.ts';
import { isTight, roomFor } from './space.ts';

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
/** Bytes of batches after which free space is looked at again, without waiting for the second to pass. */
const SPACE_CHECK_BYTES = 16_777_216;

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
    this.#checkSpace();
  }

  /** Whether deliveries of ended sessions are left to be removed. */
  get isCleaning(): boolean {
    return this.#applier.isCleaning && !this.#isFull;
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
    this.#commitPending();
    if (this.#bytesUnchecked >= SPACE_CHECK_BYTES) this.#checkSpace();
  }

  /** To be called every second: looks at free space, and tries again what did not fit. */
  tick(): void {
    if (this.#isDiskFull) this.#commitPending();
    this.#checkSpace();
  }

  /**
   * Copies the log into the database and closes both.
   * @returns number of the operations that could not be made durable, because the disk is full
   */
  close(): number {
    let isComplete = false;
    try {
      if (this.#pending.length > 0) this.#commitPending();
      this.#logged('TRUNCATE');
      isComplete = this.#pending.length === 0;
      this.#writeMark();
    } catch (error) {
      // What is in the log is durable there.
      if (!isDiskFull(error)) throw error;
      isComplete = this.#pending.length === 0;
    } finally {
      closeSync(this.#mark);
      this.#db.close();
    }
    return isComplete ? 0 : this.#pending.reduce((sum, { count }) => sum + count, 0);
  }

  #commitPending(): void {
    const applier = this.#applier;
    const wasDiskFull = this.#isDiskFull;
    try {
      this.#begin.run();
      applier.begin();
      for (const batch of this.#pending)
        applier.apply(batch, (order) => this.#report({ kind: 'page', page: this.#pages.read(order) }));
      // Removing makes room in the end, but needs some first.
      if (!this.#isDiskFull) applier.removeEnded();
      if (applier.isChanged) applier.writeCounts();
      this.#commit.run();
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      if (!isDiskFull(error)) throw error;
      this.#diskIsFull(wasDiskFull);
      return;
    }
    if (applier.isChanged) {
      applier.committed();
      if (this.#settings.isSynced) this.#writeMark();
    }
    this.#isDiskFull = false;
    this.#reportCommit(applier.isChanged);
    if (wasDiskFull) this.#checkSpace();
    if (applier.isChanged) this.#copyLog();
  }

  #reportCommit(isWritten: boolean): void {
    const done = this.#pending;
    this.#pending = [];
    const last = done.at(-1);
    if (last !== undefined) {
      const bytes = done.reduce((sum, { size }) => sum + size, 0);
      this.#report({ kind: 'committed', upTo: last.upTo, bytes, isWritten });
    }
    for (const { records, bytes } of done) this.#report({ kind: 'spare', spare: { records, bytes } });
  }

  /** Everything that was to be written waits. The log may have room once it is copied, so that is tried at once. */
  #diskIsFull(wasDiskFull: boolean): void {
    this.#isDiskFull = true;
    this.#setFull(true);
    if (wasDiskFull) return;
    try {
      this.#logged('PASSIVE');
    } catch (error) {
      if (!isDiskFull(error)) throw error;
    }
    this.#commitPending();
  }

  #copyLog(): void {
    const [, pages, copied] = this.#logState.get() as unknown as [number, number, number];
    if (pages - copied < CHECKPOINT_PAGES) return;
    try {
      this.#logged('PASSIVE');
    } catch (error) {
      // The log goes on growing, as far as there is room.
      if (!isDiskFull(error)) throw error;
      this.#setFull(true);
    }
  }

  /** Copies the log into the database. Without syncing at each commit, this is when commits become durable. */
  #logged(mode: 'PASSIVE' | 'TRUNCATE'): void {
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
    const [freePages] = this.#freePages.get() as unknown as [number];
    const folder = statfsSync(path.dirname(this.#settings.files.database));
    const room = roomFor(folder, freePages);
    this.#setFull(isTight(room, this.#settings.diskFreeBytesMin, this.#isFull));
  }

  #setFull(full: boolean): void {
    if (full === this.#isFull) return;
    this.#isFull = full;
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
