/** The folder of a store: made when missing, and refused when others could read it, change it or are using it. */
import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  type Stats,
  statSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';
import { ConfigError } from '../../src/errors.ts';
import { closeReadOnly, openReadOnly, readingProblem } from './read-only.ts';
import { makeRoomToRead } from './reserve.ts';
import { FILE_MODE, FOLDER_MODE, storeFiles } from './schema.ts';

const OTHERS = 0o077;
const SQLITE_BUSY = 5;
/** First byte that SQLite locks (its "pending byte"); what another program locks lies elsewhere. */
const SQLITE_LOCK_BYTE = 0x4000_0000;
const SQLITE_LOCK_BYTES = 512;

/**
 * Makes the folder (0700) when it is missing, else looks whether it is fit for a store. Its parent must be there: a missing
 * one is more often a disk that was not mounted than a wish for an empty store.
 * @param dir relative to the working directory
 * @param option what named the folder, for errors
 * @throws ConfigError that names the path and, where there is one, the command that puts it right
 */
export function prepareFolder(dir: string, option = 'persistence.dir'): void {
  if (statOf(dir, statSync, refusalOf(option)) === undefined) makeFolder(dir, option);
  checkFolder(dir, option);
}

/**
 * Looks whether an existing folder is fit: a folder, ours alone, readable and writable, its files too, and not in use.
 * @throws ConfigError as `prepareFolder` does
 */
export function checkFolder(dir: string, option = 'persistence.dir'): void {
  const refuse = refusalOf(option);
  const stat = statOf(dir, statSync, refuse);
  if (stat === undefined) {
    throw refuse(dir, 'the folder does not exist', 'Correct the path, or start the broker, which makes it');
  }
  if (!stat.isDirectory()) {
    throw refuse(dir, 'this is not a folder', 'Name a folder, or remove what is in its place');
  }
  requireOwner(dir, stat, dir, refuse);
  if ((stat.mode & OTHERS) !== 0) {
    throw refuse(
      dir,
      `mode ${octal(stat)} opens the folder to other users`,
      `Run "chmod 700 ${shellWord(dir)}"`,
    );
  }
  requireAccess(dir, constants.R_OK | constants.W_OK | constants.X_OK, FOLDER_MODE, refuse);
  checkFiles(dir, refuse);
  requireFree(dir, refuse);
}

/**
 * The process that has the database open, as far as the system tells (Linux: `/proc/locks`).
 * @returns its process id; null when that cannot be known
 */
export function holderOf(database: string): number | null {
  try {
    const inode = statSync(database).ino;
    for (const line of readFileSync('/proc/locks', 'latin1').split('\n')) {
      // "1: POSIX  ADVISORY  WRITE 4483 fe:00:2188821 1073741824 1073742335"
      const found = /^\d+: \w+ +\w+ +\w+ +(\d+) \w+:\w+:(\d+) (\d+) /.exec(line);
      if (found === null || Number(found[2]) !== inode) continue;
      const byte = Number(found[3]) - SQLITE_LOCK_BYTE;
      if (byte >= 0 && byte < SQLITE_LOCK_BYTES && found[1] !== '0') return Number(found[1]);
    }
  } catch {
    // No such list on this system: then nobody can be named.
  }
  return null;
}

/** "another broker (process 4483)" or what else can be said of who has the database open. */
export function describeHolder(database: string): string {
  const pid = holderOf(database);
  if (pid === null) return 'another broker';
  return pid === process.pid ? 'another broker in this process' : `another broker (process ${pid})`;
}

/** Whether an error of `node:sqlite` says that somebody else holds the lock. */
export function isBusy(error: unknown): boolean {
  const { errcode } = error as { errcode?: unknown };
  // The low byte is the kind of the error, the rest says more about it.
  return typeof errcode === 'number' && (errcode & 0xff) === SQLITE_BUSY;
}

type Refuse = (path: string, problem: string, remedy: string) => ConfigError;

function refusalOf(option: string): Refuse {
  return (path, problem, remedy) => new ConfigError(`${option} ${path}`, problem, remedy);
}

function makeFolder(dir: string, option: string): void {
  const refuse = refusalOf(option);
  const parent = dirname(resolve(dir));
  try {
    mkdirSync(dir, { mode: FOLDER_MODE });
    // Or a power cut could take the folder away from what is synced within it.
    syncFolder(parent);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      throw refuse(
        dir,
        `the folder cannot be made, because ${parent} does not exist`,
        `Mount the disk it should be on, or run "mkdir -p -m 700 ${shellWord(dir)}"`,
      );
    }
    if (code === 'EROFS') throw refuse(dir, 'the file system is read-only', READ_ONLY_REMEDY);
    if (code === 'EACCES' || code === 'EPERM') {
      throw refuse(
        dir,
        `the folder cannot be made: user ${userName()} may not write to ${parent}`,
        `Run "install -d -m 700 -o ${userName()} ${shellWord(dir)}" as root`,
      );
    }
    throw refuse(dir, `the folder cannot be made (${code ?? message})`, 'Correct the path, or name another');
  }
}

const READ_ONLY_REMEDY = 'Mount it writable, or name a folder elsewhere';

/** Writes a folder's entries to the disk. */
function syncFolder(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function checkFiles(dir: string, refuse: Refuse): void {
  const open: { path: string; stat: Stats }[] = [];
  const { database, log, mark } = storeFiles(dir);
  // Shared memory is left by a reader that was killed.
  for (const path of [database, log, `${database}-shm`, mark]) {
    // Not through a symbolic link: SQLite would keep the log beside the link's target.
    const stat = statOf(path, lstatSync, refuse);
    if (stat === undefined) continue;
    if (!stat.isFile()) {
      const what = stat.isSymbolicLink() ? 'a symbolic link' : 'not a regular file';
      throw refuse(path, `this is ${what}`, 'Put the file itself there; the folder may be a link');
    }
    requireOwner(path, stat, dir, refuse);
    if ((stat.mode & OTHERS) !== 0) open.push({ path, stat });
    else requireAccess(path, constants.R_OK | constants.W_OK, FILE_MODE, refuse);
  }
  if (open.length === 0) return;
  const [{ path, stat }] = open;
  const all = open.map((file) => shellWord(file.path)).join(' ');
  throw refuse(path, `mode ${octal(stat)} opens the file to other users`, `Run "chmod 600 ${all}"`);
}

function statOf(
  path: string,
  look: (path: string, options: { throwIfNoEntry: false }) => Stats | undefined,
  refuse: Refuse,
): Stats | undefined {
  try {
    return look(path, { throwIfNoEntry: false });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw refuse(
      path,
      `cannot be looked at (${code ?? message})`,
      `Let user ${userName()} into the folders above it`,
    );
  }
}

function requireOwner(path: string, stat: Stats, dir: string, refuse: Refuse): void {
  const uid = process.geteuid?.();
  if (uid === undefined || stat.uid === uid) return;
  throw refuse(
    path,
    `it belongs to user id ${stat.uid}, and this process runs as ${userName()} (${uid})`,
    `Run it as the owner, or run "chown -R ${uid} ${shellWord(dir)}" as root`,
  );
}

function requireAccess(path: string, access: number, mode: number, refuse: Refuse): void {
  try {
    accessSync(path, access);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EROFS') {
      throw refuse(path, 'the file system is read-only', READ_ONLY_REMEDY);
    }
    throw refuse(
      path,
      `user ${userName()} may not both read and write it`,
      `Run "chmod ${mode.toString(8)} ${shellWord(path)}"`,
    );
  }
}

/** SQLite itself is asked: opening the file by other means would drop the locks that this process may hold on it. */
function requireFree(dir: string, refuse: Refuse): void {
  const path = storeFiles(dir).database;
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return;
  const missing = makeRoomToRead(storeFiles(dir));
  if (missing > 0) {
    throw refuse(dir, 'the disk is full', `Make room: ${missing} bytes more are needed to read the store`);
  }
  const database = openReadOnly(path);
  try {
    database.prepare('PRAGMA schema_version').get();
  } catch (error) {
    if (isBusy(error)) {
      throw refuse(
        path,
        `in use by ${describeHolder(path)}`,
        'Stop it first, or give each broker a folder of its own',
      );
    }
    // Whatever else is wrong with the file is for the check of the store to say.
    readingProblem(error);
  } finally {
    closeReadOnly(database, path);
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without an entry in the list of users.
    return String(process.geteuid?.() ?? 'this user');
  }
}

function octal(stat: Stats): string {
  return (stat.mode & 0o777).toString(8).padStart(4, '0');
}

/** A path as a shell takes it for one word. */
function shellWord(path: string): string {
  return /^[\w./+@%:,=-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
