/** Writes the store of the schema that this version has, for later versions to be tried on. Run once for each released schema. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { SCHEMA_VERSION } from '../../../persistence/sqlite/schema.ts';
import { exportLines, layFiles, makeSampleStore } from '../sample-store.ts';

const target = path.join(import.meta.dirname, `schema-${SCHEMA_VERSION}`);
if (existsSync(target)) throw new Error(`${target} is there: what was released once is not written anew`);
const scratch = mkdtempSync(path.join(tmpdir(), 'sluice-released-'));
try {
  const { files } = await makeSampleStore(scratch);
  const kept = new Map([...files].filter(([name]) => name !== 'sluice.reserve'));
  const lines = await exportLines(layFiles(path.join(scratch, 'copy'), kept));
  mkdirSync(target);
  for (const [name, content] of kept)
    writeFileSync(path.join(target, `${name}.br`), brotliCompressSync(content));
  writeFileSync(path.join(target, 'export.ndjson.br'), brotliCompressSync(lines.join('\n')));
} finally {
  rmSync(scratch, { recursive: true });
}
