/** `sluice ban`: bans addresses, networks, users and client ids, in the file that a running broker reads again. */
import { existsSync } from 'node:fs';
import { Argument, type Command } from 'commander';
import { editBanFile, nounOf, problemWithReason, readBanFile } from '../../auth/bans/ban-file.ts';
import { BAN_KINDS, type Ban, type BanKind, isInForce, normalValue } from '../../auth/bans/ban-list.ts';
import { loadConfig } from '../../config/load.ts';
import { printable } from '../../config/problems.ts';
import { ConfigError } from '../../src/errors.ts';

interface FileFlags {
  readonly file?: string;
  readonly config?: string;
}

interface AddFlags extends FileFlags {
  readonly for?: string;
  readonly until?: string;
  readonly reason?: string;
}

interface ListFlags extends FileFlags {
  readonly json?: boolean;
}

/** Where a command writes to, and the wall clock it goes by, in milliseconds. */
export interface BanIo {
  readonly stdout: { write(text: string): unknown };
  readonly wallNow: () => number;
}

const MS_OF_UNIT: Readonly<Record<string, number>> = Object.freeze({
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
});
/** The last year that is written with four digits. */
const UNTIL_MS_MAX = Date.UTC(9999, 11, 31);

/** Adds the `ban` command to the program. */
export function registerBan(program: Command): void {
  const ban = program
    .command('ban')
    .description(
      'ban addresses, networks, users and client ids; a running broker takes notice in two seconds',
    )
    .helpCommand(false);
  const io: BanIo = { stdout: process.stdout, wallNow: Date.now };
  const add = (name: string, description: string): Command =>
    ban
      .command(name)
      .description(description)
      .option('-f, --file <file>', 'the ban file; default: what the configuration says, or "data/bans.jsonl"')
      .option('-c, --config <file>', 'configuration file (YAML) that names the ban file');
  const kind = (): Argument => new Argument('<kind>', 'what is banned').choices(BAN_KINDS);
  add('add', 'ban somebody, and disconnect whom it hits; a ban that is there already is replaced')
    .addArgument(kind())
    .argument('<value>', 'IP address; network like 203.0.113.0/24; user name; client id')
    .option('--for <time>', 'how long, like 90s, 15m, 1h, 7d or 2w; default: until it is removed')
    .option('--until <time>', 'until when, like 2026-12-31 or 2026-12-31T18:00:00Z')
    .option('--reason <text>', 'why, for the list; nobody else is told')
    .action((what: BanKind, value: string, flags: AddFlags) => addBan(what, value, flags, io));
  add('remove', 'lift a ban')
    .addArgument(kind())
    .argument('<value>', 'as "sluice ban list" shows it')
    .action((what: BanKind, value: string, flags: FileFlags) => removeBan(what, value, flags, io));
  add('list', 'list the bans in force')
    .option('--json', 'print JSON, one ban a line')
    .action((flags: ListFlags) => listBans(flags, io));
}

/** @throws ConfigError for a value, time or reason that cannot be used, or a file that cannot be written */
export async function addBan(kind: BanKind, given: string, flags: AddFlags, io: BanIo): Promise<void> {
  const value = requireValue(kind, given);
  const { reason = '' } = flags;
  const problem = problemWithReason(reason);
  if (problem !== null) throw new ConfigError('--reason', problem, 'Give one line.');
  const sinceMs = io.wallNow();
  const untilMs = endOf(flags, sinceMs);
  const ban: Ban = { kind, value, sinceMs, untilMs, reason };
  const replaced = await editBanFile(fileOf(flags), { action: 'add', ban }, sinceMs);
  const until = untilMs === null ? '' : ` until ${new Date(untilMs).toISOString()}`;
  io.stdout.write(`${replaced ? 'Changed the ban: ' : 'Banned '}${kind} ${shown(value)}${until}.\n`);
}

/** @throws ConfigError when there is no such ban */
export async function removeBan(kind: BanKind, given: string, flags: FileFlags, io: BanIo): Promise<void> {
  const value = requireValue(kind, given);
  await editBanFile(fileOf(flags), { action: 'remove', kind, value }, io.wallNow());
  io.stdout.write(`Lifted the ban of ${kind} ${shown(value)}.\n`);
}

/** @throws ConfigError when the file cannot be read */
export function listBans(flags: ListFlags, io: BanIo): void {
  const now = io.wallNow();
  const file = fileOf(flags);
  const bans = readBanFile(file).bans.filter((ban) => isInForce(ban, now));
  if (flags.json === true) {
    for (const { kind, value, sinceMs, untilMs, reason } of bans) {
      const until = untilMs === null ? null : new Date(untilMs).toISOString();
      const row = { kind, value, since: new Date(sinceMs).toISOString(), until, reason };
      // Escaped beyond what JSON asks for: it may be read on a terminal.
      io.stdout.write(`${escapeJson(JSON.stringify(row))}\n`);
    }
    return;
  }
  if (bans.length === 0)
    io.stdout.write(
      `Nobody is banned in ${printable(file)}${existsSync(file) ? '' : ', which does not exist'}.\n`,
    );
  for (const { kind, value, untilMs, reason } of bans) {
    const until = untilMs === null ? 'for ever' : `until ${new Date(untilMs).toISOString()}`;
    const why = reason === '' ? '' : `  ${printable(reason)}`;
    io.stdout.write(`${kind.padEnd(8)} ${shown(value)}  ${until}${why}\n`);
  }
}

function requireValue(kind: BanKind, given: string): string {
  const value = normalValue(kind, given);
  if (value === null) {
    throw new ConfigError(`"${printable(given)}"`, `this is no ${nounOf(kind)}`, shapeOf(kind, given));
  }
  if (kind === 'network' && value.endsWith('/0')) {
    throw new ConfigError(value, 'this is everybody', 'Close a listener with its "allow" list instead.');
  }
  return value;
}

/** What would be right in place of `given`; also where it is a value of the other kind. */
function shapeOf(kind: BanKind, given: string): string {
  const other = kind === 'address' ? 'network' : 'address';
  const isAddress = kind === 'address' || kind === 'network';
  if (isAddress && normalValue(other, given) !== null) return `Ban it as "${other}".`;
  if (kind === 'address') return 'Give one like 203.0.113.7 or 2001:db8::7.';
  if (kind === 'network') return 'Give one like 203.0.113.0/24 or 2001:db8::/48.';
  return 'Give well-formed UTF-8 of at most 65535 bytes.';
}

/** A name as it is shown; an empty one would not be seen. */
function shown(value: string): string {
  return value === '' ? '""' : printable(value);
}

/** Wall-clock milliseconds; null: no end. */
function endOf({ for: duration, until }: AddFlags, nowMs: number): number | null {
  if (duration !== undefined && until !== undefined)
    throw new ConfigError('--until', '--for is also given', 'Use one of the two.');
  if (duration !== undefined) {
    const parts = /^(\d{1,9})([smhdw])$/.exec(duration);
    const ms = parts === null ? 0 : Number(parts[1]) * MS_OF_UNIT[parts[2]];
    if (ms === 0 || nowMs + ms > UNTIL_MS_MAX)
      throw new ConfigError('--for', 'this is no time span', 'Give one like 90s, 15m, 1h, 7d or 2w.');
    return nowMs + ms;
  }
  if (until === undefined) return null;
  const ms = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?)?$/.test(until)
    ? Date.parse(until)
    : Number.NaN;
  if (Number.isNaN(ms) || ms > UNTIL_MS_MAX) {
    const remedy = 'Give one like 2026-12-31 or 2026-12-31T18:00:00Z.';
    throw new ConfigError('--until', 'this is no point in time', remedy);
  }
  if (ms <= nowMs) throw new ConfigError('--until', 'this time is past', 'Give one to come.');
  return ms;
}

function fileOf({ file, config }: FileFlags): string {
  if (file !== undefined) return file;
  const env = process.env;
  return loadConfig(config === undefined ? { env, flags: {} } : { file: config, env, flags: {} }).bans.file;
}

/** Control, format and separator characters as JSON escapes, so that the line means the same. */
function escapeJson(json: string): string {
  return json.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from(
      { length: character.length },
      (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`,
    ).join(''),
  );
}
