/** What a store does with damaged files: it is refused with a place, or nothing of it has changed; and no wrong byte comes out. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { checkStore } from '../../persistence/sqlite/check.ts';
import { loadStore } from '../../persistence/sqlite/load.ts';
import { storeFiles, takeExclusively } from '../../persistence/sqlite/schema.ts';
import { ConfigError } from '../../src/errors.ts';
import { Random } from '../codec/random-packets.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { exportLines, type Files, layFiles, makeSampleStore, payloadOf, readFiles } from './sample-store.ts';

const PAGE_BYTES = 4_096;
const DATABASE = 'sluice.db';
const LOG = 'sluice.db-wal';
const MARK = 'sluice.mark';

const root = mkdtempSync(path.join(tmpdir(), 'sluice-damage-'));
after(() => rmSync(root, { recursive: true }));

/** The same store three times: its last commits in the log; in both files, because the log was copied; in the database alone. */
type State = 'logged' | 'copied' | 'closed';
const stores = new Map<State, { files: Files; lines: readonly string[]; loaded: unknown }>();
let topics: ReadonlyMap<string, string> = new Map();
let folders = 0;

function lay(files: Files): string {
  return layFiles(path.join(root, `copy-${folders++}`), files);
}

before(async () => {
  const sample = await makeSampleStore(root);
  topics = sample.topics;
  await keep('logged', sample.files);
  const dir = lay(sample.files);
  const db = new DatabaseSync(storeFiles(dir).database);
  takeExclusively(db);
  db.exec('PRAGMA wal_checkpoint(PASSIVE)');
  execFileSync('cp', ['-r', dir, `${dir}-copied`]);
  await keep('copied', readFiles(`${dir}-copied`));
  db.close();
  await keep('closed', readFiles(dir));
});

async function keep(state: State, files: Files): Promise<void> {
  const dir = lay(files);
  const { problems } = await checkStore(dir);
  assert.deepEqual(problems, []);
  stores.set(state, { files, lines: await exportLines(dir), loaded: load(dir) });
  rmSync(dir, { recursive: true });
}

/** What a broker reads at start. */
function load(dir: string): unknown {
  const loaded = loadStore(storeFiles(dir), new FakeClock());
  const sessions = [...loaded.state.sessions].map((each) => ({
    ...each,
    subscriptions: [...each.subscriptions],
    inFlight: [...each.inFlight],
    inbound: [...each.inbound],
  }));
  const retained = [...loaded.state.retained];
  loaded.finish();
  return { sessions, retained, counts: loaded.counts };
}

function flip(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  copy[random.below(copy.length)] ^= 1 << random.below(8);
  return copy;
}

function zero(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  const start = random.below(Math.ceil(copy.length / PAGE_BYTES)) * PAGE_BYTES;
  return copy.fill(0, start, Math.min(copy.length, start + PAGE_BYTES));
}

function cut(bytes: Buffer, random: Random): Buffer {
  return bytes.subarray(0, random.below(bytes.length));
}

interface Damage {
  readonly state: State;
  readonly file: string;
  readonly how: (bytes: Buffer, random: Random) => Buffer | null;
  readonly copies: number;
}

const DAMAGES: readonly Damage[] = [
  { state: 'closed', file: DATABASE, how: flip, copies: 90 },
  { state: 'closed', file: DATABASE, how: zero, copies: 20 },
  { state: 'closed', file: DATABASE, how: cut, copies: 15 },
  { state: 'logged', file: DATABASE, how: flip, copies: 20 },
  { state: 'logged', file: DATABASE, how: zero, copies: 10 },
  { state: 'logged', file: DATABASE, how: cut, copies: 10 },
  { state: 'logged', file: LOG, how: flip, copies: 40 },
  { state: 'logged', file: LOG, how: zero, copies: 15 },
  { state: 'logged', file: LOG, how: cut, copies: 20 },
  { state: 'copied', file: LOG, how: flip, copies: 20 },
  { state: 'copied', file: LOG, how: cut, copies: 10 },
  { state: 'copied', file: DATABASE, how: flip, copies: 10 },
  { state: 'logged', file: MARK, how: flip, copies: 10 },
  { state: 'logged', file: MARK, how: cut, copies: 5 },
  { state: 'closed', file: MARK, how: () => null, copies: 1 },
  { state: 'logged', file: LOG, how: () => null, copies: 1 },
  { state: 'closed', file: DATABASE, how: () => null, copies: 1 },
  { state: 'logged', file: DATABASE, how: () => null, copies: 1 },
];

/** Whether the start is refused; then it says where something is wrong. */
async function isRefused(dir: string): Promise<boolean> {
  try {
    const { problems } = await checkStore(dir);
    for (const { where, what } of problems) assert.ok(where !== '' && what !== '', `${where}: ${what}`);
    return problems.length > 0;
  } catch (error) {
    assert.ok(error instanceof ConfigError, String((error as Error).stack));
    assert.ok(error.where.includes(DATABASE), error.message);
    return true;
  }
}

/** The lines that can be saved, all of them right: a payload is that of its topic, and a delivery's that of its topic. */
async function savedLines(dir: string): Promise<readonly string[]> {
  let lines: string[];
  try {
    lines = await exportLines(dir);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String((error as Error).stack));
    return [];
  }
  const clients = new Map<number, string>();
  const messages = new Map<number, string>();
  for (const line of lines) {
    const row = JSON.parse(line);
    if (row.kind === 'session') clients.set(row.id, row.clientId);
    if (row.kind === 'message') {
      assert.equal(row.payload, payloadOf(row.topic).toString('base64'), row.topic);
      messages.set(row.id, row.topic);
    }
    if (row.kind === 'delivery') {
      const expected = topics.get(`${clients.get(row.session)}/${row.position}`);
      assert.equal(messages.get(row.message), expected, line);
    }
  }
  return lines;
}

describe('a damaged store', () => {
  for (const { state, file, how, copies } of DAMAGES) {
    const name = how.name === 'how' ? 'removed' : how.name;
    test(`is refused, or is whole: ${copies} times ${file} ${name}, ${state}`, async () => {
      const sound = stores.get(state)!;
      for (let seed = 1; seed <= copies; seed++) {
        const random = new Random(seed * 7_919);
        const files = new Map(sound.files);
        const damaged = how(files.get(file)!, random);
        if (damaged === null) files.delete(file);
        else files.set(file, damaged);
        const dir = lay(files);
        const refused = await isRefused(dir);
        const saved = await savedLines(dir);
        if (!refused) {
          assert.deepEqual(saved, sound.lines, `seed ${seed}`);
          assert.deepEqual(load(dir), sound.loaded, `seed ${seed}`);
        }
        rmSync(dir, { recursive: true });
      }
    });
  }
});
