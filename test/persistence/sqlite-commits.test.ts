/** How operations become durable: in groups, in order, whole turns at a time. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { decodeMark } from '../../persistence/sqlite/records.ts';
import type { StoredDelivery } from '../../src/interfaces/store.ts';
import { beginSession, StoreFolder, storedDelivery, storedMessage } from '../support/store-folder.ts';

const clientId = 'c';
const ALL = { clientId, after: 0, messagesMax: 1_000_000, bytesMax: 1_000_000_000 };
const positions = (page: StoredDelivery[]): number[] => page.map(({ position }) => position);
const from1To = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

function enqueue(position: number, message = storedMessage(`t/${position}`)) {
  return { kind: 'enqueue', clientId, delivery: storedDelivery(position, message) } as const;
}

describe('a durable store', () => {
  let folder: StoreFolder;
  beforeEach(() => {
    folder = new StoreFolder();
  });
  afterEach(() => folder.remove());

  it('commits what comes while it writes as one group, and calls nothing durable before', async () => {
    const { store, heard } = await folder.open();
    store.append(beginSession(clientId));
    let seen = 0;
    for (let position = 1; position <= 20_000; position++) {
      store.append(enqueue(position));
      assert.ok(store.durable <= store.appended && store.durable >= seen);
      seen = store.durable;
      if (position % 50 === 0) await nextTurn();
    }
    await heard.until(() => store.durable === store.appended);
    assert.equal(store.appended, 20_001);
    assert.equal(store.statistics.operations, 20_001);
    assert.ok(store.statistics.commits < 400, `${store.statistics.commits} commits for 400 turns`);
    assert.ok(store.statistics.bytes > 20_000 * 64);
    await store.close();
    assert.equal(folder.count('SELECT count(*) FROM delivery'), 20_000);
    assert.equal(
      folder.count("SELECT value FROM meta WHERE name = 'commit_number'"),
      store.statistics.commits,
    );
  });

  it('makes nothing durable within the turn that appended it', async () => {
    const { store, heard } = await folder.open();
    store.append(beginSession(clientId));
    for (let position = 1; position <= 10_000; position++) store.append(enqueue(position));
    assert.equal(store.durable, 0);
    assert.equal(heard.durables, 0);
    await heard.until(() => store.durable > 0);
    assert.equal(store.durable, store.appended, 'one turn is one group');
    assert.equal(store.statistics.commits, 1);
  });

  it('shows a page what was appended before it was asked for, and nothing that came behind', async () => {
    const { store } = await folder.open();
    store.append(beginSession(clientId));
    const [first, second, third] = [enqueue(1), enqueue(2), enqueue(3)];
    store.append(first);
    store.append(second);
    const early = store.page(ALL);
    store.append(third);
    store.append({ ...first, kind: 'done' });
    store.append({ ...second, kind: 'sent', delivery: { ...second.delivery, packetId: 1 } });
    const late = store.page(ALL);
    assert.deepEqual(positions(await early), [1, 2]);
    assert.deepEqual(positions(await late), [3]);
  });

  it('reads a long queue page by page in order, each page within its bounds', async () => {
    const { store } = await folder.open();
    store.append(beginSession(clientId));
    for (let position = 1; position <= 5_000; position++) store.append(enqueue(position, storedMessage('t')));
    const read: number[] = [];
    for (;;) {
      const page = await store.page({ ...ALL, after: read.at(-1) ?? 0, messagesMax: 700 });
      assert.ok(page.length <= 700);
      if (page.length === 0) break;
      read.push(...positions(page));
    }
    assert.deepEqual(read, from1To(5_000));
    // Topic and payload of each: 1 + 12 bytes.
    const byBytes = await store.page({ ...ALL, bytesMax: 13 * 10 - 1 });
    assert.equal(byBytes.length, 10);
    assert.deepEqual(await store.page({ ...ALL, messagesMax: 0 }), []);
  });

  it('answers pages of many sessions that are asked for at once', async () => {
    const { store } = await folder.open();
    const clients = from1To(200).map((n) => `client-${n}`);
    for (const [i, id] of clients.entries()) {
      store.append(beginSession(id));
      store.append({ ...enqueue(i + 1), clientId: id });
    }
    const pages = await Promise.all(clients.map((id) => store.page({ ...ALL, clientId: id })));
    assert.deepEqual(pages.flatMap(positions), from1To(200));
  });

  it('writes nothing for a message that was acknowledged before its group was handed over', async () => {
    const { store, heard } = await folder.open();
    store.append(beginSession(clientId));
    await heard.until(() => store.durable === store.appended);
    const { commits } = store.statistics;
    for (let position = 1; position <= 1_000; position++) {
      const operation = enqueue(position);
      store.append(operation);
      store.append({ ...operation, kind: 'sent', delivery: { ...operation.delivery, packetId: position } });
      store.append({ ...operation, kind: 'done' });
    }
    await heard.until(() => store.durable === store.appended);
    assert.equal(store.statistics.commits, commits);
    await store.close();
    assert.equal(folder.count('SELECT count(*) FROM message'), 0);
  });

  it('removes a message that was acknowledged some groups later', async () => {
    const { store, heard } = await folder.open();
    store.append(beginSession(clientId));
    for (let round = 1; round <= 12; round++) {
      const operation = enqueue(round);
      store.append(operation);
      await heard.until(() => store.durable === store.appended);
      for (let group = 0; group < round % 4; group++) {
        store.append(beginSession('another'));
        await heard.until(() => store.durable === store.appended);
      }
      store.append({ ...operation, kind: 'done' });
      assert.deepEqual(await store.page(ALL), [], `round ${round}`);
    }
  });

  it('keeps the stage of a message that went on within its group', async () => {
    const { store } = await folder.open();
    store.append(beginSession(clientId));
    const [one, two] = [enqueue(1), enqueue(2)];
    for (const operation of [one, two]) store.append(operation);
    store.append({ ...one, kind: 'sent', delivery: { ...one.delivery, packetId: 65_535 } });
    store.append({
      ...one,
      kind: 'released',
      delivery: { ...one.delivery, packetId: 65_535, released: true },
    });
    await store.page(ALL);
    store.append({ ...two, kind: 'sent', delivery: { ...two.delivery, packetId: 7 } });
    store.append({ ...two, kind: 'released', delivery: { ...two.delivery, packetId: 7, released: true } });
    await store.close();
    const { state } = await folder.open();
    const [session] = state.sessions;
    const stages = [...session.inFlight].map(({ packetId, released }) => [packetId, released]);
    assert.deepEqual(stages, [
      [65_535, true],
      [7, true],
    ]);
  });
});

describe('the mark', () => {
  const marked = (folder: StoreFolder) => decodeMark(readFileSync(path.join(folder.dir, 'sluice.mark')));

  it('holds the number of the last commit once that is durable', async () => {
    const folder = new StoreFolder();
    const { store, heard } = await folder.open();
    for (const id of ['a', 'b', 'c']) {
      store.append(beginSession(id));
      await heard.until(() => store.durable === store.appended);
      assert.equal(marked(folder), store.statistics.commits);
    }
    await folder.remove();
  });

  it('holds no commit that a power cut could take away when commits are not synced', async () => {
    const folder = new StoreFolder();
    const { store, heard } = await folder.open({ acknowledge: 'committed' });
    store.append(beginSession('a'));
    await heard.until(() => store.durable === store.appended);
    assert.equal(marked(folder), 0);
    await store.close();
    assert.equal(marked(folder), 1);
    await folder.remove();
  });
});

describe('when a store acknowledges', () => {
  let folder: StoreFolder;
  before(() => {
    folder = new StoreFolder();
  });
  after(() => folder.remove());

  it('counts everything as durable at once when it acknowledges what it received, and writes it all the same', async () => {
    const { store, heard } = await folder.open({ acknowledge: 'received' });
    store.append(beginSession(clientId));
    for (let position = 1; position <= 1_000; position++) {
      store.append(enqueue(position));
      assert.equal(store.durable, store.appended);
    }
    await store.close();
    assert.equal(heard.durables, 0);
    assert.equal(folder.count('SELECT count(*) FROM delivery'), 1_000);
  });

  it('makes publishers wait even so when the disk is far behind', async () => {
    const { store, heard } = await folder.open({ acknowledge: 'received' });
    const payload = Buffer.alloc(1_048_576);
    const big = (position: number) => enqueue(position, storedMessage('t', { payload }));
    for (let position = 2_001; position <= 2_080; position++) store.append(big(position));
    assert.ok(store.durable < store.appended, 'more than 64 MB wait');
    assert.ok(store.durable > 60);
    await heard.until(() => store.durable === store.appended);
    await store.close();
    assert.equal(folder.count('SELECT count(*) FROM delivery'), 1_080);
  });
});
