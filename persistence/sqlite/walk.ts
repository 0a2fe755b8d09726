/**
 * Goes through a table from key to key and around what cannot be read: behind a broken page it looks for the next key that can be
 * reached, and from there walks back to the break as well as on.
 */
import type { DatabaseSync } from 'node:sqlite';
import { readingProblem } from './read-only.ts';
import type { Key, Row, Table, Value } from './rows.ts';

/** A part of a table that cannot be read. */
export interface Hole {
  /** Rows are missing behind this key; null: from the beginning. */
  readonly after: Key | null;
  /** Up to this key, exclusive; null: to the end, or unknown. */
  readonly before: Key | null;
  readonly problem: string;
}

/** Keys that are tried to get behind breaks, in one table; ends the search in a file of which little is left. */
const TRIES_MAX = 100_000;
/** Steps to the next try double up to this, beyond which no key lies. */
const STEP_MAX = 2 ** 53;
/** Breaks within what one search stepped over. */
const DEPTH_MAX = 64;

/** A row in a place where the order of keys does not allow it: its page is not to be trusted. */
class Disorder extends Error {}

/** What is read of a table: between two keys, either of which may be included. */
interface Range {
  readonly above: Key;
  readonly isAboveIncluded?: boolean;
  /** Null: up to the end. */
  readonly below: Key | null;
  readonly isBelowIncluded?: boolean;
  readonly isDescending?: boolean;
}

/** The table's rows; whether each is sound is for the caller to ask. In order, but for those in front of which a break lies. */
export class TableWalk {
  readonly #db: DatabaseSync;
  readonly #table: Table;
  readonly #onHole: (hole: Hole) => void;
  #tries = 0;

  /** `onHole` is told of every part that cannot be read, as soon as it is known. */
  constructor(db: DatabaseSync, table: Table, onHole: (hole: Hole) => void) {
    this.#db = db;
    this.#table = table;
    this.#onHole = onHole;
  }

  /** All rows behind key `after` and before key `before`; without them: all. */
  rows(after: Key | null = null, before: Key | null = null): Generator<Row> {
    return this.#span(after ?? this.#table.start, before, after, 0);
  }

  /** `shownAfter`: where a hole at the very beginning is said to begin. */
  *#span(after: Key, before: Key | null, shownAfter: Key | null, depth: number): Generator<Row> {
    let reached = after;
    let shown = shownAfter;
    for (;;) {
      let problem = '';
      try {
        for (const row of this.#read({ above: reached, below: before })) {
          reached = this.#keyOf(row, reached, before);
          shown = reached;
          yield row;
        }
        return;
      } catch (error) {
        problem = problemOf(error);
      }
      const island = depth < DEPTH_MAX ? this.#nextReadable(reached, before) : null;
      if (island === null) {
        this.#onHole({ after: shown, before, problem });
        return;
      }
      const edge = yield* this.#backwards(island.missed, island.key, before);
      if (edge.isBroken && edge.key !== null) yield* this.#span(island.missed, edge.key, shown, depth + 1);
      else this.#onHole({ after: shown, before: edge.key ?? island.key ?? before, problem });
      if (island.key === null) return;
      reached = island.key;
      shown = reached;
    }
  }

  /**
   * Looks for a row that can be reached behind `after`, in steps that double.
   * @returns its key, or null when the end was reached instead, and the last key that was tried in vain; null: nothing found
   */
  #nextReadable(after: Key, before: Key | null): { missed: Key; key: Key | null } | null {
    let missed = after;
    for (const key of keysBehind(after)) {
      if (before !== null && compareKeys(key, before) >= 0) return null;
      if (++this.#tries > TRIES_MAX) return null;
      try {
        for (const row of this.#read({ above: key, isAboveIncluded: true, below: before })) {
          return { missed, key: this.#keyOf(row, missed, before) };
        }
        return { missed, key: null };
      } catch (error) {
        problemOf(error);
        missed = key;
      }
    }
    return typeof after[0] === 'string' ? { missed, key: null } : null;
  }

  /** Rows from `from` (null: the last before `before`) down to `after`; gives the lowest key reached, and whether it ended there. */
  *#backwards(
    after: Key,
    from: Key | null,
    before: Key | null,
  ): Generator<Row, { key: Key | null; isBroken: boolean }> {
    let lowest: Key | null = null;
    try {
      const range = {
        above: after,
        below: from ?? before,
        isBelowIncluded: from !== null,
        isDescending: true,
      };
      for (const row of this.#read(range)) {
        lowest = this.#keyOf(row, after, lowest);
        yield row;
      }
      return { key: lowest, isBroken: false };
    } catch (error) {
      problemOf(error);
      return { key: lowest, isBroken: true };
    }
  }

  /** The key of a row that must lie between two others. */
  #keyOf(row: Row, above: Key, below: Key | null): Key {
    const key = row.slice(0, this.#table.start.length) as Key;
    const isKey = key.every((part, i) => {
      return (
        typeof part === typeof this.#table.start[i] &&
        (typeof part === 'string' || Number.isSafeInteger(part))
      );
    });
    if (!isKey || compareKeys(key, above) <= 0 || (below !== null && compareKeys(key, below) >= 0)) {
      throw new Disorder('rows out of order');
    }
    return key;
  }

  *#read(range: Range): Generator<Row> {
    // Made anew each time: one that failed says so once more at its next use.
    const statement = this.#db.prepare(this.#sqlOf(range));
    statement.setReturnArrays(true);
    // A damaged integer can be larger than a number holds.
    statement.setReadBigInts(true);
    const rows = statement.iterate(...range.above, ...(range.below ?? [])) as unknown as Iterable<
      (Value | bigint)[]
    >;
    for (const row of rows) yield row.map((value) => (typeof value === 'bigint' ? Number(value) : value));
  }

  #sqlOf({ isAboveIncluded, below, isBelowIncluded, isDescending }: Range): string {
    const { name, columns, start } = this.#table;
    const keys = columns.slice(0, start.length);
    const key = `(${keys.join(', ')})`;
    const marks = `(${keys.map(() => '?').join(', ')})`;
    const lower = `${key} ${isAboveIncluded === true ? '>=' : '>'} ${marks}`;
    const upper = below === null ? '' : ` AND ${key} ${isBelowIncluded === true ? '<=' : '<'} ${marks}`;
    const order = keys.map((column) => `${column}${isDescending === true ? ' DESC' : ''}`).join(', ');
    return `SELECT ${columns.join(', ')} FROM ${name} WHERE ${lower}${upper} ORDER BY ${order}`;
  }
}

function problemOf(error: unknown): string {
  return error instanceof Disorder ? error.message : readingProblem(error);
}

/** Keys behind this one, further and further away; none for keys of text alone. */
function* keysBehind([first, second]: Key): Generator<Key> {
  if (typeof first === 'string') return;
  // Sound keys are positive.
  const base = Math.max(first, 0);
  if (typeof second === 'number' && first === base) {
    for (let step = 1; step <= STEP_MAX; step *= 2) yield [first, Math.max(second, 0) + step];
  }
  for (let step = 1; step <= STEP_MAX; step *= 2) {
    if (second === undefined) yield [base + step];
    else yield [base + step, typeof second === 'string' ? '' : -1];
  }
}

/** As SQLite orders them: numbers, and text by its UTF-8 bytes. */
function compareKeys(a: Key, b: Key): number {
  for (let i = 0; i < a.length; i++) {
    const [left, right] = [a[i], b[i]];
    if (left === right) continue;
    if (typeof left === 'number' && typeof right === 'number') return left - right;
    return Buffer.from(String(left)).compare(Buffer.from(String(right)));
  }
  return 0;
}
