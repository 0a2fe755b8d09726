/**
 * Writes docs/conformance.md: each normative statement of MQTT 3.1.1 and 5.0 beside the tests that prove it.
 *
 * The two versions number different statements alike, so a test has to say which one it means:
 * - in test/spec/v3/ an id in a test's name means 3.1.1, in test/spec/v5/ it means 5.0;
 * - anywhere else the name says `3.1.1:[MQTT-x.y.z-n]` or `5.0:[MQTT-x.y.z-n]`;
 * - section 6 (WebSocket) is the same in both: a bare `[MQTT-6.0.0-n]` elsewhere counts for both;
 * - a test vector (an object in test/data/**\/*.json with a `statement`) says it with `version`: 3, 4 or 5.
 *   Without one it counts where its file's path has a v3 or v5 in it.
 * Other bare ids prove nothing and are not counted. In a table of cases, a string that is nothing but ids belongs to the
 * next test, whose name takes it in as `${statements}`.
 *
 * Run: `npx node test/tools/conformance.ts`
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

export interface Statement {
  id: string;
  about: string;
  applies: 'server' | 'client' | 'both';
  /** Why no test proves it here, or what covers it instead. */
  note?: string;
}
export type SpecVersion = '3.1.1' | '5.0';
export interface Proof {
  version: SpecVersion;
  id: string;
  /** The test's or vector's name. */
  name: string;
  /** Relative to the repository, with forward slashes. */
  file: string;
}
export type State = 'tested' | 'client-only' | 'untested';

export const SPEC_VERSIONS: readonly SpecVersion[] = ['3.1.1', '5.0'];
export const ROOT: string = join(import.meta.dirname, '..', '..');
const REPORT = join(ROOT, 'docs', 'conformance.md');
const ID = /(?:(3\.1\.1|5\.0):)?\[(MQTT-\d+(?:\.\d+)+-\d+)\]/g;
const CASES = /\$\{statements\}/;
const IDS_ALONE = /'((?:(?:3\.1\.1:|5\.0:)?\[MQTT-[\d.-]+\] ?)+)'/g;
const TEST_NAME = /\b(?:test|it)\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g;

/** The statements of one version, in the specification's order. */
export function readStatements(version: SpecVersion): Statement[] {
  return JSON.parse(readFileSync(join(ROOT, 'test', 'data', 'statements', `v${version}.json`), 'utf8'));
}

/** What a name proves when it stands in the given file. */
export function proofsInName(name: string, file: string): Proof[] {
  const home = versionOfPath(file);
  const proofs: Proof[] = [];
  const text = name.replace(ID, '').replace(CASES, '').replace(/\s+/g, ' ').trim();
  for (const [, prefix, id] of name.matchAll(ID)) {
    for (const version of versionsMeant(prefix, id, home)) proofs.push({ version, id, name: text, file });
  }
  return proofs;
}

/** What the names in a test file's source prove. */
export function proofsInSource(source: string, file: string): Proof[] {
  let done = 0;
  return [...source.matchAll(TEST_NAME)].flatMap((match) => {
    const name = (match[1] ?? match[2] ?? match[3]).replace(/\\(.)/g, '$1');
    const cases = CASES.test(name) ? source.slice(done, match.index).matchAll(IDS_ALONE) : [];
    done = match.index;
    return proofsInName([name, ...new Set([...cases].map(([, ids]) => ids))].join(' '), file);
  });
}

/** Every proof below test/, in the order of the files and of the tests in them. */
export function collectProofs(): Proof[] {
  const proofs: Proof[] = [];
  for (const path of filesBelow(join(ROOT, 'test'))) {
    const file = relative(ROOT, path).split(sep).join('/');
    if (file.endsWith('.test.ts')) {
      proofs.push(...proofsInSource(readFileSync(path, 'utf8'), file));
    } else if (file.endsWith('.json') && !file.startsWith('test/data/statements/')) {
      collectVectors(JSON.parse(readFileSync(path, 'utf8')), file, undefined, proofs);
    }
  }
  return proofs;
}

/** Where a statement stands, given the proofs found for it. */
export function stateOf(statement: Statement, proofs: readonly Proof[]): State {
  if (proofs.length > 0) return 'tested';
  return statement.applies === 'client' ? 'client-only' : 'untested';
}

/** The statements that nothing proves and no note explains, e.g. `3.1.1 MQTT-3.1.2-1`. */
export function unexplained(proofs: readonly Proof[] = collectProofs()): string[] {
  return SPEC_VERSIONS.flatMap((version) =>
    readStatements(version)
      .filter((statement) => statement.note === undefined)
      .filter((statement) => stateOf(statement, proofsOf(proofs, version, statement.id)) === 'untested')
      .map((statement) => `${version} ${statement.id}`),
  );
}

/** Ids that tests claim and the specification does not have. */
export function unknownIds(proofs: readonly Proof[] = collectProofs()): string[] {
  const known = new Set(SPEC_VERSIONS.flatMap((v) => readStatements(v).map((s) => `${v} ${s.id}`)));
  return proofs
    .filter((p) => !known.has(`${p.version} ${p.id}`))
    .map((p) => `${p.version} ${p.id} in ${p.file}`);
}

/** The report as it belongs in docs/conformance.md. */
export function renderReport(proofs: readonly Proof[] = collectProofs()): string {
  const lines = [
    '# Conformance',
    '',
    'Every normative statement of MQTT 3.1.1 and MQTT 5.0 and the tests that prove it, generated from the names of the',
    'tests by `npx node test/tools/conformance.ts`. The short descriptions are ours; the specification has the wording.',
    '',
    '| version | statements | tested | client-only | untested, with the reason | untested |',
    '|---|---|---|---|---|---|',
  ];
  for (const version of SPEC_VERSIONS) lines.push(renderTotals(version, proofs));
  for (const version of SPEC_VERSIONS) {
    lines.push(
      '',
      `## MQTT ${version}`,
      '',
      '| statement | about | applies to | state | tests |',
      '|---|---|---|---|---|',
    );
    for (const statement of readStatements(version)) {
      lines.push(renderRow(statement, proofsOf(proofs, version, statement.id)));
    }
  }
  return `${lines.join('\n')}\n`;
}

/** The report as it lies in docs/, or nothing when it was never written. */
export function readReport(): string {
  return existsSync(REPORT) ? readFileSync(REPORT, 'utf8') : '';
}

function renderTotals(version: SpecVersion, proofs: readonly Proof[]): string {
  const statements = readStatements(version);
  const count = (state: State, noted?: boolean) =>
    statements.filter(
      (s) =>
        stateOf(s, proofsOf(proofs, version, s.id)) === state &&
        (noted === undefined || (s.note !== undefined) === noted),
    ).length;
  const cells = [version, statements.length, count('tested'), count('client-only')];
  return `| ${[...cells, count('untested', true), count('untested', false)].join(' | ')} |`;
}

function renderRow(statement: Statement, proofs: readonly Proof[]): string {
  const state = stateOf(statement, proofs);
  const tests = proofs.map((proof) => `${proof.name} (\`${proof.file.replace(/^test\//, '')}\`)`);
  if (state !== 'tested' && statement.note !== undefined) tests.push(statement.note);
  const cells = [
    `[${statement.id}]`,
    statement.about,
    statement.applies,
    state,
    [...new Set(tests)].join('<br>'),
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function proofsOf(proofs: readonly Proof[], version: SpecVersion, id: string): Proof[] {
  return proofs.filter((proof) => proof.version === version && proof.id === id);
}

function versionsMeant(
  prefix: string | undefined,
  id: string,
  home: SpecVersion | null,
): readonly SpecVersion[] {
  if (prefix !== undefined) return [prefix as SpecVersion];
  if (home !== null) return [home];
  return id.startsWith('MQTT-6.') ? SPEC_VERSIONS : [];
}

function versionOfPath(file: string): SpecVersion | null {
  if (/(^|[/.-])v3[/.-]/.test(file)) return '3.1.1';
  return /(^|[/.-])v5[/.-]/.test(file) ? '5.0' : null;
}

/** Walks a JSON value; an object with a `statement` is a vector, and `version` may stand on it or above it. */
function collectVectors(value: unknown, file: string, inherited: unknown, proofs: Proof[]): void {
  if (typeof value !== 'object' || value === null) return;
  const object = value as Record<string, unknown>;
  const version = object.version ?? inherited;
  const ids = object.statement === undefined ? [] : [object.statement].flat();
  for (const id of ids) {
    const bracketed = `[${String(id).replace(/[[\]]/g, '')}]`;
    const prefix =
      version === undefined ? '' : `${Number.parseFloat(String(version)) >= 5 ? '5.0' : '3.1.1'}:`;
    const name = String(object.name ?? object.about ?? 'vector');
    for (const proof of proofsInName(`${prefix}${bracketed}`, file)) proofs.push({ ...proof, name });
  }
  for (const child of Object.values(object)) collectVectors(child, file, version, proofs);
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      return entry.isDirectory() ? filesBelow(path) : [path];
    });
}

if (import.meta.main) {
  const proofs = collectProofs();
  writeFileSync(REPORT, renderReport(proofs));
  for (const line of unexplained(proofs)) console.log(`untested, no reason given: ${line}`);
  for (const line of unknownIds(proofs)) console.log(`no such statement: ${line}`);
}
