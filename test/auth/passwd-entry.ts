/** Runs `passwd` alone, as the real program would, for passwd.test.ts. */
import { Command } from 'commander';
import { registerPasswd } from '../../cli/commands/passwd.ts';

const program = new Command('sluice');
registerPasswd(program);
await program.parseAsync();
