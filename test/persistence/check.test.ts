import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { checkStore, requireSound, type StoreReport } from '../../persistence/sqlite/check.ts';
import { inspectLog } from '../../persistence/sqlite/log-file.ts';
import { encodeMark, endedChecksum, metaChecksum } from '../../persistence/sqlite/records.ts';
import { type MetaName, SCHEMA_VERSION, storeFiles } from '../../persistence/sqlite/schema.ts';
import { ConfigError } from '../../src/errors.ts';
import { holdLock } from './lock-holder.ts';
import { type Files, layFiles, makeSampleStore } from './sample-store.ts';

const root = mkdtempSync(path.join(tmpdir(), 'sluice-check-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
let sample: Files = new Map();

before(async () => {
  sample = (await makeSampleStore(root)).files;
});

function lay(change: (files: Map<string, Buffer>) => void = () => {}): string {
  const files = new Map([...sample].map(([name, content]) => [name, Buffer.from(content)]));
  change(files);
  return layFiles(path.join(root, `copy-${folders++}`), files);
}

/** Changes rows behind the back of the store. */
function tamper(dir: string, ...statements: string[]): void {
  const db = new DatabaseSync(storeFiles(dir).database);
  for (const statement of statements)
    assert.ok(db.prepare(statement).run().changes > 0 || statement.startsWith('PRAGMA'), statement);
  db.close();
}

function query(dir: string, sql: string): Record<string, unknown> {
  const db = new DatabaseSync(storeFiles(dir).database, { readOnly: true });
  try {
    return { ...db.prepare(sql).get() };
  } finally {
    db.close();
  }
}

function texts({ problems }: StoreReport): string[] {
  return problems.map(({ where, what }) => `${where}: ${what}`);
}

function digests(dir: string): Record<string, string> {
  const names = readdirSync(dir).sort();
  return Object.fromEntries(
    names.map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(path.join(dir, name)))
        .digest('hex'),
    ]),
  );
}

describe('the check of a sound store', () => {
  test('counts its rows, finds nothing, and changes no file: not the log either', async () => {
    const dir = lay();
    const before = digests(dir);
    assert.ok('sluice.db-wal' in before);
    const fractions: number[] = [];
    const report = await checkStore(dir, { onProgress: (fraction) => void fractions.push(fraction) });
    assert.deepEqual(report.problems, []);
    assert.equal(report.problemsTotal, 0);
    assert.equal(report.isNew, false);
    const counted = Object.keys(report.rows).map((name) => [
      name,
      query(dir, `SELECT count(*) AS n FROM ${name}`).n,
    ]);
    assert.deepEqual(report.rows, Object.fromEntries(counted));
    assert.ok(report.rows.delivery > 100 && report.rows.message > 100);
    assert.equal(
      report.bytes,
      Object.keys(before)
        .filter((name) => name !== 'sluice.reserve')
        .reduce((sum, name) => sum + statSync(path.join(dir, name)).size, 0),
    );
    assert.deepEqual(
      fractions,
      fractions.toSorted((a, b) => a - b),
    );
    assert.equal(fractions.at(-1), 1);
    rmSync(`${storeFiles(dir).database}-shm`, { force: true });
    assert.deepEqual(digests(dir), before);
    requireSound(dir, report);
  });

  test('comes to the same result on several threads', async () => {
    const dir = lay((files) => files.get('sluice.db-wal')!.fill(0, 300_000, 304_000));
    const [alone, threads] = [await checkStore(dir, { threads: 0 }), await checkStore(dir, { threads: 3 })];
    assert.ok(alone.problemsTotal > 0);
    assert.deepEqual(texts(threads).sort(), texts(alone).sort());
    assert.deepEqual(threads.rows, alone.rows);
  });

  test('takes a missing folder, an empty one and one where nothing was written for a new store', async () => {
    assert.equal((await checkStore(path.join(root, 'none'))).isNew, true);
    const dir = layFiles(path.join(root, 'empty'), new Map());
    assert.equal((await checkStore(dir)).isNew, true);
    assert.deepEqual(readdirSync(dir), []);
    writeFileSync(storeFiles(dir).mark, encodeMark(0));
    assert.equal((await checkStore(dir)).isNew, true);
    writeFileSync(storeFiles(dir).database, '');
    assert.equal((await checkStore(dir)).isNew, true);
    assert.deepEqual(readdirSync(dir), ['sluice.db', 'sluice.mark']);
  });

  test('does not read a store that another process writes, and names the process', async () => {
    const dir = lay();
    const holder = await holdLock(storeFiles(dir).database);
    try {
      const names = readdirSync(dir);
      await assert.rejects(checkStore(dir), (error) => {
        assert.ok(error instanceof ConfigError);
        assert.match(error.message, /in use by another broker/);
        return true;
      });
      assert.deepEqual(readdirSync(dir), names);
    } finally {
      await holder.release();
    }
  });
});

/** Writes numbers into `meta` as the store does. */
function putMeta(dir: string, values: Partial<Record<MetaName, number>>): void {
  const db = new DatabaseSync(storeFiles(dir).database);
  const put = db.prepare('UPDATE meta SET value = ?, checksum = ? WHERE name = ?');
  for (const [name, value] of Object.entries(values)) put.run(value, metaChecksum(name, value), name);
  db.close();
}

interface Case {
  readonly what: string;
  /** Selects values `a` and `b`, which stand for `$a` and `$b` in the rest. */
  readonly find: string;
  readonly change: string;
  readonly expected: readonly string[];
}

const WRONG = 'its checksum does not fit';
const ANY_DELIVERY = 'SELECT session AS a, position AS b FROM delivery ORDER BY position DESC';
const DELIVERY = 'session = $a AND position = $b';

const CASES: readonly Case[] = [
  {
    what: 'a body that was changed',
    find: 'SELECT max(id) AS a FROM message',
    change: "UPDATE message SET body = CAST(body || x'00' AS BLOB) WHERE id = $a",
    expected: [`message $a: ${WRONG}`],
  },
  {
    what: 'a body of another message',
    find: 'SELECT max(id) AS a, min(id) AS b FROM message',
    change:
      'UPDATE message SET (body, checksum) = (SELECT body, checksum FROM message WHERE id = $b) WHERE id = $a',
    expected: [`message $a: ${WRONG}`],
  },
  {
    what: 'a session that was changed',
    find: 'SELECT max(id) AS a FROM session',
    change: "UPDATE session SET client_id = 'another' WHERE id = $a",
    expected: [`session $a: ${WRONG}`],
  },
  {
    what: 'subscription options that were changed',
    find: 'SELECT session AS a, filter AS b FROM subscription',
    change: "UPDATE subscription SET options = options + 1 WHERE session = $a AND filter = '$b'",
    expected: [`subscription "$b" of session $a: ${WRONG}`],
  },
  ...['message', 'bytes', 'flags', 'packet'].map((column) => ({
    what: `a delivery with another value of ${column}`,
    find: ANY_DELIVERY,
    change: `UPDATE delivery SET ${column} = ${column === 'message' ? '(SELECT min(id) FROM message)' : `${column} + 1`} WHERE ${DELIVERY}`,
    expected: [`delivery $b of session $a: ${WRONG}`],
  })),
  {
    what: 'a delivery with other identifiers',
    find: 'SELECT session AS a, position AS b FROM delivery WHERE extra IS NOT NULL',
    change: `UPDATE delivery SET extra = zeroblob(length(extra)) WHERE ${DELIVERY}`,
    expected: ['delivery $b of session $a: the checksum of its identifiers and shared filter does not fit'],
  },
  {
    what: 'a received packet identifier that was changed',
    find: 'SELECT session AS a, packet AS b FROM inbound',
    change: 'UPDATE inbound SET packet = 60000 WHERE session = $a AND packet = $b',
    expected: [`inbound 60000 of session $a: ${WRONG}`],
  },
  {
    what: 'a retained row that was changed',
    find: 'SELECT max(message) AS a FROM retained',
    change: 'UPDATE retained SET checksum = checksum + 1 WHERE message = $a',
    expected: [`retained $a: ${WRONG}`],
  },
  {
    what: 'a count that was changed',
    find: "SELECT value AS a FROM meta WHERE name = 'retained'",
    change: "UPDATE meta SET value = value + 1 WHERE name = 'retained'",
    expected: [`meta retained: ${WRONG}`, 'table retained: has $a rows, and meta says'],
  },
  {
    what: 'an ended session that is none',
    find: 'SELECT max(id) AS a FROM session',
    change: 'INSERT INTO ended VALUES ($a, 1)',
    expected: [`ended $a: ${WRONG}`, 'ended $a: the session is still there'],
  },
  {
    what: 'a message that is gone, by what points to it',
    find: `SELECT message AS a, session || '/' || position AS b FROM delivery GROUP BY message HAVING count(*) = 1`,
    change: 'DELETE FROM message WHERE id = $a',
    expected: ['message $a, which it points to, is not there'],
  },
  {
    what: 'a delivery that is gone, by its message',
    find: 'SELECT message AS a FROM delivery GROUP BY message HAVING count(*) = 1',
    change: 'DELETE FROM delivery WHERE message = $a',
    expected: ['message $a: 1 rows should point to it, and 0 do'],
  },
  {
    what: 'a session that is gone, by what it had',
    find: 'SELECT min(session) AS a, count(*) AS b FROM session JOIN (SELECT DISTINCT session FROM delivery) ON session = id',
    change: 'DELETE FROM session WHERE id = $a',
    expected: [
      'delivery of session $a: the session is not there',
      'subscription of session $a: the session is not there',
      'table session: has 10 rows, and meta says 11',
    ],
  },
];

describe('the check finds', () => {
  for (const { what, find, change, expected } of CASES) {
    test(what, async () => {
      const dir = lay();
      const { a, b } = query(dir, find);
      const fill = (text: string): string => text.replaceAll('$a', String(a)).replaceAll('$b', String(b));
      tamper(dir, fill(change));
      const report = await checkStore(dir);
      for (const text of expected.map(fill)) {
        assert.ok(
          texts(report).some((found) => found.includes(text)),
          `${text} is not among\n${texts(report).join('\n')}`,
        );
      }
      assert.throws(() => requireSound(dir, report), ConfigError);
    });
  }

  test('nothing wrong with deliveries of a session that has ended and that wait to be removed', async () => {
    const dir = lay();
    const session = Number(query(dir, 'SELECT min(id) AS a FROM session').a);
    const rows = (table: string) => Number(query(dir, `SELECT count(*) AS n FROM ${table}`).n);
    for (const table of ['subscription', 'inbound']) {
      if (Number(query(dir, `SELECT count(*) AS n FROM ${table} WHERE session = ${session}`).n) > 0)
        tamper(dir, `DELETE FROM ${table} WHERE session = ${session}`);
    }
    tamper(
      dir,
      `DELETE FROM session WHERE id = ${session}`,
      `INSERT INTO ended VALUES (${session}, ${endedChecksum(session)})`,
    );
    putMeta(dir, {
      sessions: rows('session'),
      subscriptions: rows('subscription'),
      inbound: rows('inbound'),
    });
    assert.deepEqual(texts(await checkStore(dir)), []);
  });

  test('a table that does not belong there', async () => {
    const dir = lay();
    const db = new DatabaseSync(storeFiles(dir).database);
    db.exec('CREATE TABLE guest (a)');
    db.close();
    assert.deepEqual(texts(await checkStore(dir)), ['definition of guest: not as this version wrote it']);
  });

  test('more than it lists', async () => {
    const dir = lay();
    tamper(dir, "UPDATE message SET body = CAST(body || x'00' AS BLOB)");
    const { problems, problemsTotal, rows } = await checkStore(dir, { problemsMax: 3 });
    assert.equal(problems.length, 3);
    assert.equal(problemsTotal, rows.message);
    assert.throws(
      () => requireSound(dir, { problems, problemsTotal } as StoreReport),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.equal(error.where, `persistence.dir ${dir}`);
        assert.match(error.message, /message \d+: its checksum does not fit; .*and \d+ more/);
        assert.match(
          error.remedy,
          /"sluice store verify --dir .*"sluice store export FILE --dir .*"sluice store import FILE --dir NEW"/,
        );
        return true;
      },
    );
  });
});

describe('the head of a database', () => {
  const rejects = (dir: string, expected: RegExp) =>
    assert.rejects(checkStore(dir), (error) => error instanceof ConfigError && expected.test(error.message));

  test('of a newer version is refused with both versions', async () => {
    const dir = lay();
    tamper(dir, 'PRAGMA user_version = 7');
    await rejects(
      dir,
      new RegExp(`has schema version 7, and this version of Sluice knows up to ${SCHEMA_VERSION}`),
    );
  });

  test('of another program is refused', async () => {
    const dir = layFiles(path.join(root, 'foreign'), new Map());
    const db = new DatabaseSync(storeFiles(dir).database);
    db.exec('CREATE TABLE t (a); PRAGMA application_id = 5');
    db.close();
    await rejects(dir, /is a database of another program/);
  });

  test('with a damaged number, but our tables, is damaged', async () => {
    const dir = lay();
    tamper(dir, 'PRAGMA application_id = 5');
    assert.deepEqual(texts(await checkStore(dir)), [
      'sluice.db: application_id or user_version in its header is damaged',
    ]);
  });

  test('that is none is damaged', async () => {
    const dir = lay((files) => {
      files.set('sluice.db', Buffer.from('no database at all'.repeat(1_000)));
      files.delete('sluice.db-wal');
    });
    assert.deepEqual(texts(await checkStore(dir)), ['sluice.db: file is not a database']);
  });
});

describe('the mark', () => {
  const commits = (dir: string) =>
    Number(query(dir, "SELECT value FROM meta WHERE name = 'commit_number'").value);

  test('may be behind: it is not synced', async () => {
    const dir = lay();
    writeFileSync(storeFiles(dir).mark, encodeMark(commits(dir) - 3));
    assert.deepEqual(texts(await checkStore(dir)), []);
  });

  test('that is ahead says how much is missing', async () => {
    const dir = lay();
    const found = commits(dir);
    for (const [ahead, what] of [
      [1, '1 commit that was acknowledged is'],
      [3, '3 commits that were acknowledged are'],
    ] as const) {
      writeFileSync(storeFiles(dir).mark, encodeMark(found + ahead));
      assert.deepEqual(texts(await checkStore(dir)), [
        `sluice.db: ${what} missing: it is at commit ${found}, and sluice.mark says ${found + ahead}`,
      ]);
    }
  });

  test('that is missing or damaged leaves it open whether something is missing', async () => {
    const missing = lay((files) => void files.delete('sluice.mark'));
    assert.match(texts(await checkStore(missing))[0], /^sluice\.mark: missing, so it cannot be told/);
    const damaged = lay((files) => void files.set('sluice.mark', Buffer.alloc(5_000)));
    assert.match(texts(await checkStore(damaged))[0], /^sluice\.mark: damaged, so it cannot be told/);
  });

  test('without its database, or a log without one, is what is left of a store', async () => {
    const markOnly = lay((files) =>
      ['sluice.db', 'sluice.db-wal'].forEach((name) => void files.delete(name)),
    );
    assert.deepEqual(texts(await checkStore(markOnly)), [
      'sluice.db: missing, although sluice.mark is there',
    ]);
    const logOnly = lay((files) => ['sluice.db', 'sluice.mark'].forEach((name) => void files.delete(name)));
    assert.deepEqual(texts(await checkStore(logOnly)), [
      'sluice.db: missing, although sluice.db-wal is there',
    ]);
    const emptied = lay((files) => {
      files.set('sluice.db', Buffer.alloc(0));
      files.delete('sluice.db-wal');
    });
    assert.match(
      texts(await checkStore(emptied))[0],
      /commits that were acknowledged are missing: it is at commit 0/,
    );
  });
});

describe('the log', () => {
  const FRAME_BYTES = 24 + 4_096;
  const HEADER_BYTES = 32;

  /** Offsets of the frames that end a commit. */
  function commitFrames(log: Buffer): number[] {
    const offsets: number[] = [];
    for (let at = HEADER_BYTES; at + FRAME_BYTES <= log.length; at += FRAME_BYTES) {
      if (log.readUInt32BE(at + 4) !== 0) offsets.push(at);
    }
    return offsets;
  }

  function report(log: Buffer): ReturnType<typeof inspectLog> {
    const dir = path.join(root, `log-${folders++}`);
    mkdirSync(dir);
    writeFileSync(path.join(dir, 'log'), log);
    return inspectLog(path.join(dir, 'log'));
  }

  function damagedAt(offset: number): Buffer {
    const log = Buffer.from(sample.get('sluice.db-wal')!);
    log[offset] ^= 1;
    return log;
  }

  test('that is sound, missing, empty or cut is not damaged: the mark says whether something is gone', () => {
    const log = sample.get('sluice.db-wal')!;
    const frames = (log.length - HEADER_BYTES) / FRAME_BYTES;
    assert.deepEqual(report(log), { frames, problem: null });
    assert.deepEqual(inspectLog(path.join(root, 'no-log')), { frames: 0, problem: null });
    assert.deepEqual(report(Buffer.alloc(0)), { frames: 0, problem: null });
    assert.deepEqual(report(log.subarray(0, HEADER_BYTES + 3 * FRAME_BYTES + 100)), {
      frames: 3,
      problem: null,
    });
  });

  test('that was torn by a crash in its last commit is not damaged', () => {
    const log = sample.get('sluice.db-wal')!;
    const [before] = commitFrames(log).slice(-2);
    const torn = before + FRAME_BYTES + 30;
    assert.ok(torn < commitFrames(log).at(-1)!);
    assert.equal(report(damagedAt(torn)).problem, null);
  });

  test('that is damaged in front of several commits is named by its frame', async () => {
    const commits = commitFrames(sample.get('sluice.db-wal')!);
    const offset = commits[4] + 1_000;
    const frame = (commits[4] - HEADER_BYTES) / FRAME_BYTES + 1;
    const { frames, problem } = report(damagedAt(offset));
    assert.equal(frames, frame - 1);
    assert.deepEqual(problem, {
      where: `frame ${frame} of the log`,
      what: `it is damaged, and ${commits.length - 5} commits stand behind it`,
    });
  });

  test('whose header is damaged is named by it', () => {
    for (const offset of [0, 9, 17, 25])
      assert.equal(report(damagedAt(offset)).problem?.where, 'header of the log');
  });

  test('may have gaps after a power cut when commits are not synced', async () => {
    const commits = commitFrames(sample.get('sluice.db-wal')!);
    const dir = lay((files) => void files.set('sluice.db-wal', damagedAt(commits[4] + 1_000)));
    assert.equal((await checkStore(dir)).problemsTotal, 2);
    writeFileSync(storeFiles(dir).mark, encodeMark(1, false));
    assert.deepEqual(texts(await checkStore(dir)), []);
  });
});
