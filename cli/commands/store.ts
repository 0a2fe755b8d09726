/** `sluice store`: looks into the durable store, checks it, and carries it from place to place while no broker runs on it. */
import type { Command } from 'commander';
import { loadConfig } from '../../config/load.ts';

/** Where the store of a broker is that was not told otherwise, relative to the working directory. */

/** The folder of a command, and what named it. */
export interface StoreFolder {
  readonly dir: string;
  readonly option: '--dir' | 'persistence.dir';
}

interface FolderFlags {
  readonly dir?: string;
  readonly config?: string;
}

/** Adds the `store` command to the program. */
export function registerStore(program: Command): void {
  const store = program
    .command('store')
    .description('look into, check and move the durable store while no broker runs')
    .helpCommand(false);
  const add = (name: string, description: string): Command =>
    store
      .command(name)
      .description(description)
      .option('--dir <folder>', 'folder of the store; default: what the configuration says, or "data"')
      .option('-c, --config <file>', 'configuration file (YAML) that names the folder');
  // What only these commands need is loaded by them.
  const act = async (
    run: (actions: typeof import('./store-actions.ts')) => Promise<number>,
  ): Promise<void> => {
    process.exitCode = await run(await import('./store-actions.ts'));
  };
  add('stats', 'count what is in the store')
    .option('--json', 'print JSON')
    .action((flags) => act((actions) => actions.showStats(folderOf(flags), flags, process)));
  add('verify', 'check every row; exit code 1 when something is wrong')
    .option('--json', 'print JSON')
    .action((flags) => act((actions) => actions.verify(folderOf(flags), flags, process)));
  add('export', 'write what is sound as lines of JSON; exit code 3 when something had to be left out')
    .argument('<file>', 'the file to write, or - for standard output')
    .option('--force', 'replace a file that is there')
    .action((file, flags) => act((actions) => actions.exportTo(file, folderOf(flags), flags, process)));
  add('import', 'make a new store of what export wrote; the folder must hold none')
    .argument('<file>', 'the file to read, or - for standard input')
    .action((file, flags) => act((actions) => actions.importFrom(file, folderOf(flags), process)));
  add('compact', 'give the disk back what the store no longer uses').action((flags) =>
    act((actions) => actions.compact(folderOf(flags), process)),
  );
}

function folderOf({ dir, config: file }: FolderFlags): StoreFolder {
  if (dir !== undefined) return { dir, option: '--dir' };
  const env = process.env;
  const { persistence } = loadConfig(file === undefined ? { env, flags: {} } : { file, env, flags: {} });
  return { dir: persistence.dir, option: 'persistence.dir' };
}
