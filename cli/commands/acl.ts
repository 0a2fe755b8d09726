/** `sluice acl`: says why a client may or may not, and looks an ACL file over. */
import { Argument, type Command } from 'commander';

/** The streams of a command. */
export interface AclIo {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

export interface ExplainFlags {
  readonly file?: string;
  readonly config?: string;
  readonly listener?: string;
  readonly user?: string;
  readonly client: string;
  readonly all?: boolean;
  readonly json?: boolean;
}

export interface CheckFlags {
  readonly users?: string;
  readonly strict?: boolean;
  readonly json?: boolean;
}

/** Adds the `acl` command to the program. */
export function registerAcl(program: Command): void {
  const acl = program
    .command('acl')
    .description('explain what the rules of an ACL file allow, and look for mistakes in them')
    .helpCommand(false);
  // What only these commands need is loaded by them.
  const act = async (run: (actions: typeof import('./acl-actions.ts')) => number): Promise<void> => {
    process.exitCode = run(await import('./acl-actions.ts'));
  };
  acl
    .command('explain')
    .description(
      'say why a client may do something or not, and by which line: exit code 0 allowed, 1 denied, 2 error',
    )
    .addArgument(
      new Argument('<action>', 'what it wants to do; a will is published').choices([
        'publish',
        'subscribe',
        'receive',
      ]),
    )
    .argument('<topic>', 'topic name; for subscribe a filter, $share/GROUP/ included')
    .option('--file <file>', 'the ACL file')
    .option('-c, --config <file>', 'configuration file (YAML) that names it, in place of --file')
    .option('--listener <url>', 'with -c: for clients that come in by this listener')
    .option('--user <name>', 'user name; without it the client is anonymous')
    .requiredOption('--client <id>', 'client id; always needed')
    .option('--all', 'also list every line before, and why it did not decide')
    .option('--json', 'print JSON')
    .action((action, topic, flags) =>
      act((actions) => actions.explainCommand(action, topic, flags, process)),
    );
  acl
    .command('check')
    .description(
      'look for lines that cannot be used, rules that never decide, order that matters, and names that are not there: ' +
        'exit code 0 nothing, 1 faults, 2 error',
    )
    .argument('<file>', 'the ACL file')
    .option('--users <file>', 'password file in which users and members are looked up')
    .option('--strict', 'take notes for faults')
    .option('--json', 'print JSON')
    .action((file, flags) => act((actions) => actions.checkCommand(file, flags, process)));
}
