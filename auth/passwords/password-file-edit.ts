/** Changes one line of a password file so that a crash at any moment leaves the old file or the new one, whole. */
import { ConfigError } from '../../src/errors.ts';
import { readGuardedFile } from '../files/guarded-file.ts';
import { editLocked, statWithoutLink } from '../files/locked-edit.ts';
import { PASSWORD_FILE_BYTES_MAX, parsePasswordFile, readPasswordFile, userOfLine } from './password-file.ts';

/** `add` needs the user to be absent, `set` and `remove` to be there; `rehash` also that the old hash still stands. */
export type PasswordEdit =
  | { readonly kind: 'add' | 'set'; readonly username: string; readonly hash: string }
  | { readonly kind: 'rehash'; readonly username: string; readonly hash: string; readonly oldHash: string }
  | { readonly kind: 'remove'; readonly username: string };

const WHAT = 'password file';

/**
 * Applies one edit (see `editLocked`). Comments, order and other lines stay. `add` creates a missing file (0600) and its
 * directory (0700).
 * @throws ConfigError when the file is broken, a symbolic link or locked, or the user is (not) there
 */
export function editPasswordFile(path: string, edit: PasswordEdit): Promise<void> {
  return editLocked(path, {
    what: WHAT,
    command: 'sluice passwd',
    makeFolder: edit.kind === 'add',
    change: (exists) => applyEdit(exists ? readText(path) : '', path, edit, exists),
  });
}

/**
 * Fails early with what editPasswordFile would say later, so that nobody types a password in vain.
 * @throws ConfigError
 */
export function checkEdit(path: string, edit: Pick<PasswordEdit, 'kind' | 'username'>): void {
  const exists = statWithoutLink(path, WHAT) !== null;
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
