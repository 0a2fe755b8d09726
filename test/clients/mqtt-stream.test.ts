/** What MQTT.js takes for a connection, over streams of which both ends are in reach. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Channel } from '../../clients/webtransport/channel.ts';
import { MqttStream } from '../../clients/webtransport/mqtt-stream.ts';

const CHUNK_BYTES = 1_000;
const UNSENT_BYTES_HIGH = 64 * 1024;
/** Turns of the event loop after which nothing moves any more that could. */
const SETTLE_TURNS = 20;

async function settle(): Promise<void> {
  for (let n = 0; n < SETTLE_TURNS; n++) await turn();
}

/** A connection in this process: the adapter's side as a channel, the broker's as reader and writer. */
function connection() {
  const up = new TransformStream<Uint8Array, Uint8Array>();
  const down = new TransformStream<Uint8Array, Uint8Array>();
  const reader = down.readable.getReader();
  const writer = up.writable.getWriter();
  const state = { closed: false, writes: 0 };
  const channel: Channel = {
    async read() {
      const { done, value } = await reader.read();
      return done ? null : value;
    },
    async write(bytes) {
      state.writes++;
      writer.write(bytes).catch(() => {});
      await writer.ready;
    },
    end: () => writer.close(),
    close() {
      state.closed = true;
      reader.cancel().catch(() => {});
      writer.abort().catch(() => {});
    },
  };
  return { channel, state, broker: { reader: up.readable.getReader(), writer: down.writable.getWriter() } };
}

/** MQTT.js's parser; it handles nothing until `handle` is called when it is slow. */
function parser(isSlow = false) {
  const got: Buffer[] = [];
  const waiting: (() => void)[] = [];
  const writable = new Writable({
    write(chunk: Buffer, _encoding, done) {
      got.push(chunk);
      if (isSlow) waiting.push(done);
      else done();
    },
  });
  return { writable, got, handle: () => waiting.shift()?.() };
}

/** A stream over such a connection, and the events that it has told. */
function open(isSlow = false) {
  const { channel, state, broker } = connection();
  const events: string[] = [];
  const stream = new MqttStream(
    async () => channel,
    () => events.push('received'),
  );
  const { writable, got, handle } = parser(isSlow);
  stream.pipe(writable);
  for (const name of ['close', 'drain', 'error', 'finish']) stream.on(name, () => void events.push(name));
  return { stream, state, broker, events, got, handle };
}

const chunk = (n: number): Uint8Array => new Uint8Array(CHUNK_BYTES).fill(n);

describe('the stream that MQTT.js gets', () => {
  test('takes no more than a few chunks while MQTT.js has not handled the first', async () => {
    const { broker, got, handle, events } = open(true);
    let taken = 0;
    const writes = Array.from({ length: 10 }, (_, n) =>
      broker.writer.write(chunk(n)).then(() => {
        taken++;
      }),
    );
    await settle();
    assert.equal(got.length, 1);
    assert.ok(taken <= 3, `${taken} were taken`);
    for (let n = 0; n < 10; n++) {
      handle();
      await settle();
    }
    await Promise.all(writes);
    assert.deepEqual(
      got.map((bytes) => bytes[0]),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    );
    assert.deepEqual(events, ['received']);
  });

  test('says that it is full while nothing leaves, then drains, in order', async () => {
    const { stream, broker, events } = open();
    await settle();
    let written = 0;
    while (stream.write(chunk(written % 256))) written++;
    written++;
    assert.equal(written, Math.ceil(UNSENT_BYTES_HIGH / CHUNK_BYTES));
    await settle();
    const bytes: number[] = [];
    while (bytes.length < written * CHUNK_BYTES) {
      const { value } = await broker.reader.read();
      bytes.push(...value!);
    }
    await settle();
    assert.deepEqual(events, ['drain']);
    assert.ok(bytes.every((byte, index) => byte === Math.floor(index / CHUNK_BYTES) % 256));
  });

  test('sends the pieces of a packet as one, text as UTF-8', async () => {
    const { stream, broker, state } = open();
    stream.write(Uint8Array.of(1, 2));
    stream.write('grüße');
    stream.write(Uint8Array.of(3));
    const { value } = await broker.reader.read();
    assert.deepEqual([...value!], [1, 2, ...Buffer.from('grüße'), 3]);
    assert.equal(state.writes, 1);
  });

  test('ends behind what was written, and closes when the broker has ended its half, too', async () => {
    const { stream, broker, events, state, got } = open();
    await settle();
    stream.write(chunk(1));
    stream.end();
    assert.equal(stream.write(chunk(2)), false);
    assert.equal((await broker.reader.read()).value?.[0], 1);
    assert.equal((await broker.reader.read()).done, true);
    await settle();
    assert.deepEqual([events, state.closed], [['finish'], false]);
    await broker.writer.write(chunk(3));
    await broker.writer.close();
    await settle();
    assert.equal(got.length, 1);
    assert.deepEqual([events, state.closed], [['finish', 'received', 'close'], true]);
  });

  test('answers the end of the broker by its own, when MQTT.js has handled everything', async () => {
    const { broker, events, handle } = open(true);
    await broker.writer.write(chunk(1));
    void broker.writer.close();
    await settle();
    assert.deepEqual(events, ['received']);
    handle();
    assert.equal((await broker.reader.read()).done, true);
    await settle();
    assert.deepEqual(events, ['received', 'finish', 'close']);
  });

  test('is closed without an end when the connection is lost, and says why', async () => {
    const { stream, broker, events } = open();
    const errors: string[] = [];
    stream.on('error', (error: Error) => void errors.push(error.message));
    await settle();
    await broker.writer.abort(new Error('the cable is cut'));
    await settle();
    assert.deepEqual(events, ['error', 'close']);
    assert.deepEqual(errors, ['the cable is cut']);
  });

  test('tells of what the broker said last, although writing fails before it is read', async () => {
    const { stream, broker, got, events } = open();
    await settle();
    await broker.reader.cancel(new Error('closed'));
    stream.write(chunk(1));
    await settle();
    await broker.writer.write(chunk(2));
    await broker.writer.close();
    await settle();
    assert.equal(got[0][0], 2);
    assert.deepEqual(events, ['received', 'close']);
  });

  test('gives up an attempt when it is destroyed, and lets go of a connection that comes too late', async () => {
    const { channel, state } = connection();
    let arrive = (_channel: Channel): void => {};
    let isAborted = false;
    const events: string[] = [];
    const stream = new MqttStream(
      (signal) => {
        signal.addEventListener('abort', () => {
          isAborted = true;
        });
        return new Promise((resolve) => {
          arrive = resolve;
        });
      },
      () => {},
    );
    for (const name of ['close', 'error']) stream.on(name, () => void events.push(name));
    stream.write(chunk(1));
    stream.destroy();
    assert.equal(isAborted, true);
    assert.deepEqual(events, [], 'as in Node, not before destroy has returned');
    arrive(channel);
    await settle();
    assert.deepEqual([events, state.closed, state.writes], [['close'], true, 0]);
  });

  test('that is left says so at once, and is there until everything has gone and the broker has ended', async () => {
    const { stream, broker, events, got, state } = open();
    await settle();
    stream.write(chunk(1));
    let isOver = false;
    const over = stream.leave(Uint8Array.of(0xe0, 0)).then(() => {
      isOver = true;
    });
    assert.deepEqual(events, ['close']);
    const { value } = await broker.reader.read();
    assert.deepEqual([...value!.subarray(-2)], [0xe0, 0]);
    assert.equal((await broker.reader.read()).done, true);
    await broker.writer.write(chunk(2));
    await settle();
    assert.deepEqual([got.length, isOver, state.closed], [0, false, false]);
    await broker.writer.close();
    await over;
    await settle();
    assert.equal(state.closed, true);
    assert.deepEqual(
      events.filter((name) => name === 'close'),
      ['close'],
    );
  });

  test('calls a listener that was removed no more, and one that asked for once, once', async () => {
    const { stream, broker } = open();
    await settle();
    const calls: string[] = [];
    const removed = () => void calls.push('removed');
    stream.on('finish', removed).once('finish', removed);
    stream.once('finish', () => void calls.push('once'));
    stream.off('finish', removed).removeListener('finish', removed);
    stream.end();
    await broker.writer.close();
    await broker.reader.read();
    await settle();
    assert.deepEqual(calls, ['once']);
  });
});
