/**
 * The file of bans: one JSON object a line, `#` lines and blank lines are skipped. Written by `sluice ban`, read by the
 * broker, which never writes it.
 */
import { ConfigError } from '../../src/errors.ts';
import { LineFaults } from '../files/bad-lines.ts';
import { hasControlCharacter, readGuardedFile, splitLines } from '../files/guarded-file.ts';
import { editLocked, statWithoutLink } from '../files/locked-edit.ts';
import { BAN_KINDS, type Ban, type BanKind, BanList, isInForce, normalValue } from './ban-list.ts';

/** More belong into a firewall; so many are read and looked up in no time, and take some 5 MB. */
export const BANS_MAX = 10_000;
/** Read in one go; a client id of 64 KB needs more in JSON, a thousand of them are not bans but a mistake. */
const BAN_FILE_BYTES_MAX = 16_777_216;
/** A sentence. */
export const BAN_REASON_CHARACTERS_MAX = 200;

const WHAT = 'ban file';
const KEYS: ReadonlySet<string> = new Set(['kind', 'value', 'since', 'until', 'reason']);
const SHAPE =
  'Write {"kind":"address","value":"203.0.113.7","since":"2026-01-31T12:00:00Z","until":"…","reason":"…"}.';
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/;

/** What `sluice ban` does to the list. */
export type BanEdit =
  | { readonly action: 'add'; readonly ban: Ban }
  | { readonly action: 'remove'; readonly kind: BanKind; readonly value: string };

/**
 * Reads and checks the whole file; one that does not exist holds no bans. It must be closed to other users.
 * @throws ConfigError naming file and line; nothing of a file with an error is used
 */
export function readBanFile(path: string): BanList {
  if (statWithoutLink(path, WHAT) === null) return new BanList();
  return new BanList(parseBanFile(readText(path), path));
}

/** A `readBanFile` for one file that does not take it for empty when it goes: whoever deletes it by mistake lifts no ban. */
export function banFileReader(): (path: string) => BanList {
  let found = false;
  return (path) => {
    const exists = statWithoutLink(path, WHAT) !== null;
    if (!exists && found) {
      const remedy = 'Lift bans with "sluice ban remove", or put an empty file there.';
      throw new ConfigError(path, 'the ban file is gone', remedy);
    }
    const list = readBanFile(path);
    found = exists;
    return list;
  };
}

/**
 * Parses the text of a ban file.
 * @param path only for errors
 * @throws ConfigError naming file and line; BadLines where several lines are wrong
 */
export function parseBanFile(text: string, path: string): Ban[] {
  const bans = new Map<string, Ban>();
  const faults = new LineFaults(path);
  for (const [index, line] of splitLines(text).entries()) {
    const where = `${path}:${index + 1}`;
    try {
      const ban = banOfLine(line, where);
      if (ban === null) continue;
      if (bans.has(keyOf(ban)))
        throw new ConfigError(where, 'this ban is there already', 'Remove one of the two lines.');
      if (bans.size >= BANS_MAX)
        throw new ConfigError(
          where,
          `there are more than ${BANS_MAX} bans`,
          'Ban networks, or use a firewall.',
        );
      bans.set(keyOf(ban), ban);
    } catch (error) {
      faults.add(error);
      if (faults.full || bans.size >= BANS_MAX) break;
    }
  }
  faults.throwIfAny();
  return [...bans.values()];
}

/**
 * Applies one edit (see `editLocked`): comments and other lines stay, bans that are over go. `add` replaces a ban of the same
 * kind and value, and makes a missing file (0600), but no folder: that of the store is made by the broker, for its own user.
 * @returns whether there was such a ban in force
 * @throws ConfigError when the file is broken, locked or full, or there is no such ban to remove
 */
export async function editBanFile(path: string, edit: BanEdit, wallNowMs: number): Promise<boolean> {
  const target = edit.action === 'add' ? edit.ban : edit;
  let replaced = false;
  const change = (exists: boolean): string => {
    const text = exists ? readText(path) : '';
    const bans = parseBanFile(text, path).filter((ban) => isInForce(ban, wallNowMs));
    replaced = bans.some((ban) => keyOf(ban) === keyOf(target));
    if (edit.action === 'remove' && !replaced) {
      throw new ConfigError(path, 'there is no such ban', 'See "sluice ban list".');
    }
    if (edit.action === 'add' && !replaced && bans.length >= BANS_MAX) {
      const remedy = 'Remove some, ban networks instead of addresses, or use a firewall.';
      throw new ConfigError(path, `there are ${BANS_MAX} bans already`, remedy);
    }
    const kept = splitLines(text).filter((line) => {
      const ban = banOfLine(line, path);
      return ban === null || (isInForce(ban, wallNowMs) && keyOf(ban) !== keyOf(target));
    });
    const lines = edit.action === 'add' ? [...kept, lineOf(edit.ban)] : kept;
    return lines.map((line) => `${line}\n`).join('');
  };
  await editLocked(path, { what: WHAT, command: 'sluice ban', makeFolder: false, change });
  return replaced;
}

function readText(path: string): string {
  return readGuardedFile(path, {
    fileBytesMax: BAN_FILE_BYTES_MAX,
    forbiddenMode: 0o007,
    modeRemedy: `Run "chmod 600 ${path}".`,
  });
}

function lineOf({ kind, value, sinceMs, untilMs, reason }: Ban): string {
  const until = untilMs === null ? {} : { until: new Date(untilMs).toISOString() };
  return JSON.stringify({
    kind,
    value,
    since: new Date(sinceMs).toISOString(),
    ...until,
    ...(reason === '' ? {} : { reason }),
  });
}

/** The ban of one line; null for a blank line or a comment. */
function banOfLine(line: string, where: string): Ban | null {
  if (line.startsWith('#') || line.trim() === '') return null;
  const fields = fieldsOf(line, where);
  const kind = fields.get('kind');
  const value = fields.get('value');
  if (!isKind(kind))
    throw new ConfigError(where, 'the kind is not known', `Give one of ${BAN_KINDS.join(', ')}.`);
  const normal = typeof value === 'string' ? normalValue(kind, value) : null;
  if (normal === null) throw new ConfigError(where, `the value is no ${nounOf(kind)}`, `Write one. ${SHAPE}`);
  const sinceMs = instantOf(fields.get('since'), 'since', where);
  const untilMs = fields.has('until') ? instantOf(fields.get('until'), 'until', where) : null;
  const reason = fields.get('reason') ?? '';
  if (typeof reason !== 'string' || problemWithReason(reason) !== null)
    throw new ConfigError(where, 'the reason cannot be used', `Write ${REASON_SHAPE}.`);
  return { kind, value: normal, sinceMs, untilMs, reason };
}

const REASON_SHAPE = `one line of at most ${BAN_REASON_CHARACTERS_MAX} characters`;

/** Why a text cannot be the reason of a ban, or null when it can. */
export function problemWithReason(reason: string): string | null {
  if (reason.length > BAN_REASON_CHARACTERS_MAX)
    return `it is longer than ${BAN_REASON_CHARACTERS_MAX} characters`;
  return hasControlCharacter(reason) || !reason.isWellFormed() ? 'it has control characters' : null;
}

/** What a kind of ban is of, in words. */
export function nounOf(kind: BanKind): string {
  switch (kind) {
    case 'address':
      return 'IP address';
    case 'network':
      return 'network like 203.0.113.0/24';
    case 'user':
      return 'user name';
    case 'client':
      return 'client id';
  }
}

/** As a Map: keys like `__proto__` are unknown keys and nothing else. */
function fieldsOf(line: string, where: string): Map<string, unknown> {
  let object: unknown;
  try {
    object = JSON.parse(line);
  } catch {
    throw new ConfigError(where, 'the line is not valid JSON', SHAPE);
  }
  if (object === null || typeof object !== 'object' || Array.isArray(object))
    throw new ConfigError(where, 'the line is not a JSON object', SHAPE);
  const fields = new Map(Object.entries(object));
  for (const key of fields.keys()) {
    if (!KEYS.has(key)) throw new ConfigError(where, 'the line has a key that is not known', SHAPE);
  }
  return fields;
}

function instantOf(value: unknown, key: string, where: string): number {
  const ms = typeof value === 'string' && INSTANT.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms))
    throw new ConfigError(where, `${key} is no point in time`, 'Write it like 2026-01-31T12:00:00Z.');
  return ms;
}

function isKind(value: unknown): value is BanKind {
  return BAN_KINDS.some((kind) => kind === value);
}

function keyOf({ kind, value }: { kind: BanKind; value: string }): string {
  return `${kind} ${value}`;
}
