/** What a door passes whose connections can have further streams. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { STREAM_REFUSED } from '../../src/limits.ts';
import { assertSame, Peer, pattern, pour, type RawStream, type Stage } from './transport-stage.ts';

const TIMEOUT = { timeout: 15_000 };
/** More than the windows of one stream hold on both sides. */
const FLOOD_BYTES = 4 << 20;
const MEGABYTE = 1 << 20;

function resetCode(stream: Peer): number | undefined {
  return (stream.raw as RawStream).resetCode;
}

/** `together`: one that is not read may hold up the others. */
export type Streams = 'none' | 'apart' | 'together';

/** Registers the tests. */
export function furtherStreamTests(current: () => Stage, streams: Streams): void {
  carriageTests(current);
  if (streams === 'apart') pressureTests(current);
  endingTests(current);
  connectionEndTests(current);
}

function carriageTests(current: () => Stage): void {
  it('hands further streams of a connection over as wires of the same peer', TIMEOUT, async () => {
    const stage = current();
    const { core, streamCore } = await stage.connectWithStream();
    assert.deepEqual(streamCore.wire.peer, core.wire.peer);
    assert.equal(stage.cores.length, 1);
    assert.equal(stage.keeper.visits.length, 1);
  });

  it('keeps the bytes of each stream in order and apart', TIMEOUT, async () => {
    const stage = current();
    const { peer, core, stream, streamCore } = await stage.connectWithStream();
    const second = await stage.openStream(peer, core);
    const pairs = [
      { peer, core },
      { peer: stream, core: streamCore },
      { peer: second.stream, core: second.streamCore },
    ];
    for (const each of pairs) each.core.chunks.length = 0;
    const sent = pairs.map((_, index) => pattern(MEGABYTE, 20 + index));
    for (let at = 0; at < MEGABYTE; at += 10_000)
      for (const [index, each] of pairs.entries()) each.peer.raw.write(sent[index].subarray(at, at + 10_000));
    for (const [index, each] of pairs.entries()) pour(each.core, sent[index], 10_000);
    for (const [index, each] of pairs.entries()) {
      const expected = MEGABYTE + (index === 0 ? 0 : 1);
      await stage.until(() => each.core.receivedBytes >= expected && each.peer.receivedBytes >= MEGABYTE);
      assertSame(each.core.received, sent[index]);
      assertSame(each.peer.received, sent[index]);
    }
  });

  it('resets a stream that the core does not want, and the connection goes on', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    core.onStream = () => false;
    const refused = new Peer(await peer.raw.openStream!(), stage.watch);
    refused.raw.write(Buffer.from('x'));
    await stage.until(() => refused.closed);
    assert.equal(resetCode(refused), STREAM_REFUSED);
    core.onStream = () => true;
    const { stream, streamCore } = await stage.openStream(peer, core);
    stream.raw.write(Buffer.from('alive'));
    peer.raw.write(Buffer.from('alive'));
    await stage.until(() => streamCore.receivedBytes === 6 && core.receivedBytes === 5);
  });

  it('ends a stream alone whose handler throws', TIMEOUT, async () => {
    const stage = current();
    const { peer, core, stream, streamCore } = await stage.connectWithStream();
    streamCore.onData = () => {
      throw new Error('thrown on a stream');
    };
    stream.raw.write(Buffer.from('x'));
    await stage.until(() => streamCore.closes === 1 && stream.closed);
    assert.deepEqual(
      stage.errors.map(({ message }) => message),
      ['thrown on a stream'],
    );
    peer.raw.write(Buffer.from('alive'));
    await stage.until(() => core.receivedBytes === 5);
  });
}

function pressureTests(current: () => Stage): void {
  it('stops one paused stream, and the others go on', TIMEOUT, async () => {
    const stage = current();
    const { peer, core, stream, streamCore } = await stage.connectWithStream();
    streamCore.wire.pause();
    const sent = pattern(FLOOD_BYTES, 31);
    for (let at = 0; at < sent.length; at += 65_536) stream.raw.write(sent.subarray(at, at + 65_536));
    peer.raw.write(pattern(MEGABYTE, 32));
    await stage.until(() => core.receivedBytes >= MEGABYTE);
    assert.ok(streamCore.chunks.length <= 2, 'at most one chunk that was already read');
    assert.ok(stream.raw.unsentBytes > 0, 'the client still holds bytes');
    streamCore.wire.resume();
    await stage.until(() => streamCore.receivedBytes >= sent.length + 1);
    assertSame(streamCore.received.subarray(1), sent);
  });

  it(
    'holds a buffer for one stream that is not read, drains once, and the others go on',
    TIMEOUT,
    async () => {
      const stage = current();
      const { peer, core, stream, streamCore } = await stage.connectWithStream();
      stream.raw.pause();
      const sent = pattern(FLOOD_BYTES, 33);
      assert.equal(streamCore.wire.write(sent), false);
      const other = pattern(100_000, 34);
      pour(core, other, 10_000);
      await stage.until(() => peer.receivedBytes >= other.length);
      assert.equal(streamCore.drains, 0);
      stream.raw.resume();
      await stage.until(() => stream.receivedBytes >= sent.length && streamCore.drains > 0);
      await stage.settle();
      assert.equal(streamCore.drains, 1);
      assertSame(stream.received, sent);
    },
  );
}

function endingTests(current: () => Stage): void {
  it(
    'reports the end of a stream after its last byte, without an error, and the connection goes on',
    TIMEOUT,
    async () => {
      const stage = current();
      const { peer, core, stream, streamCore } = await stage.connectWithStream();
      streamCore.wire.pause();
      const sent = pattern(50_000, 35);
      stream.raw.write(sent);
      stream.raw.end();
      await stage.settle();
      assert.equal(streamCore.closes, 0);
      streamCore.wire.resume();
      await stage.until(() => streamCore.closes === 1 && stream.closed);
      assertSame(streamCore.received.subarray(1), sent);
      assert.equal(streamCore.error, undefined);
      peer.raw.write(Buffer.from('alive'));
      await stage.until(() => core.receivedBytes === 5);
    },
  );

  it('sends what was written within a data event behind which the stream ends', TIMEOUT, async () => {
    const stage = current();
    const { stream, streamCore } = await stage.connectWithStream();
    streamCore.onData = () => void streamCore.wire.write(Buffer.from('answer'));
    stream.raw.write(Buffer.from('question'));
    stream.raw.end();
    await stage.until(() => streamCore.closes === 1 && stream.closed);
    assert.equal(stream.received.toString(), 'answer');
  });

  it('reports a stream that the client breaks off, and the connection goes on', TIMEOUT, async () => {
    const stage = current();
    const { peer, core, stream, streamCore } = await stage.connectWithStream();
    stream.raw.abort();
    await stage.until(() => streamCore.closes === 1);
    assert.ok(streamCore.error !== undefined);
    peer.raw.write(Buffer.from('alive'));
    await stage.until(() => core.receivedBytes === 5);
    const again = await stage.openStream(peer, core);
    assert.equal(again.streamCore.closes, 0);
  });

  it('sends what was written before a stream ends, and the connection goes on', TIMEOUT, async () => {
    const stage = current();
    const { peer, core, stream, streamCore } = await stage.connectWithStream();
    const sent = pattern(MEGABYTE, 36);
    streamCore.wire.write(sent);
    streamCore.wire.end();
    await stage.until(() => stream.closed && streamCore.closes === 1);
    assertSame(stream.received, sent);
    assert.equal(streamCore.error, undefined);
    assert.equal(resetCode(stream), undefined);
    core.wire.write(Buffer.from('alive'));
    await stage.until(() => peer.receivedBytes === 5);
  });

  it(
    'resets a stream with the reason code that it ends with, also one that is not read',
    TIMEOUT,
    async () => {
      const stage = current();
      const { peer, core, stream, streamCore } = await stage.connectWithStream();
      stream.raw.pause();
      streamCore.wire.write(pattern(FLOOD_BYTES, 37));
      streamCore.wire.end(0x97);
      await stage.until(() => streamCore.closes === 1);
      stream.raw.resume();
      await stage.until(() => stream.closed);
      assert.equal(resetCode(stream), 0x97);
      assert.equal(streamCore.error, undefined);
      core.wire.write(Buffer.from('alive'));
      await stage.until(() => peer.receivedBytes === 5);
    },
  );

  it('aborts a stream alone', TIMEOUT, async () => {
    const stage = current();
    const { peer, core, stream, streamCore } = await stage.connectWithStream();
    const reason = new Error('enough');
    streamCore.wire.abort(reason);
    streamCore.wire.abort();
    streamCore.wire.end();
    await stage.until(() => stream.closed && streamCore.closes === 1);
    assert.equal(streamCore.error, reason);
    core.wire.write(Buffer.from('alive'));
    await stage.until(() => peer.receivedBytes === 5);
  });
}

function connectionEndTests(current: () => Stage): void {
  for (const how of [
    'the core ends',
    'the core aborts',
    'the client ends',
    'the client breaks off',
    'the door closes',
  ])
    it(`tells every stream of the end before the connection when ${how}`, TIMEOUT, async () => {
      const stage = current();
      const { peer, core, stream, streamCore } = await stage.connectWithStream();
      let streamsBefore = -1;
      core.onClosed = () => {
        streamsBefore = streamCore.closes;
      };
      if (how === 'the core ends') core.wire.end();
      else if (how === 'the core aborts') core.wire.abort();
      else if (how === 'the client ends') peer.raw.end();
      else if (how === 'the client breaks off') peer.raw.abort();
      else await stage.door.transport.close(0);
      await stage.until(() => core.closes === 1 && peer.closed && stream.closed);
      assert.equal(streamsBefore, 1);
    });
}
