/** Reads a file that decides who gets in: bounded, regular, with safe permissions, in valid UTF-8, or not at all. */
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { ConfigError } from '../../src/errors.ts';
import { LineFaults } from './bad-lines.ts';

export interface GuardOptions {
  /** A larger file is refused before it is read. */
  readonly fileBytesMax: number;
  /** Permission bits that must not be set, e.g. `0o007`; 0 allows all. */
  readonly forbiddenMode: number;
  /** What to do when one is, e.g. `Run "chmod 600 config/passwd".` */
  readonly modeRemedy: string;
}

/**
 * The whole text of the file, without a byte order mark.
 * @throws ConfigError that names the file (and the line, for bytes that are not UTF-8) and what would be right; BadLines where
 *   several lines are not
 */
export function readGuardedFile(path: string, options: GuardOptions): string {
  const bytes = readGuardedBytes(path, options);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw badUtf8(bytes, path);
  }
}

/** The lines of a text without their ends (LF or CRLF); no empty last line for a final line end. */
export function splitLines(text: string): string[] {
  const lines = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

/** Whether the text has a C0 or C1 control character or DEL; `allowTab` lets tabs pass. */
export function hasControlCharacter(text: string, allowTab = false): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code < 0x20 && !(allowTab && code === 9)) || (code >= 0x7f && code <= 0x9f)) return true;
  }
  return false;
}

/**
 * The bytes of the file, whatever they are.
 * @throws ConfigError that names the file and what would be right
 */
export function readGuardedBytes(path: string, options: GuardOptions): Buffer {
  let descriptor: number;
  try {
    // Non-blocking, or a named pipe in the file's place would stop the process until someone writes to it.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new ConfigError(path, 'this is not a regular file', 'Name a file.');
    if ((stat.mode & options.forbiddenMode) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
      throw new ConfigError(path, `mode ${mode} opens the file to others`, options.modeRemedy);
    }
    if (stat.size > options.fileBytesMax) {
      throw new ConfigError(
        path,
        `the file has ${stat.size} bytes`,
        `At most ${options.fileBytesMax} are read; is it the right file?`,
      );
    }
    return readFileSync(descriptor);
  } catch (error) {
    throw error instanceof ConfigError ? error : unreadable(path, error);
  } finally {
    closeSync(descriptor);
  }
}

function unreadable(path: string, error: unknown): ConfigError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT')
    return new ConfigError(path, 'the file does not exist', 'Create it, or correct the path.');
  if (code === 'EACCES')
    return new ConfigError(path, 'no permission to read the file', 'Run this as its owner.');
  return new ConfigError(
    path,
    `the file cannot be read (${code ?? message})`,
    'Check the path and the disk.',
  );
}

/** Names the lines that are not valid UTF-8. */
function badUtf8(bytes: Buffer, path: string): ConfigError {
  const faults = new LineFaults(path);
  let line = 1;
  for (let start = 0; start < bytes.length && !faults.full; line++) {
    const newline = bytes.indexOf(10, start);
    const end = newline === -1 ? bytes.length : newline;
    if (!isUtf8(bytes.subarray(start, end))) {
      faults.add(
        new ConfigError(`${path}:${line}`, 'the line is not valid UTF-8', 'Save the file in UTF-8.'),
      );
    }
    start = end + 1;
  }
  return faults.error!;
}
