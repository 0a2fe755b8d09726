/** The project's files as text and as syntax trees, for test/tidy.test.ts. Trees come from the pinned TypeScript compiler. */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import * as ast from 'typescript/unstable/ast';
import { API } from 'typescript/unstable/sync';

export const ROOT = path.join(import.meta.dirname, '..', '..');

export interface SourceText {
  /** Relative to the root, with forward slashes. */
  readonly file: string;
  readonly text: string;
}

export interface Source extends SourceText {
  readonly tree: ast.SourceFile;
}

/** One import, export-from or relative path in a string: what makes one file need another. */
export interface Reference {
  readonly to: string;
  readonly typeOnly: boolean;
  readonly isImport: boolean;
}

const SKIPPED = /(^|\/)(node_modules|dist|\.git)(\/|$)/;

/** Every file below the root whose name fits one of the patterns, but for what is built or installed. */
export function readTexts(...patterns: string[]): SourceText[] {
  const files = globSync(patterns, { cwd: ROOT, exclude: (name) => SKIPPED.test(name) }).sort();
  return files.map((file) => ({ file, text: readFileSync(path.join(ROOT, file), 'utf8') }));
}

/** Parses every TypeScript file of tsconfig.json. */
export function readSources(): Source[] {
  const api = new API({ cwd: ROOT });
  try {
    const config = path.join(ROOT, 'tsconfig.json');
    const project = api.updateSnapshot({ openProjects: [config] }).getProject(config);
    if (project === undefined) throw new Error(`${config} could not be opened by the TypeScript API`);
    const sources: Source[] = [];
    for (const name of project.program.getSourceFileNames()) {
      const file = path.relative(ROOT, name);
      const tree =
        SKIPPED.test(file) || file.startsWith('..') ? undefined : project.program.getSourceFile(name);
      if (tree !== undefined) sources.push({ file, text: tree.text, tree });
    }
    return sources;
  } finally {
    api.close();
  }
}

/** Calls `visit` for every node, parents first. */
export function walk(node: ast.Node, visit: (node: ast.Node) => void): void {
  visit(node);
  node.forEachChild((child) => walk(child, visit));
}

/** `file:line` of a node, for messages. */
export function at(source: Source, node: ast.Node): string {
  return `${source.file}:${lineOf(source, startOf(source, node))}`;
}

/** Where the node's first token begins, comments before it left out. */
export function startOf(source: Source, node: ast.Node): number {
  return ast.getTokenPosOfNode(node, source.tree);
}

export function lineOf(source: SourceText, offset: number): number {
  return source.text.slice(0, offset).split('\n').length;
}

/** The text of every comment, with the line it starts on. Strings and patterns that look like comments are left out. */
export function commentsOf(source: Source): { line: number; text: string }[] {
  const literals = literalRanges(source);
  const comments: { line: number; text: string }[] = [];
  const pattern = /\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  for (let match = pattern.exec(source.text); match !== null; match = pattern.exec(source.text)) {
    const offset = match.index;
    const literal = literals.find(([from, to]) => offset >= from && offset < to);
    if (literal !== undefined) pattern.lastIndex = literal[1];
    else comments.push({ line: lineOf(source, offset), text: match[0] });
  }
  return comments;
}

function literalRanges(source: Source): [number, number][] {
  const ranges: [number, number][] = [];
  walk(source.tree, (node) => {
    const isLiteral =
      ast.isStringLiteral(node) ||
      ast.isRegularExpressionLiteral(node) ||
      ast.isNoSubstitutionTemplateLiteral(node);
    const isTemplatePart = ast.isTemplateHead(node) || ast.isTemplateMiddle(node) || ast.isTemplateTail(node);
    if (isLiteral || isTemplatePart) ranges.push([startOf(source, node), node.end]);
  });
  return ranges;
}

/** Everything `source` refers to: packages by name, files relative to the root. */
export function referencesOf(source: Source): Reference[] {
  const references: Reference[] = [];
  walk(source.tree, (node) => {
    if (ast.isImportDeclaration(node) || ast.isExportDeclaration(node)) {
      const specifier = node.moduleSpecifier;
      if (specifier === undefined || !ast.isStringLiteral(specifier)) return;
      references.push({ to: resolve(source, specifier.text), typeOnly: isTypeOnly(node), isImport: true });
    } else if (ast.isStringLiteral(node) && /^[\w./-]+\.(ts|js|mjs)$/.test(node.text)) {
      const to = path.join(path.dirname(source.file), node.text);
      references.push({ to, typeOnly: false, isImport: false });
    }
  });
  return references;
}

function isTypeOnly(node: ast.ImportDeclaration | ast.ExportDeclaration): boolean {
  if (ast.isExportDeclaration(node)) return node.isTypeOnly;
  const clause = node.importClause;
  if (clause === undefined) return false;
  if (clause.phaseModifier === ast.SyntaxKind.TypeKeyword) return true;
  const bindings = clause.namedBindings;
  if (clause.name !== undefined || bindings === undefined || !ast.isNamedImports(bindings)) return false;
  return bindings.elements.length > 0 && bindings.elements.every((element) => element.isTypeOnly);
}

function resolve(source: SourceText, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier;
  return path.join(path.dirname(source.file), specifier);
}
