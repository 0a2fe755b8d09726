/** Variable byte integers, UTF-8 and the cursor over a packet. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Reader } from '../../src/codec/reader.ts';
import { isValidUtf8 } from '../../src/codec/utf8.ts';
import { variableByteIntegerLength, writeVariableByteInteger } from '../../src/codec/varint.ts';
import { ProtocolError } from '../../src/errors.ts';

const EDGES: readonly (readonly [value: number, hex: string])[] = [
  [0, '00'],
  [127, '7f'],
  [128, '8001'],
  [16_383, 'ff7f'],
  [16_384, '808001'],
  [2_097_151, 'ffff7f'],
  [2_097_152, '80808001'],
  [268_435_455, 'ffffff7f'],
];

function readerOf(hex: string): Reader {
  const bytes = Buffer.from(hex, 'hex');
  return new Reader(bytes, 0, bytes.length);
}

function refuses(read: () => unknown, code: number): void {
  assert.throws(read, (error) => error instanceof ProtocolError && error.reasonCode === code);
}

describe('variable byte integers', () => {
  test('the edges of each length are written in the fewest bytes and read back 5.0:[MQTT-1.5.5-1]', () => {
    for (const [value, hex] of EDGES) {
      const bytes = Buffer.alloc(variableByteIntegerLength(value));
      assert.equal(writeVariableByteInteger(bytes, 0, value), bytes.length);
      assert.equal(bytes.toString('hex'), hex);
      assert.equal(readerOf(hex).varint('number'), value);
    }
  });

  test('longer forms than needed are refused 5.0:[MQTT-1.5.5-1]', () => {
    for (const hex of ['8000', '808000', 'ff8000', '80808000'])
      refuses(() => readerOf(hex).varint('number'), 0x81);
  });

  test('five bytes and unfinished ones are refused', () => {
    for (const hex of ['8080808001', 'ffffffff7f', '80', '808080', '']) {
      refuses(() => readerOf(hex).varint('number'), 0x81);
    }
  });

  test('numbers without a form are the caller’s defect', () => {
    for (const value of [-1, 268_435_456]) {
      assert.throws(() => variableByteIntegerLength(value), RangeError);
    }
  });
});

describe('UTF-8', () => {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  function isWellFormed(bytes: Uint8Array): boolean {
    try {
      decoder.decode(bytes);
      return !bytes.includes(0);
    } catch {
      return false;
    }
  }

  test('every sequence of two bytes is judged as TextDecoder does, and U+0000 refused 5.0:[MQTT-1.5.4-2]', () => {
    for (let value = 0; value < 65_536; value++) {
      const bytes = Uint8Array.of(value >> 8, value & 255);
      assert.equal(isValidUtf8(bytes, 0, 2), isWellFormed(bytes), value.toString(16));
    }
  });

  test('every edge of the sequences of three and four bytes is judged as TextDecoder does 5.0:[MQTT-1.5.4-1]', () => {
    const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
    for (let first = 0xdf; first < 256; first++) {
      for (const second of edges) {
        for (const third of edges) {
          for (const fourth of [...edges, 0x41]) {
            const bytes = Uint8Array.of(first, second, third, fourth);
            assert.equal(isValidUtf8(bytes, 0, 4), isWellFormed(bytes), Buffer.from(bytes).toString('hex'));
            const three = bytes.subarray(0, 3);
            assert.equal(isValidUtf8(bytes, 0, 3), isWellFormed(three), Buffer.from(three).toString('hex'));
          }
        }
      }
    }
  });

  test('only the range asked for is looked at', () => {
    const bytes = Buffer.from('00c3a9ff', 'hex');
    assert.equal(isValidUtf8(bytes, 1, 3), true);
    assert.equal(isValidUtf8(bytes, 1, 2), false);
    assert.equal(isValidUtf8(bytes, 1, 1), true);
  });
});

describe('the reader', () => {
  test('every field that would pass the end is refused as malformed', () => {
    refuses(() => readerOf('').u8('field'), 0x81);
    refuses(() => readerOf('00').u16('field'), 0x81);
    refuses(() => readerOf('000000').u32('field'), 0x81);
    refuses(() => readerOf('000261').string('field'), 0x81);
    refuses(() => readerOf('000200').binary('field'), 0x81);
    refuses(() => readerOf('00').narrow(2, 'field'), 0x81);
  });

  test('the end is the packet’s, not the buffer’s', () => {
    const reader = new Reader(Buffer.from('00026161', 'hex'), 0, 3);
    refuses(() => reader.string('field'), 0x81);
  });

  test('a field that lies is named with what it needed and what was left', () => {
    assert.throws(() => readerOf('000961').string('topic name'), /topic name needs 9 bytes where 1 are left/);
  });

  test('binary data shares no memory with the buffer it came in', () => {
    const bytes = Buffer.from('0001ff', 'hex');
    const data = new Reader(bytes, 0, 3).binary('password');
    bytes.fill(0);
    assert.deepEqual(data, Uint8Array.of(0xff));
    assert.equal(data.buffer.byteLength, 1);
  });

  test('U+FEFF at the start of a string stays 5.0:[MQTT-1.5.4-3] 3.1.1:[MQTT-1.5.3-3]', () => {
    assert.equal(readerOf('0004efbbbf61').string('field'), '\ufeffa');
  });

  test('a range outside the buffer is the caller’s defect', () => {
    assert.throws(() => new Reader(Buffer.alloc(2), 0, 3), RangeError);
    assert.throws(() => new Reader(Buffer.alloc(2), 2, 1), RangeError);
  });
});
