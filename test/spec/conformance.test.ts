import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  collectProofs,
  proofsInName,
  proofsInSource,
  readReport,
  readStatements,
  renderReport,
  SPEC_VERSIONS,
  unexplained,
  unknownIds,
} from '../tools/conformance.ts';

const REMEDY = 'run `npx node test/tools/conformance.ts`';

test('docs/conformance.md says what the test names say', () => {
  assert.ok(readReport() === renderReport(), `docs/conformance.md is out of date: ${REMEDY}`);
});

test('every statement for servers is proved by a test or says why not', () => {
  assert.deepEqual(unexplained(), []);
});

test('every statement id in a test name exists in the specification', () => {
  assert.deepEqual(unknownIds(), []);
});

test('the statement lists are complete, without doubles', () => {
  const sizes = SPEC_VERSIONS.map((version) => new Set(readStatements(version).map((s) => s.id)).size);
  assert.deepEqual(sizes, [141, 251]);
  assert.deepEqual(
    SPEC_VERSIONS.map((version) => readStatements(version).length),
    [141, 251],
  );
});

test('an id counts for the version of its directory or prefix, and section 6 for both', () => {
  const versions = (name: string, file: string) => proofsInName(name, file).map((proof) => proof.version);
  const id = `[MQTT-${'3.1.2-1'}]`;
  assert.deepEqual(versions(`a ${id}`, 'test/spec/v3/x.test.ts'), ['3.1.1']);
  assert.deepEqual(versions(`a ${id}`, 'test/spec/v5/x.test.ts'), ['5.0']);
  assert.deepEqual(versions(`a 5.0:${id}`, 'test/codec/x.test.ts'), ['5.0']);
  assert.deepEqual(versions(`a ${id}`, 'test/codec/x.test.ts'), []);
  assert.deepEqual(versions(`a [MQTT-6.0.0-${1}]`, 'test/transports/x.test.ts'), ['3.1.1', '5.0']);
});

test('the tests are found at all', () => {
  assert.ok(collectProofs().length > 0);
});

test('ids in a table of cases belong to the next test that takes them in', () => {
  const id = (n: number) => `[MQTT-3.1.2-${n}]`;
  const source = `[['a', '${id(1)} ${id(2)}']]; test(\`with \${what} \${statements}\`); test('b ${id(3)}')`;
  const proofs = proofsInSource(source, 'test/spec/v3/x.test.ts');
  assert.deepEqual(
    proofs.map((proof) => proof.id),
    ['MQTT-3.1.2-1', 'MQTT-3.1.2-2', 'MQTT-3.1.2-3'],
  );
  assert.match(proofs[0].name, /^with \$\{what\}$/);
});
