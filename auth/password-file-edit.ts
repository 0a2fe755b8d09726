/** Changes one line of a password file so that a crash at any moment leaves the old file or the new one, whole. */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  type Stats,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError } from '../src/errors.ts';
import { readGuardedFile } from './guarded-file.ts';
import { PASSWORD_FILE_BYTES_MAX, parsePasswordFile, readPasswordFile, userOfLine } from './password-file.ts';

/** `add` needs the user to be absent, `set` and `remove` to be there; `rehash` also that the old hash still stands. */
export type PasswordEdit =
  | { readonly kind: 'add' | 'set'; readonly username: string; readonly hash: string }
  | { readonly kind: 'rehash'; readonly username: string; readonly hash: string; readonly oldHash: string }
  | { readonly kind: 'remove'; readonly username: string };

/** Another writer needs milliseconds: this many tries, this far apart, before giving up. */
const LOCK_TRIES_MAX = 40;
const LOCK_RETRY_MS = 50;
const LOCK_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Applies one edit. Comments, order and other lines stay. The new content is written to `PATH.lock`, which also keeps
 * other writers out, and renamed into place. Owner, group and mode stay, but others lose all access.
 * `add` creates a missing file (0600) and its directory (0700).
 * @throws ConfigError when the file is broken, a symbolic link or locked, or the user is (not) there
 */
export async function editPasswordFile(path: string, edit: PasswordEdit): Promise<void> {
  if (edit.kind === 'add') mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const lock = `${path}.lock`;
  const descriptor = await takeLock(lock);
  let renamed = false;
  try {
    const before = statWithoutLink(path);
    const text = before === null ? '' : readText(path);
    writeFileSync(descriptor, applyEdit(text, path, edit, before !== null));
    if (before !== null) keepOwnerAndMode(descriptor, before, path);
    fsyncSync(descriptor);
    renameSync(lock, path);
    renamed = true;
  } finally {
    closeSync(descriptor);
    if (!renamed) unlinkSync(lock);
  }
  syncDirectory(dirname(path));
}

/**
 * Fails early with what editPasswordFile would say later, so that nobody types a password in vain.
 * @throws ConfigError
 */
export function checkEdit(path: string, edit: Pick<PasswordEdit, 'kind' | 'username'>): void {
  const exists = statWithoutLink(path) !== null;
  const users = exists ? readPasswordFile(path, { allowUnsafeModes: true }) : new Map();
  requireUser(path, edit, users.has(edit.username), exists);
}

function applyEdit(text: string, path: string, edit: PasswordEdit, exists: boolean): string {
  const users = parsePasswordFile(text, path);
  requireUser(path, edit, users.has(edit.username), exists);
  if (edit.kind === 'rehash' && users.get(edit.username)?.text !== edit.oldHash) {
    throw new ConfigError(path, 'the password was changed meanwhile', 'Verify the new one instead.');
  }
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  const at = lines.findIndex((line) => userOfLine(line.replace(/\r$/, ''), path) === edit.username);
  if (edit.kind === 'remove') lines.splice(at, 1);
  else lines.splice(at === -1 ? lines.length : at, at === -1 ? 0 : 1, `${edit.username}:${edit.hash}`);
  return lines.map((line) => `${line}\n`).join('');
}

function requireUser(
  path: string,
  edit: Pick<PasswordEdit, 'kind' | 'username'>,
  present: boolean,
  exists: boolean,
): void {
  if (edit.kind === 'add') {
    if (!present) return;
    throw new ConfigError(path, `the user "${edit.username}" is there already`, 'Use "set" to change it.');
  }
  if (!exists) throw new ConfigError(path, 'the file does not exist', 'Make it with "sluice passwd add".');
  if (!present) {
    throw new ConfigError(path, 'there is no such user', 'See "sluice passwd list"; "add" makes a new one.');
  }
}

function readText(path: string): string {
  return readGuardedFile(path, { fileBytesMax: PASSWORD_FILE_BYTES_MAX, forbiddenMode: 0, modeRemedy: '' });
}

/** Null when there is nothing. What is written must be no symbolic link: it could lead anywhere. */
function statWithoutLink(path: string): Stats | null {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return null;
  if (stat.isFile()) return stat;
  const what = stat.isSymbolicLink() ? 'a symbolic link' : 'not a regular file';
  throw new ConfigError(path, `this is ${what}`, 'Name the password file itself.');
}

async function takeLock(lock: string): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    try {
      return openSync(lock, LOCK_FLAGS, 0o600);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT')
        throw new ConfigError(dirname(lock), 'there is no such directory', 'Correct the path.');
      if (code !== 'EEXIST') throw error;
      if (attempt >= LOCK_TRIES_MAX) {
        throw new ConfigError(
          lock,
          'another writer holds the password file, or was killed while it did',
          'When no other "sluice passwd" is running, remove this lock file and try again.',
        );
      }
      await sleep(LOCK_RETRY_MS);
    }
  }
}

/** Root may edit the file of the broker's own user, who must still be able to read it afterwards. */
function keepOwnerAndMode(descriptor: number, before: Stats, path: string): void {
  try {
    if (before.uid !== process.getuid?.() || before.gid !== process.getgid?.()) {
      fchownSync(descriptor, before.uid, before.gid);
    }
  } catch {
    throw new ConfigError(
      path,
      'its owner and group cannot be kept',
      'Run the command as the owner of the file.',
    );
  }
  fchmodSync(descriptor, before.mode & 0o660);
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
