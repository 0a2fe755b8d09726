/**
 * `npm test`: installs what the tests need (root on Debian), then typecheck, lint, build and every test/**\/*.test.ts.
 * `npm test -- PART…` builds and runs only the test files whose path contains one of the parts;
 * `npm test -- --all-lines` prints passing tests too.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { installMissing } from './apt.ts';

const ROOT = path.join(import.meta.dirname, '..', '..');
/** The machine the suite is meant for has two cores. */
const TEST_FILES_AT_ONCE = 2;
/** A file that is still running after this hangs: the whole suite has ten minutes. */
const FILE_TIMEOUT_MS = 300_000;
const LINE = /^( *)(?:\u001b\[\d+m)*([✔▶])/;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function runStep(title: string, script: string): boolean {
  print(`== ${title}`);
  const started = performance.now();
  const result = spawnSync('npm', ['run', '--silent', script], { cwd: ROOT, stdio: 'inherit' });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  print(result.status === 0 ? `   ${title} passed in ${seconds} s` : `   ${title} FAILED`);
  return result.status === 0;
}

function testFiles(parts: string[]): string[] {
  const all = globSync('test/**/*.test.ts', { cwd: ROOT }).sort();
  const chosen = parts.length === 0 ? all : all.filter((file) => parts.some((part) => file.includes(part)));
  return chosen.map((file) => path.join(ROOT, file));
}

/** Drops the lines of tests and suites that passed; a suite's title stays where something below it stays. */
function createQuietFilter(): (line: string) => string[] {
  let titles: { indent: number; line: string }[] = [];
  return (line) => {
    const match = LINE.exec(line);
    if (match === null) {
      const kept = [...titles.map((title) => title.line), line];
      titles = [];
      return kept;
    }
    const indent = match[1].length;
    titles = titles.filter((title) => title.indent < indent);
    if (match[2] === '▶') titles.push({ indent, line });
    return [];
  };
}

/** Prints failures, skips with their reasons, and node's summary. Resolves to whether everything passed. */
async function runTests(files: string[], allLines: boolean): Promise<boolean> {
  let failed = 0;
  const events = run({ files, cwd: ROOT, concurrency: TEST_FILES_AT_ONCE, timeout: FILE_TIMEOUT_MS });
  events.on('test:fail', () => {
    failed += 1;
  });
  const filter = allLines ? (line: string) => [line] : createQuietFilter();
  for await (const line of createInterface({ input: events.compose(new spec()) })) {
    for (const kept of filter(line)) print(kept);
  }
  return failed === 0;
}

async function main(args: string[]): Promise<number> {
  const allLines = args.includes('--all-lines');
  const parts = args.filter((arg) => !arg.startsWith('--'));
  const files = testFiles(parts);
  if (files.length === 0) {
    print(`no test file's path contains ${parts.join(' or ')}; give a part of a path such as test/codec`);
    return 2;
  }
  installMissing(print);
  let passed = true;
  if (parts.length === 0) {
    passed = runStep('typecheck', 'typecheck') && passed;
    passed = runStep('lint', 'lint') && passed;
  }
  passed = runStep('build', 'build') && passed;
  print(`== ${files.length} test files`);
  passed = (await runTests(files, allLines)) && passed;
  return passed ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
