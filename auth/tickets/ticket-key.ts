/** The key file of tickets: one key a line; the first signs, all verify, so that a new key can be put on top of an old one. */
import { createHash, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { ConfigError } from '../../src/errors.ts';
import { readGuardedFile, splitLines } from '../files/guarded-file.ts';

export interface TicketKey {
  /** Goes into the ticket, so that one look finds the key again. Tells nothing of the key. */
  readonly id: string;
  readonly secret: KeyObject;
}

/** Never empty. The first signs. */
export type TicketKeys = readonly [TicketKey, ...TicketKey[]];

/** As long as the hash that signs (RFC 7518 section 3.2). */
const KEY_BYTES = 32;
/** Two while one replaces the other; some more do no harm. */
const KEYS_MAX = 16;
const FILE_BYTES_MAX = 16_384;
const PREFIX = 'sluice-ticket-key:';
const LINE = /^sluice-ticket-key:[A-Za-z0-9_-]{43}$/;

/** The text of a new key file. */
export function makeTicketKeyFile(): string {
  return `# Signs the tickets of Sluice. Whoever reads this file can log in as anybody.\n${PREFIX}${randomBytes(KEY_BYTES).toString('base64url')}\n`;
}

/**
 * Reads the file, which nobody but its owner may read.
 * @throws ConfigError naming file and line; never repeats a key
 */
export function readTicketKeys(
  path: string,
  options: { readonly allowUnsafeModes?: boolean } = {},
): TicketKeys {
  const text = readGuardedFile(path, {
    fileBytesMax: FILE_BYTES_MAX,
    forbiddenMode: options.allowUnsafeModes === true ? 0 : 0o077,
    modeRemedy: `Run "chmod 600 ${path}".`,
  });
  const keys: TicketKey[] = [];
  for (const [index, line] of splitLines(text).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const bytes = LINE.test(line) ? Buffer.from(line.slice(PREFIX.length), 'base64url') : null;
    if (bytes === null)
      throw new ConfigError(`${path}:${index + 1}`, 'this is no ticket key', remedyFor(path));
    keys.push({ id: idOf(bytes), secret: createSecretKey(bytes) });
  }
  if (keys.length === 0) throw new ConfigError(path, 'there is no key in it', remedyFor(path));
  if (keys.length > KEYS_MAX)
    throw new ConfigError(path, `there are ${keys.length} keys in it`, `Keep at most ${KEYS_MAX}.`);
  return keys as unknown as TicketKeys;
}

function remedyFor(path: string): string {
  return `Make a key with "sluice ticket --init --key-file ${path}".`;
}

function idOf(bytes: Buffer): string {
  return createHash('sha256').update('ticket key id').update(bytes).digest('base64url').slice(0, 11);
}
