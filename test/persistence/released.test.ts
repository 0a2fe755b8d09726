/** Stores as released versions left them, each killed at its work, with what they held. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { brotliDecompressSync } from 'node:zlib';
import { checkStore } from '../../persistence/sqlite/check.ts';
import { SCHEMA_VERSION } from '../../persistence/sqlite/schema.ts';
import { SqliteStore } from '../../persistence/sqlite/store.ts';
import { NO_EVENTS } from '../contract/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { beginSession, storedDelivery, storedMessage } from '../support/store-folder.ts';
import { exportLines, type Files, layFiles } from './sample-store.ts';

const RELEASED = path.join(import.meta.dirname, 'released');
const EXPORT = 'export.ndjson';
const root = mkdtempSync(path.join(tmpdir(), 'sluice-released-'));
after(() => rmSync(root, { recursive: true }));

const schemas = readdirSync(RELEASED).filter((name) => name.startsWith('schema-'));

function read(schema: string): { files: Files; lines: readonly string[] } {
  const dir = path.join(RELEASED, schema);
  const files = new Map<string, Buffer>();
  for (const name of readdirSync(dir))
    files.set(name.replace(/\.br$/, ''), brotliDecompressSync(readFileSync(path.join(dir, name))));
  const lines = String(files.get(EXPORT)).split('\n');
  files.delete(EXPORT);
  return { files, lines };
}

/** A clock of a time to come. */
function later(): FakeClock {
  const clock = new FakeClock();
  const since = clock.now();
  clock.wallNow = () => Date.UTC(2100, 0) + clock.now() - since;
  return clock;
}

test('there is a store of each schema that was released', () => {
  const expected = Array.from({ length: SCHEMA_VERSION }, (_, index) => `schema-${index + 1}`);
  assert.deepEqual(schemas.sort(), expected);
});

for (const schema of schemas) {
  describe(`a store of ${schema}`, () => {
    const { files, lines } = read(schema);

    test('is sound, and opens with all that was in it', async () => {
      const dir = layFiles(path.join(root, schema), files);
      const kinds = new Set(lines.map((line) => JSON.parse(line).kind));
      assert.deepEqual(
        [...kinds],
        ['session', 'subscription', 'inbound', 'message', 'delivery', 'retained', 'end'],
      );
      assert.deepEqual((await checkStore(dir)).problems, []);
      const store = new SqliteStore({ dir, clock: later() });
      const state = await store.open(NO_EVENTS);
      const count = (kind: string): number => lines.filter((line) => JSON.parse(line).kind === kind).length;
      const sessions = [...state.sessions];
      assert.equal(sessions.length, count('session'));
      assert.equal([...state.retained].length, count('retained'));
      const held = sessions.map((each) => each.queue.messages + [...each.inFlight].length);
      assert.equal(
        held.reduce((sum, n) => sum + n),
        count('delivery'),
      );
      await store.close();
      assert.deepEqual(await exportLines(dir), lines);
    });

    test('goes on being used', async () => {
      const dir = layFiles(path.join(root, `${schema}-used`), files);
      const store = new SqliteStore({ dir, clock: later() });
      await store.open(NO_EVENTS);
      store.append(beginSession('of this version'));
      store.append({
        kind: 'enqueue',
        clientId: 'of this version',
        delivery: storedDelivery(1, storedMessage('t')),
      });
      await store.close();
      assert.deepEqual((await checkStore(dir)).problems, []);
      const after = await exportLines(dir);
      for (const line of lines) assert.ok(after.includes(line), line);
      assert.equal(after.length, lines.length + 3);
    });
  });
}
