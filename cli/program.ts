/** The command line: what can be asked for, and what an exit code means (0 done, 1 failed, 2 not understood). */
import { Command, CommanderError, Option } from 'commander';
import { describeOptions, type OptionRow, renderMarkdown } from '../config/describe.ts';
import { loadConfig } from '../config/load.ts';
import { kebab } from '../config/options.ts';
import { ConfigErrors, nearest, printable } from '../config/problems.ts';
import type { Config } from '../config/types.ts';
import { ConfigError } from '../src/errors.ts';
import { registerAcl } from './commands/acl.ts';
import { registerBan } from './commands/ban.ts';
import { registerCerts } from './commands/certs.ts';
import { registerPasswd } from './commands/passwd.ts';
import { registerStore } from './commands/store.ts';
import { registerTicket } from './commands/ticket.ts';
import { writeAtomically } from './files.ts';
import { readVersion } from './version.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/**
 * Runs one command.
 * @param args the words behind `sluice`
 * @returns the exit code
 */
export async function main(args: readonly string[]): Promise<number> {
  const program = createProgram(args);
  if (args.length === 0) {
    program.outputHelp();
    return 0;
  }
  try {
    await program.parseAsync(normaliseFlags(args), { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    if (!(error instanceof ConfigErrors || error instanceof ConfigError)) throw error;
    process.stderr.write(`sluice: ${error.message}\n`);
    return EXIT_FAILED;
  }
}

/**
 * The tree of commands.
 * @param args what will be parsed, for suggestions
 */
export function createProgram(args: readonly string[] = []): Command {
  const program = new Command('sluice')
    .description('A secure MQTT broker for TCP, TLS, WebSocket and unix sockets.')
    .version(readVersion(), '--version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .addHelpText('after', '\n"sluice COMMAND --help" tells more. The manual: README.md and docs/.');
  // Set before the commands are added: they inherit it.
  program.exitOverride().configureOutput({
    outputError: (text, write) => write(withSuggestion(text, commandOf(program, args))),
  });
  program.showSuggestionAfterError(false);

  const serve = program
    .command('serve')
    .description('run the broker; without a configuration on loopback only, for trying things out');
  addConfigFlags(serve);
  // What only one command needs is loaded by that command.
  serve.action(async (flags: Record<string, string | true>) => {
    const config = toConfig(flags);
    const { serveUntilStopped } = await import('./serve.ts');
    await serveUntilStopped(config, flags.config === undefined ? undefined : String(flags.config));
  });

  const check = program
    .command('check')
    .description('look for mistakes in the configuration and the files it names; starts nothing');
  addConfigFlags(check);
  check.action((flags: Record<string, string | true>) => runCheck(toConfig(flags)));

  registerPasswd(program);
  registerBan(program);
  registerAcl(program);
  registerCerts(program);
  registerStore(program);
  registerTicket(program);

  program
    .command('config-docs [file]', { hidden: true })
    .description('Print the configuration reference, or write it to a file.')
    .action((file: string | undefined) => {
      if (file === undefined) process.stdout.write(renderMarkdown());
      else writeAtomically(file, renderMarkdown(), 0o644);
    });
  return program;
}

async function runCheck(config: Config): Promise<void> {
  const { checkFiles, warningsOf } = await import('./check.ts');
  const { Account } = await import('./account.ts');
  // So that it is seen what that user may read and write.
  Account.takeOn(config);
  const problems = checkFiles(config);
  if (problems.length > 0) throw new ConfigErrors(problems);
  for (const warning of warningsOf(config, Date.now()))
    process.stderr.write(`warning: ${printable(warning)}\n`);
  process.stdout.write('ok\n');
}

function addConfigFlags(command: Command): void {
  command.option('-c, --config <file>', 'configuration file (YAML); default: none, local-only mode');
  for (const row of describeOptions()) command.addOption(toFlag(row));
}

function toFlag(row: OptionRow): Option {
  const placeholder = row.isSwitch ? '[true|false]' : '<value>';
  const text = `${row.doc} Accepts ${row.accepts}. Default: ${row.defaultText}. Variable: ${row.env}`;
  return new Option(`${row.flag} ${placeholder}`, text);
}

function toConfig(options: Record<string, string | true>): Config {
  const { config: file, ...given } = options;
  const flags = Object.fromEntries(Object.entries(given).map(([key, value]) => [key, String(value)]));
  const env = process.env;
  return loadConfig(file === undefined ? { env, flags } : { file: String(file), env, flags });
}

/** `--limits.queue-messages-max` and `--limits.queueMessagesMax` are the same flag. */
function normaliseFlags(args: readonly string[]): string[] {
  const byKebab = new Map(describeOptions().map((row) => [`--${kebab(row.key)}`, row.flag]));
  const end = args.indexOf('--');
  return args.map((arg, index) => {
    if (end !== -1 && index >= end) return arg;
    const [name, ...rest] = arg.split('=');
    const flag = byKebab.get(name);
    return flag === undefined ? arg : [flag, ...rest].join('=');
  });
}

/** The command that the words lead to, like `ban add`. */
function commandOf(program: Command, args: readonly string[]): Command {
  let command = program;
  for (const word of args) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) break;
    command = next;
  }
  return command;
}

/** Commander names the unknown word; the nearest one that the command knows is worth more than the list. */
function withSuggestion(text: string, command: Command): string {
  const unknown = /^error: unknown (option|command) '([^']*)'/.exec(text);
  const message = printable(text.trimEnd().replace(/^error: /, ''));
  if (unknown === null) return `sluice: ${message}\n`;
  const help = command.createHelp();
  const known =
    unknown[1] === 'command'
      ? help.visibleCommands(command).map((each) => each.name())
      : help.visibleOptions(command).map((option) => option.long ?? option.flags);
  const meant = nearest(unknown[2].split('=')[0], known);
  const name = [...parentsOf(command), command.name()].join(' ');
  const remedy = meant === null ? `See "${name} --help"` : `Did you mean ${meant}?`;
  return `sluice: ${message}. ${remedy}\n`;
}

function parentsOf({ parent }: Command): string[] {
  return parent === null ? [] : [...parentsOf(parent), parent.name()];
}
