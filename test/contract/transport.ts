/** The suite every door passes. A door's test file calls `transportContract` with a way to build and to dial it. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { assertSame, type Core, type OpenDoor, type Peer, pattern, pour, Stage } from './transport-stage.ts';
import { furtherStreamTests, type Streams } from './transport-streams.ts';

export type { Door, RawClient, RawStream } from './transport-stage.ts';

const TIMEOUT = { timeout: 15_000 };
/** More than the kernel buffers of a connection hold on both sides together. */
const FLOOD_BYTES = 24 << 20;
const MEGABYTE = 1 << 20;

/** Registers the contract's tests for a door. `streams`: its connections can have further streams. */
export function transportContract(name: string, open: OpenDoor, streams: Streams = 'none'): void {
  describe(`${name} keeps the transport contract`, () => {
    let stage: Stage;
    beforeEach(async () => {
      stage = new Stage(open);
      await stage.listen();
    });
    afterEach(async () => {
      await stage.door.transport.close(0);
      for (const core of stage.cores.flatMap((each) => [each, ...each.streams])) {
        assert.equal(core.closes, 1, 'exactly one closed for each wire');
        assert.equal(core.lateEvents, 0, 'nothing after closed');
      }
      const { visits } = stage.keeper;
      await stage.until(() => visits.every((visit) => visit.lefts > 0));
      for (const visit of visits) assert.equal(visit.lefts, 1, 'exactly one left for each visit');
    });
    streamTests(() => stage);
    pressureTests(() => stage);
    endingTests(() => stage);
    faultTests(() => stage);
    closeTests(() => stage);
    doorkeeperTests(() => stage);
    if (streams !== 'none') furtherStreamTests(() => stage, streams);
  });
}

function streamTests(current: () => Stage): void {
  it('tells who is at the other end', TIMEOUT, async () => {
    const stage = current();
    const { core } = await stage.connect();
    assert.equal(core.wire.peer.secure, stage.door.secure);
    assert.ok(core.wire.peer.door.includes('://'));
    assert.notEqual(core.wire.peer.address, '');
  });

  it('hands over bytes in order when they come one at a time', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const sent = pattern(300);
    for (let i = 0; i < sent.length; i++) peer.raw.write(sent.subarray(i, i + 1));
    await stage.until(() => core.receivedBytes >= sent.length);
    assertSame(core.received, sent);
  });

  it('hands over bytes in order when they come in random splits', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const sent = pattern(MEGABYTE);
    const sizes = pattern(4096, 7);
    for (let at = 0, n = 0; at < sent.length; n++) {
      const size = 1 + sizes[n % sizes.length] ** 2;
      peer.raw.write(sent.subarray(at, at + size));
      at += size;
      if (n % 50 === 0) await new Promise(setImmediate);
    }
    await stage.until(() => core.receivedBytes >= sent.length);
    assertSame(core.received, sent);
  });

  it('carries 8 MB in one write each way', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const sent = pattern(8 * MEGABYTE);
    peer.raw.write(sent);
    await stage.until(() => core.receivedBytes >= sent.length);
    assertSame(core.received, sent);
    core.wire.write(sent);
    await stage.until(() => peer.receivedBytes >= sent.length);
    assertSame(peer.received, sent);
  });

  it('lets go of a buffer as soon as write has returned true', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const sent = pattern(200_000, 3);
    const reused = Buffer.alloc(100);
    for (let at = 0; at < sent.length; at += reused.length) {
      sent.copy(reused, 0, at, at + reused.length);
      const drains = core.drains;
      if (!core.wire.write(reused)) await stage.until(() => core.drains > drains);
      reused.fill(0);
    }
    await stage.until(() => peer.receivedBytes >= sent.length);
    assertSame(peer.received, sent);
  });
}

function pressureTests(current: () => Stage): void {
  it('holds a buffer for a client that does not read, and drains exactly once', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    peer.raw.pause();
    const sent = pattern(FLOOD_BYTES);
    const before = Buffer.from(sent);
    assert.equal(core.wire.write(sent), false);
    await stage.settle();
    assert.equal(core.drains, 0);
    peer.raw.resume();
    await stage.until(() => peer.receivedBytes >= sent.length && core.drains > 0);
    await stage.settle();
    assert.equal(core.drains, 1);
    assertSame(sent, before);
    assertSame(peer.received, sent);
    core.wire.write(Buffer.from('more'));
    await stage.until(() => peer.receivedBytes >= sent.length + 4);
  });

  it('gives a slow reader every byte in order', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const sent = pattern(8 * MEGABYTE, 9);
    pour(core, sent, 100_000);
    for (let round = 0; round < 20; round++) {
      peer.raw.pause();
      await new Promise(setImmediate);
      peer.raw.resume();
      await new Promise(setImmediate);
    }
    await stage.until(() => peer.receivedBytes >= sent.length);
    assertSame(peer.received, sent);
  });

  it('stops data while paused, so that the client feels it', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    core.wire.pause();
    const sent = pattern(FLOOD_BYTES, 11);
    for (let at = 0; at < sent.length; at += 65_536) peer.raw.write(sent.subarray(at, at + 65_536));
    await stage.settle();
    assert.ok(core.chunks.length <= 1, 'at most one chunk that was already read');
    assert.ok(peer.raw.unsentBytes > 0, 'the client still holds bytes');
    core.wire.resume();
    await stage.until(() => core.receivedBytes >= sent.length);
    assertSame(core.received, sent);
  });

  it('stops after the chunk in which the core paused', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    let paused = false;
    let late = 0;
    core.onData = () => {
      if (paused) late++;
      paused = true;
      core.wire.pause();
    };
    const sent = pattern(200_000, 13);
    for (let at = 0; at < sent.length; at += 1_000) peer.raw.write(sent.subarray(at, at + 1_000));
    while (core.receivedBytes < sent.length) {
      await stage.until(() => paused);
      await stage.settle();
      assert.ok(late <= 1);
      paused = false;
      late = 0;
      core.wire.resume();
    }
    assertSame(core.received, sent);
  });

  it('still hands over what came before the end to a core that had paused', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    core.onData = () => core.wire.pause();
    const sent = pattern(20_000, 15);
    for (let at = 0; at < sent.length; at += 100) peer.raw.write(sent.subarray(at, at + 100));
    peer.raw.end();
    await stage.settle();
    core.onData = () => {};
    core.wire.resume();
    await stage.until(() => core.closes === 1);
    assertSame(core.received, sent);
    assert.equal(core.error, undefined);
  });
}

function endingTests(current: () => Stage): void {
  it('reports the end of the client after its last byte, without an error', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const sent = pattern(50_000);
    peer.raw.write(sent);
    peer.raw.end();
    await stage.until(() => core.closes === 1);
    assertSame(core.received, sent);
    assert.equal(core.error, undefined);
    await stage.until(() => peer.closed);
  });

  it('reports a client that breaks off', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    peer.raw.write(Buffer.from('half a pack'));
    await stage.until(() => core.receivedBytes > 0);
    peer.raw.abort();
    await stage.until(() => core.closes === 1);
    assert.equal(core.error !== undefined, stage.door.abortIsError);
  });

  it('sends what was written before it ends, and drops what comes after', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const sent = pattern(3 * MEGABYTE, 17);
    core.wire.write(sent);
    core.wire.end();
    const heard = core.receivedBytes;
    peer.raw.write(Buffer.from('too late'));
    await stage.until(() => peer.closed && core.closes === 1);
    assertSame(peer.received, sent);
    assert.equal(core.receivedBytes, heard);
    assert.equal(core.error, undefined);
  });

  it('ends a wire that the core has paused', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    core.wire.pause();
    peer.raw.write(pattern(100_000));
    core.wire.end();
    await stage.until(() => peer.closed && core.closes === 1);
    assert.ok(core.chunks.length <= 1);
  });

  it('raises nothing but closed after an abort inside data', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const reason = new Error('enough');
    core.onData = () => core.wire.abort(reason);
    for (let n = 0; n < 100; n++) peer.raw.write(pattern(1_000));
    await stage.until(() => peer.closed && core.closes === 1);
    assert.equal(core.chunks.length, 1);
    assert.equal(core.error, reason);
  });

  it('aborts a client that does not read', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    peer.raw.pause();
    core.wire.write(pattern(FLOOD_BYTES));
    core.wire.abort();
    await stage.until(() => core.closes === 1);
    assert.equal(core.drains, 0);
    peer.raw.resume();
    await stage.until(() => peer.closed);
  });

  it('takes a second end or abort in its stride', TIMEOUT, async () => {
    const stage = current();
    const { core } = await stage.connect();
    core.wire.end(0x8e);
    core.wire.end();
    core.wire.abort();
    core.wire.abort(new Error('again'));
    await stage.until(() => core.closes === 1);
    core.wire.end();
    core.wire.abort();
    core.wire.pause();
    core.wire.resume();
  });

  for (const way of ['end', 'abort'] as const) {
    it(`can ${way} a wire while it is being accepted`, TIMEOUT, async () => {
      const stage = current();
      stage.onAccept = (wire) => wire[way]();
      const peer = await stage.dialRefused();
      await stage.until(() => stage.cores[0]?.closes === 1 && peer?.closed !== false);
      assert.equal(stage.cores[0].chunks.length, 0);
    });
  }
}

function faultTests(current: () => Stage): void {
  for (const event of ['onData', 'onDrain', 'onClosed'] as const) {
    it(`survives an error thrown in ${event}, and so do the other wires`, TIMEOUT, async () => {
      const stage = current();
      const bystander = await stage.connect();
      const { peer, core } = await stage.connect();
      core[event] = () => {
        throw new Error(`thrown in ${event}`);
      };
      peer.raw.pause();
      core.wire.write(pattern(FLOOD_BYTES));
      peer.raw.resume();
      await stage.until(() => core.drains > 0);
      if (event !== 'onDrain') peer.raw.write(Buffer.from('x'));
      if (event === 'onClosed') peer.raw.end();
      await stage.until(() => core.closes === 1 && peer.closed);
      assert.deepEqual(
        stage.errors.map((error) => error.message),
        [`thrown in ${event}`],
      );
      bystander.peer.raw.write(Buffer.from('alive'));
      await stage.until(() => bystander.core.receivedBytes === 5);
    });
  }

  it('survives an error thrown while accepting', TIMEOUT, async () => {
    const stage = current();
    stage.onAccept = () => {
      throw new Error('not today');
    };
    const refused = await stage.dialRefused();
    await stage.until(() => stage.errors.length > 0 && refused?.closed !== false);
    assert.equal(stage.errors[0].message, 'not today');
    stage.cores.length = 0;
    stage.onAccept = () => {};
    const { peer, core } = await stage.connect();
    peer.raw.write(Buffer.from('alive'));
    await stage.until(() => core.receivedBytes === 5);
  });
}

function closeTests(current: () => Stage): void {
  it('closes what is left after the grace period', TIMEOUT, async () => {
    const stage = current();
    const all = await Promise.all([stage.dial(), stage.dial(), stage.dial()]);
    await stage.until(() => stage.cores.length === 3);
    await stage.door.transport.close(5);
    assert.ok(stage.cores.every((core) => core.closes === 1));
    await stage.until(() => all.every((peer) => peer.closed));
    await assert.rejects(stage.door.dial(stage.address));
  });

  it('closes at once when every wire has ended within the grace period', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const closed = stage.door.transport.close(3_600_000);
    core.wire.write(Buffer.from('bye'));
    core.wire.end(0x8b);
    await closed;
    assert.equal(core.closes, 1);
    await stage.until(() => peer.closed);
    assert.equal(peer.received.toString(), 'bye');
  });

  it('closes when nobody ever came, and a second time', TIMEOUT, async () => {
    const { transport } = current().door;
    await transport.close(3_600_000);
    await transport.close(3_600_000);
  });
}

function doorkeeperTests(current: () => Stage): void {
  it('asks the doorkeeper about every connection, and gives its wire the visit', TIMEOUT, async () => {
    const stage = current();
    const { core } = await stage.connect();
    const other = await stage.connect();
    assert.equal(stage.keeper.visits.length, 2);
    const [visit, second] = stage.keeper.visits;
    core.wire.visit!.loggedIn();
    assert.deepEqual([visit.logins, second.logins], [1, 0]);
    other.core.wire.visit!.loggedIn();
    assert.deepEqual([visit.logins, second.logins], [1, 1]);
    assert.equal(visit.door, core.wire.peer.door);
    assert.equal(visit.address, core.wire.peer.address);
    assert.equal(visit.lefts, 0);
  });

  const endings: Record<string, (stage: Stage, peer: Peer, core: Core) => unknown> = {
    'the client ends': (_stage, peer) => peer.raw.end(),
    'the client breaks off': (_stage, peer) => peer.raw.abort(),
    'the core ends': (_stage, _peer, core) => core.wire.end(),
    'the core ends and then aborts': (_stage, _peer, core) => {
      core.wire.end();
      core.wire.abort();
    },
    'the core aborts': (_stage, _peer, core) => core.wire.abort(),
    'the door closes': (stage) => stage.door.transport.close(0),
    'he is evicted': (stage) => stage.keeper.visits[0].evict(),
    'he is evicted when the core has ended': (stage, _peer, core) => {
      core.wire.end();
      stage.keeper.visits[0].evict();
    },
  };
  for (const [how, end] of Object.entries(endings)) {
    it(`tells the doorkeeper once that a visitor has left when ${how}`, TIMEOUT, async () => {
      const stage = current();
      const { peer, core } = await stage.connect();
      const [visit] = stage.keeper.visits;
      end(stage, peer, core);
      await stage.until(() => visit.lefts > 0 && core.closes === 1 && peer.closed);
      visit.evict();
    });
  }

  it(
    'closes a connection that the doorkeeper turns away, and the core never hears of it',
    TIMEOUT,
    async () => {
      const stage = current();
      stage.keeper.admits = () => false;
      const peer = await stage.dialRefused();
      await stage.until(() => stage.keeper.turnedAway > 0 && peer?.closed !== false);
      assert.equal(peer?.receivedBytes ?? 0, 0);
      assert.equal(stage.cores.length, 0);
      stage.keeper.admits = () => true;
      const { core } = await stage.connect();
      assert.equal(stage.keeper.visits.length, 1);
      assert.equal(core.closes, 0);
    },
  );

  it('closes at once whom the doorkeeper evicts, and nobody else', TIMEOUT, async () => {
    const stage = current();
    const { peer, core } = await stage.connect();
    const bystander = await stage.connect();
    peer.raw.pause();
    core.wire.write(pattern(FLOOD_BYTES));
    stage.keeper.visits[0].evict();
    await stage.until(() => core.closes === 1);
    assert.match(core.error?.message ?? '', /make room/);
    peer.raw.resume();
    await stage.until(() => peer.closed);
    bystander.peer.raw.write(Buffer.from('alive'));
    await stage.until(() => bystander.core.receivedBytes === 5);
  });
}
