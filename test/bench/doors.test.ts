/** The parts of `npm run bench -- doors`: its packets, its load client at every door, and its bad network. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { DOOR_NAMES, type DoorPlan, measureDoors } from '../../bench/doors/doors.ts';
import { PacketScanner, PublishTemplate, pubackPacket } from '../../bench/doors/packets.ts';
import { renderDoors } from '../../bench/doors/report.ts';
import { Samples, usageOfTree } from '../../bench/doors/samples.ts';
import { needs, skipUnless } from '../tools/needs.ts';

const PLAN: Omit<DoorPlan, 'scenarios'> = {
  doors: DOOR_NAMES,
  seconds: 0.05,
  repeat: 1,
  means: 'auto',
  congestion: 'cubic',
};

describe('The packets of the load client', () => {
  test('are found again however the bytes are cut', () => {
    const bytes = Buffer.concat([
      Buffer.from([0x20, 2, 0, 0]),
      new PublishTemplate('a/b', 0, 300).copies(2, 12.5),
      new PublishTemplate('a/b', 1, 8).copies(2, 7.25, 65_535),
      pubackPacket(258),
    ]);
    const expected = ['answered 0', '12.5 0', '12.5 0', '7.25 65535', '7.25 1', 'acknowledged 258'];
    for (let size = 1; size <= bytes.length; size += 1) {
      const found: string[] = [];
      const scanner = new PacketScanner({
        published: (stampMs, packetId) => found.push(`${stampMs} ${packetId}`),
        acknowledged: (packetId) => found.push(`acknowledged ${packetId}`),
        answered: (returnCode) => found.push(`answered ${returnCode}`),
      });
      for (let at = 0; at < bytes.length; at += size) scanner.push(bytes.subarray(at, at + size));
      assert.deepEqual(found, expected, `in pieces of ${size}`);
    }
  });
});

describe('What is measured', () => {
  test('are percentiles of the latest samples', () => {
    const samples = new Samples(100);
    for (let ms = 0; ms <= 200; ms += 1) samples.add(ms);
    assert.deepEqual(samples.percentiles(0, 0.5, 1), [101, 150, 200]);
    samples.clear();
    assert.deepEqual(samples.percentiles(0.5), [0]);
  });

  test('is a process with its children', async () => {
    const alone = usageOfTree(process.pid);
    const child = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1000)']);
    try {
      await once(child.stdout, 'data');
      const both = usageOfTree(process.pid);
      const theirs = usageOfTree(child.pid!);
      assert.ok(theirs.rssMb > 10);
      assert.ok(
        both.rssMb >= alone.rssMb / 2 + theirs.rssMb,
        `${both.rssMb}, ${alone.rssMb}, ${theirs.rssMb}`,
      );
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('The load client', () => {
  test('gets everything through every door', async () => {
    const { clean, lossy, link } = await measureDoors({ ...PLAN, scenarios: ['forward'] }, () => {});
    assert.deepEqual(
      clean.map(({ use, error }) => [use.door, error]),
      DOOR_NAMES.map((door) => [door, undefined]),
    );
    for (const { runs, use } of clean) {
      assert.equal(runs.length, 1);
      assert.ok(runs[0].count > 0 && runs[0].p99Ms >= runs[0].p50Ms, use.door);
      assert.equal(runs[0].lost, 0, use.door);
    }
    assert.deepEqual([lossy, link], [[], null]);
  });
});

const ROOT = skipUnless(process.getuid?.() === 0, 'making network namespaces takes root');
const IP = skipUnless(spawnSync('ip', ['netns']).status === 0, 'ip is not installed');

describe('The bad network', { skip: needs('cc') || ROOT || IP }, () => {
  test('delays and loses as it says, and leaves nothing behind', async (t) => {
    const plan: DoorPlan = { ...PLAN, doors: ['quic'], scenarios: ['telemetry'] };
    const report = await measureDoors(plan, () => {});
    const { lossy, link } = report;
    if (typeof link === 'string') return t.skip(link);
    const { probed } = link!;
    assert.ok(probed.p50Ms >= 50, `${probed.p50Ms} ms`);
    // Four standard deviations of 10 000 packets at 2 %.
    const lost = probed.sent - probed.arrived;
    assert.ok(lost > 144 && lost < 256, `${lost} of ${probed.sent} lost`);
    for (const { runs, use } of lossy) {
      assert.ok(runs[0].p50Ms >= 50 && runs[0].count > 0, use.door);
      assert.equal(runs[0].lost, 0, 'QoS 1 comes in the end');
    }
    assert.match(renderDoors(report), /8 topics +quic/);
    const left = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout;
    assert.doesNotMatch(left, new RegExp(`sluice-bench-${process.pid}-`));
  });
});
