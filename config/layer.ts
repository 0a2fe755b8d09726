/** Reading keys into a table of values: file, environment and flags all go through here, and every problem is kept. */
import { ConfigError } from '../src/errors.ts';
import { describeFormat, type Format, fits } from './formats.ts';
import type { Option } from './option.ts';
import { nearest, printable, showValue } from './problems.ts';
import { type Tree, toValue } from './yaml-file.ts';

export interface Found {
  readonly value: unknown;
  /** `sluice.yaml:12`, `environment SLUICE_…` or `flag --…`. */
  readonly source: string;
  readonly tree: Tree;
}

/** What an error calls a key: `listeners[0].tls.key`. */
export type Naming = (key: string) => string;

/**
 * Walks the maps of `tree` along the dotted keys of `options`.
 * Puts what fits into `found` (a later layer replaces an earlier one) and what does not into `problems`.
 */
export function collect(
  tree: Tree,
  options: readonly Option[],
  planned: ReadonlySet<string>,
  found: Map<string, Found>,
  problems: ConfigError[],
  naming: Naming = (key) => key,
): void {
  const byKey = new Map(options.map((option) => [option.key, option]));
  const sections = new Set(options.flatMap((option) => sectionsOf(option.key)));

  const walk = (map: Tree & { kind: 'map' }, prefix: string): void => {
    for (const entry of map.entries) {
      const key = prefix + entry.key;
      const option = byKey.get(key);
      if (option !== undefined) {
        const problem = take(option, entry.tree, found, naming);
        if (problem !== null) problems.push(problem);
      } else if (sections.has(key)) {
        if (entry.tree.kind === 'map') walk(entry.tree, `${key}.`);
        else problems.push(notASection(key, entry.tree, naming));
      } else {
        problems.push(unknownKey(key, entry.where, entry.tree, byKey.keys(), planned, naming));
      }
    }
  };
  if (tree.kind === 'map') walk(tree, '');
}

function take(option: Option, tree: Tree, found: Map<string, Found>, naming: Naming): ConfigError | null {
  const value = toValue(tree);
  if (fits(option.format, value)) {
    found.set(option.key, { value, source: tree.where, tree });
    return null;
  }
  const name = naming(option.key);
  const where = `${tree.where}: ${name}`;
  if (value === null) {
    return new ConfigError(
      where,
      'has no value',
      `Give ${describeFormat(option.format)}, or leave the key out`,
    );
  }
  if (option.format.kind === 'only') {
    const problem = `${showValue(name, value)} is not available in this version`;
    return new ConfigError(where, problem, `Leave it out, or give ${JSON.stringify(option.format.value)}`);
  }
  const wrong = strangersIn(option.format, value);
  const problem = `${wrong === '' ? showValue(name, value) : wrong} does not fit`;
  return new ConfigError(where, problem, `Give ${describeFormat(option.format)}`);
}

/** The items of a list that are none of its choices; empty where the value as a whole is what does not fit. */
function strangersIn(format: Format, value: unknown): string {
  if (format.kind !== 'choices' || !Array.isArray(value)) return '';
  const known: readonly unknown[] = format.values;
  return value
    .filter((item) => !known.includes(item))
    .slice(0, 5)
    .map((item) => showValue('', item))
    .join(', ');
}

function notASection(key: string, tree: Tree, naming: Naming): ConfigError {
  const value = tree.kind === 'value' && tree.value === null ? 'nothing' : showValue(key, toValue(tree));
  const problem = `${value} stands where a section is expected`;
  return new ConfigError(
    `${tree.where}: ${naming(key)}`,
    problem,
    'Indent its keys below it, or leave it out',
  );
}

function unknownKey(
  key: string,
  where: string,
  tree: Tree,
  known: Iterable<string>,
  planned: ReadonlySet<string>,
  naming: Naming,
): ConfigError {
  const name = printable(naming(key));
  if (planned.has(key)) {
    return new ConfigError(`${where}: ${name}`, 'not available in this version', 'Leave it out');
  }
  const keys = [...known];
  const meant = nearest(key, keys) ?? keys.find((k) => k.endsWith(`.${key}`) || k === lastPart(key));
  const remedy = meant === undefined ? 'docs/config.md lists the keys' : `Did you mean ${naming(meant)}?`;
  return new ConfigError(
    `${where}: ${name}`,
    `unknown key with value ${showValue(name, toValue(tree))}`,
    remedy,
  );
}

/** `auth.jwt.issuer` → `auth`, `auth.jwt`. */
function sectionsOf(key: string): string[] {
  const parts = key.split('.');
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('.'));
}

function lastPart(key: string): string {
  return key.slice(key.lastIndexOf('.') + 1);
}
