/** Whether a log can be written where the configuration wants it, found out before a thread tries to. */
import { randomUUID } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { ConfigError } from '../src/errors.ts';

const REMEDY = 'Make its folder writable, or set log.file to another path or to "" for standard output';

/**
 * Tries the folder by making a file in it: kernel file systems (/proc, /sys) say that they can be written, and cannot. And
 * what stands where a log file will be must be a file; a pipe or a device would hold the writer, or make it try for ever.
 * A folder that is not there yet must be one that can be made.
 * @throws ConfigError that names the file and what would be right
 */
export function checkLogFile(file: string): void {
  const directory = dirname(file);
  try {
    const there = nearestThere(directory);
    if (!statSync(there).isDirectory()) throw new Error(`${there} is not a folder`);
    accessSync(there, constants.W_OK | constants.X_OK);
    const trial = join(there, `.sluice-${randomUUID()}`);
    closeSync(openSync(trial, 'wx', 0o600));
    rmSync(trial);
    if (there === directory) checkNames(file);
  } catch (error) {
    throw logFault(file, error as Error);
  }
}

/** The one error for a log that cannot be opened. */
export function logFault(file: string, error: Error): ConfigError {
  return new ConfigError('log.file', `the log file ${file} cannot be opened (${error.message})`, REMEDY);
}

/** `log/sluice.log` is written as `log/sluice.1.log`, `log/sluice.2.log` and so on. */
function checkNames(file: string): void {
  const extension = extname(file);
  const stem = `${basename(file, extension)}.`;
  for (const name of [basename(file), ...readdirSync(dirname(file))]) {
    const isLog = name === basename(file) || (name.startsWith(stem) && name.endsWith(extension));
    if (!isLog) continue;
    const found = lstatSync(join(dirname(file), name), { throwIfNoEntry: false });
    if (found !== undefined && !found.isFile()) throw new Error(`${name} there is no regular file`);
  }
}

function nearestThere(directory: string): string {
  let there = directory;
  while (statSync(there, { throwIfNoEntry: false }) === undefined && dirname(there) !== there)
    there = dirname(there);
  return there;
}
