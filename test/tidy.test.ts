/** The house rules of docs/architecture.md as a failing test: who may import whom, sizes, and what must never exist. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import * as ast from 'typescript/unstable/ast';
import {
  at,
  commentsOf,
  lineOf,
  ROOT,
  readSources,
  readTexts,
  referencesOf,
  type Source,
  startOf,
  walk,
} from './tools/sources.ts';

const FILE_LINES_MAX = 500;
const FUNCTION_LINES_MAX = 70;
const INTERFACE_METHODS_MAX = 8;

/** Who may import whom: the first row whose folder holds a file decides. A path ending in / is a folder. */
const HOUSE: readonly {
  readonly folder: string;
  readonly values: readonly string[];
  readonly types?: readonly string[];
  /** Node modules; undefined: any. */
  readonly node?: readonly string[];
  readonly packages: boolean;
}[] = [
  {
    folder: 'src/codec/',
    values: ['src/codec/', 'src/topics/', 'src/limits.ts', 'src/errors.ts'],
    node: ['node:buffer'],
    packages: false,
  },
  {
    folder: 'src/topics/',
    values: ['src/codec/', 'src/topics/', 'src/limits.ts', 'src/errors.ts'],
    node: ['node:buffer'],
    packages: false,
  },
  {
    folder: 'src/interfaces/',
    values: [],
    types: ['src/interfaces/', 'src/codec/', 'src/topics/'],
    node: [],
    packages: false,
  },
  {
    folder: 'src/session/',
    values: ['src/session/', 'src/router/', 'src/codec/', 'src/topics/', 'src/limits.ts', 'src/errors.ts'],
    types: ['src/interfaces/', 'src/statistics.ts'],
    node: ['node:buffer'],
    packages: false,
  },
  {
    folder: 'src/router/',
    values: ['src/session/', 'src/router/', 'src/codec/', 'src/topics/', 'src/limits.ts', 'src/errors.ts'],
    types: ['src/interfaces/', 'src/statistics.ts'],
    node: ['node:buffer'],
    packages: false,
  },
  {
    folder: 'src/gate/',
    values: ['src/gate/', 'src/limits.ts', 'src/errors.ts'],
    types: ['src/interfaces/', 'src/statistics.ts'],
    node: [],
    packages: false,
  },
  { folder: 'src/limits.ts', values: [], node: [], packages: false },
  { folder: 'src/errors.ts', values: [], types: ['src/codec/'], node: [], packages: false },
  { folder: 'src/', values: ['src/'], node: ['node:buffer', 'node:crypto'], packages: false },
  ...['transports/', 'auth/', 'persistence/', 'admin/'].map((folder) => plug(folder, [])),
  plug('cluster/', ['src/codec/']),
  // Others load it: in a page there is no Node, and nothing of the broker belongs there.
  { folder: 'clients/', values: ['clients/'], node: [], packages: false },
  { folder: 'examples/', values: ['examples/'], packages: false },
  { folder: 'config/', values: ['config/', 'src/limits.ts', 'src/errors.ts', 'src/topics/'], packages: true },
];

/** A plug sees the seams as types, and never another plug. */
function plug(folder: string, more: readonly string[]): (typeof HOUSE)[number] {
  const values = [folder, 'src/errors.ts', 'src/limits.ts', 'src/topics/', ...more];
  return { folder, values, types: ['src/interfaces/'], packages: true };
}

const sources = readSources();
const production = sources.filter((source) =>
  /^(src|transports|auth|persistence|cluster|admin|config|cli|clients|examples)\//.test(source.file),
);
const stateless = production.filter((source) => !/^(cli|examples)\//.test(source.file));
const core = production.filter((source) => source.file.startsWith('src/'));

/** Fails with one line for each violation. */
function none(violations: readonly string[], rule: string): void {
  assert.equal(violations.length, 0, `${rule}:\n  ${violations.join('\n  ')}`);
}

/** Collects what `judge` says of every node of every source. */
function judgeNodes(
  of: readonly Source[],
  judge: (node: ast.Node, source: Source) => string | null,
): string[] {
  const violations: string[] = [];
  for (const source of of) {
    walk(source.tree, (node) => {
      const problem = judge(node, source);
      if (problem !== null) violations.push(`${at(source, node)} ${problem}`);
    });
  }
  return violations;
}

function fits(target: string, allowed: readonly string[]): boolean {
  return allowed.some((entry) => (entry.endsWith('/') ? target.startsWith(entry) : target === entry));
}

describe('the picture of the house', () => {
  test('every folder imports only what the table allows', () => {
    const violations: string[] = [];
    for (const source of production) {
      const row = HOUSE.find((candidate) => source.file.startsWith(candidate.folder));
      if (row === undefined) continue;
      for (const reference of referencesOf(source).filter((candidate) => candidate.isImport)) {
        const { to, typeOnly } = reference;
        if (to.startsWith('node:')) {
          if (row.node !== undefined && !row.node.includes(to))
            violations.push(`${source.file} imports ${to}`);
        } else if (/\.[a-z]+$/.test(to) && to.includes('/') && !to.startsWith('@')) {
          const allowed = typeOnly ? [...row.values, ...(row.types ?? [])] : row.values;
          if (!fits(to, allowed))
            violations.push(`${source.file} imports ${typeOnly ? 'types of ' : ''}${to}`);
        } else if (!row.packages) {
          violations.push(`${source.file} imports the package ${to}`);
        }
      }
    }
    none(violations, 'not allowed by the table of folders');
  });

  test('src/interfaces holds types only', () => {
    const interfaces = sources.filter((source) => source.file.startsWith('src/interfaces/'));
    const violations: string[] = [];
    for (const source of interfaces) {
      for (const statement of source.tree.statements) {
        const isType = ast.isInterfaceDeclaration(statement) || ast.isTypeAliasDeclaration(statement);
        const isImport = ast.isImportDeclaration(statement) || ast.isExportDeclaration(statement);
        if (!isType && !isImport) violations.push(`${at(source, statement)} is a value`);
      }
    }
    none(violations, 'values in src/interfaces');
  });

  test('nobody but tests and the bench imports cli', () => {
    const violations = production
      .filter((source) => !source.file.startsWith('cli/'))
      .flatMap((source) =>
        referencesOf(source)
          .filter((reference) => reference.to.startsWith('cli/'))
          .map(() => source.file),
      );
    none(violations, 'imports cli');
  });

  test('every file is reached from an entry point', () => {
    const scripts = Object.values(
      JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')).scripts,
    ).join(' ');
    // The in-process wire exists for tests; it stays beside its siblings because it obeys the same contract.
    const productionEntries = [
      'cli/main.ts',
      'src/index.ts',
      'transports/memory.ts',
      'clients/webtransport/index.ts',
      'examples/webtransport/serve.ts',
    ];
    const isToolEntry = (file: string) => file.endsWith('.test.ts') || scripts.includes(file);
    const toolEntries = sources.map((source) => source.file).filter(isToolEntry);
    const usedInProduction = reach(productionEntries);
    const usedAnywhere = reach([...productionEntries, ...toolEntries]);
    const dead = sources
      .filter(
        ({ file }) =>
          !(production.some((source) => source.file === file) ? usedInProduction : usedAnywhere).has(file),
      )
      .map(({ file }) => file);
    none(dead, 'nothing uses these files');
  });
});

function reach(entries: readonly string[]): Set<string> {
  const byFile = new Map(sources.map((source) => [source.file, source]));
  const reached = new Set<string>();
  const waiting = [...entries];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    const source = byFile.get(file);
    if (source === undefined || reached.has(file)) continue;
    reached.add(file);
    for (const reference of referencesOf(source)) waiting.push(reference.to);
  }
  return reached;
}

describe('sizes', () => {
  test(`no file is longer than ${FILE_LINES_MAX} lines`, () => {
    const texts = readTexts(
      '{src,transports,auth,persistence,cluster,admin,config,cli,clients,examples,dashboard,bench,test}/**/*.{ts,mjs,js,py}',
    );
    const long = texts.filter(({ text }) => text.split('\n').length - 1 > FILE_LINES_MAX);
    none(
      long.map(({ file, text }) => `${file}: ${text.split('\n').length - 1}`),
      'too long',
    );
  });

  test(`no function is longer than ${FUNCTION_LINES_MAX} lines`, () => {
    const violations = judgeNodes(sources, (node, source) => {
      if (!isFunction(node)) return null;
      const lines = source.file.startsWith('test/') ? ownLines(node, source) : allLines(node, source);
      return lines > FUNCTION_LINES_MAX ? `${lines} lines` : null;
    });
    none(violations, 'too long');
  });

  test(`no interface has more than ${INTERFACE_METHODS_MAX} methods`, () => {
    const violations = judgeNodes(production, (node) => {
      if (!ast.isInterfaceDeclaration(node)) return null;
      const methods = node.members.filter((member) => {
        if (ast.isMethodSignatureDeclaration(member)) return true;
        return (
          ast.isPropertySignatureDeclaration(member) &&
          member.type !== undefined &&
          ast.isFunctionTypeNode(member.type)
        );
      }).length;
      return methods > INTERFACE_METHODS_MAX ? `${node.name.text} has ${methods}` : null;
    });
    none(violations, 'too many methods');
  });

  test('no file is empty', () => {
    const texts = readTexts(
      '{src,transports,auth,persistence,cluster,admin,config,cli,clients,examples,dashboard,bench,test,docs}/**/*.*',
      '*.*',
    );
    none(
      texts.filter(({ text }) => text.trim() === '').map(({ file }) => file),
      'empty',
    );
  });
});

function isFunction(node: ast.Node): boolean {
  const isNamed =
    ast.isFunctionDeclaration(node) || ast.isMethodDeclaration(node) || ast.isConstructorDeclaration(node);
  const isAccessor = ast.isGetAccessorDeclaration(node) || ast.isSetAccessorDeclaration(node);
  return isNamed || isAccessor || ast.isArrowFunction(node) || ast.isFunctionExpression(node);
}

function allLines(node: ast.Node, source: Source): number {
  return lineOf(source, node.end) - lineOf(source, startOf(source, node)) + 1;
}

/** A test suite is a function full of functions: there only the lines outside of inner functions count. */
function ownLines(node: ast.Node, source: Source): number {
  let inner = 0;
  const visit = (child: ast.Node): void => {
    if (isFunction(child)) inner += allLines(child, source) - 1;
    else child.forEachChild(visit);
  };
  node.forEachChild(visit);
  return allLines(node, source) - inner;
}

describe('what must never exist', () => {
  test('no file or folder has a name that says nothing', () => {
    const texts = readTexts(
      '{src,transports,auth,persistence,cluster,admin,config,cli,clients,examples,dashboard,bench,test}/**/*.*',
    );
    const bad = /(^|\/)(utils?|helpers?|common|misc|stuff)(\.|\/)|(^|\/|-)(regr|issue|fix)[-_]?\d+/;
    none(
      texts.map(({ file }) => file).filter((file) => bad.test(file)),
      'say what it does instead',
    );
  });

  test('no comment is an unowned reminder or code that was switched off', () => {
    const reminder = /\b(FIXME|XXX|HACK)\b|\bTODO\b(?!\(#\d+\))/;
    const code =
      /^((const|let|var|return|import|export|await|throw)\b.*;|(if|for|while|switch) ?\(.*[;{]|[\w.#[\]]+\(.*\);|[\w.#[\]]+ [-+]?= .*;|\}( else.*)?)$/;
    const violations: string[] = [];
    for (const source of sources) {
      for (const comment of commentsOf(source)) {
        const lines = comment.text
          .split('\n')
          .map((line) => line.replace(/^\s*(\/\/|\/\*+|\*\/?)\s?|\*\/\s*$/g, '').trim());
        for (const line of lines) {
          if (reminder.test(line)) violations.push(`${source.file}:${comment.line} ${line}`);
          if (code.test(line)) violations.push(`${source.file}:${comment.line} code in a comment: ${line}`);
        }
      }
    }
    none(violations, 'do it, file an issue and name it, or delete it');
  });

  test('only the log writes: no console outside of cli', () => {
    none(judgeNodes(stateless, usesOf('console')), 'use the Log that is handed in');
  });

  test('nothing random that a seed cannot repeat', () => {
    none(judgeNodes(sources, usesOf('Math', 'random')), 'use node:crypto, or a seeded generator in tests');
  });

  test('the core has no clock, environment or timer of its own', () => {
    const banned = [
      usesOf('Date'),
      usesOf('performance'),
      usesOf('process', 'env'),
      usesOf('setTimeout'),
      usesOf('setInterval'),
    ];
    none(
      banned.flatMap((judge) => judgeNodes(core, judge)),
      'use the Clock or the settings that are handed in',
    );
  });

  test('no mutable state at module level, so that two brokers in one process work', () => {
    const violations: string[] = [];
    for (const source of stateless) {
      for (const statement of source.tree.statements) {
        if (!ast.isVariableStatement(statement)) continue;
        const list = statement.declarationList;
        const isConst = (list.flags & ast.NodeFlags.Const) !== 0;
        for (const declaration of list.declarations) {
          const initial = declaration.initializer?.getText(source.tree) ?? '';
          const isContainer = /^(new (Weak)?(Map|Set)(<.*>)?\(\)|\[\]|\{\})$/.test(initial);
          if (!isConst || isContainer)
            violations.push(`${at(source, declaration)} ${declaration.name.getText(source.tree)}`);
        }
      }
    }
    none(violations, 'move it into an object that someone owns');
  });

  test('no default export, and every relative import names its file with the suffix', () => {
    const violations = judgeNodes(sources, (node) => {
      if (ast.isExportAssignment(node)) return 'export default';
      if (
        node.kind === ast.SyntaxKind.DefaultKeyword &&
        node.parent !== undefined &&
        !ast.isDefaultClause(node.parent)
      )
        return 'export default';
      if (!ast.isImportDeclaration(node) || !ast.isStringLiteral(node.moduleSpecifier)) return null;
      const specifier = node.moduleSpecifier.text;
      return specifier.startsWith('.') && !/\.(ts|mjs|json)$/.test(specifier) ? `imports ${specifier}` : null;
    });
    none(violations, 'name it');
  });

  test('no error is swallowed without a word', () => {
    const violations = judgeNodes(production, (node, source) => {
      if (!ast.isCatchClause(node) || node.block.statements.length > 0) return null;
      return node.block.getText(source.tree).includes('//') ? null : 'empty catch';
    });
    none(violations, 'rethrow, count, log, or say why nothing is to be done');
  });

  test('no test is singled out, and none is skipped without a reason that is printed', () => {
    const violations = judgeNodes(sources, (node, source) => {
      if (ast.isPropertyAccessExpression(node) && /^(skip|only|todo)$/.test(node.name.text)) {
        const owner = node.expression.getText(source.tree);
        const call = node.parent;
        const hasReason = ast.isCallExpression(call) && call.expression === node && call.arguments.length > 0;
        const isAllowed = owner === 't' && node.name.text === 'skip' && hasReason;
        return /^(test|it|describe|suite|t)$/.test(owner) && !isAllowed ? node.getText(source.tree) : null;
      }
      if (!source.file.endsWith('.test.ts') || !ast.isPropertyAssignment(node)) return null;
      const name = node.name.getText(source.tree);
      if (name === 'only' || name === 'todo') return name;
      const hasReason = /\b(needs|skipUnless)\(|['`"]/.test(node.initializer.getText(source.tree));
      return name === 'skip' && !hasReason ? 'skip without a reason' : null;
    });
    none(violations, 'a suite with holes; test/tools/needs.ts has what gives a reason');
  });

  test('no text names a path of one particular machine', () => {
    const texts = readTexts(
      '*.{md,json,yaml}',
      '{docs,config,src,transports,auth,persistence,cluster,admin,cli,clients,examples,dashboard,bench,test}/**/*.*',
      '.ci/*',
    );
    const local = /(?<![\w.])\/(?:work|root|home\/\w+)\/|\.\.\/shared\//;
    none(
      texts
        .filter(({ text }) => local.test(text))
        .map(({ file, text }) => `${file}: ${local.exec(text)?.[0]}`),
      'local path',
    );
  });
});

/** Finds uses of a global, or of one property of it; `x.name` and `{ name: … }` are not uses. */
function usesOf(name: string, property?: string): (node: ast.Node, source: Source) => string | null {
  return (node, source) => {
    if (property !== undefined) {
      const isUse =
        ast.isPropertyAccessExpression(node) && node.getText(source.tree) === `${name}.${property}`;
      return isUse ? `${name}.${property}` : null;
    }
    if (!ast.isIdentifier(node) || node.text !== name) return null;
    const { parent } = node;
    if (ast.isPropertyAccessExpression(parent) && parent.name === node) return null;
    if ('name' in parent && parent.name === node) return null;
    return ast.isTypeReferenceNode(parent) ? null : name;
  };
}
