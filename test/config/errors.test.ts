/** Bad configurations: a table of files, variables and flags, and what has to be said about each. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loadConfig } from '../../config/load.ts';
import { ConfigErrors } from '../../config/problems.ts';

interface Case {
  name: string;
  yaml: string;
  /** Nothing else is said; anonymous clients are allowed, so that nobody complains of that. */
  only?: boolean;
  env?: Record<string, string>;
  flags?: Record<string, string>;
  expect: string[];
  absent?: string[];
}

const cases: Case[] = JSON.parse(
  readFileSync(new URL('../data/config-errors.json', import.meta.url), 'utf8'),
);
const directory = mkdtempSync(join(tmpdir(), 'sluice-config-'));
after(() => rmSync(directory, { recursive: true }));

function problemsOf(given: Case): ConfigErrors {
  const file = join(directory, 'sluice.yaml');
  writeFileSync(file, given.yaml);
  try {
    const always = given.only ? { 'auth.allowAnonymous': 'true' } : {};
    loadConfig({ file, env: given.env ?? {}, flags: { ...always, ...given.flags } });
  } catch (error) {
    if (error instanceof ConfigErrors) return error;
    throw error;
  }
  assert.fail('the configuration was accepted');
}

describe('a bad configuration', () => {
  for (const given of cases) {
    test(`is refused with every problem named: ${given.name}`, () => {
      const { message, problems } = problemsOf(given);
      for (const text of given.expect)
        assert.ok(message.includes(text), `${text}\nis missing in\n${message}`);
      for (const text of given.absent ?? [])
        assert.ok(!message.includes(text), `${text}\nstands in\n${message}`);
      assert.ok(problems.every((problem) => problem.remedy !== ''));
      if (given.only) assert.equal(problems.length, given.expect.length, message);
    });
  }

  test('leaves Object.prototype as it was', () => {
    problemsOf({ name: '', yaml: '__proto__: { isAdmin: true }\n', expect: [] });
    assert.equal((Object.prototype as { isAdmin?: boolean }).isAdmin, undefined);
  });

  test('that unfolds into millions of values is stopped', () => {
    const rows = ['a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]'];
    for (const [name, before] of ['ba', 'cb', 'dc', 'ed', 'fe', 'gf']) {
      rows.push(`${name}: &${name} [${Array(10).fill(`*${before}`).join(', ')}]`);
    }
    const { message } = problemsOf({ name: '', yaml: rows.join('\n'), expect: [] });
    assert.match(message, /nested too deeply or too large/);
  });

  test('of brackets only is an error, not a crash', () => {
    const { message } = problemsOf({ name: '', yaml: '['.repeat(100_000), expect: [] });
    assert.match(message, /sluice\.yaml/);
  });

  test('that is a missing file or a directory names it', () => {
    const load = (file: string) => () => loadConfig({ file, env: {}, flags: {} });
    assert.throws(load(join(directory, 'none.yaml')), /none\.yaml: no such file\. Give a readable YAML file/);
    assert.throws(load(directory), /cannot be read \(EISDIR\)/);
  });

  test('in another encoding is refused', () => {
    const file = join(directory, 'latin.yaml');
    writeFileSync(file, Buffer.from([0x61, 0xff, 0x3a]));
    assert.throws(() => loadConfig({ file, env: {}, flags: {} }), /not UTF-8/);
  });
});
