/**
 * `npm run attack [-- PART…]`: runs the attacks, or those whose file's path contains one of the parts, against the sources or the
 * build that is there, and prints what each was measured to cost: the figures of docs/security.md.
 */
import { globSync } from 'node:fs';
import path from 'node:path';
import { run } from 'node:test';
import { MEASURED } from './harness/figures.ts';

const FILES_AT_ONCE = 1;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(parts: readonly string[]): Promise<number> {
  const all = globSync(path.join(import.meta.dirname, '*.test.ts')).sort();
  const files = parts.length === 0 ? all : all.filter((file) => parts.some((part) => file.includes(part)));
  if (files.length === 0) {
    print(
      `no attack's file contains ${parts.join(' or ')}; there are ${all.map((file) => path.basename(file)).join(', ')}`,
    );
    return 2;
  }
  const startedAt = performance.now();
  const figures = new Map<string, string[]>();
  const failures: string[] = [];
  const events = run({ files, concurrency: FILES_AT_ONCE });
  events.on('test:diagnostic', ({ message }) => {
    if (!message.startsWith(MEASURED)) return;
    const [name, figure] = message.slice(MEASURED.length).split(' | ') as [string, string];
    figures.set(name, [...(figures.get(name) ?? []), figure]);
  });
  events.on('test:fail', ({ name, details }) => {
    const { cause } = details.error;
    failures.push(`${name}: ${cause instanceof Error ? cause.message : String(cause ?? details.error)}`);
  });
  for await (const _event of events);
  print('| attack | measured |\n|---|---|');
  for (const [name, lines] of figures) print(`| ${name} | ${lines.join('; ')} |`);
  print(`\n${files.length} files in ${Math.round((performance.now() - startedAt) / 1_000)} s`);
  for (const failure of failures) print(`FAILED ${failure}`);
  return failures.length === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2).filter((part) => !part.startsWith('--')));
