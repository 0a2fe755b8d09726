import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Flusher, OutBuffer } from '../../src/connection/out-buffer.ts';
import type { Wire } from '../../src/interfaces/transport.ts';

const PEER = { door: 'memory:', address: 'here', port: 0, secure: false };

/** Keeps what it was given; while `isBusy` it holds the bytes themselves, as a wire does that has not sent them yet. */
class RecordingWire implements Wire {
  readonly peer = PEER;
  isBusy = false;
  readonly #taken: Uint8Array[] = [];

  write(bytes: Uint8Array): boolean {
    this.#taken.push(this.isBusy ? bytes : Buffer.from(bytes));
    return !this.isBusy;
  }

  get text(): string {
    return Buffer.concat(this.#taken).toString();
  }

  pause(): void {}
  resume(): void {}
  end(): void {}
  abort(error?: Error): void {
    throw error ?? new Error('aborted');
  }
}

function open(flusher: Flusher): { wire: RecordingWire; out: OutBuffer; say: (text: string) => void } {
  const wire = new RecordingWire();
  const out = new OutBuffer(wire, flusher, { growsTo: 1 << 20, tellsOver: 1 << 20 }, () => {});
  return { wire, out, say: (text) => void out.append(Buffer.from(text), 0, Buffer.byteLength(text)) };
}

test('connections that write in turns get each its own bytes, short or long', async () => {
  const flusher = new Flusher();
  const all = Array.from({ length: 40 }, () => ({ ...open(flusher), expected: '' }));
  for (let round = 0; round < 3; round++) {
    for (let step = 0; step < 12; step++) {
      for (const [index, each] of all.entries()) {
        const text = `${round}.${step}.${index} `.repeat(1 + ((index * 7 + step * 13) % 120));
        each.say(text);
        each.expected += text;
      }
    }
    await turn();
    for (const { wire, expected } of all) assert.equal(wire.text, expected);
    for (const { out } of all.slice(0, 20)) out.trim();
  }
});

test('bytes that a wire holds are not written over by what others say later', async () => {
  const flusher = new Flusher();
  const slow = open(flusher);
  const other = open(flusher);
  slow.wire.isBusy = true;
  slow.say('held');
  other.say('first ');
  await turn();
  slow.say(' and kept');
  for (let count = 0; count < 100; count++) {
    other.say('more ');
    await turn();
  }
  assert.equal(slow.wire.text, 'held');
  slow.wire.isBusy = false;
  slow.out.drained();
  assert.equal(slow.wire.text, 'held and kept');
  assert.equal(other.wire.text, `first ${'more '.repeat(100)}`);
});

test('bytes written while the others are being flushed leave with the next turn', async () => {
  const flusher = new Flusher();
  const answering = open(flusher);
  const asking = new RecordingWire();
  const out = new OutBuffer(asking, flusher, { growsTo: 1, tellsOver: 1 }, () => answering.say('room'));
  out.append(Buffer.from('over the bound'), 0, 14);
  await turn();
  const third = open(flusher);
  third.say('third '.repeat(30));
  await turn();
  assert.equal(answering.wire.text, 'room');
  assert.equal(third.wire.text, 'third '.repeat(30));
});
