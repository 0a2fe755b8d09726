import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, test } from 'node:test';
import { holderOf, prepareFolder } from '../../persistence/sqlite/folder.ts';
import { storeFiles, takeExclusively } from '../../persistence/sqlite/schema.ts';
import { ConfigError } from '../../src/errors.ts';
import { skipUnless } from '../tools/needs.ts';
import { holdLock } from './lock-holder.ts';

const root = mkdtempSync(path.join(tmpdir(), 'sluice-folder-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
const isRoot = process.geteuid?.() === 0;
const OTHER_UID = 4_242;

function folder(mode = 0o700): string {
  const dir = path.join(root, String(folders++));
  mkdirSync(dir, { mode });
  chmodSync(dir, mode);
  return dir;
}

/** A folder with a database that was written and closed. */
function storeFolder(): string {
  const dir = folder();
  const { database, mark } = storeFiles(dir);
  const db = new DatabaseSync(database);
  db.exec('PRAGMA journal_mode = WAL; CREATE TABLE t (a)');
  db.close();
  writeFileSync(mark, '');
  for (const file of [database, mark]) chmodSync(file, 0o600);
  return dir;
}

function refusal(dir: string): ConfigError {
  try {
    prepareFolder(dir);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: `${dir} was not refused` });
}

const MODULE = new URL('../../persistence/sqlite/folder.ts', import.meta.url);

/** Runs a program as another user, without the rights of root. */
function asOther(script: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    uid: OTHER_UID,
    gid: OTHER_UID,
    cwd: '/',
    encoding: 'utf8',
    env: { NODE_OPTIONS: '' },
  });
}

/** The message with which another user is refused; empty: not refused. */
function refusalOfOther(dir: string): string {
  const { stdout, stderr } = asOther(`const { prepareFolder } = await import(${JSON.stringify(MODULE.href)});
    try { prepareFolder(${JSON.stringify(dir)}) } catch (error) { process.stdout.write(error.message) }`);
  assert.equal(stderr, '');
  return stdout;
}

/** Others may not be let into the folders of the project. */
function canOtherRun(): boolean {
  if (!isRoot) return false;
  return asOther(`await import(${JSON.stringify(MODULE.href)})`).status === 0;
}

describe('the folder of a store', () => {
  test('is made for its owner alone', () => {
    const dir = path.join(folder(), 'data');
    prepareFolder(dir);
    assert.equal(statSync(dir).mode & 0o777, 0o700);
    prepareFolder(dir);
  });

  test('is not made in a folder that is missing: a disk may not be mounted', () => {
    const dir = path.join(root, 'none', 'data');
    const { where, message, remedy } = refusal(dir);
    assert.equal(where, `persistence.dir ${dir}`);
    assert.ok(message.includes(`${path.dirname(dir)} does not exist`), message);
    assert.ok(remedy.includes(`mkdir -p -m 700 ${dir}`), remedy);
    assert.ok(!existsSync(path.dirname(dir)));
  });

  test('may have a name that a shell would take apart', () => {
    const dir = path.join(root, 'none', "it's here");
    assert.ok(refusal(dir).remedy.includes(`'${root}/none/it'\\''s here'`));
  });

  test('must be a folder', () => {
    const dir = path.join(folder(), 'file');
    writeFileSync(dir, '');
    assert.match(refusal(dir).message, /this is not a folder/);
  });

  for (const mode of [0o750, 0o701, 0o777]) {
    test(`must not let others in: mode ${mode.toString(8)}`, () => {
      const dir = folder(mode);
      const { message, remedy } = refusal(dir);
      assert.ok(message.includes(`mode 0${mode.toString(8)} opens the folder to other users`), message);
      assert.equal(remedy, `Run "chmod 700 ${dir}"`);
    });
  }

  for (const name of ['sluice.db', 'sluice.db-wal', 'sluice.mark'] as const) {
    test(`must not let others read ${name}`, () => {
      const dir = storeFolder();
      const file = path.join(dir, name);
      writeFileSync(file, '', { flag: 'a' });
      chmodSync(file, 0o640);
      const { where, message, remedy } = refusal(dir);
      assert.equal(where, `persistence.dir ${file}`);
      assert.match(message, /mode 0640 opens the file to other users/);
      assert.equal(remedy, `Run "chmod 600 ${file}"`);
    });
  }

  test('names all files that are open to others in one command', () => {
    const dir = storeFolder();
    const files = [path.join(dir, 'sluice.db'), path.join(dir, 'sluice.mark')];
    for (const file of files) chmodSync(file, 0o644);
    assert.equal(refusal(dir).remedy, `Run "chmod 600 ${files.join(' ')}"`);
  });

  test('must hold the files themselves, not links to them', () => {
    const dir = folder();
    symlinkSync(path.join(storeFolder(), 'sluice.db'), path.join(dir, 'sluice.db'));
    assert.match(refusal(dir).message, /sluice\.db: this is a symbolic link/);
    rmSync(path.join(dir, 'sluice.db'));
    mkdirSync(path.join(dir, 'sluice.db'), { mode: 0o700 });
    assert.match(refusal(dir).message, /sluice\.db: this is not a regular file/);
  });

  test('may be a link to a folder', () => {
    const link = path.join(root, 'link');
    symlinkSync(storeFolder(), link);
    prepareFolder(link);
  });
});

describe('the owner of the folder', { skip: skipUnless(isRoot, 'only root can give files away') }, () => {
  test('must be the user that runs the broker', () => {
    const dir = folder();
    chownSync(dir, OTHER_UID, OTHER_UID);
    const { message, remedy } = refusal(dir);
    assert.match(message, /it belongs to user id 4242, and this process runs as root \(0\)/);
    assert.ok(remedy.includes(`chown -R 0 ${dir}`), remedy);
  });

  test('must own the files too', () => {
    const dir = storeFolder();
    chownSync(path.join(dir, 'sluice.mark'), OTHER_UID, OTHER_UID);
    const { where } = refusal(dir);
    assert.equal(where, `persistence.dir ${path.join(dir, 'sluice.mark')}`);
  });

  test('needs a file system that can be written', (t) => {
    const dir = storeFolder();
    const mount = spawnSync('mount', ['--bind', '-o', 'ro', dir, dir], { encoding: 'utf8' });
    const remount = spawnSync('mount', ['-o', 'remount,ro,bind', dir]);
    if (mount.status !== 0 || remount.status !== 0) return t.skip('this machine does not let root mount');
    try {
      const { message, remedy } = refusal(dir);
      assert.match(message, /the file system is read-only/);
      assert.match(remedy, /Mount it writable/);
      assert.match(refusal(path.join(dir, 'data')).message, /the file system is read-only/);
    } finally {
      spawnSync('umount', [dir]);
    }
  });
});

describe('a user without the rights of root', {
  skip: skipUnless(canOtherRun(), 'needs root, and a project that others may read'),
}, () => {
  test('must be able to read and write the folder and the files', () => {
    const dir = storeFolder();
    const files = ['sluice.db', 'sluice.mark'].map((name) => path.join(dir, name));
    for (const file of [dir, ...files]) chownSync(file, OTHER_UID, OTHER_UID);
    chmodSync(root, 0o755);
    assert.equal(refusalOfOther(dir), '');
    chmodSync(files[0], 0o400);
    assert.match(refusalOfOther(dir), /sluice\.db: user 4242 may not .* Run "chmod 600 /);
    chmodSync(files[0], 0o600);
    chmodSync(dir, 0o500);
    assert.match(refusalOfOther(dir), /user 4242 may not both read and write it\. Run "chmod 700 /);
  });

  test('must be able to make the folder', () => {
    chmodSync(root, 0o755);
    const dir = path.join(folder(0o755), 'data');
    const message = refusalOfOther(dir);
    assert.match(message, /cannot be made: user 4242 may not write to .* Run "install -d -m 700 -o 4242 /);
  });

  test('must be let into the folders above', () => {
    const above = folder();
    chmodSync(root, 0o755);
    mkdirSync(path.join(above, 'data'), { mode: 0o700 });
    const message = refusalOfOther(path.join(above, 'data'));
    assert.match(message, /cannot be looked at \(EACCES\)/);
  });
});

describe('a store that is in use', () => {
  test('is refused with the process that has it', async () => {
    const dir = storeFolder();
    const { database } = storeFiles(dir);
    const holder = await holdLock(database);
    try {
      const { where, message, remedy } = refusal(dir);
      assert.equal(where, `persistence.dir ${database}`);
      const pid = holderOf(database);
      assert.ok(pid === null || pid === holder.pid, String(pid));
      const who = pid === null ? 'another broker' : `another broker (process ${holder.pid})`;
      assert.ok(message.includes(`in use by ${who}. `), message);
      assert.match(remedy, /Stop it first/);
    } finally {
      await holder.release();
    }
    prepareFolder(dir);
    assert.equal(holderOf(database), null);
  });

  test('is refused when it is this process that has it', () => {
    const dir = storeFolder();
    const db = new DatabaseSync(storeFiles(dir).database);
    takeExclusively(db);
    assert.match(refusal(dir).message, /in use by another broker/);
    db.exec("INSERT INTO t VALUES ('still here')");
    db.close();
    prepareFolder(dir);
  });

  test('leaves nothing behind that was not there', () => {
    const dir = storeFolder();
    prepareFolder(dir);
    assert.ok(!existsSync(path.join(dir, 'sluice.db-shm')) && !existsSync(path.join(dir, 'sluice.db-wal')));
  });
});
