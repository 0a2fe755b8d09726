/** What can be saved from a store with broken pages: everything that does not lie on them. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { checkStore } from '../../persistence/sqlite/check.ts';
import { compactStore } from '../../persistence/sqlite/compact.ts';
import { exportStore } from '../../persistence/sqlite/export.ts';
import { importStore } from '../../persistence/sqlite/import.ts';
import { openReadOnly } from '../../persistence/sqlite/read-only.ts';
import { type Row, TABLES, type TableName } from '../../persistence/sqlite/rows.ts';
import { storeFiles } from '../../persistence/sqlite/schema.ts';
import { type Hole, TableWalk } from '../../persistence/sqlite/walk.ts';
import { Random } from '../codec/random-packets.ts';
import { exportLines, layFiles } from './sample-store.ts';

const PAGE_BYTES = 4_096;
const SESSIONS = 40;
const MESSAGES = 6_000;

const root = mkdtempSync(path.join(tmpdir(), 'sluice-pages-'));
after(() => rmSync(root, { recursive: true }));
let content = Buffer.alloc(0);
let mark = Buffer.alloc(0);
let folders = 0;

/** A dump with sessions, subscriptions, and deliveries of which ten a session have gone. */
function* dump(): Generator<string> {
  yield '{"format":"sluice-store","version":1}';
  const session = { owner: null, expirySeconds: 60, disconnectedAt: null, will: null };
  for (let id = 1; id <= SESSIONS; id++)
    yield JSON.stringify({ kind: 'session', id, clientId: `c${id}`, ...session });
  const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, identifier: 0 };
  for (let id = 1; id <= SESSIONS; id++) {
    for (let n = 0; n < 30; n++) {
      yield JSON.stringify({
        kind: 'subscription',
        session: id,
        filter: `some/longer/filter/${n}/ü`,
        ...options,
      });
    }
  }
  const rest = { qos: 1, retain: false, expiresAt: null, publisherId: 'p', properties: '' };
  for (let id = 1; id <= MESSAGES; id++) {
    yield JSON.stringify({
      kind: 'message',
      id: id * 7,
      topic: `t/${id}`,
      ...rest,
      payload: Buffer.alloc(60, id).toString('base64'),
    });
  }
  const stage = {
    qos: 1,
    retain: false,
    released: false,
    packetId: 0,
    identifiers: null,
    sharedFilter: null,
  };
  for (let id = 1; id <= MESSAGES; id++) {
    const position = 10 + Math.ceil(id / SESSIONS);
    yield JSON.stringify({
      kind: 'delivery',
      session: 1 + (id % SESSIONS),
      position,
      message: id * 7,
      ...stage,
    });
  }
  yield '{"kind":"end","leftOut":0}';
}

before(async () => {
  const dir = path.join(root, 'sound');
  const lines = Array.from(dump(), (line) => Buffer.from(`${line}\n`));
  await importStore(
    dir,
    (async function* () {
      yield* lines;
    })(),
    { source: 'dump' },
  );
  const files = storeFiles(dir);
  content = readFileSync(files.database);
  mark = readFileSync(files.mark);
});

interface Page {
  readonly number: number;
  readonly rows: number;
}

/** The pages of a table, leaves or the inner ones. */
function pagesOf(table: TableName, type: 'leaf' | 'internal'): Page[] {
  const db = new DatabaseSync(path.join(root, 'sound', 'sluice.db'), { readOnly: true });
  try {
    const pages = db
      .prepare(
        'SELECT pageno AS number, ncell AS rows FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY path',
      )
      .all(table, type);
    return pages.map(({ number, rows }) => ({ number: Number(number), rows: Number(rows) }));
  } finally {
    db.close();
  }
}

function withZeroed(pages: readonly Page[]): string {
  const dir = path.join(root, `broken-${folders++}`);
  const broken = Buffer.from(content);
  for (const { number } of pages) broken.fill(0, (number - 1) * PAGE_BYTES, number * PAGE_BYTES);
  return layFiles(
    dir,
    new Map([
      ['sluice.db', broken],
      ['sluice.mark', mark],
    ]),
  );
}

function walk(dir: string, table: TableName): { rows: Row[]; holes: Hole[] } {
  const db = openReadOnly(storeFiles(dir).database);
  const holes: Hole[] = [];
  const rows = [...new TableWalk(db, TABLES[table], (hole) => void holes.push(hole)).rows()];
  db.close();
  return { rows, holes };
}

function keysOf(table: TableName, rows: readonly Row[]): string[] {
  return rows.map((row) =>
    TABLES[table].describe(row.slice(0, TABLES[table].start.length) as (number | string)[]),
  );
}

describe('the walk around broken pages', () => {
  for (const table of ['message', 'delivery', 'subscription', 'session'] as const) {
    test(`reads every row of ${table} when nothing is broken, in order`, () => {
      const { rows, holes } = walk(path.join(root, 'sound'), table);
      assert.deepEqual(holes, []);
      assert.equal(
        rows.length,
        { message: MESSAGES, delivery: MESSAGES, subscription: SESSIONS * 30, session: SESSIONS }[table],
      );
    });
  }

  for (const table of ['message', 'delivery', 'subscription'] as const) {
    test(`loses of ${table} what lies on broken leaves, and nothing else`, () => {
      const all = walk(path.join(root, 'sound'), table).rows;
      const leaves = pagesOf(table, 'leaf');
      assert.ok(leaves.length >= 10, String(leaves.length));
      const random = new Random(leaves.length);
      for (const broken of [1, 1, 2, 3, 5]) {
        const pages = Array.from({ length: broken }, () => random.pick(leaves));
        const lost = [...new Set(pages)].reduce((sum, page) => sum + page.rows, 0);
        const { rows, holes } = walk(withZeroed(pages), table);
        const keys = keysOf(table, rows);
        assert.equal(new Set(keys).size, keys.length);
        assert.ok(holes.length >= 1);
        if (table === 'subscription')
          assert.ok(all.length - rows.length <= lost * 2, `${all.length - rows.length}`);
        else assert.equal(all.length - rows.length, lost, `${pages.map((page) => page.number)}`);
      }
    });
  }

  for (const [which, index] of [
    ['first', 0],
    ['last', -1],
  ] as const) {
    test(`loses only the ${which} leaf when that is broken`, () => {
      const leaf = pagesOf('message', 'leaf').at(index)!;
      const { rows, holes } = walk(withZeroed([leaf]), 'message');
      assert.equal(MESSAGES - rows.length, leaf.rows);
      assert.equal(holes.length, 1);
      assert.equal(index === 0 ? holes[0].after : holes[0].before, null);
    });
  }

  test('gives up what lies below a broken root, and ends', () => {
    const [rootPage] = pagesOf('message', 'internal');
    const { rows, holes } = walk(withZeroed([rootPage]), 'message');
    assert.equal(rows.length, 0);
    assert.equal(holes.length, 1);
  });
});

describe('the export of a store with broken pages', () => {
  test('saves the rest, names what it leaves out, and makes a sound store again', async () => {
    const leaves = pagesOf('message', 'leaf');
    const pages = [leaves[3], leaves[20], pagesOf('delivery', 'leaf')[2]];
    const dir = withZeroed(pages);
    const parts: string[] = [];
    const report = await exportStore(dir, (text) => void parts.push(text), { writtenBy: 'test' });
    const lostMessages = pages[0].rows + pages[1].rows;
    assert.equal(report.written.message, MESSAGES - lostMessages);
    assert.equal(report.written.session, SESSIONS);
    assert.equal(report.leftOut.message, 0);
    assert.equal(report.holes, 3);
    // A delivery can be on the broken page and its message on another.
    assert.ok(report.leftOut.delivery > 0 && report.leftOut.delivery <= lostMessages);
    assert.ok(report.written.delivery >= MESSAGES - lostMessages - pages[2].rows);
    assert.equal(report.written.delivery + report.leftOut.delivery, MESSAGES - pages[2].rows);
    assert.ok(report.problems.some(({ where }) => /^message rows behind \d+ up to \d+$/.test(where)));
    assert.ok(
      report.problems.some(
        ({ where, what }) =>
          /^delivery \d+ of session \d+$/.test(where) && /^message \d+ is not there/.test(what),
      ),
    );
    const copy = path.join(root, 'saved');
    const imported = await importStore(
      copy,
      (async function* () {
        yield Buffer.from(parts.join(''));
      })(),
      { source: 'dump' },
    );
    assert.equal(imported.rows.delivery, report.written.delivery);
    const { problems } = await checkStore(copy);
    assert.deepEqual(problems, []);
  });

  test('saves everything when only the first page is broken, also after the store was compacted', async () => {
    const whole = await exportLines(path.join(root, 'sound'));
    const dir = withZeroed([{ number: 1, rows: 0 }]);
    assert.deepEqual(await exportLines(dir), whole);
    assert.deepEqual(readdirSync(dir), ['sluice.db', 'sluice.mark']);
    const compacted = layFiles(
      path.join(root, 'compacted'),
      new Map([
        ['sluice.db', content],
        ['sluice.mark', mark],
      ]),
    );
    await compactStore(compacted);
    const { database } = storeFiles(compacted);
    writeFileSync(database, readFileSync(database).fill(0, 0, PAGE_BYTES));
    assert.deepEqual(await exportLines(compacted), whole);
  });
});
