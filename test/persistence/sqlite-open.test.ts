/** What a durable store finds when it opens, and what it refuses. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ConfigError } from '../../src/errors.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { beginSession, StoreFolder, storedDelivery, storedMessage } from '../support/store-folder.ts';

const clientId = 'c';
const ALL = { clientId, after: 0, messagesMax: 1_000_000, bytesMax: 1_000_000_000 };

let folder: StoreFolder;
beforeEach(() => {
  folder = new StoreFolder();
});
afterEach(() => folder.remove());

const file = (name: string) => path.join(folder.dir, name);

function enqueue(position: number, message = storedMessage(`t/${position}`), to = clientId) {
  return { kind: 'enqueue', clientId: to, delivery: storedDelivery(position, message) } as const;
}

/** Makes a store with one session, and closes it. */
async function makeStore(): Promise<void> {
  const { store } = await folder.open();
  store.append(beginSession(clientId));
  await store.close();
}

function change(sql: string): void {
  const db = new DatabaseSync(file('sluice.db'));
  db.exec(sql);
  db.close();
}

describe('opening a durable store', () => {
  it('makes a folder and files that nobody else can read, whatever the umask', async () => {
    const before = process.umask(0);
    try {
      const { store } = await folder.open();
      store.append(beginSession(clientId));
      await store.page(ALL);
      assert.equal(statSync(folder.dir).mode & 0o777, 0o700);
      for (const name of ['sluice.db', 'sluice.db-wal', 'sluice.mark'])
        assert.equal(statSync(file(name)).mode & 0o777, 0o600, name);
    } finally {
      process.umask(before);
    }
  });

  it('leaves no log behind when it is closed', async () => {
    await makeStore();
    assert.equal(existsSync(file('sluice.db-wal')), false);
    assert.equal(existsSync(file('sluice.db-shm')), false);
  });

  it('is refused while another one has the folder', async () => {
    await folder.open();
    await assert.rejects(
      folder.open(),
      (error) => error instanceof ConfigError && /in use/.test(error.message),
    );
  });

  it('is refused when the schema is newer, and changes nothing', async () => {
    await makeStore();
    change('PRAGMA user_version = 2');
    const before = readFileSync(file('sluice.db'));
    await assert.rejects(
      folder.open(),
      (error) => error instanceof ConfigError && /schema version 2/.test(error.message),
    );
    assert.ok(readFileSync(file('sluice.db')).equals(before));
  });

  it('is refused when the database belongs to another program, and changes nothing', async () => {
    mkdirSync(folder.dir, { mode: 0o700 });
    change('CREATE TABLE theirs (a); PRAGMA user_version = 1');
    chmodSync(file('sluice.db'), 0o600);
    const before = readFileSync(file('sluice.db'));
    await assert.rejects(
      folder.open(),
      (error) => error instanceof ConfigError && /another program/.test(error.message),
    );
    assert.ok(readFileSync(file('sluice.db')).equals(before));
  });

  it('begins anew where a crash came before the first table', async () => {
    mkdirSync(folder.dir, { mode: 0o700 });
    writeFileSync(file('sluice.db'), '', { mode: 0o600 });
    await makeStore();
    assert.equal(folder.count('SELECT count(*) FROM session'), 1);
  });

  it('hands over what is there also to a reader that takes several turns, and goes on meanwhile', async () => {
    const { store } = await folder.open();
    for (let n = 1; n <= 100; n++) {
      store.append(beginSession(`client-${n}`));
      store.append({ kind: 'retain', message: storedMessage(`r/${n}`), replaced: null });
    }
    await store.close();
    const { store: again, state } = await folder.open();
    const clients: string[] = [];
    const topics: string[] = [];
    for (const { session } of state.sessions) {
      clients.push(session.clientId);
      again.append({ kind: 'session-end', clientId: session.clientId });
      await nextTurn();
    }
    for (const { topic } of state.retained) {
      topics.push(topic);
      await nextTurn();
    }
    assert.equal(new Set(clients).size, 100);
    assert.equal(new Set(topics).size, 100);
    await again.close();
    assert.equal(folder.count('SELECT count(*) FROM session'), 0);
  });

  it('lets a message expire by the wall clock, however long the process was away', async () => {
    const clock = new FakeClock(5_000);
    const { store } = await folder.open({ clock });
    store.append(beginSession(clientId));
    store.append(enqueue(1, storedMessage('t', { expiresAtMs: clock.now() + 60_000 })));
    store.append({
      kind: 'retain',
      message: storedMessage('r', { expiresAtMs: clock.now() + 90_000 }),
      replaced: null,
    });
    const [early] = await store.page(ALL);
    assert.equal(early.message.expiresAtMs, 65_000);
    await store.close();
    // A later process: its monotonic clock began anew, and ten seconds have passed.
    const later = new FakeClock(77);
    later.wallNow = () => clock.wallNow() + 10_000;
    const { store: again, state } = await folder.open({ clock: later });
    assert.deepEqual(
      [...state.retained].map(({ expiresAtMs }) => expiresAtMs),
      [77 + 80_000],
    );
    const [late] = await again.page(ALL);
    assert.equal(late.message.expiresAtMs, 77 + 50_000);
  });

  for (const { name, setMs } of [
    { name: 'forward, by an hour', setMs: 3_600_000 },
    { name: 'back, by an hour', setMs: -3_600_000 },
    { name: 'forward, by forty years, as where no battery keeps it', setMs: 40 * 365 * 86_400_000 },
  ]) {
    for (const isIdle of [false, true]) {
      const when = isIdle ? 'while nothing is written' : 'while it works';
      it(`does not move an expiry when the wall clock is set ${name}, ${when}`, async () => {
        const clock = new FakeClock(5_000);
        let settingMs = 0;
        const wall = clock.wallNow.bind(clock);
        clock.wallNow = () => wall() + settingMs;
        const { store } = await folder.open({ clock });
        const session = { ...beginSession(clientId).session, disconnectedAtMs: 4_000 };
        store.append({ kind: 'session', session });
        store.append(enqueue(1, storedMessage('t', { expiresAtMs: clock.now() + 60_000 })));
        await store.page(ALL);
        settingMs = setMs;
        const [delivery] = await store.page(ALL);
        assert.equal(delivery.message.expiresAtMs, clock.now() + 60_000);
        if (!isIdle) store.append({ kind: 'inbound', clientId, packetId: 1 });
        clock.advance(10_000);
        await store.close();
        const later = new FakeClock(77);
        later.wallNow = () => clock.wallNow() + 20_000;
        const { store: again, state } = await folder.open({ clock: later });
        const [{ session: kept }] = [...state.sessions];
        assert.equal(kept.disconnectedAtMs, 77 + 4_000 - 5_000 - 30_000);
        const [late] = await again.page(ALL);
        assert.equal(late.message.expiresAtMs, 77 + 60_000 - 30_000);
      });
    }
  }

  it('takes a wall clock that was set back between two runs for no time away', async () => {
    const clock = new FakeClock(5_000);
    const { store } = await folder.open({ clock });
    store.append(beginSession(clientId));
    store.append(enqueue(1, storedMessage('t', { expiresAtMs: clock.now() + 60_000 })));
    await store.close();
    const later = new FakeClock(77);
    later.wallNow = () => clock.wallNow() - 1_000_000;
    const { store: again } = await folder.open({ clock: later });
    const [late] = await again.page(ALL);
    assert.equal(late.message.expiresAtMs, 77 + 60_000);
  });
});

describe('what a durable store keeps', () => {
  it('stores the body of a message once for a thousand sessions', async () => {
    const { store } = await folder.open();
    const message = storedMessage('t');
    for (let n = 1; n <= 1_000; n++) {
      store.append(beginSession(`client-${n}`));
      store.append(enqueue(1, message, `client-${n}`));
      if (n % 100 === 0) await nextTurn();
    }
    await store.close();
    assert.deepEqual(folder.query('SELECT count(*) AS n, sum(refs) AS refs FROM message'), [
      { n: 1, refs: 1_000 },
    ]);
    assert.equal(folder.count('SELECT count(*) FROM delivery'), 1_000);
  });

  it('shares the message between the deliveries in flight that it hands over', async () => {
    const { store } = await folder.open();
    const message = storedMessage('t');
    for (const id of ['a', 'b']) {
      store.append(beginSession(id));
      const delivery = storedDelivery(1, message, { packetId: 1 });
      store.append({ kind: 'enqueue', clientId: id, delivery });
    }
    await store.close();
    const { state } = await folder.open();
    const [a, b] = [...state.sessions].map(({ inFlight }) => [...inFlight][0].message);
    assert.equal(a, b);
  });

  it('writes the body of a message again that comes after its row was removed, and in the next commit adds to it', async () => {
    const { store } = await folder.open();
    const message = storedMessage('t');
    store.append(beginSession(clientId));
    for (let position = 1; position <= 3; position++) {
      store.append(enqueue(position, message));
      await store.page(ALL);
      store.append({ ...enqueue(position, message), kind: 'done' });
      await store.page(ALL);
    }
    const handle = message.storeHandle;
    for (let position = 4; position <= 6; position++) {
      store.append(enqueue(position, message));
      await store.page(ALL);
    }
    assert.equal(message.storeHandle, handle);
    await store.close();
    assert.deepEqual(folder.query('SELECT id, refs FROM message'), [{ id: handle, refs: 3 }]);
  });

  it('forgets a session with 50 000 messages at once, and removes these in parts, also after a restart', async () => {
    const { store } = await folder.open();
    store.append(beginSession(clientId));
    for (let position = 1; position <= 50_000; position++) store.append(enqueue(position));
    await store.page({ ...ALL, messagesMax: 1 });
    store.append({ kind: 'session-end', clientId });
    // The same client is back before anything is removed.
    store.append(beginSession(clientId));
    store.append(enqueue(1, storedMessage('new')));
    const page = await store.page(ALL);
    assert.deepEqual(
      page.map(({ message }) => message.topic),
      ['new'],
    );
    await store.close();
    assert.equal(folder.count('SELECT count(*) FROM session'), 1);
    const left = folder.count('SELECT count(*) FROM delivery');
    assert.ok(left > 1, 'the rest is for later');

    const { store: again, state, heard } = await folder.open();
    assert.deepEqual(
      [...state.sessions].map(({ queue }) => queue.messages),
      [1],
    );
    for (let parts = 0; parts < 55; parts++) {
      again.append(beginSession(clientId));
      await heard.until(() => again.durable === again.appended);
    }
    await again.close();
    assert.deepEqual(folder.query('SELECT count(*) AS n FROM delivery'), [{ n: 1 }]);
    assert.deepEqual(folder.query('SELECT count(*) AS n FROM message'), [{ n: 1 }]);
    assert.deepEqual(folder.query('SELECT count(*) AS n FROM ended'), [{ n: 0 }]);
  });
});

describe('a durable store in trouble', () => {
  it('is full while less is free than it was told to leave, and writes all the same', async () => {
    const { store, heard } = await folder.open({ diskFreeBytesMin: Number.MAX_SAFE_INTEGER });
    assert.equal(store.full, true);
    store.append(beginSession(clientId));
    await heard.until(() => store.durable === store.appended);
    assert.equal(heard.failures.length, 0);
  });

  it('fails rather than give a payload that is not what was written', async () => {
    const { store } = await folder.open();
    store.append(beginSession(clientId));
    store.append(enqueue(1, storedMessage('t', { payload: Buffer.from('the very bytes') })));
    await store.close();
    const { store: again, heard } = await folder.open();
    await again.page({ ...ALL, after: 1 });
    // Behind the check at start, as a disk might.
    const at = readFileSync(file('sluice.db')).indexOf('the very bytes');
    const descriptor = openSync(file('sluice.db'), 'r+');
    writeSync(descriptor, 'T', at);
    closeSync(descriptor);
    const waiting = again.page(ALL);
    await assert.rejects(waiting, /message 1 is damaged: its checksum/);
    assert.equal(heard.failures.length, 1);
    await assert.rejects(again.page(ALL), /message 1 is damaged/);
    again.append(enqueue(2));
    await nextTurn();
    assert.ok(again.durable < again.appended);
    await assert.rejects(again.close(), /message 1 is damaged/);
    assert.equal(heard.failures.length, 1, 'it is said once');
  });
});
