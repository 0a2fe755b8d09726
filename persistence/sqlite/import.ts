/** Makes a store of a dump: a new one in an empty folder, whole or not at all. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError } from '../../src/errors.ts';
import { type DumpKind, DumpProblem, readHeader, readLine } from './dump.ts';
import { prepareFolder } from './folder.ts';
import { COMMIT_NUMBER, StoreBuilder } from './import-rows.ts';
import { encodeMark } from './records.ts';
import { FILE_MODE, type StoreFiles, storeFiles } from './schema.ts';

export interface ImportOptions {
  /** What the dump is called in errors, e.g. its file. */
  readonly source: string;
  /** What named the folder, for errors. */
  readonly option?: string;
  /** Called with the number of bytes read so far. */
  readonly onProgress?: (bytes: number) => void;
}

export interface ImportReport {
  readonly rows: Readonly<Record<DumpKind, number>>;
  /** Messages that nothing pointed to, which are not kept. */
  readonly unused: number;
}

/** A payload of 256 MiB, the largest that MQTT knows, in base64 with its fields. */
const LINE_BYTES_MAX = 402_653_184;
const NEWLINE = 10;

/**
 * Reads a dump into a store in folder `dir`, which must hold none; it is made when missing.
 * @throws ConfigError that names the line, when the dump is not right; the folder holds no store then
 */
export async function importStore(
  dir: string,
  dump: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): Promise<ImportReport> {
  prepareFolder(dir, options.option);
  const files = storeFiles(dir);
  const building = `${files.database}.import`;
  requireEmpty(files, building);
  removeBuilding(building);
  let builder: StoreBuilder | null = null;
  try {
    closeSync(openSync(building, 'wx', FILE_MODE));
    builder = new StoreBuilder(building);
    await readDump(dump, builder, options);
    const report = builder.finish();
    putInPlace(building, files);
    return report;
  } catch (error) {
    builder?.close();
    // Nothing was there before, so nothing is to be there now.
    if (!existsSync(files.database)) rmSync(files.mark, { force: true });
    removeBuilding(building);
    throw error;
  }
}

/** A mark without a database is what an import leaves that was killed at its end. */
function requireEmpty({ database, log, mark }: StoreFiles, building: string): void {
  const left = existsSync(building) ? [] : [mark];
  for (const file of [database, log, ...left]) {
    if (!existsSync(file)) continue;
    throw new ConfigError(file, 'there is a store already', 'Import into a new folder');
  }
}

function removeBuilding(building: string): void {
  for (const suffix of ['', '-journal', '-wal']) rmSync(`${building}${suffix}`, { force: true });
}

/** The mark first: a database without one has lost something, whereas a mark without a database is refused. */
function putInPlace(building: string, { database, mark }: StoreFiles): void {
  const descriptor = openSync(mark, 'w', FILE_MODE);
  try {
    writeSync(descriptor, encodeMark(COMMIT_NUMBER));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  sync(building, 'r+');
  renameSync(building, database);
  sync(dirname(database), 'r');
}

function sync(path: string, flags: string): void {
  const descriptor = openSync(path, flags);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

async function readDump(
  dump: AsyncIterable<Uint8Array>,
  builder: StoreBuilder,
  { source, onProgress }: ImportOptions,
): Promise<void> {
  // The line that is being read: whatever is thrown is about it.
  let number = 1;
  let isWhole = false;
  try {
    for await (const line of linesOf(dump, (bytes) => onProgress?.(bytes))) {
      if (isWhole) throw new DumpProblem('nothing may stand behind the line of kind "end"');
      if (number === 1) readHeader(line);
      else {
        const read = readLine(line);
        if (read.kind === 'end') isWhole = true;
        else builder.add(read);
      }
      number++;
    }
    if (!isWhole) throw new DumpProblem('the line of kind "end" is missing: the dump is cut off');
  } catch (error) {
    if (!(error instanceof DumpProblem)) throw error;
    throw new ConfigError(
      `${source}:${number}`,
      error.message,
      'Correct the line, or export again; nothing was imported',
    );
  }
}

/** The lines of a file, without their ends; tells how many bytes came in, chunk by chunk. */
async function* linesOf(
  dump: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (bytes: Uint8Array): string => {
    try {
      return decoder.decode(bytes);
    } catch {
      throw new DumpProblem('not valid UTF-8');
    }
  };
  let parts: Uint8Array[] = [];
  let held = 0;
  let read = 0;
  for await (const chunk of dump) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const rest = chunk.subarray(start, end);
      yield decode(parts.length === 0 ? rest : Buffer.concat([...parts, rest]));
      parts = [];
      held = 0;
      start = end + 1;
    }
    held += chunk.length - start;
    if (held > LINE_BYTES_MAX) throw new DumpProblem(`the line has more than ${LINE_BYTES_MAX} bytes`);
    if (start < chunk.length) parts.push(chunk.subarray(start));
    read += chunk.length;
    onBytes(read);
  }
  if (held > 0) yield decode(Buffer.concat(parts));
}
