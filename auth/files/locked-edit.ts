/** Changes a file that decides who gets in, so that a crash at any moment leaves the old content or the new one, whole. */
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
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError } from '../../src/errors.ts';

export interface LockedEdit {
  /** What the file is, for errors: `password file`. */
  readonly what: string;
  /** The command that writes it, for errors: `sluice passwd`. */
  readonly command: string;
  /** Whether a missing folder is made (0700). */
  readonly makeFolder: boolean;
  /** Reads the file, if it `exists`, and gives its new content. Throws to change nothing. */
  readonly change: (exists: boolean) => string;
}

/** Another writer needs milliseconds: this many tries, this far apart, before giving up. */
const LOCK_TRIES_MAX = 40;
const LOCK_RETRY_MS = 50;
const LOCK_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Applies one edit. The new content is written to `PATH.lock`, which also keeps other writers out, and renamed into place.
 * Owner, group and mode stay, but others lose all access; a new file is 0600 and belongs to the owner of its folder.
 * @throws ConfigError when the file is a symbolic link, locked or cannot be written, and what `change` throws
 */
export async function editLocked(path: string, edit: LockedEdit): Promise<void> {
  try {
    await edited(path, edit);
  } catch (error) {
    throw told(error, path);
  }
}

async function edited(path: string, edit: LockedEdit): Promise<void> {
  if (edit.makeFolder) mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const lock = `${path}.lock`;
  const descriptor = await takeLock(lock, edit);
  let renamed = false;
  try {
    const before = statWithoutLink(path, edit.what);
    writeFileSync(descriptor, edit.change(before !== null));
    keepOwner(descriptor, before ?? statSync(dirname(path)), path);
    if (before !== null) fchmodSync(descriptor, before.mode & 0o660);
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
 * Null when there is nothing. What is written must be no symbolic link: it could lead anywhere.
 * @throws ConfigError when it is one, no regular file, or out of reach
 */
export function statWithoutLink(path: string, what: string): Stats | null {
  let stat: Stats | undefined;
  try {
    stat = lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw told(error, path);
  }
  if (stat === undefined) return null;
  if (stat.isFile()) return stat;
  const found = stat.isSymbolicLink() ? 'a symbolic link' : 'not a regular file';
  throw new ConfigError(path, `this is ${found}`, `Name the ${what} itself.`);
}

/** An error of the system as a user can read it; any other stays what it is. */
function told(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof ConfigError || code === undefined) return error;
  if (code === 'EACCES' || code === 'EPERM')
    return new ConfigError(path, 'no permission for the file or its folder', 'Run this as their owner.');
  return new ConfigError(path, `the file cannot be used (${code})`, 'Check the path and the disk.');
}

async function takeLock(lock: string, { what, command }: LockedEdit): Promise<number> {
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
          `another writer holds the ${what}, or was killed while it did`,
          `When no other "${command}" is running, remove this lock file and try again.`,
        );
      }
      await sleep(LOCK_RETRY_MS);
    }
  }
}

/** Root may edit the file of the broker's own user, who must still be able to read it afterwards. */
function keepOwner(descriptor: number, owner: Stats, path: string): void {
  try {
    const isRoot = process.getuid?.() === 0;
    // A folder that anybody may write to says nothing about whose the file is to be: only root goes by it.
    if (!isRoot && owner.isDirectory()) return;
    if (owner.uid !== process.getuid?.() || owner.gid !== process.getgid?.()) {
      fchownSync(descriptor, owner.uid, owner.gid);
    }
  } catch {
    throw new ConfigError(
      path,
      'its owner and group cannot be kept',
      'Run the command as the owner of the file.',
    );
  }
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
