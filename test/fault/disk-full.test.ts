/** A small file system of its own fills up under the broker, and gets room again. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { skipUnless } from '../tools/needs.ts';
import type { ClientOptions, FaultClient } from './harness/client.ts';
import { ProcessStage } from './harness/process-stage.ts';
import { inTime, Scene } from './harness/scene.ts';

const MIB = 1_048_576;
const DISK_MIB = 48;
const why = whyNoTmpfs();
const skip = skipUnless(why === null, why ?? '');

/** Why no file system can be mounted here, or null when one can. */
function whyNoTmpfs(): string | null {
  const trial = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', '/mnt'], {
    encoding: 'utf8',
  });
  if (trial.error !== undefined) return `no program to mount with: ${trial.error.message}`;
  return trial.status === 0 ? null : `a tmpfs cannot be mounted here: ${trial.stderr.trim()}`;
}

/** A broker whose data is on a disk of 48 MiB. */
class SmallDisk {
  readonly stage: ProcessStage;
  readonly mountPoint: string;

  constructor(t: TestContext, diskFreeBytesMin: number) {
    // The log is listened to.
    const stage = new ProcessStage({ config: { log: { level: 'info', file: '' } } });
    this.stage = stage;
    this.mountPoint = path.join(stage.directory, 'disk');
    mkdirSync(this.mountPoint);
    const mount = spawnSync('mount', [
      '-t',
      'tmpfs',
      '-o',
      `size=${DISK_MIB}m,mode=0700`,
      'tmpfs',
      this.mountPoint,
    ]);
    t.after(async () => {
      stage.kill();
      await stage.gone();
      spawnSync('umount', [this.mountPoint]);
      await stage.close();
    });
    assert.equal(mount.status, 0, String(mount.stderr));
    stage.configure({ persistence: { dir: path.join(this.mountPoint, 'data'), diskFreeBytesMin } });
  }

  /** Fills the disk up to `left` bytes; 0: until it takes no more. */
  fill(left: number): void {
    const chunk = Buffer.alloc(65_536);
    const file = openSync(this.#ballast, 'w');
    try {
      while (this.#free() > left) {
        if (writeSync(file, chunk) < chunk.length) break;
      }
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
    } finally {
      closeSync(file);
    }
  }

  /** Makes room again. */
  clear(): void {
    rmSync(this.#ballast);
  }

  get #ballast(): string {
    return path.join(this.mountPoint, 'ballast');
  }

  #free(): number {
    const { bavail, bsize } = statfsSync(this.mountPoint);
    return bavail * bsize;
  }
}

/** Away until the end; what waits for it fills the store. */
const AWAY: ClientOptions = { id: 'away', version: 5 };
/** Acknowledges nothing until it is told to, so that its queue stays where it is. */
const READER: ClientOptions = {
  id: 'reader',
  version: 5,
  receiveMaximum: 10,
  lazy: Number.POSITIVE_INFINITY,
};
const FIVE: ClientOptions = { id: 'five', version: 5, window: 20 };
const FOUR: ClientOptions = { id: 'four', version: 4, window: 20 };
const QUEUED = 300;
const BYTES = 1_000;
const PASSING = { cleanStart: true, lasting: false };
const RETAINED = { filter: 'r/#', topics: ['r/1'], last: 'z/last' };
const STORE_FULL = /store\.full/;
const QUOTA_EXCEEDED = 0x97;

/** Sessions, a queue to read, and a retained message, while there is room. */
async function prepare(scene: Scene): Promise<{ five: FaultClient; four: FaultClient; reader: FaultClient }> {
  await scene.start(0);
  const away = await scene.enter(AWAY);
  await away.subscribe('kept/#', 1);
  away.leave(true);
  const reader = await scene.enter(READER);
  await reader.subscribe('read', 1);
  const five = await scene.enter(FIVE);
  const four = await scene.enter(FOUR);
  five.publish(...Array.from({ length: QUEUED }, () => scene.message('read', 1, BYTES)));
  four.publish(scene.message('r/1', 1, BYTES, 'yes'), scene.message('z/last', 1, BYTES, 'yes'));
  await scene.settle(five);
  await scene.settle(four);
  return { five, four, reader };
}

/** The store has said that it is full: what it would have to keep is refused, as far as the version has a word for it. */
async function everybodyIsRefused(scene: Scene, name: string): Promise<void> {
  const newer = await scene.enter({ id: `${name}-five`, version: 5, window: 1 }, PASSING);
  const answer = new Promise<number>((resolve) => {
    newer.onAnswer = (_message, code) => resolve(code);
  });
  newer.publish(scene.message(`kept/${name}/five`, 1, BYTES));
  assert.equal(await inTime(answer, 'the answer to a 5.0 publisher'), QUOTA_EXCEEDED);
  newer.leave(true);
  const older = await scene.enter({ id: `${name}-four`, version: 4, window: 1 }, PASSING);
  older.publish(scene.message(`kept/${name}/four`, 1, BYTES));
  await older.ping();
  assert.equal(older.unfinished, 1, 'a 3.1.1 publisher got an acknowledgement');
  older.leave(true);
  const newcomer = scene.client({ id: `${name}-newcomer`, version: 5 });
  assert.equal(await scene.connect(newcomer), false, 'there was room for another session');
}

/** The client publishes until it is told that there is no room, or waits for room like everybody who came before that was known. */
async function publishUntilFull(scene: Scene, stage: ProcessStage, client: FaultClient): Promise<void> {
  const full = new Promise<void>((resolve) => {
    const send = (): void => client.publish(scene.message(`kept/${client.id}`, 1, 30_000));
    client.onAnswer = (_message, code) => (code === QUOTA_EXCEEDED ? resolve() : send());
    for (let first = 0; first < 20; first++) send();
  });
  await inTime(Promise.race([full, stage.said(STORE_FULL)]), 'the disk to fill up');
  client.onAnswer = () => {};
}

/** QoS 0 needs no room. */
async function qos0GoesOn(scene: Scene, name: string): Promise<void> {
  const client = await scene.enter({ id: `${name}-passing`, version: 5 }, PASSING);
  await client.subscribe(`passing/${name}`, 0);
  const came = new Promise<void>((resolve) => {
    client.onMessage = () => resolve();
  });
  client.publish(scene.message(`passing/${name}`, 0, BYTES));
  await inTime(came, 'a message of QoS 0');
  client.leave(true);
}

/** What was queued before is delivered to its end. */
async function queueIsRead(reader: FaultClient): Promise<void> {
  const read = new Promise<void>((resolve) => {
    reader.onMessage = (topic, number) => {
      if (topic === 'read' && number === QUEUED) resolve();
    };
  });
  reader.catchUp();
  await inTime(read, 'the end of the queue');
}

/** Waits until all is acknowledged, over as many connections as the broker makes of it. */
async function settleInTheEnd(scene: Scene, client: FaultClient): Promise<void> {
  while (client.unfinished > 0) {
    if (await inTime(client.idle(), `the acknowledgements of ${client.id}`)) return;
    await scene.connect(client);
  }
}

/** Everybody is served as if nothing had been, and everything acknowledged is there. */
async function reckon(scene: Scene, round: number): Promise<void> {
  for (const options of [FIVE, FOUR]) {
    const publisher = scene.client(options);
    await settleInTheEnd(scene, publisher);
    publisher.publish(scene.message(`kept/${publisher.id}`, 1, BYTES));
    await settleInTheEnd(scene, publisher);
  }
  await inTime(scene.read(RETAINED), 'the retained messages');
  for (const options of [AWAY, READER]) {
    const client = scene.client(options);
    if (!client.connected) await scene.enter(options);
    await scene.drain(client, scene.client(FIVE));
  }
  await scene.end(round);
}

const CASES = [
  { name: 'has less room than it is to keep free', diskFreeBytesMin: 8 * MIB, left: 6 * MIB },
  { name: 'takes not one byte more', diskFreeBytesMin: 0, left: 0 },
];
for (const { name, diskFreeBytesMin, left } of CASES) {
  test(`a disk that ${name}: publishers are refused, readers go on, and nothing acknowledged is lost, also by a kill`, {
    skip,
  }, async (t) => {
    const disk = new SmallDisk(t, diskFreeBytesMin);
    const { stage } = disk;
    const scene = new Scene(stage);
    await scene.judge(0, true, async () => {
      const { five, four, reader } = await prepare(scene);
      disk.fill(left);
      // Whoever comes before the store has noticed waits for his acknowledgement.
      five.publish(...Array.from({ length: 10 }, () => scene.message('kept/five', 1, BYTES)));
      await inTime(stage.said(STORE_FULL), 'the store to notice');
      four.publish(...Array.from({ length: 10 }, () => scene.message('kept/four', 1, BYTES)));
      await everybodyIsRefused(scene, 'first');
      await qos0GoesOn(scene, 'first');
      await queueIsRead(reader);
      assert.equal(four.unfinished, 10);
      await scene.end(0);
      await scene.start(1);
      const coming = [FIVE, FOUR].map((options) => scene.enter(options));
      // The room that the log has is used first.
      if (diskFreeBytesMin === 0) {
        const pouring = await scene.enter({ id: 'pouring', version: 5, window: 20 }, PASSING);
        await publishUntilFull(scene, stage, pouring);
        pouring.leave(true);
      }
      await everybodyIsRefused(scene, 'second');
      await qos0GoesOn(scene, 'second');
      disk.clear();
      await Promise.all(coming);
      await reckon(scene, 1);
    });
  });
}

test('a disk that fills up with messages has room again when they have been delivered', {
  skip,
}, async (t) => {
  const disk = new SmallDisk(t, 8 * MIB);
  const scene = new Scene(disk.stage);
  await scene.judge(0, true, async () => {
    const { five, four } = await prepare(scene);
    await publishUntilFull(scene, disk.stage, five);
    four.publish(scene.message('kept/four', 1, BYTES));
    await everybodyIsRefused(scene, 'first');
    await scene.end(0);
    await scene.start(1);
    for (const options of [FIVE, FOUR]) await scene.enter(options);
    const away = await scene.enter(AWAY);
    // Its queue is read while there is no room, which makes room.
    await inTime(disk.stage.said(/store\.has_room/), 'room');
    assert.ok(away.connected);
    await reckon(scene, 1);
  });
});

test('a broker that has not even the room to read its store says so, and starts when there is some', {
  skip,
}, async (t) => {
  const disk = new SmallDisk(t, 0);
  const { stage } = disk;
  await stage.start();
  await stage.stop();
  rmSync(path.join(disk.mountPoint, 'data', 'sluice.reserve'));
  disk.fill(0);
  await assert.rejects(stage.start(), /persistence\.dir .*the disk is full\. Make room: 32768 bytes more/);
  disk.clear();
  await stage.start();
});
