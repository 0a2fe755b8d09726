/** Compacting under adverse conditions: it is killed, and there is too little room. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkStore } from '../../persistence/sqlite/check.ts';
import { compactStore } from '../../persistence/sqlite/compact.ts';
import { importStore } from '../../persistence/sqlite/import.ts';
import { storeFiles } from '../../persistence/sqlite/schema.ts';
import { exportLines } from '../persistence/sample-store.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const MESSAGES = 2_000;
const root = mkdtempSync(path.join(tmpdir(), 'sluice-compact-'));
after(() => rmSync(root, { recursive: true }));
const store = path.join(root, 'store');
let lines: readonly string[] = [];

function* dump(): Generator<string> {
  yield '{"format":"sluice-store","version":1}';
  const payload = Buffer.alloc(3_000, 1).toString('base64');
  const rest = { qos: 1, retain: true, expiresAt: null, publisherId: '', properties: '', payload };
  for (let id = 1; id <= MESSAGES; id++)
    yield JSON.stringify({ kind: 'message', id, topic: `t/${id}`, ...rest });
  for (let message = 1; message <= MESSAGES; message++) yield JSON.stringify({ kind: 'retained', message });
  yield '{"kind":"end","leftOut":0}';
}

async function* asBytes(): AsyncGenerator<Uint8Array> {
  for (const line of dump()) yield Buffer.from(`${line}\n`);
}

before(async () => {
  await importStore(store, asBytes(), { source: 'dump' });
  lines = await exportLines(store);
});

describe('compacting', () => {
  for (const [what, bytes] of [
    ['its first page', 1],
    ['half', 4_000_000],
    ['nearly all', 7_900_000],
  ] as const) {
    test(`loses nothing when it is killed after it has written ${what}`, async () => {
      const dir = path.join(root, `killed-${bytes}`);
      cpSync(store, dir, { recursive: true });
      const { log } = storeFiles(dir);
      const child = spawn(process.execPath, [MAIN, 'store', 'compact', '--dir', dir], {
        env: { ...process.env, NODE_OPTIONS: '' },
        stdio: 'ignore',
      });
      const exited = once(child, 'exit');
      while (child.exitCode === null && (statSync(log, { throwIfNoEntry: false })?.size ?? 0) < bytes) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      child.kill('SIGKILL');
      await exited;
      assert.deepEqual((await checkStore(dir)).problems, []);
      assert.deepEqual(await exportLines(dir), lines);
      await compactStore(dir);
      assert.deepEqual(await exportLines(dir), lines);
    });
  }

  test('does not begin where there is too little room, and says how much it needs', async (t) => {
    const dir = path.join(root, 'small');
    mkdirSync(dir, { mode: 0o700 });
    const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m,mode=0700', 'tmpfs', dir]);
    if (mount.status !== 0) return t.skip('this machine does not let the user mount');
    try {
      cpSync(store, dir, { recursive: true });
      await assert.rejects(compactStore(dir), /compacting needs \d+ MiB of free disk, and \d+ MiB are there/);
      assert.deepEqual((await checkStore(dir)).problems, []);
    } finally {
      spawnSync('umount', [dir]);
    }
  });
});
