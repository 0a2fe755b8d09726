/** The parts of a store's check. Each reads one part of the database over a connection of its own, in any order and any thread. */
import type { DatabaseSync } from 'node:sqlite';
import { readingProblem } from './read-only.ts';
import { messageChecksum, SQL_CHECKSUM } from './records.ts';
import { problemOfExtra, type Row, TABLES, type TableName } from './rows.ts';
import { type Hole, TableWalk } from './walk.ts';

/** What is wrong with a store, and where: a row by its table and key, a page by its number, or a file. */
export interface StoreProblem {
  readonly where: string;
  readonly what: string;
}

type SummedTable = keyof typeof SQL_CHECKSUM;
type CountedTable = 'meta' | 'session' | 'subscription';

export type CheckTask =
  /** The structure of all pages, and of the index of client ids. */
  | { readonly kind: 'pages' }
  | { readonly kind: 'index' }
  /** Every row of a table: integers within SQL, or one by one. */
  | { readonly kind: 'sums'; readonly table: SummedTable }
  | { readonly kind: 'rows'; readonly table: CountedTable }
  | { readonly kind: 'extras' }
  /** Messages with ids above `after` and below `before`. */
  | { readonly kind: 'bodies'; readonly after: number; readonly before: number }
  /** Whether what rows point to is there. */
  | { readonly kind: 'pointers'; readonly table: 'delivery' | 'retained' }
  | { readonly kind: 'sessions' }
  /** Which messages do not have as many references as rows point to them; only needed when the sums differ. */
  | { readonly kind: 'references' };

export interface CheckResult {
  /** At most `problemsMax`. */
  readonly problems: StoreProblem[];
  readonly problemsTotal: number;
  /** Rows seen of this table; null: the task counts none. */
  readonly counted: { readonly table: TableName; readonly rows: number } | null;
  /** Sum of `message.refs` over what was read. */
  readonly refs: number;
}

/** Problems up to a number; beyond it they are only counted. */
export class ProblemList {
  readonly listed: StoreProblem[] = [];
  total = 0;
  readonly #max: number;
  readonly #known = new Set<string>();

  constructor(max: number) {
    this.#max = max;
  }

  add(where: string, what: string): void {
    this.total++;
    if (this.listed.length < this.#max) this.listed.push({ where, what });
  }

  /** Takes those of a task; what two tasks say in the same words counts once. */
  merge({ problems, problemsTotal }: CheckResult): void {
    this.total += problemsTotal - problems.length;
    for (const { where, what } of problems) {
      const text = `${where}: ${what}`;
      if (!this.#known.has(text)) this.add(where, what);
      this.#known.add(text);
    }
  }
}

/** Messages read at once, and the longest body that is read along with others: together they bound the memory (4 MB). */
const MESSAGES_AT_ONCE = 1_000;
const SMALL_BODY_BYTES_MAX = 4_096;

/** Does one part of the check. Errors of SQLite become problems. */
export function runCheckTask(db: DatabaseSync, task: CheckTask, problemsMax: number): CheckResult {
  const run = new TaskRun(db, problemsMax);
  try {
    run.run(task);
  } catch (error) {
    run.problems.add('table' in task ? `table ${task.table}` : 'sluice.db', readingProblem(error));
  }
  const { problems, refs, counted } = run;
  return { problems: problems.listed, problemsTotal: problems.total, counted, refs };
}

class TaskRun {
  readonly problems: ProblemList;
  counted: CheckResult['counted'] = null;
  refs = 0;
  readonly #db: DatabaseSync;
  readonly #max: number;

  constructor(db: DatabaseSync, problemsMax: number) {
    this.#db = db;
    this.#max = problemsMax;
    this.problems = new ProblemList(problemsMax);
  }

  run(task: CheckTask): void {
    if (task.kind === 'pages') this.#pragma(`quick_check(${this.#max})`);
    else if (task.kind === 'index') this.#pragma('integrity_check(session)');
    else if (task.kind === 'sums') this.#sums(task.table);
    else if (task.kind === 'rows') this.#rows(task.table);
    else if (task.kind === 'extras') this.#extras();
    else if (task.kind === 'bodies') this.#bodies(task.after, task.before);
    else if (task.kind === 'pointers') this.#pointers(task.table);
    else if (task.kind === 'sessions') this.#sessions();
    else this.#references();
  }

  /** "Tree 9 page 17 cell 3: Rowid 12 out of order" names the table by the page where it begins. */
  #pragma(check: string): void {
    const trees = new Map<number, string>();
    for (const row of this.#all('SELECT rootpage, name FROM sqlite_schema')) {
      trees.set(Number(row[0]), String(row[1]));
    }
    for (const [text] of this.#all(`PRAGMA ${check}`)) {
      for (const line of String(text).split('\n')) {
        if (line === 'ok' || line.startsWith('*** in database')) continue;
        const found = /^Tree (\d+) (page \d+(?: cell \d+| right child)?): (.*)$/.exec(line);
        const tree = found === null ? undefined : trees.get(Number(found[1]));
        if (found === null) this.problems.add('sluice.db', line);
        else this.problems.add(`${found[2]} of ${tree ?? `tree ${found[1]}`}`, found[3]);
      }
    }
  }

  /** All at once within SQL; only when that finds something is it looked for. */
  #sums(table: SummedTable): void {
    try {
      const sums = `SELECT count(*), count(CASE WHEN checksum IS NOT ${SQL_CHECKSUM[table]} THEN 1 END) FROM ${table}`;
      const [[rows, wrong]] = this.#all(sums);
      this.counted = { table, rows: Number(rows) };
      if (wrong === 0) return;
    } catch (error) {
      readingProblem(error);
    }
    this.#rows(table);
  }

  #rows(table: TableName): void {
    let rows = 0;
    for (const row of this.#walk(table).rows()) {
      rows++;
      this.#judge(table, row);
    }
    this.counted = { table, rows };
  }

  #judge(table: TableName, row: Row): void {
    const { describe, problemOf, start } = TABLES[table];
    const problem = problemOf(row);
    const key = row.slice(0, start.length) as (number | string)[];
    if (problem !== null) this.problems.add(`${table} ${describe(key)}`, problem);
  }

  #walk(table: TableName): TableWalk {
    return new TableWalk(this.#db, TABLES[table], (hole) => {
      this.problems.add(describeHole(table, hole), `cannot be read: ${hole.problem}`);
    });
  }

  #extras(): void {
    const statement = this.#db.prepare(
      'SELECT session, position, extra FROM delivery WHERE extra IS NOT NULL',
    );
    statement.setReturnArrays(true);
    for (const [session, position, extra] of statement.iterate() as unknown as Iterable<Row>) {
      if (!(extra instanceof Uint8Array)) continue;
      const problem = problemOfExtra(extra, Number(session), Number(position));
      if (problem !== null) this.problems.add(`delivery ${position} of session ${session}`, problem);
    }
  }

  #bodies(after: number, before: number): void {
    let rows = 0;
    let reached = after;
    const chunk = this.#db.prepare(
      `SELECT id, checksum, CASE WHEN length(body) <= ${SMALL_BODY_BYTES_MAX} THEN body END, refs
       FROM message WHERE id > ? AND id < ? ORDER BY id LIMIT ${MESSAGES_AT_ONCE}`,
    );
    const one = this.#db.prepare('SELECT body FROM message WHERE id = ?');
    chunk.setReturnArrays(true);
    one.setReturnArrays(true);
    try {
      for (;;) {
        const messages = chunk.all(reached, before) as unknown as Row[];
        for (const [id, checksum, small, refs] of messages) {
          // What is out of order is for the walk, which does not go round in circles.
          if (typeof id !== 'number' || typeof refs !== 'number' || id <= reached) throw outOfOrder();
          const body = small ?? (one.get(id) as unknown as Row)[0];
          if (!(body instanceof Uint8Array) || messageChecksum(id, body) !== checksum) {
            this.problems.add(`message ${id}`, 'its checksum does not fit');
          }
          rows++;
          this.refs += refs;
          reached = id;
        }
        if (messages.length < MESSAGES_AT_ONCE) break;
      }
    } catch (error) {
      readingProblem(error);
      for (const row of this.#walk('message').rows([reached], [before])) {
        rows++;
        this.refs += Number(row[1]);
        this.#judge('message', row);
      }
    }
    this.counted = { table: 'message', rows };
  }

  #pointers(table: 'delivery' | 'retained'): void {
    const key = table === 'delivery' ? 'session, position' : 'message';
    const lost = this.#all(
      `SELECT ${key}, message FROM ${table} AS row
       WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = row.message) LIMIT ${this.#max + 1}`,
    );
    for (const row of lost) {
      const where = `${table} ${TABLES[table].describe(row as (number | string)[])}`;
      this.problems.add(where, `message ${row.at(-1)}, which it points to, is not there`);
    }
  }

  #sessions(): void {
    for (const table of ['delivery', 'subscription', 'inbound'] as const) {
      // One look for each session, however many rows it has.
      const ids = `WITH RECURSIVE seen(id) AS (
        SELECT min(session) FROM ${table} UNION ALL
        SELECT (SELECT min(session) FROM ${table} WHERE session > seen.id) FROM seen WHERE seen.id IS NOT NULL)
        SELECT id FROM seen WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM session)`;
      // Deliveries of a session that has ended are removed a part at a time.
      const ended = table === 'delivery' ? ' AND id NOT IN (SELECT session FROM ended)' : '';
      for (const [id] of this.#all(`${ids}${ended} LIMIT ${this.#max + 1}`)) {
        this.problems.add(`${table} of session ${id}`, 'the session is not there');
      }
    }
    for (const [id] of this.#all('SELECT session FROM ended WHERE session IN (SELECT id FROM session)')) {
      this.problems.add(`ended ${id}`, 'the session is still there');
    }
  }

  #references(): void {
    const wrong = this.#all(
      `WITH pointed(message, n) AS (
         SELECT message, count(*) FROM (SELECT message FROM delivery UNION ALL SELECT message FROM retained) GROUP BY message)
       SELECT id, refs, ifnull(n, 0) FROM message LEFT JOIN pointed ON pointed.message = id
       WHERE refs IS NOT ifnull(n, 0) LIMIT ${this.#max + 1}`,
    );
    for (const [id, refs, n] of wrong) {
      this.problems.add(`message ${id}`, `${refs} rows should point to it, and ${n} do`);
    }
  }

  #all(sql: string): Row[] {
    const statement = this.#db.prepare(sql);
    statement.setReturnArrays(true);
    return statement.all() as unknown as Row[];
  }
}

/** "message 17 to 30", by the sound rows on both sides. */
export function describeHole(table: TableName, { after, before }: Hole): string {
  const { describe } = TABLES[table];
  const from = after === null ? 'from the first' : `behind ${describe(after)}`;
  return `${table} rows ${from} ${before === null ? 'to the last' : `up to ${describe(before)}`}`;
}

/** As SQLite says it when a page makes no sense. */
function outOfOrder(): Error {
  return Object.assign(new Error('rows out of order'), { code: 'ERR_SQLITE_ERROR' });
}
