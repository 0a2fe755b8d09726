/** `sluice passwd`: adds, changes, removes, lists and verifies users of a password file. */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { problemsOf } from '../../auth/files/bad-lines.ts';
import { problemWithUsername, readPasswordFile } from '../../auth/passwords/password-file.ts';
import { checkEdit, editPasswordFile } from '../../auth/passwords/password-file-edit.ts';
import {
  describeHash,
  isCurrentHash,
  PASSWORD_BYTES_MAX,
  PasswordHasher,
  type StoredHash,
} from '../../auth/passwords/password-hash.ts';
import { hashScram, prepareText } from '../../auth/scram/scram-hash.ts';
import { ConfigError } from '../../src/errors.ts';
import { askHidden, askYesNo, Cancelled, type CommandIo, readFirstLine } from './password-prompt.ts';

export type { CommandIo } from './password-prompt.ts';

export interface PasswdOptions {
  readonly action: 'add' | 'set' | 'remove' | 'list' | 'verify';
  readonly file: string;
  /** All but `list` need one. */
  readonly username?: string | undefined;
  /** The password itself, given on the command line, where every user of the machine can see it. */
  readonly password?: string | undefined;
  /** Read one line of standard input even where that is a terminal. */
  readonly stdin?: boolean | undefined;
  /** `add`, `set`: store what SCRAM-SHA-256 needs instead of a hash. */
  readonly scram?: boolean | undefined;
  /** `verify`: store a fresh hash in place of an old one without asking. */
  readonly rehash?: boolean | undefined;
}

/** Exit codes: done, or the password fits; the password does not fit; could not do it; Ctrl-C. */
export const PASSWD_EXIT = Object.freeze({ done: 0, wrong: 1, failed: 2, cancelled: 130 });

/**
 * Runs one action and says what came of it.
 * @returns the exit code, one of PASSWD_EXIT
 */
export async function passwdCommand(options: PasswdOptions, io: CommandIo): Promise<number> {
  try {
    return await act(options, io);
  } catch (error) {
    if (error instanceof Cancelled) return PASSWD_EXIT.cancelled;
    // Errors of the file system carry a code; anything else is a defect and must be seen whole.
    if (!(error instanceof ConfigError) && (error as NodeJS.ErrnoException).code === undefined) throw error;
    const problems = error instanceof ConfigError ? problemsOf(error) : [error as Error];
    io.stderr.write(problems.map(({ message }) => `sluice passwd: ${printable(message)}\n`).join(''));
    return PASSWD_EXIT.failed;
  }
}

/** Adds the `passwd` command to the program. */
export function registerPasswd(program: Command): void {
  const passwd = program
    .command('passwd')
    .description('manage the users of a password file')
    .helpCommand(false);
  const run = async (options: PasswdOptions) => {
    process.exitCode = await passwdCommand(options, process);
  };
  const withPassword = (name: 'add' | 'set' | 'verify', description: string) =>
    passwd
      .command(name)
      .description(description)
      .argument('<file>', 'the password file')
      .argument('<user>', 'the user name')
      .option('--stdin', 'read the password from standard input, one line, even on a terminal')
      .option(
        '--password <value>',
        'the password itself; everyone on this machine can see it in the process list while the command runs',
      );
  for (const action of ['add', 'set'] as const) {
    const what = action === 'add' ? 'add a new user' : 'change the password of a user';
    withPassword(action, `${what} (asks twice, without echo)`)
      .option(
        '--scram',
        'store it for SCRAM-SHA-256 of MQTT 5, where the password itself is never sent; logging in by password works too',
      )
      .action((file, username, flags) => run({ ...flags, action, file, username }));
  }
  withPassword('verify', 'check a password: exit code 0 when it is right, 1 when not, 2 on errors')
    .option('--rehash', 'when it is right and its hash is of an old scheme or cost, store a fresh one')
    .action((file, username, flags) => run({ ...flags, action: 'verify', file, username }));
  passwd
    .command('remove')
    .description('remove a user')
    .argument('<file>', 'the password file')
    .argument('<user>', 'the user name')
    .action((file, username) => run({ action: 'remove', file, username }));
  passwd
    .command('list')
    .description('list users, how their passwords are stored, and whether that should be renewed')
    .argument('<file>', 'the password file')
    .action((file) => run({ action: 'list', file }));
}

async function act(options: PasswdOptions, io: CommandIo): Promise<number> {
  if (options.action === 'list') return list(options.file, io);
  const username = requireUsername(options.username);
  switch (options.action) {
    case 'add':
    case 'set':
      return store(options.action, username, options, io);
    case 'remove':
      await editPasswordFile(options.file, { kind: 'remove', username });
      io.stdout.write(`Removed ${printable(username)}.\n`);
      return PASSWD_EXIT.done;
    case 'verify':
      return verify(username, options, io);
  }
}

async function store(
  kind: 'add' | 'set',
  username: string,
  options: PasswdOptions,
  io: CommandIo,
): Promise<number> {
  if (options.scram === true) checkScramName(username);
  checkEdit(options.file, { kind, username });
  const password = await getPassword(options, io, true);
  if (password.length === 0 || password.length > PASSWORD_BYTES_MAX) {
    throw new ConfigError(
      'password',
      `it has ${password.length} bytes`,
      `Choose one of 1 to ${PASSWORD_BYTES_MAX} bytes.`,
    );
  }
  const losesScram = options.scram !== true && hasScram(options.file, username);
  const hash = options.scram === true ? await hashScram(password) : await new PasswordHasher().hash(password);
  await editPasswordFile(options.file, { kind, username, hash });
  io.stdout.write(`${kind === 'add' ? 'Added' : 'Changed'} ${printable(username)}.\n`);
  if (losesScram)
    io.stdout.write('Logging in by SCRAM-SHA-256 is over for this user; "set --scram" brings it back.\n');
  return PASSWD_EXIT.done;
}

function list(file: string, io: CommandIo): number {
  const rows = Array.from(readPasswordFile(file, { allowUnsafeModes: true }), ([username, stored]) => [
    printable(username),
    describeHash(stored),
    isCurrentHash(stored) ? '' : 'rehash advised',
  ]);
  const width = (column: number) => Math.max(0, ...rows.map((row) => row[column].length));
  for (const [username, hash, advice] of rows) {
    io.stdout.write(`${`${username.padEnd(width(0))}  ${hash.padEnd(width(1))}  ${advice}`.trimEnd()}\n`);
  }
  return PASSWD_EXIT.done;
}

async function verify(username: string, options: PasswdOptions, io: CommandIo): Promise<number> {
  const stored = readPasswordFile(options.file, { allowUnsafeModes: true }).get(username);
  const password = await getPassword(options, io, false);
  const hasher = new PasswordHasher();
  const fits = stored !== undefined && (await hasher.verify(password, stored));
  await hasher.close();
  if (!fits) {
    io.stderr.write('The password is wrong, or there is no such user.\n');
    return PASSWD_EXIT.wrong;
  }
  io.stdout.write('The password is right.\n');
  if (!isCurrentHash(stored)) await offerRehash(username, password, stored, options, io);
  return PASSWD_EXIT.done;
}

async function offerRehash(
  username: string,
  password: Buffer,
  stored: StoredHash,
  options: PasswdOptions,
  io: CommandIo,
): Promise<void> {
  const question = `It is stored as ${describeHash(stored)}. Store it as argon2id?`;
  const asks = io.stdin.isTTY === true && options.stdin !== true;
  if (options.rehash !== true && !asks) {
    io.stdout.write(`It is stored as ${describeHash(stored)}; --rehash stores it as argon2id.\n`);
    return;
  }
  if (options.rehash !== true && !(await askYesNo(io, question))) return;
  const hash = await new PasswordHasher().hash(password);
  await editPasswordFile(options.file, { kind: 'rehash', username, hash, oldHash: stored.text });
  io.stdout.write('Stored it as argon2id.\n');
}

/** From the command line when told so, else typed without echo, else one line of standard input. */
async function getPassword(options: PasswdOptions, io: CommandIo, twice: boolean): Promise<Buffer> {
  if (options.password !== undefined) {
    if (options.stdin === true)
      throw new ConfigError('--password', '--stdin is also given', 'Use one of the two.');
    return Buffer.from(options.password);
  }
  if (options.stdin === true || io.stdin.isTTY !== true) return readFirstLine(io.stdin);
  const [password, again] = await askHidden(io, twice ? ['Password: ', 'Again: '] : ['Password: ']);
  if (twice && !password.equals(again)) {
    throw new ConfigError('password', 'the two do not agree', 'Run the command again.');
  }
  return password;
}

function hasScram(file: string, username: string): boolean {
  if (!existsSync(file)) return false;
  const stored = readPasswordFile(file, { allowUnsafeModes: true }).get(username);
  return stored?.scheme === 'scram-sha-256';
}

/** A client prepares the name before it sends it; a line under another form of it would never be found. */
function checkScramName(username: string): void {
  const prepared = prepareText(username);
  if (prepared === username) return;
  const remedy = prepared === null ? 'Choose another name.' : `Write it as "${prepared}".`;
  throw new ConfigError('user', 'SCRAM has another form of this name (SASLprep, RFC 4013)', remedy);
}

function requireUsername(username: string | undefined): string {
  const problem = username === undefined ? 'no user is named' : problemWithUsername(username);
  if (problem === null) return username as string;
  throw new ConfigError('user', problem, 'Name a user in printable UTF-8 without a colon.');
}

/** Text for a terminal: control, format (bidi) and separator characters become `?`. */
function printable(text: string): string {
  return text.replace(/[\p{C}\u2028\u2029]/gu, '?');
}
