/** Writes a store as lines of JSON: all that is sound in it, even when the rest is damaged. */
import { existsSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '../../src/errors.ts';
import { checkStore, type StoreReport, wrongDefinitions } from './check.ts';
import { describeHole, ProblemList, type StoreProblem } from './check-tasks.ts';
import {
  DUMP_KINDS,
  type DumpKind,
  deliveryLine,
  endLine,
  headerLine,
  inboundLine,
  messageLine,
  retainedLine,
  sessionLine,
  subscriptionLine,
} from './dump.ts';
import { copyWithFirstPage, removeCopy } from './first-page.ts';
import { IdSet } from './id-set.ts';
import { clocksOf, lastingMinusWall } from './lasting-time.ts';
import { closeReadOnly, openReadOnly, readingProblem } from './read-only.ts';
import { readBody, readDeliveryFlags, readExtra, readSession, readSubscription } from './records.ts';
import { type Row, TABLES, type TableName } from './rows.ts';
import { META_NAMES, type MetaName, storeFiles } from './schema.ts';
import { TableWalk } from './walk.ts';

export interface ExportOptions {
  /** Name and version of the program, for the first line. */
  readonly writtenBy: string;
  /** Called with the part that is done, 0 to 1, growing. */
  readonly onProgress?: (fraction: number) => void;
  /** Problems that are listed; beyond it they are only counted. */
  readonly problemsMax?: number;
}

export interface ExportReport {
  readonly written: Readonly<Record<DumpKind, number>>;
  /** Rows that were seen and are not sound, or point to one that is not. */
  readonly leftOut: Readonly<Record<DumpKind, number>>;
  /** Places that could not be read: how many rows they have is not known. */
  readonly holes: number;
  /** What was left out, and where. */
  readonly problems: readonly StoreProblem[];
  readonly problemsTotal: number;
  /** Of the store before. */
  readonly check: StoreReport;
}

const PROBLEMS_MAX = 100;
/** Characters that are gathered before they are written. */
const CHUNK_CHARACTERS = 65_536;
/** The check takes about as long as a third of the rest. */
const CHECK_SHARE = 0.25;

/**
 * Exports the store in folder `dir`, which is not changed.
 * @param write takes the next piece of text; it is waited for
 * @throws ConfigError when there is no store, or another process has it, or nothing of it can be read
 */
export async function exportStore(
  dir: string,
  write: (text: string) => void | Promise<void>,
  options: ExportOptions,
): Promise<ExportReport> {
  const onProgress = (fraction: number) => options.onProgress?.(fraction * CHECK_SHARE);
  const check = await checkStore(dir, { onProgress });
  if (check.isNew)
    throw new ConfigError(dir, 'there is no store, or an empty one', 'Name the folder of a store');
  const files = storeFiles(dir);
  if (!existsSync(files.database)) {
    throw new ConfigError(
      files.database,
      'missing, although other files of the store are there',
      'Put back a copy of it',
    );
  }
  if (hasTables(files.database)) return exportFrom(files.database, check, write, options);
  const copy = copyWithFirstPage(files);
  try {
    return await exportFrom(copy, check, write, options);
  } finally {
    removeCopy(copy);
  }
}

async function exportFrom(
  database: string,
  check: StoreReport,
  write: (text: string) => void | Promise<void>,
  options: ExportOptions,
): Promise<ExportReport> {
  const db = openReadOnly(database);
  try {
    const dump = new Export(db, check, options);
    let chunk = '';
    for (const text of dump.lines()) {
      chunk += text;
      if (chunk.length < CHUNK_CHARACTERS) continue;
      await write(chunk);
      chunk = '';
    }
    await write(chunk);
    return dump.report();
  } catch (error) {
    throw new ConfigError(
      database,
      readingProblem(error),
      'Nothing of it can be read; put back a copy of the file',
    );
  } finally {
    closeReadOnly(db, database);
  }
}

/** Whether the first page says what it should about the tables. */
function hasTables(database: string): boolean {
  const db = openReadOnly(database);
  try {
    return wrongDefinitions(db).length === 0;
  } catch (error) {
    readingProblem(error);
    return false;
  } finally {
    closeReadOnly(db, database);
  }
}

/** What a table's row becomes, or why it is left out; null: it needs no line. */
type Lined = { readonly text: string } | { readonly problem: string } | null;

class Export {
  readonly #db: DatabaseSync;
  readonly #check: StoreReport;
  readonly #options: ExportOptions;
  readonly #problems: ProblemList;
  readonly #written = zeros();
  readonly #leftOut = zeros();
  readonly #sessions = new IdSet();
  readonly #messages = new IdSet();
  readonly #ended = new Set<number>();
  readonly #rowsAll: number;
  #rows = 0;
  #holes = 0;
  /** What to take from the times in the store to get those of the wall clock. */
  #offsetMs = 0;

  constructor(db: DatabaseSync, check: StoreReport, options: ExportOptions) {
    this.#db = db;
    this.#check = check;
    this.#options = options;
    this.#problems = new ProblemList(options.problemsMax ?? PROBLEMS_MAX);
    this.#rowsAll = DUMP_KINDS.reduce((sum, kind) => sum + check.rows[kind], 1);
  }

  *lines(): Generator<string> {
    const meta = this.#meta();
    this.#offsetMs = lastingMinusWall(clocksOf(meta));
    yield headerLine(meta.commit_number, this.#options.writtenBy);
    for (const row of this.#walk('ended'))
      if (TABLES.ended.problemOf(row) === null) this.#ended.add(Number(row[0]));
    yield* this.#table('session', (row) => this.#session(row));
    yield* this.#table('subscription', ([session, filter, options]) =>
      this.#ofSession(session, () =>
        subscriptionLine(Number(session), readSubscription(String(filter), Number(options))),
      ),
    );
    yield* this.#table('inbound', ([session, packet]) =>
      this.#ofSession(session, () => inboundLine(Number(session), Number(packet))),
    );
    yield* this.#table('message', (row) => this.#message(row));
    yield* this.#table('delivery', (row) => this.#delivery(row));
    yield* this.#table('retained', ([message]) =>
      this.#toMessage(message, () => retainedLine(Number(message))),
    );
    yield endLine(Object.values(this.#leftOut).reduce((sum, n) => sum + n, this.#holes));
  }

  report(): ExportReport {
    const { listed: problems, total: problemsTotal } = this.#problems;
    const [written, leftOut, holes] = [this.#written, this.#leftOut, this.#holes];
    return { written, leftOut, holes, problems, problemsTotal, check: this.#check };
  }

  *#table(name: DumpKind, toLine: (row: Row) => Lined): Generator<string> {
    for (const row of this.#walk(name)) {
      this.#countRow();
      const problem = TABLES[name].problemOf(row);
      const lined = problem === null ? decoded(() => toLine(row)) : { problem };
      if (lined === null) continue;
      if ('text' in lined) {
        this.#written[name]++;
        yield lined.text;
      } else {
        this.#leftOut[name]++;
        const key = row.slice(0, TABLES[name].start.length) as (number | string)[];
        this.#problems.add(`${name} ${TABLES[name].describe(key)}`, lined.problem);
      }
    }
  }

  #walk(name: TableName): Iterable<Row> {
    const walk = new TableWalk(this.#db, TABLES[name], (hole) => {
      this.#holes++;
      this.#problems.add(describeHole(name, hole), `cannot be read: ${hole.problem}`);
    });
    return walk.rows();
  }

  #session([id, clientId, record]: Row): Lined {
    const session = readSession(record as Uint8Array, String(clientId), this.#offsetMs);
    this.#sessions.add(Number(id));
    return { text: sessionLine(Number(id), session) };
  }

  #message([id, , , body]: Row): Lined {
    const message = readBody(body as Uint8Array, Number(id), this.#offsetMs);
    this.#messages.add(Number(id));
    return { text: messageLine(message) };
  }

  #delivery([session, position, message, , flags, packet, , extra]: Row): Lined {
    // It waits to be removed.
    if (this.#ended.has(Number(session))) return null;
    const delivery = {
      position: Number(position),
      ...readDeliveryFlags(Number(flags)),
      packetId: Number(packet),
      ...readExtra(extra as Uint8Array | null, Number(session), Number(position)),
    };
    const lined = this.#toMessage(message, () => deliveryLine(Number(session), Number(message), delivery));
    return 'problem' in lined ? lined : this.#ofSession(session, () => lined.text);
  }

  #ofSession(session: unknown, toText: () => string): Lined {
    if (this.#sessions.has(Number(session))) return { text: toText() };
    return { problem: `session ${session} is not there, or left out` };
  }

  #toMessage(message: unknown, toText: () => string): { text: string } | { problem: string } {
    if (this.#messages.has(Number(message))) return { text: toText() };
    return { problem: `message ${message} is not there, or left out` };
  }

  /** What is sound in `meta`; the rest is zero. */
  #meta(): Record<MetaName, number> {
    const sound = Object.fromEntries(META_NAMES.map((name) => [name, 0])) as Record<MetaName, number>;
    for (const row of this.#walk('meta')) {
      if (TABLES.meta.problemOf(row) === null) sound[row[0] as MetaName] = Number(row[1]);
    }
    return sound;
  }

  #countRow(): void {
    this.#rows++;
    // Not at every row: whoever hears of it draws something.
    if (this.#rows % 1_000 !== 0) return;
    const share = Math.min(1, this.#rows / this.#rowsAll);
    this.#options.onProgress?.(CHECK_SHARE + (1 - CHECK_SHARE) * share);
  }
}

/** A row whose bytes make no sense is left out like one whose checksum does not fit. */
function decoded(toLine: () => Lined): Lined {
  try {
    return toLine();
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

function zeros(): Record<DumpKind, number> {
  return Object.fromEntries(DUMP_KINDS.map((kind) => [kind, 0])) as Record<DumpKind, number>;
}
