/** The password file: one `user:hash` a line, as mosquitto_passwd writes it; `#` lines and blank lines are skipped. */
import { ConfigError } from '../../src/errors.ts';
import { LineFaults } from '../files/bad-lines.ts';
import { hasControlCharacter, readGuardedFile, splitLines } from '../files/guarded-file.ts';
import { parseHash, type StoredHash } from './password-hash.ts';

/** User name to stored hash. A Map, so that `__proto__` is a user like any other. */
export type PasswordUsers = ReadonlyMap<string, StoredHash>;

export interface PasswordFileOptions {
  /** Skips the check of the file's permissions (for file systems that have none). */
  readonly allowUnsafeModes?: boolean;
}

/** 64 MiB, some 400 000 users: read and parsed in one go, so it must not be a disk image by mistake. */
export const PASSWORD_FILE_BYTES_MAX = 67_108_864;

/**
 * Reads and checks the whole file. It must be readable and writable by its owner at most.
 * @throws ConfigError naming file and line; nothing of a file with an error is used
 */
export function readPasswordFile(path: string, options: PasswordFileOptions = {}): PasswordUsers {
  const text = readGuardedFile(path, {
    fileBytesMax: PASSWORD_FILE_BYTES_MAX,
    forbiddenMode: options.allowUnsafeModes === true ? 0 : 0o077,
    modeRemedy: `Run "chmod 600 ${path}".`,
  });
  return parsePasswordFile(text, path);
}

/**
 * Parses the text of a password file.
 * @param path only for errors
 * @throws ConfigError naming file and line; BadLines where several lines are wrong
 */
export function parsePasswordFile(text: string, path: string): PasswordUsers {
  const users = new Map<string, StoredHash>();
  const lineOf = new Map<string, number>();
  const faults = new LineFaults(path);
  const take = (line: string, number: number): void => {
    const where = `${path}:${number}`;
    const username = userOfLine(line, where);
    if (username === null) return;
    const earlier = lineOf.get(username);
    if (earlier !== undefined) {
      throw new ConfigError(where, `this user is already on line ${earlier}`, 'Remove one of the two lines.');
    }
    lineOf.set(username, number);
    users.set(username, parseHash(line.slice(username.length + 1), where));
  };
  for (const [index, line] of splitLines(text).entries()) {
    try {
      take(line, index + 1);
    } catch (error) {
      faults.add(error);
      if (faults.full) break;
    }
  }
  faults.throwIfAny();
  return users;
}

/**
 * The user name of one line; null for a blank line or a comment.
 * @throws ConfigError when there is no colon or no usable name before it
 */
export function userOfLine(line: string, where: string): string | null {
  if (line.startsWith('#') || line.trim() === '') return null;
  if (hasControlCharacter(line)) {
    throw new ConfigError(where, 'the line has a control character', 'Write user:hash in printable text.');
  }
  const colon = line.indexOf(':');
  if (colon === -1)
    throw new ConfigError(where, 'there is no colon', 'Write user:hash, or begin a comment with #.');
  const problem = problemWithUsername(line.slice(0, colon));
  if (problem !== null) throw new ConfigError(where, problem, 'Write user:hash.');
  return line.slice(0, colon);
}

/** Why a name cannot stand in a password file, or null when it can. */
export function problemWithUsername(username: string): string | null {
  if (username === '') return 'the user name is empty';
  if (username.includes(':')) return 'the user name has a colon, which ends it in the file';
  if (username.startsWith('#')) return 'the user name begins with #, which makes the line a comment';
  if (username.trim() !== username) return 'the user name begins or ends with a space';
  if (hasControlCharacter(username)) return 'the user name has a control character';
  if (!username.isWellFormed() || username.includes('\uFFFD')) return 'the user name is not valid UTF-8';
  if (Buffer.byteLength(username) > 65_535) return 'the user name is longer than MQTT allows (65 535 bytes)';
  return null;
}
