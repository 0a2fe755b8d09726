/** The lines of a dump: what is refused of them, and with which words. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { SystemClock } from '../../cli/system-clock.ts';
import { checkStore } from '../../persistence/sqlite/check.ts';
import { type ImportReport, importStore } from '../../persistence/sqlite/import.ts';
import { SqliteStore } from '../../persistence/sqlite/store.ts';
import { ConfigError } from '../../src/errors.ts';
import { exportLines } from '../persistence/sample-store.ts';

const root = mkdtempSync(path.join(tmpdir(), 'sluice-dump-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;

const HEADER = { format: 'sluice-store', version: 1 };
const END = { kind: 'end', leftOut: 0 };
const MESSAGE_FIELDS = {
  topic: 'a/b',
  qos: 1,
  retain: true,
  expiresAt: 1_800_000_000_000.25,
  publisherId: 'p',
  properties: 'AwABdA==',
  payload: 'cGF5bG9hZA==',
};
const SESSION = {
  kind: 'session',
  id: 3,
  clientId: '\0c',
  owner: null,
  expirySeconds: 4_294_967_295,
  disconnectedAt: 1_700_000_000_000,
  will: { delaySeconds: 5, expirySeconds: -1, ...MESSAGE_FIELDS },
};
const SUBSCRIPTION = {
  kind: 'subscription',
  session: 3,
  filter: '$share/g/a/+',
  qos: 2,
  noLocal: false,
  retainAsPublished: true,
  retainHandling: 2,
  identifier: 268_435_455,
};
const INBOUND = { kind: 'inbound', session: 3, packetId: 65_535 };
const MESSAGE = { kind: 'message', id: 9, ...MESSAGE_FIELDS };
const DELIVERY = {
  kind: 'delivery',
  session: 3,
  position: 70_368_744_177_663,
  message: 9,
  qos: 2,
  retain: false,
  released: true,
  packetId: 7,
  identifiers: [1, 2],
  sharedFilter: '$share/g/a/+',
};
const RETAINED = { kind: 'retained', message: 9 };
const WHOLE: readonly object[] = [HEADER, SESSION, SUBSCRIPTION, INBOUND, MESSAGE, DELIVERY, RETAINED, END];

function folder(): string {
  return path.join(root, String(folders++));
}

async function* inPieces(text: string, bytes: number): AsyncGenerator<Uint8Array> {
  const all = Buffer.from(text);
  for (let at = 0; at < all.length; at += bytes) yield all.subarray(at, at + bytes);
}

function load(dir: string, lines: readonly (object | string)[], bytes = 1_000): Promise<ImportReport> {
  const text = lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
  return importStore(dir, inPieces(text, bytes), { source: 'dump' });
}

describe('an import', () => {
  test('reads every kind of line, and an export writes the same again', async () => {
    for (const bytes of [1, 7, 100_000]) {
      const dir = folder();
      const { rows, unused } = await load(dir, WHOLE, bytes);
      assert.deepEqual(rows, {
        session: 1,
        subscription: 1,
        inbound: 1,
        message: 1,
        delivery: 1,
        retained: 1,
      });
      assert.equal(unused, 0);
      assert.deepEqual((await checkStore(dir)).problems, []);
      assert.deepEqual(
        (await exportLines(dir)).map((line) => JSON.parse(line)),
        WHOLE.slice(1),
      );
    }
  });

  test('makes a store that a broker starts with', async () => {
    const dir = folder();
    await load(dir, WHOLE);
    const clock = new SystemClock();
    const offset = clock.wallNow() - clock.now();
    const store = new SqliteStore({ dir, clock });
    const state = await store.open({ durable() {}, full() {}, failed() {} });
    const [session] = [...state.sessions];
    assert.equal(session.session.clientId, '\0c');
    assert.ok(Math.abs((session.session.disconnectedAtMs ?? 0) + offset - SESSION.disconnectedAt) < 60_000);
    assert.equal(session.session.will?.message.payload.toString(), 'payload');
    assert.equal(session.lastPosition, DELIVERY.position);
    assert.deepEqual([...session.inbound], [65_535]);
    const [delivery] = [...session.inFlight];
    assert.deepEqual([delivery.packetId, delivery.released, delivery.identifiers], [7, true, [1, 2]]);
    assert.ok(Math.abs(delivery.message.expiresAtMs + offset - MESSAGE_FIELDS.expiresAt) < 60_000);
    assert.deepEqual(
      [...state.retained].map(({ topic }) => topic),
      ['a/b'],
    );
    await store.close();
    assert.deepEqual((await checkStore(dir)).problems, []);
  });

  test('does not keep messages that nothing points to', async () => {
    const dir = folder();
    const { unused } = await load(dir, [...WHOLE.slice(0, 5), { ...MESSAGE, id: 10 }, ...WHOLE.slice(5)]);
    assert.equal(unused, 1);
    const report = await checkStore(dir);
    assert.deepEqual(report.problems, []);
    assert.equal(report.rows.message, 1);
  });

  test('goes on after one that was killed at its end', async () => {
    const dir = folder();
    mkdirSync(dir, { mode: 0o700 });
    writeFileSync(path.join(dir, 'sluice.db.import'), 'half', { mode: 0o600 });
    writeFileSync(path.join(dir, 'sluice.mark'), 'x', { mode: 0o600 });
    await load(dir, WHOLE);
    assert.deepEqual(readdirSync(dir).sort(), ['sluice.db', 'sluice.mark']);
    assert.deepEqual((await checkStore(dir)).problems, []);
  });

  for (const name of ['sluice.db', 'sluice.db-wal', 'sluice.mark']) {
    test(`is refused where ${name} is`, async () => {
      const dir = folder();
      mkdirSync(dir, { mode: 0o700 });
      writeFileSync(path.join(dir, name), 'kept', { mode: 0o600 });
      await assert.rejects(load(dir, WHOLE), /there is a store already/);
      assert.equal(readFileSync(path.join(dir, name), 'utf8'), 'kept');
    });
  }
});

/** A line in place of another, the number of the line that is named, and what is said. */
const REFUSALS: readonly {
  what: string;
  lines: readonly (object | string)[];
  line: number;
  problem: string;
}[] = [
  { what: 'is empty', lines: [], line: 1, problem: 'the line of kind "end" is missing: the dump is cut off' },
  { what: 'is something else', lines: ['hello'], line: 1, problem: 'not JSON (' },
  {
    what: 'has another format',
    lines: [{ ...HEADER, format: 'x' }],
    line: 1,
    problem: '"format" should be "sluice-store"',
  },
  {
    what: 'is of a newer version',
    lines: [{ ...HEADER, version: 2 }],
    line: 1,
    problem: 'it has version 2, and this version of Sluice reads up to 1',
  },
  { what: 'is cut off', lines: WHOLE.slice(0, -1), line: 8, problem: 'the line of kind "end" is missing' },
  {
    what: 'goes on behind its end',
    lines: [...WHOLE, RETAINED],
    line: 9,
    problem: 'nothing may stand behind',
  },
  {
    what: 'is cut within a line',
    lines: [HEADER, '{"kind":"session","id":'],
    line: 2,
    problem: 'not JSON (',
  },
  {
    what: 'has an unknown kind',
    lines: [HEADER, { kind: 'queue' }],
    line: 2,
    problem: 'unknown kind "queue"',
  },
  { what: 'has a list for a line', lines: [HEADER, []], line: 2, problem: 'not a JSON object' },
  ...[
    [2, { ...SESSION, id: 0 }, '"id" should be a number from 1 to 70368744177663, not 0'],
    [2, { ...SESSION, id: 1.5 }, '"id" should be a whole number, not 1.5'],
    [2, { ...SESSION, clientId: '' }, '"clientId" should be text'],
    [2, { ...SESSION, clientId: '\ud800' }, '"clientId" should be text'],
    [2, { ...SESSION, colour: 'red' }, 'unknown field "colour"'],
    [2, { ...SESSION, will: { ...SESSION.will, x: 1 } }, 'unknown field "x"'],
    [2, { ...SESSION, will: 5 }, '"will" should be null or an object'],
    [2, { ...SESSION, disconnectedAt: '2026-01-01' }, '"disconnectedAt" should be a number'],
    [3, { ...SUBSCRIPTION, session: 4 }, 'session 4 is not in the lines above'],
    [3, { ...SUBSCRIPTION, filter: 'a/#/b' }, '"filter" should be a topic filter, not "a/#/b"'],
    [3, { ...SUBSCRIPTION, filter: '$share/g' }, '"filter" should be a topic filter'],
    [3, { ...SUBSCRIPTION, retainHandling: 3 }, '"retainHandling" should be a number from 0 to 2, not 3'],
    [3, { ...SUBSCRIPTION, noLocal: 1 }, '"noLocal" should be true or false, not 1'],
    [4, { ...INBOUND, packetId: 65_536 }, '"packetId" should be a number from 1 to 65535'],
    [4, { ...INBOUND, session: 4 }, 'session 4 is not in the lines above'],
    [5, { ...MESSAGE, topic: 'a/+' }, '"topic" should be a topic without wildcards, not "a/+"'],
    [5, { ...MESSAGE, payload: 'cGF5bG9hZA' }, '"payload" should be base64'],
    [5, { ...MESSAGE, payload: 'cGF5bG9$ZA==' }, '"payload" should be base64'],
    [5, { ...MESSAGE, properties: null }, '"properties" should be base64, not null'],
    [5, { ...MESSAGE, qos: 3 }, '"qos" should be a number from 0 to 2, not 3'],
    [6, { ...DELIVERY, message: 10 }, 'message 10 is not in the lines above'],
    [6, { ...DELIVERY, session: 4 }, 'session 4 is not in the lines above'],
    [6, { ...DELIVERY, packetId: 0 }, '"released" should be false without a packetId'],
    [6, { ...DELIVERY, identifiers: [0] }, '"identifiers" should be null or subscription identifiers'],
    [6, { ...DELIVERY, sharedFilter: 'a/#b' }, '"sharedFilter" should be a topic filter'],
    [7, { ...RETAINED, message: 10 }, 'message 10 is not in the lines above'],
    [7, { kind: 'retained' }, '"message" is missing'],
  ].map(([line, changed, problem]) => ({
    what: `has at line ${line} ${JSON.stringify(changed).slice(0, 200)}`,
    lines: WHOLE.with((line as number) - 1, changed as object),
    line: line as number,
    problem: problem as string,
  })),
  ...[
    [3, SESSION, 'session 3, or one of client "\\u0000c", is there already'],
    [3, { ...SESSION, id: 4 }, 'session 4, or one of client "\\u0000c", is there already'],
    [4, SUBSCRIPTION, 'subscription "$share/g/a/+" of session 3 is there already'],
    [5, INBOUND, 'inbound 65535 of session 3 is there already'],
    [6, MESSAGE, 'message 9 is there already'],
    [7, DELIVERY, `delivery ${DELIVERY.position} of session 3 is there already`],
    [7, { ...DELIVERY, position: 5 }, 'packetId 7 of session 3 is there already'],
    [8, RETAINED, 'a retained message of topic "a/b" is there already'],
  ].map(([line, more, problem]) => ({
    what: `has once more ${JSON.stringify(more).slice(0, 200)}`,
    lines: WHOLE.toSpliced((line as number) - 1, 0, more as object),
    line: line as number,
    problem: problem as string,
  })),
];

describe('an import is refused, with the line and nothing left, when the dump', () => {
  for (const { what, lines, line, problem } of REFUSALS) {
    test(what, async () => {
      const dir = folder();
      await assert.rejects(load(dir, lines), (error) => {
        assert.ok(error instanceof ConfigError, String((error as Error).stack));
        assert.equal(error.where, `dump:${line}`);
        assert.ok(error.message.startsWith(`dump:${line}: ${problem}`), error.message);
        return true;
      });
      assert.deepEqual(existsSync(dir) ? readdirSync(dir) : [], []);
    });
  }

  test('is not UTF-8', async () => {
    const bytes = Buffer.concat([Buffer.from(`${JSON.stringify(HEADER)}\n`), Buffer.from([0xff, 0x0a])]);
    const dump = (async function* () {
      yield bytes;
    })();
    await assert.rejects(
      importStore(folder(), dump, { source: 'dump' }),
      /^ConfigError: dump:2: not valid UTF-8/,
    );
  });
});
