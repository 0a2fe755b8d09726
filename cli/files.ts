/** Writing files so that a reader sees the old content or the new, never half of it. */

import { randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/**
 * Writes beside the target, syncs, renames over it, syncs the directory. A symbolic link in place of the target is
 * replaced, not followed.
 */
export function writeAtomically(file: string, content: string, mode: number): void {
  const directory = dirname(file);
  const temporary = join(directory, `.${basename(file)}.${randomUUID()}`);
  try {
    const descriptor = openSync(temporary, 'wx', mode);
    try {
      writeSync(descriptor, content);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  const parent = openSync(directory, 'r');
  try {
    fsyncSync(parent);
  } finally {
    closeSync(parent);
  }
}
