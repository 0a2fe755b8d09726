/** What `sluice store` does, and what it says about it. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { printable } from '../../config/problems.ts';
import { checkStore, type StoreReport } from '../../persistence/sqlite/check.ts';
import type { StoreProblem } from '../../persistence/sqlite/check-tasks.ts';
import { compactStore } from '../../persistence/sqlite/compact.ts';
import { type ExportReport, exportStore } from '../../persistence/sqlite/export.ts';
import { checkFolder } from '../../persistence/sqlite/folder.ts';
import { importStore } from '../../persistence/sqlite/import.ts';
import { readStats, type StoreStats } from '../../persistence/sqlite/stats.ts';
import { ConfigError } from '../../src/errors.ts';
import { createProgress, type ProgressOutput } from '../progress.ts';
import { readVersion } from '../version.ts';
import type { StoreFolder } from './store.ts';

/** The streams of a command. */
export interface StoreIo {
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream & ProgressOutput;
}

/** Exit codes: done; the store is not sound; written, but not everything. Errors are thrown, and end with 1 as well. */
export const STORE_EXIT = Object.freeze({ done: 0, unsound: 1, incomplete: 3 });

/** Problems that are listed; a store with more is no store any more. */
const PROBLEMS_MAX = 10_000;
/** Mode of an export: it holds what clients sent. */
const EXPORT_MODE = 0o600;
const READ_BYTES = 1_048_576;

export async function showStats(
  { dir, option }: StoreFolder,
  { json }: { json?: boolean },
  io: StoreIo,
): Promise<number> {
  checkFolder(dir, option);
  const stats = readStats(dir);
  io.stdout.write(json === true ? `${JSON.stringify(stats, null, 2)}\n` : describeStats(stats));
  return STORE_EXIT.done;
}

export async function verify(
  { dir, option }: StoreFolder,
  { json }: { json?: boolean },
  io: StoreIo,
): Promise<number> {
  checkFolder(dir, option);
  const report = await withProgress(io, 'checking', (onProgress) =>
    checkStore(dir, { onProgress, problemsMax: PROBLEMS_MAX }),
  );
  if (json === true) io.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else io.stdout.write(describeCheck(report));
  return report.problemsTotal === 0 ? STORE_EXIT.done : STORE_EXIT.unsound;
}

export async function exportTo(
  file: string,
  { dir, option }: StoreFolder,
  { force }: { force?: boolean },
  io: StoreIo,
): Promise<number> {
  checkFolder(dir, option);
  const target = file === '-' ? new StreamTarget(io.stdout) : new FileTarget(file, force === true);
  try {
    const report = await withProgress(io, 'exporting', (onProgress) =>
      exportStore(dir, (text) => target.write(text), {
        writtenBy: `sluice ${readVersion()}`,
        onProgress,
        problemsMax: PROBLEMS_MAX,
      }),
    );
    target.finish();
    io.stderr.write(describeExport(report));
    const isWhole = report.problemsTotal === 0 && report.check.problemsTotal === 0;
    return isWhole ? STORE_EXIT.done : STORE_EXIT.incomplete;
  } catch (error) {
    target.giveUp();
    throw told(error, file === '-' ? 'standard output' : file);
  }
}

export async function importFrom(file: string, { dir, option }: StoreFolder, io: StoreIo): Promise<number> {
  const isStream = file === '-';
  const source = isStream ? 'standard input' : file;
  try {
    const size = isStream ? 0 : statSync(file).size;
    const dump = isStream ? io.stdin : createReadStream(file, { highWaterMark: READ_BYTES });
    const { rows, unused } = await withProgress(io, 'importing', (onProgress) =>
      importStore(dir, dump, {
        source,
        option,
        onProgress: (bytes) => onProgress(size === 0 ? 0 : Math.min(1, bytes / size)),
      }),
    );
    io.stdout.write(`Imported into ${dir}: ${counts(rows)}.\n`);
    if (unused > 0) io.stdout.write(`Not kept: ${unused} messages that nothing pointed to.\n`);
    return STORE_EXIT.done;
  } catch (error) {
    throw told(error, source);
  }
}

export async function compact({ dir, option }: StoreFolder, io: StoreIo): Promise<number> {
  checkFolder(dir, option);
  const { bytesBefore, bytesAfter } = await compactStore(dir, option);
  io.stdout.write(`Compacted ${dir} from ${size(bytesBefore)} to ${size(bytesAfter)}.\n`);
  return STORE_EXIT.done;
}

async function withProgress<T>(
  io: StoreIo,
  title: string,
  run: (onProgress: (fraction: number) => void) => Promise<T>,
): Promise<T> {
  const progress = createProgress(io.stderr, title);
  try {
    return await run((fraction) => progress.update(fraction));
  } finally {
    progress.end();
  }
}

/** Errors of files and of SQLite as a user can read them; anything else is a defect and must be seen whole. */
function told(error: unknown, where: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof ConfigError || code === undefined) return error;
  if (code === 'ENOENT') return new ConfigError(where, 'there is no such file or folder', 'Correct the path');
  return new ConfigError(where, message, 'Check path, permissions and free disk space');
}

class StreamTarget {
  readonly #stream: NodeJS.WritableStream;
  #error: Error | null = null;

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream;
    // Whoever reads may have gone away.
    stream.on('error', (error) => {
      this.#error = error;
    });
  }

  async write(text: string): Promise<void> {
    if (this.#error !== null) throw this.#error;
    if (!this.#stream.write(text)) await once(this.#stream, 'drain');
  }

  finish(): void {}

  giveUp(): void {}
}

/** A file that appears under its name once it is whole. */
class FileTarget {
  readonly #file: string;
  readonly #temporary: string;
  readonly #descriptor: number;
  readonly #interrupted = () => {
    this.giveUp();
    process.exit(130);
  };

  constructor(file: string, isForced: boolean) {
    if (!isForced && existsSync(file)) {
      throw new ConfigError(file, 'the file is there already', 'Name another, or replace it with --force');
    }
    this.#file = file;
    this.#temporary = join(dirname(file), `.${basename(file)}.${randomUUID()}`);
    this.#descriptor = open(this.#temporary, file);
    process.once('SIGINT', this.#interrupted);
  }

  write(text: string): void {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
  }

  finish(): void {
    process.off('SIGINT', this.#interrupted);
    fsyncSync(this.#descriptor);
    closeSync(this.#descriptor);
    renameSync(this.#temporary, this.#file);
    const folder = openSync(dirname(this.#file), 'r');
    fsyncSync(folder);
    closeSync(folder);
  }

  giveUp(): void {
    process.off('SIGINT', this.#interrupted);
    rmSync(this.#temporary, { force: true });
  }
}

function open(path: string, file: string): number {
  try {
    return openSync(path, 'wx', EXPORT_MODE);
  } catch (error) {
    throw told(error, file);
  }
}

function describeStats(stats: StoreStats): string {
  const { files, freeBytes, rows, queued, inFlight, retained, longestQueues } = stats;
  const lines = [
    `schema version ${stats.schemaVersion}, commit ${stats.commitNumber}`,
    '',
    ...table(Object.entries(files).map(([name, bytes]) => [name, size(bytes)])),
    `${size(freeBytes)} of the database are free`,
    '',
    ...table([
      ['queued', `${queued.messages} messages, ${size(queued.bytes)}`],
      ['in flight', `${inFlight} messages`],
      ['retained', `${retained.messages} messages, ${size(retained.bytes)}`],
    ]),
    '',
    ...table([['rows of', ''], ...Object.entries(rows).map(([name, count]) => [name, String(count)])]),
  ];
  if (longestQueues.length > 0) {
    const queues = longestQueues.map(({ clientId, messages, bytes }) => [
      printable(clientId),
      String(messages),
      size(bytes),
    ]);
    lines.push('', ...table([['longest queues', 'messages', ''], ...queues]));
  }
  return lines.map((line) => `${line}\n`).join('');
}

/** Columns as wide as their widest cell. */
function table(rows: readonly (readonly string[])[]): string[] {
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(width(column)))
      .join('  ')
      .trimEnd(),
  );
}

function describeCheck({ isNew, rows, bytes, problems, problemsTotal, elapsedMs }: StoreReport): string {
  const all = Object.values(rows).reduce((sum, count) => sum + count, 0);
  const what = `${all} rows in ${size(bytes)}, checked in ${(elapsedMs / 1_000).toFixed(1)} s`;
  if (isNew) return 'ok: nothing was written yet\n';
  if (problemsTotal === 0) return `ok: ${what}\n`;
  return `${listed(problems, problemsTotal)}${problemsTotal} ${problemsTotal === 1 ? 'problem' : 'problems'}: ${what}\n`;
}

function describeExport({ written, leftOut, holes, problems, problemsTotal, check }: ExportReport): string {
  const lines = [`Exported: ${counts(written)}.\n`];
  if (check.problemsTotal > 0) {
    lines.push(`The store is damaged:\n${listed(check.problems, check.problemsTotal)}`);
  }
  if (problemsTotal > 0) {
    const more =
      holes === 0 ? '' : `, and what could not be read in ${holes} ${holes === 1 ? 'place' : 'places'}`;
    lines.push(`Left out: ${counts(leftOut)}${more}:\n${listed(problems, problemsTotal)}`);
  }
  return lines.join('');
}

function listed(problems: readonly StoreProblem[], total: number): string {
  const lines = problems.map(({ where, what }) => `  ${printable(`${where}: ${what}`)}\n`);
  if (total > problems.length) lines.push(`  and ${total - problems.length} more\n`);
  return lines.join('');
}

/** "3 session, 12 message"; kinds of which there are none are left out. */
function counts(of: Readonly<Record<string, number>>): string {
  const some = Object.entries(of).filter(([, count]) => count > 0);
  return some.length === 0 ? 'no rows' : some.map(([kind, count]) => `${count} ${kind}`).join(', ');
}

function size(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1_024 && unit < units.length - 1; unit++) value /= 1_024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
