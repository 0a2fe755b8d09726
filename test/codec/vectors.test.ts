/** Every vector of test/data/packets: decoded, encoded, and cut short. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decodePacket } from '../../src/codec/decode.ts';
import { encodePacket } from '../../src/codec/encode.ts';
import { ProtocolError } from '../../src/errors.ts';
import { bodyStart, decodeFrame, readVectors, type Vector } from './vectors.ts';

const vectors = readVectors();

describe('packet vectors', () => {
  for (const vector of vectors) test(vector.title, () => check(vector));

  test('no two vectors have the same title', () => {
    const titles = vectors.map((vector) => vector.title);
    assert.deepEqual(
      titles.filter((title, index) => titles.indexOf(title) !== index),
      [],
    );
  });

  test('there are valid and refused vectors of every packet type in every version', () => {
    for (const version of [3, 4, 5] as const) {
      for (let type = 1; type < (version === 5 ? 16 : 15); type++) {
        const ours = vectors.filter((each) => each.version === version && each.bytes[0]! >> 4 === type);
        assert.ok(
          ours.some((each) => each.packet !== undefined),
          `no valid vector of type ${type} in ${version}`,
        );
        assert.ok(
          ours.some((each) => each.packet === undefined),
          `no refused vector of type ${type} in ${version}`,
        );
      }
    }
  });

  test('a valid body cut at any byte is refused or is another valid packet, and nothing else is ever thrown', () => {
    for (const vector of vectors) cutAnywhere(vector);
  });
});

function check(vector: Vector): void {
  if (vector.packet === undefined) {
    assert.throws(
      () => decodeFrame(vector.bytes, vector.version, vector.sender),
      (error) => error instanceof ProtocolError && hasCode(error, vector.errorCode),
    );
    return;
  }
  assert.deepEqual(decodeFrame(vector.bytes, vector.version, vector.sender), vector.packet);
  if (vector.canonical) {
    assert.equal(encodePacket(vector.packet, vector.version).toString('hex'), vector.bytes.toString('hex'));
  }
}

function hasCode(error: ProtocolError, code: number): boolean {
  assert.equal(error.reasonCode.toString(16), code.toString(16), error.message);
  return true;
}

function cutAnywhere({ bytes, version, sender }: Vector): void {
  const start = bodyStart(bytes);
  for (let end = start; end < bytes.length; end++) {
    try {
      decodePacket(bytes, bytes[0]!, start, end, version, sender);
    } catch (error) {
      assert.ok(error instanceof ProtocolError, `${bytes.toString('hex')} cut at ${end}: ${error}`);
    }
  }
}
