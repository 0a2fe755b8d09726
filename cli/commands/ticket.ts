/** `sluice ticket`: makes the key of tickets, and tickets: short-lived credentials for web pages. */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import type { MintOptions } from '../../auth/tickets/ticket.ts';
import { loadConfig } from '../../config/load.ts';
import { ConfigError } from '../../src/errors.ts';

/** What the command line says. */
export interface TicketFlags {
  readonly init?: true;
  readonly keyFile?: string;
  readonly config?: string;
  readonly user?: string;
  readonly origin?: string;
  readonly publish?: readonly string[];
  readonly subscribe?: readonly string[];
  readonly client?: string;
  readonly seconds: number;
}

/** Five minutes: a page asks for a ticket when it needs one. */
const SECONDS_DEFAULT = 300;

interface Settings {
  readonly keyFile: string;
  /** Longest life that the broker accepts; null: not known here. */
  readonly secondsMax: number | null;
}

/** Adds the `ticket` command to the program. */
export function registerTicket(program: Command): void {
  program
    .command('ticket')
    .description('make a credential for a web page: short-lived, for one origin, for some topics')
    .option('--init', 'make the key file instead, readable by its owner only')
    .option('--key-file <file>', 'file of the key; default: auth.tickets.keyFile')
    .option('-c, --config <file>', 'configuration file (YAML) that names the key file')
    .option('--user <name>', 'user to log in as')
    .option('--origin <origin>', 'origin of the page, like https://dash.example.org')
    .option('--publish <filter>', 'topics it may publish to; may be repeated', collect)
    .option('--subscribe <filter>', 'topics it may subscribe to; may be repeated', collect)
    .option('--client <id>', 'the only client id it is good for; default: any')
    .option(
      '--seconds <number>',
      'how long it lives, and until when a connection lasts',
      toSeconds,
      SECONDS_DEFAULT,
    )
    .action(async (flags: TicketFlags) => {
      process.stdout.write(await ticketCommand(flags, process.env));
    });
}

/**
 * Runs the command.
 * @param env where `SLUICE_AUTH_TICKETS_KEY_FILE` may name the key file
 * @returns what it prints
 * @throws ConfigError saying what is missing or wrong
 */
export async function ticketCommand(
  flags: TicketFlags,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const { keyFile, secondsMax } = settingsOf(flags, env);
  // Loaded only here: no other command needs it.
  const { makeTicketKeyFile, mintTicket, readTicketKeys } = await import('../../auth/tickets/ticket.ts');
  if (flags.init === true) {
    writeNew(keyFile, makeTicketKeyFile());
    return `Made ${keyFile}. Name it in auth.tickets.keyFile.\n`;
  }
  const { user, origin, client, publish, subscribe, seconds } = flags;
  if (user === undefined)
    throw new ConfigError('--user', 'missing', 'Name the user that the page logs in as.');
  if (origin === undefined)
    throw new ConfigError(
      '--origin',
      'missing',
      'Give the origin of the page, like https://dash.example.org',
    );
  if (secondsMax !== null && seconds > secondsMax)
    throw new ConfigError(
      '--seconds',
      `${seconds} is over auth.tickets.secondsMax`,
      `Give at most ${secondsMax}.`,
    );
  const options: MintOptions = {
    keys: readTicketKeys(keyFile),
    user,
    origin,
    seconds,
    ...(publish === undefined ? {} : { publish }),
    ...(subscribe === undefined ? {} : { subscribe }),
    ...(client === undefined ? {} : { clientId: client }),
  };
  return `${await mintTicket(options)}\n`;
}

function settingsOf(flags: TicketFlags, env: Readonly<Record<string, string | undefined>>): Settings {
  const { keyFile: given, config: file } = flags;
  if (given !== undefined && file === undefined) return { keyFile: given, secondsMax: null };
  const { auth } = loadConfig(file === undefined ? { env, flags: {} } : { file, env, flags: {} });
  const keyFile = given ?? auth.tickets.keyFile;
  if (keyFile !== null) return { keyFile, secondsMax: auth.tickets.secondsMax };
  const remedy = 'Give --key-file FILE, or -c FILE of a configuration with auth.tickets.keyFile.';
  throw new ConfigError('key file', 'none is named', remedy);
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function toSeconds(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Give a whole number of seconds.');
}

/** Never over a file that is there: a key that is replaced by mistake ends every ticket. */
function writeNew(path: string, content: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'wx', 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST')
      throw new ConfigError(
        path,
        'there is a file already',
        'Remove it first, if you mean to end all its tickets.',
      );
    throw new ConfigError(
      path,
      `the file cannot be made (${code})`,
      'Name one in a folder that you may write to.',
    );
  }
  try {
    writeSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
