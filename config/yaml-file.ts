/** A YAML file as a tree whose every value knows the line it came from. */
import { readFileSync } from 'node:fs';
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
} from 'yaml';
import { ConfigError } from '../src/errors.ts';
import { ConfigErrors, printable } from './problems.ts';

/** Where a value stands (`sluice.yaml:12`) and what it is. */
export type Tree =
  | { readonly kind: 'value'; readonly where: string; readonly value: unknown }
  | { readonly kind: 'list'; readonly where: string; readonly items: readonly Tree[] }
  | { readonly kind: 'map'; readonly where: string; readonly entries: readonly TreeEntry[] };

export interface TreeEntry {
  readonly key: string;
  readonly where: string;
  readonly tree: Tree;
}

/** A configuration is a page or two; what is larger is another file given by mistake. */
const FILE_BYTES_MAX = 1_048_576;
/** Aliases may repeat a part, but a few lines must not unfold into millions. */
const NODES_MAX = 100_000;
const DEPTH_MAX = 16;

/** Reads and parses a configuration file. Throws `ConfigErrors` with every syntax error and its line. */
export function readYamlFile(file: string): Tree {
  const text = readText(file);
  const lines = new LineCounter();
  const document = parse(file, text, lines);
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    throw new ConfigErrors(faults.map((fault) => syntaxError(file, fault)));
  }
  const where = (node: Node): string => `${file}:${lines.linePos(node.range?.[0] ?? 0).line}`;
  const builder = new TreeBuilder(document, where, file);
  return builder.build(document.contents, `${file}:1`, 0);
}

function readText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    const problem = code === 'ENOENT' ? 'no such file' : `cannot be read (${code})`;
    const remedy = 'Give a readable YAML file with -c; paths are relative to the working directory';
    throw new ConfigErrors([new ConfigError(file, problem, remedy)]);
  }
  if (bytes.length > FILE_BYTES_MAX) {
    const problem = `larger than ${FILE_BYTES_MAX} bytes`;
    throw new ConfigErrors([new ConfigError(file, problem, 'Give a YAML configuration file')]);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ConfigErrors([new ConfigError(file, 'not UTF-8 text', 'Save the file as UTF-8')]);
  }
}

function parse(file: string, text: string, lineCounter: LineCounter): Document {
  try {
    return parseDocument(text, { lineCounter, uniqueKeys: true, logLevel: 'error' }) as Document;
  } catch (error) {
    // The parser recurses: a file of brackets only ends here.
    throw new ConfigErrors([
      new ConfigError(file, `not YAML (${(error as Error).message})`, 'Correct the file'),
    ]);
  }
}

function syntaxError(file: string, fault: YAMLError): ConfigError {
  const line = fault.linePos?.[0].line;
  // The library's message goes on with the text of the line, which may hold a secret.
  const problem = printable(fault.message.split('\n')[0].replace(/ at line \d+, column \d+:?$/, ''));
  const remedy = 'Correct the YAML: "key: value" lines, indented with spaces, each key once';
  return new ConfigError(line === undefined ? file : `${file}:${line}`, problem, remedy);
}

class TreeBuilder {
  readonly #document: Document;
  readonly #whereOf: (node: Node) => string;
  readonly #file: string;
  #nodes = 0;

  constructor(document: Document, whereOf: (node: Node) => string, file: string) {
    this.#document = document;
    this.#whereOf = whereOf;
    this.#file = file;
  }

  /** `where` is the line of the key, for a value that is missing. */
  build(node: unknown, where: string, depth: number): Tree {
    if (depth > DEPTH_MAX || ++this.#nodes > NODES_MAX) {
      const remedy = 'Configurations are three levels deep; write the values out';
      throw new ConfigErrors([new ConfigError(this.#file, 'nested too deeply or too large', remedy)]);
    }
    if (isAlias(node)) return this.build(node.resolve(this.#document), where, depth + 1);
    if (isScalar(node))
      return { kind: 'value', where: node.range ? this.#whereOf(node) : where, value: node.value };
    if (isSeq(node)) {
      const items = node.items.map((item) => this.build(item, where, depth + 1));
      return { kind: 'list', where: this.#whereOf(node), items };
    }
    if (!isMap(node)) return { kind: 'value', where, value: null };
    const entries = node.items.map((pair) => {
      const keyWhere = isScalar(pair.key) || isAlias(pair.key) ? this.#whereOf(pair.key) : where;
      const key = isScalar(pair.key) ? String(pair.key.value) : '(not a plain key)';
      return { key, where: keyWhere, tree: this.build(pair.value, keyWhere, depth + 1) };
    });
    return { kind: 'map', where: this.#whereOf(node), entries };
  }
}

/** The plain value of a tree. Objects have no prototype, so that `__proto__` is a key like any other. */
export function toValue(tree: Tree): unknown {
  if (tree.kind === 'value') return tree.value;
  if (tree.kind === 'list') return tree.items.map(toValue);
  const result: Record<string, unknown> = Object.create(null);
  for (const entry of tree.entries) result[entry.key] = toValue(entry.tree);
  return result;
}

/** A tree of values that came from elsewhere than a file, all from the same place. */
export function fromValue(value: unknown, where: string): Tree {
  if (Array.isArray(value))
    return { kind: 'list', where, items: value.map((item) => fromValue(item, where)) };
  if (value === null || typeof value !== 'object') return { kind: 'value', where, value };
  const entries = Object.entries(value).map(([key, item]) => ({ key, where, tree: fromValue(item, where) }));
  return { kind: 'map', where, entries };
}
