/** The check of a store: at start, before anything is served, and whenever somebody asks. It changes nothing on the disk. */
import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '../../src/errors.ts';
import { type CheckResult, type CheckTask, ProblemList, type StoreProblem } from './check-tasks.ts';
import { runCheckTasks, threadsFor } from './check-threads.ts';
import { describeHolder, isBusy } from './folder.ts';
import { inspectLog } from './log-file.ts';
import { closeReadOnly, openReadOnly, readingProblem } from './read-only.ts';
import { decodeMark, isSyncedMark, MARK_BYTES } from './records.ts';
import { TABLE_NAMES, type TableName } from './rows.ts';
import {
  type MetaName,
  migrate,
  SCHEMA_VERSION,
  type StoreFiles,
  schemaVersion,
  storeFiles,
} from './schema.ts';

/** Rows of `meta` that nothing else is compared with. */
const UNCOUNTED = ['commit_number', 'lasting_ms', 'wall_ms'] as const satisfies readonly MetaName[];

export type { StoreProblem } from './check-tasks.ts';

export interface CheckOptions {
  /** Called with the part that is done, 0 to 1, growing. */
  readonly onProgress?: (fraction: number) => void;
  /** Problems that are listed; beyond it they are only counted. */
  readonly problemsMax?: number;
  /** Threads besides the caller's; without it as many as the machine and the size of the store call for. */
  readonly threads?: number;
}

export interface StoreReport {
  /** Nothing was ever written: there is no store, or an empty one. */
  readonly isNew: boolean;
  readonly rows: Readonly<Record<TableName, number>>;
  /** Of all files. */
  readonly bytes: number;
  readonly problems: readonly StoreProblem[];
  readonly problemsTotal: number;
  readonly elapsedMs: number;
}

const PROBLEMS_MAX = 100;
/** Problems that an error names. */
const PROBLEMS_SHOWN_MAX = 5;
/** Parts that the messages are cut into for each thread, so that all end at about the same time. */
const SLICES_PER_THREAD = 8;

/**
 * Checks everything that docs/decisions/0010-durable-store.md lists. The folder is for `checkFolder` to look at, before.
 * @param dir the store's folder; a missing one is an empty store
 * @throws ConfigError when another process has the store, or when it belongs to another program or a newer version
 */
export async function checkStore(dir: string, options: CheckOptions = {}): Promise<StoreReport> {
  const check = new StoreCheck(storeFiles(dir), options);
  return check.run();
}

/**
 * Refuses what a check found unsound.
 * @param option what named the folder, for the error
 * @throws ConfigError that names the first problems and how to save the rest
 */
export function requireSound(
  dir: string,
  { problems, problemsTotal }: StoreReport,
  option = 'persistence.dir',
): void {
  if (problemsTotal === 0) return;
  const shown = problems.slice(0, PROBLEMS_SHOWN_MAX).map(({ where, what }) => `${where}: ${what}`);
  const more = problemsTotal - shown.length;
  if (more > 0) shown.push(`and ${more} more`);
  throw new ConfigError(
    `${option} ${dir}`,
    `the store is damaged: ${shown.join('; ')}`,
    `"sluice store verify --dir ${dir}" lists all. To save what is sound, run "sluice store export FILE --dir ${dir}", ` +
      'then "sluice store import FILE --dir NEW", and set persistence.dir to NEW',
  );
}

class StoreCheck {
  readonly #files: StoreFiles;
  readonly #options: CheckOptions;
  readonly #problems: ProblemList;
  readonly #problemsMax: number;
  readonly #rows = Object.fromEntries(TABLE_NAMES.map((name) => [name, 0])) as Record<TableName, number>;
  readonly #started = performance.now();
  #refs = 0;

  constructor(files: StoreFiles, options: CheckOptions) {
    this.#files = files;
    this.#options = options;
    this.#problemsMax = options.problemsMax ?? PROBLEMS_MAX;
    this.#problems = new ProblemList(this.#problemsMax);
  }

  async run(): Promise<StoreReport> {
    const { database } = this.#files;
    if (bytesOf(database) === null) return this.#report(this.#checkMissing());
    // Kept open all the while: it keeps writers away.
    const db = openReadOnly(database);
    try {
      if (this.#checkHead(db)) return this.#report(true);
      await this.#checkRows(db);
      this.#checkCounts(db);
      return this.#report(false);
    } catch (error) {
      if (isBusy(error)) throw inUse(database);
      this.#problems.add(basename(database), readingProblem(error));
      return this.#report(false);
    } finally {
      closeReadOnly(db, database);
    }
  }

  /** Without a database there may only be a mark that nothing was committed under. Gives whether that is so. */
  #checkMissing(): boolean {
    const { log, mark, database } = this.#files;
    const isLogThere = (bytesOf(log) ?? 0) > 0;
    const isMarkUsed = (bytesOf(mark) ?? 0) > 0 && readMark(mark).commitNumber !== 0;
    for (const file of [...(isLogThere ? [log] : []), ...(isMarkUsed ? [mark] : [])])
      this.#problems.add(basename(database), `missing, although ${basename(file)} is there`);
    return !isLogThere && !isMarkUsed;
  }

  /** File, version, tables, log and mark. Gives whether the store is new. */
  #checkHead(db: DatabaseSync): boolean {
    const version = this.#version(db);
    const mark = readMark(this.#files.mark);
    const log = inspectLog(this.#files.log);
    // Without syncing at each commit, a power cut leaves gaps in the log.
    if (log.problem !== null && mark.isSynced)
      this.#problems.add(`${basename(this.#files.log)}, ${log.problem.where}`, log.problem.what);
    if (version === SCHEMA_VERSION) this.#checkSchema(db);
    this.#checkMark(mark, version === 0 ? 0 : (metaOf(db).get('commit_number') ?? 0));
    return version === 0 && this.#problems.total === 0;
  }

  /** What carries another number but has just our tables is a store of ours with a damaged number. */
  #version(db: DatabaseSync): number {
    try {
      return schemaVersion(db, this.#files.database);
    } catch (error) {
      const found = Number(db.prepare('PRAGMA user_version').get()?.user_version);
      const isOurs =
        error instanceof ConfigError && found <= SCHEMA_VERSION && wrongDefinitions(db).length === 0;
      if (!isOurs) throw error;
      this.#problems.add(
        basename(this.#files.database),
        'application_id or user_version in its header is damaged',
      );
      return SCHEMA_VERSION;
    }
  }

  /** A changed definition reads the same bytes as something else. */
  #checkSchema(db: DatabaseSync): void {
    for (const name of wrongDefinitions(db)) {
      this.#problems.add(`definition of ${name}`, 'not as this version wrote it');
    }
  }

  #checkMark({ commitNumber: marked, isThere }: Mark, commitNumber: number): void {
    const where = basename(this.#files.mark);
    if (marked === null) {
      if (commitNumber === 0 && !isThere) return;
      const state = isThere ? 'damaged' : 'missing';
      this.#problems.add(where, `${state}, so it cannot be told whether commits are missing`);
    } else if (marked > commitNumber) {
      const lost = marked - commitNumber;
      const what = lost === 1 ? 'commit that was acknowledged is' : 'commits that were acknowledged are';
      this.#problems.add(
        basename(this.#files.database),
        `${lost} ${what} missing: it is at commit ${commitNumber}, and ${where} says ${marked}`,
      );
    }
  }

  async #checkRows(db: DatabaseSync): Promise<void> {
    const threads = this.#options.threads ?? threadsFor(this.#bytes());
    const tasks = planTasks(db, Math.max(threads, 1) * SLICES_PER_THREAD);
    const weight = (task: CheckTask) => (task.kind === 'pages' ? tasks.length : 1);
    const all = tasks.reduce((sum, task) => sum + weight(task), 0);
    let done = 0;
    const data = { database: this.#files.database, problemsMax: this.#problemsMax };
    const take = (result: CheckResult): void => {
      this.#problems.merge(result);
      this.#refs += result.refs;
      if (result.counted !== null) this.#rows[result.counted.table] += result.counted.rows;
    };
    await runCheckTasks(data, tasks, threads, (result, task) => {
      take(result);
      done += weight(task);
      this.#options.onProgress?.(done / all);
    });
    if (this.#refs !== this.#rows.delivery + this.#rows.retained) {
      await runCheckTasks(data, [{ kind: 'references' }], threads === 0 ? 0 : 1, take);
    }
  }

  #checkCounts(db: DatabaseSync): void {
    const meta = metaOf(db);
    const counted: readonly [MetaName, TableName][] = [
      ['sessions', 'session'],
      ['subscriptions', 'subscription'],
      ['retained', 'retained'],
      ['inbound', 'inbound'],
    ];
    for (const [name, table] of counted) {
      if (meta.get(name) === this.#rows[table]) continue;
      this.#problems.add(
        `table ${table}`,
        `has ${this.#rows[table]} rows, and meta says ${meta.get(name) ?? 'nothing'}`,
      );
    }
    for (const name of UNCOUNTED) if (!meta.has(name)) this.#problems.add(`meta ${name}`, 'missing');
    const pointers = this.#rows.delivery + this.#rows.retained;
    if (this.#refs !== pointers) {
      this.#problems.add('table message', `${this.#refs} rows should point to it, and ${pointers} do`);
    }
  }

  #bytes(): number {
    const { database, log, mark } = this.#files;
    return [database, log, mark].reduce((sum, file) => sum + (bytesOf(file) ?? 0), 0);
  }

  #report(isNew: boolean): StoreReport {
    const { listed, total } = this.#problems;
    const elapsedMs = performance.now() - this.#started;
    return {
      isNew,
      rows: this.#rows,
      bytes: this.#bytes(),
      problems: listed,
      problemsTotal: total,
      elapsedMs,
    };
  }
}

/** The parts of the check: the longest first, so that no thread is left with one at the end. */
function planTasks(db: DatabaseSync, slices: number): CheckTask[] {
  const tasks: CheckTask[] = [
    { kind: 'pages' },
    { kind: 'pointers', table: 'delivery' },
    { kind: 'pointers', table: 'retained' },
    { kind: 'rows', table: 'subscription' },
    { kind: 'rows', table: 'session' },
    { kind: 'index' },
    { kind: 'sums', table: 'delivery' },
    { kind: 'extras' },
    { kind: 'sums', table: 'retained' },
    { kind: 'sums', table: 'inbound' },
    { kind: 'sums', table: 'ended' },
    { kind: 'sessions' },
    { kind: 'rows', table: 'meta' },
  ];
  let [low, high] = [1, 0];
  try {
    const range = db.prepare('SELECT min(id) AS low, max(id) AS high FROM message').get();
    [low, high] = [Number(range?.low ?? 1), Number(range?.high ?? 0)];
  } catch (error) {
    // The walk through the one slice says where it breaks.
    readingProblem(error);
  }
  const step = Math.ceil((high - low + 1) / slices);
  let after = Number.MIN_SAFE_INTEGER;
  for (let before = low + step; before <= high; before += step) {
    tasks.push({ kind: 'bodies', after, before });
    after = before - 1;
  }
  tasks.push({ kind: 'bodies', after, before: Number.MAX_SAFE_INTEGER });
  return tasks;
}

/** The rows of `meta`; whether they are sound is for their checksums to say. */
function metaOf(db: DatabaseSync): Map<string, number> {
  const rows = db.prepare('SELECT name, value FROM meta').all();
  return new Map(rows.map(({ name, value }) => [String(name), Number(value)]));
}

/** Tables and indexes whose definition is not that of SCHEMA_VERSION. */
export function wrongDefinitions(db: DatabaseSync): string[] {
  const model = new DatabaseSync(':memory:');
  migrate(model, ':memory:');
  const wanted = definitions(model);
  model.close();
  const found = definitions(db);
  const names = new Set([...wanted.keys(), ...found.keys()]);
  return [...names].filter((name) => wanted.get(name) !== found.get(name));
}

function definitions(db: DatabaseSync): Map<string, string> {
  const rows = db.prepare('SELECT type, name, tbl_name, sql FROM sqlite_schema').all();
  return new Map(rows.map((row) => [String(row.name), JSON.stringify([row.type, row.tbl_name, row.sql])]));
}

function inUse(database: string): ConfigError {
  const remedy = 'Stop it first, or give each broker a folder of its own';
  return new ConfigError(database, `in use by ${describeHolder(database)}`, remedy);
}

interface Mark {
  readonly isThere: boolean;
  /** Null: there is no mark, or a damaged one. */
  readonly commitNumber: number | null;
  readonly isSynced: boolean;
}

function readMark(file: string): Mark {
  const bytes = bytesOf(file);
  if (bytes === null) return { isThere: false, commitNumber: null, isSynced: true };
  // What is longer is no mark, however long it is.
  const content = bytes > MARK_BYTES ? Buffer.alloc(0) : readFileSync(file);
  const commitNumber = decodeMark(content);
  return { isThere: true, commitNumber, isSynced: commitNumber === null || isSyncedMark(content) };
}

/** Size of a file; null: there is none. */
function bytesOf(file: string): number | null {
  return statSync(file, { throwIfNoEntry: false })?.size ?? null;
}
