/** A small file system of its own fills up under the broker, and gets room again. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statfsSync, writeSync, openSync, closeSync } from 'node:fs';
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
    const stage = new ProcessStage();
    this.stage = stage;
    this.mountPoint = path.join(stage.directory, 'disk');
    mkdirSync(this.mountPoint);
    const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m,mode=0700`, 'tmpfs', this.mountPoint]);
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

const SUBSCRIBER: ClientOptions = { id: 'away', version: 5 };
const READER: ClientOptions = { id: 'reader', version: 4 };
const FIVE: ClientOptions = { id: 'five', version: 5, window: 20 };
const FOUR: ClientOptions = { id: 'four', version: 4, window: 20 };
const PUBLISHERS = [FIVE, FOUR];
const BYTES = 1_000;
const PASSING = { cleanStart: true, lasting: false };

/** The publisher sends one message after the other, until one is answered as `wanted`. */
async function publishUntil(
  scene: Scene,
  publisher: FaultClient,
  topic: string,
  wanted: (code: number) => boolean,
): Promise<void> {
  const answered = new Promise<void>((resolve) => {
    const send = (): void => publisher.publish(scene.message(topic, 1, BYTES));
    publisher.onAnswer = (_message, code) => {
      if (wanted(code)) {
        publisher.onAnswer = () => {};
        resolve();
      } else send();
    };
    send();
  });
  await inTime(answered, `the answer to ${publisher.id}`);
}
const isRefused = (code: number): boolean => code === 0x97;
const isTaken = (code: number): boolean => code < 0x80;

/** What needs no room goes on: QoS 0, and the reading of what was queued. */
async function readersGoOn(scene: Scene, reader: FaultClient | null): Promise<void> {
  const listener = await scene.enter({ id: 'listener', version: 5 }, PASSING);
  await listener.subscribe('passing', 0);
  const came = new Promise<void>((resolve) => {
    listener.onMessage = () => resolve();
  });
  listener.publish(scene.message('passing', 0, BYTES));
  await inTime(came, 'a message of QoS 0');
  listener.leave(true);
  await reader?.ping();
}
