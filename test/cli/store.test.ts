/** The command `sluice store` as its users meet it. */
import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createProgress } from '../../cli/progress.ts';
import { storeFiles } from '../../persistence/sqlite/schema.ts';
import { holdLock } from '../persistence/lock-holder.ts';
import { exportLines, type Files, layFiles, makeSampleStore } from '../persistence/sample-store.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const PAGE_BYTES = 4_096;
const root = mkdtempSync(path.join(tmpdir(), 'sluice-store-command-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
let sample: Files = new Map();

before(async () => {
  sample = (await makeSampleStore(root)).files;
});

function folder(): string {
  const dir = path.join(root, `work-${folders++}`);
  mkdirSync(dir);
  return dir;
}

/** A copy of the store in `data` of a new folder. */
function withStore(change: (files: Map<string, Buffer>) => void = () => {}): string {
  const cwd = folder();
  const files = new Map([...sample].map(([name, content]) => [name, Buffer.from(content)]));
  change(files);
  layFiles(path.join(cwd, 'data'), files);
  return cwd;
}

/** One message whose body is not what was written. */
function withDamage(): string {
  return withStore((files) => {
    const log = files.get('sluice.db-wal')!;
    const bodyless = log.lastIndexOf('publisher');
    assert.ok(bodyless > 0);
    log[bodyless + 20] ^= 4;
  });
}

function run(cwd: string, args: readonly string[], input?: string | Buffer): SpawnSyncReturns<string> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICE_'));
  return spawnSync(process.execPath, [MAIN, 'store', ...args], {
    cwd,
    env: { ...Object.fromEntries(inherited), NODE_OPTIONS: '' },
    encoding: 'utf8',
    maxBuffer: 100_000_000,
    ...(input === undefined ? {} : { input }),
  });
}

describe('sluice store', () => {
  test('looks in "data", in --dir, and says how to put right a folder that is not fit', () => {
    const cwd = withStore();
    assert.equal(run(cwd, ['stats']).status, 0);
    assert.equal(run(cwd, ['stats', '--dir', 'data']).status, 0);
    const missing = run(cwd, ['verify', '--dir', 'none']);
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /^sluice: --dir none: the folder does not exist\. /);
    chmodSync(path.join(cwd, 'data'), 0o755);
    const open = run(cwd, ['verify']);
    assert.equal(open.status, 1);
    assert.match(open.stderr, /^sluice: persistence\.dir data: mode 0755 .* Run "chmod 700 data"\n$/);
  });

  test('leaves a store alone that a broker has', async () => {
    const cwd = withStore();
    const holder = await holdLock(storeFiles(path.join(cwd, 'data')).database);
    try {
      for (const args of [['stats'], ['verify'], ['compact'], ['export', '-']]) {
        const { status, stderr } = run(cwd, args);
        assert.equal(status, 1);
        assert.match(
          stderr,
          /^sluice: persistence\.dir data\/sluice\.db: in use by another broker.*\. Stop it first/,
        );
      }
    } finally {
      await holder.release();
    }
  });

  test('answers a wrong word with the nearest right one', () => {
    const { status, stderr } = run(root, ['verfy']);
    assert.equal(status, 2);
    assert.match(stderr, /unknown command 'verfy'\. Did you mean verify\?\n$/);
  });
});

describe('sluice store stats', () => {
  test('counts files, rows, queues and retained messages', () => {
    const cwd = withStore();
    const { status, stdout } = run(cwd, ['stats']);
    assert.equal(status, 0);
    for (const line of [
      /^sluice\.db +[\d.]+ KiB$/m,
      /^queued +\d+ messages, [\d.]+ KiB$/m,
      /^retained +\d+ messages/m,
    ]) {
      assert.match(stdout, line);
    }
    assert.match(stdout, /^client-\d+ +\d+ +[\d.]+ (KiB|bytes)$/m);
  });

  test('prints JSON that agrees with an export', async () => {
    const cwd = withStore();
    const stats = JSON.parse(run(cwd, ['stats', '--json']).stdout);
    const rows = (await exportLines(path.join(cwd, 'data'))).map((line) => JSON.parse(line));
    const deliveries = rows.filter(({ kind }) => kind === 'delivery');
    assert.equal(stats.queued.messages, deliveries.filter(({ packetId }) => packetId === 0).length);
    assert.equal(stats.inFlight, deliveries.filter(({ packetId }) => packetId > 0).length);
    assert.equal(stats.retained.messages, rows.filter(({ kind }) => kind === 'retained').length);
    assert.equal(stats.rows.session, rows.filter(({ kind }) => kind === 'session').length);
    assert.deepEqual(Object.keys(stats.files), ['sluice.db', 'sluice.db-wal', 'sluice.mark']);
    const lengths: number[] = stats.longestQueues.map(({ messages }: { messages: number }) => messages);
    assert.ok(lengths.length > 1);
    assert.deepEqual(
      lengths,
      lengths.toSorted((a, b) => b - a),
    );
    const [longest] = stats.longestQueues;
    const { id } = rows.find(({ kind, clientId }) => kind === 'session' && clientId === longest.clientId);
    const waiting = deliveries.filter(({ session, packetId }) => session === id && packetId === 0);
    assert.equal(longest.messages, waiting.length);
    const sizes = new Map(rows.filter(({ kind }) => kind === 'message').map((row) => [row.id, bytesOf(row)]));
    assert.equal(
      longest.bytes,
      waiting.reduce((sum, { message }) => sum + sizes.get(message)!, 0),
    );
  });

  test('says that there is nothing in an empty folder', () => {
    const cwd = folder();
    mkdirSync(path.join(cwd, 'data'), { mode: 0o700 });
    const { status, stderr } = run(cwd, ['stats']);
    assert.equal(status, 1);
    assert.match(stderr, /data: there is no store, or an empty one/);
  });
});

function bytesOf({ topic, payload, properties }: Record<'topic' | 'payload' | 'properties', string>): number {
  return (
    Buffer.byteLength(topic) +
    Buffer.from(payload, 'base64').length +
    Buffer.from(properties, 'base64').length
  );
}

describe('sluice store verify', () => {
  test('says ok, with what it has looked at', () => {
    const { status, stdout, stderr } = run(withStore(), ['verify']);
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout, /^ok: \d+ rows in \d+\.\d KiB, checked in \d+\.\d s\n$/);
  });

  test('lists every problem and ends with exit code 1, as text and as JSON', () => {
    const cwd = withDamage();
    const { status, stdout } = run(cwd, ['verify']);
    assert.equal(status, 1);
    const lines = stdout.trimEnd().split('\n');
    assert.match(lines.at(-1)!, new RegExp(`^${lines.length - 1} problems?: `));
    for (const line of lines.slice(0, -1)) assert.match(line, /^ {2}\S.*: \S/);
    const json = run(cwd, ['verify', '--json']);
    assert.equal(json.status, 1);
    const report = JSON.parse(json.stdout);
    assert.equal(report.problemsTotal, lines.length - 1);
    assert.deepEqual(
      report.problems.map((each: { where: string; what: string }) => `  ${each.where}: ${each.what}`),
      lines.slice(0, -1),
    );
  });
});

describe('sluice store export and import', () => {
  test('carry everything to another folder and back, the same to the byte', () => {
    const cwd = withStore();
    const exported = run(cwd, ['export', 'dump.ndjson']);
    assert.deepEqual([exported.status, exported.stdout], [0, '']);
    assert.match(exported.stderr, /^Exported: \d+ session, .*\d+ retained\.\n$/);
    assert.equal(statSync(path.join(cwd, 'dump.ndjson')).mode & 0o777, 0o600);
    const imported = run(cwd, ['import', 'dump.ndjson', '--dir', 'copy']);
    assert.deepEqual([imported.status, imported.stderr], [0, '']);
    assert.match(imported.stdout, /^Imported into copy: \d+ session, /);
    assert.equal(run(cwd, ['verify', '--dir', 'copy']).status, 0);
    const piped = run(cwd, ['export', '-', '--dir', 'copy']);
    assert.equal(piped.status, 0);
    const [first, second] = [readFileSync(path.join(cwd, 'dump.ndjson'), 'utf8'), piped.stdout].map((text) =>
      text.split('\n'),
    );
    assert.deepEqual(second.slice(1), first.slice(1));
    assert.equal(run(cwd, ['import', '-', '--dir', 'third'], piped.stdout).status, 0);
    assert.deepEqual(run(cwd, ['export', '-', '--dir', 'third']).stdout, piped.stdout);
  });

  test('replaces a file only when it is told to, and leaves no other behind', () => {
    const cwd = withStore();
    writeFileSync(path.join(cwd, 'dump'), 'precious');
    const refused = run(cwd, ['export', 'dump']);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /^sluice: dump: the file is there already\. .*--force/);
    assert.equal(readFileSync(path.join(cwd, 'dump'), 'utf8'), 'precious');
    assert.equal(run(cwd, ['export', 'dump', '--force']).status, 0);
    assert.match(readFileSync(path.join(cwd, 'dump'), 'utf8'), /^\{"format":"sluice-store"/);
    assert.deepEqual(readdirSync(cwd).sort(), ['data', 'dump']);
    const nowhere = run(cwd, ['export', 'none/dump']);
    assert.equal(nowhere.status, 1);
    assert.match(nowhere.stderr, /^sluice: none\/dump: there is no such file or folder\. /);
  });

  test('say what had to be left out, with exit code 3', () => {
    const cwd = withDamage();
    const { status, stderr } = run(cwd, ['export', 'dump']);
    assert.equal(status, 3);
    assert.match(stderr, /^Exported: .*\nThe store is damaged:\n {2}\S/);
    const zeroed = withStore((files) => {
      files.delete('sluice.db-wal');
      const database = files.get('sluice.db')!;
      database.fill(0, database.length - PAGE_BYTES);
    });
    const broken = run(zeroed, ['export', '-']);
    assert.equal(broken.status, 3);
    assert.match(broken.stderr, /commits that were acknowledged are missing/);
    assert.equal(run(zeroed, ['import', '-', '--dir', 'saved'], broken.stdout).status, 0);
    assert.equal(run(zeroed, ['verify', '--dir', 'saved']).status, 0);
  });

  test('end with a word when nobody reads what is exported any more', () => {
    const cwd = withStore();
    const command = `"${process.execPath}" "${MAIN}" store export - | true; echo "$PIPESTATUS"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', command], {
      cwd,
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    assert.equal(stdout, '1\n');
    assert.match(stderr, /^sluice: standard output: write EPIPE/);
  });

  test('do not import over a store', () => {
    const cwd = withStore();
    const dump = run(cwd, ['export', '-']).stdout;
    const { status, stderr } = run(cwd, ['import', '-'], dump);
    assert.equal(status, 1);
    assert.match(stderr, /data\/sluice\.db: there is a store already\. Import into a new folder/);
  });

  test('leave nothing of an import that fails', () => {
    const cwd = folder();
    writeFileSync(
      path.join(cwd, 'dump'),
      '{"format":"sluice-store","version":1}\n{"kind":"retained","message":3}\n',
    );
    const { status, stderr } = run(cwd, ['import', 'dump', '--dir', 'new']);
    assert.equal(status, 1);
    assert.match(stderr, /^sluice: dump:2: message 3 is not in the lines above\. /);
    assert.deepEqual(readdirSync(path.join(cwd, 'new')), []);
    const missing = run(cwd, ['import', 'none', '--dir', 'new']);
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /^sluice: none: there is no such file or folder\. /);
  });
});

describe('sluice store compact', () => {
  test('gives free pages back and keeps every row', async () => {
    const cwd = withStore();
    const dir = path.join(cwd, 'data');
    const lines = await exportLines(dir);
    const before = ['sluice.db', 'sluice.db-wal'].reduce(
      (sum, name) => sum + statSync(path.join(dir, name)).size,
      0,
    );
    const { status, stdout } = run(cwd, ['compact']);
    assert.equal(status, 0);
    assert.match(stdout, /^Compacted data from [\d.]+ KiB to [\d.]+ KiB\.\n$/);
    assert.ok(statSync(path.join(dir, 'sluice.db')).size < before);
    assert.ok(!existsSync(path.join(dir, 'sluice.db-wal')));
    assert.equal(run(cwd, ['verify']).status, 0);
    assert.deepEqual(await exportLines(dir), lines);
  });

  test('does not touch a damaged store', () => {
    const cwd = withDamage();
    const before = readFileSync(path.join(cwd, 'data', 'sluice.db-wal'));
    const { status, stderr } = run(cwd, ['compact']);
    assert.equal(status, 1);
    assert.match(stderr, /^sluice: persistence\.dir data: the store is damaged: /);
    assert.deepEqual(readFileSync(path.join(cwd, 'data', 'sluice.db-wal')), before);
  });
});

describe('progress', () => {
  function drawn(isTTY: boolean, draw: (update: (fraction: number) => void) => void): string {
    const parts: string[] = [];
    const progress = createProgress({ isTTY, write: (part) => void parts.push(part) }, 'checking');
    draw((fraction) => progress.update(fraction));
    progress.end();
    return parts.join('');
  }

  test('is a bar on a terminal, which goes away at the end', () => {
    const text = drawn(true, (update) => update(0.5));
    assert.equal(text, `\r\u001b[Kchecking [${'#'.repeat(15)}${'.'.repeat(15)}] 50 %\r\u001b[K`);
  });

  test('is not drawn at every step', () => {
    const text = drawn(true, (update) => {
      for (let step = 0; step <= 1_000; step++) update(step / 1_000);
    });
    assert.ok(text.split('\r').length < 100);
  });

  test('is no bar elsewhere, and says nothing of what is soon over', () => {
    assert.equal(
      drawn(false, (update) => update(0.5)),
      '',
    );
  });

  test('is a line now and then elsewhere', (t) => {
    let now = 0;
    t.mock.method(performance, 'now', () => now);
    const text = drawn(false, (update) => {
      for (const fraction of [0.1, 0.456, 0.9]) {
        now += 1_500;
        update(fraction);
      }
    });
    assert.equal(text, 'checking: 45 %\n');
  });
});
