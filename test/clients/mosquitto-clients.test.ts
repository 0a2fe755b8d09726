/** Debian's mosquitto_pub and mosquitto_sub against the broker as users run it: password file, ACL, TCP and TLS. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { pathOf } from '../tools/apt.ts';
import { needs } from '../tools/needs.ts';

const PASSWORD = 'correct horse';
const ACL = 'user alice\nallow readwrite clients/#\nuser bob\nallow subscribe clients/#\n';
const VERSIONS = ['mqttv31', 'mqttv311', 'mqttv5'] as const;
const DOORS = ['mqtt', 'mqtts'] as const;
/** Seconds mosquitto_sub waits for messages before it gives up. */
const WAIT_SECONDS = '20';

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

interface Running {
  readonly ended: Promise<Ended>;
  /** Resolves when the program has printed this. */
  printed(text: string): Promise<void>;
}

/** Starts a program; its standard output and standard error are read as one text. */
function start(program: 'mosquitto_pub' | 'mosquitto_sub', args: readonly string[]): Running {
  // Into a pipe the program writes only when it ends, unless told to write line by line.
  const child = spawn('stdbuf', ['-oL', pathOf(program)!, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const waiting: { text: string; resolve: () => void }[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      for (const one of waiting) if (output.includes(one.text)) one.resolve();
    });
  }
  const ended = new Promise<Ended>((resolve) => child.once('close', (code) => resolve({ code, output })));
  const printed = async (text: string): Promise<void> => {
    if (output.includes(text)) return;
    const seen = new Promise<void>((resolve) => waiting.push({ text, resolve }));
    await Promise.race([seen, ended]);
    assert.ok(output.includes(text), `${program} ended without printing "${text}":\n${output}`);
  };
  return { ended, printed };
}

describe('mosquitto_pub and mosquitto_sub', { skip: needs('mosquitto_pub', 'mosquitto_sub') }, () => {
  let broker: ChildBroker;
  before(async () => {
    broker = await startChildBroker({
      doors: ['mqtt://127.0.0.1:0', 'mqtts://127.0.0.1:0'],
      users: { alice: PASSWORD, bob: PASSWORD },
      acl: ACL,
    });
  });
  after(() => broker?.stop());

  function common(
    door: (typeof DOORS)[number],
    version: string,
    user: string,
    password = PASSWORD,
  ): string[] {
    const tls = door === 'mqtts' ? ['--cafile', broker.caFile] : [];
    const login = ['-u', user, '-P', password];
    return ['-h', '127.0.0.1', '-p', String(broker.port(door)), '-V', version, ...tls, ...login];
  }

  for (const door of DOORS) {
    for (const version of VERSIONS) {
      test(`${version} over ${door}: a subscriber gets what is published at QoS 0, 1 and 2`, async () => {
        const topic = `clients/${door}/${version}/live`;
        const format = ['-F', 'GOT %q %t %p'];
        const subscriber = start('mosquitto_sub', [
          ...[...common(door, version, 'bob'), '-d', '-t', topic, '-q', '2', '-C', '3', '-W', WAIT_SECONDS],
          ...format,
        ]);
        await subscriber.printed('Subscribed');
        for (const qos of ['0', '1', '2']) {
          const args = [...common(door, version, 'alice'), '-t', topic, '-q', qos, '-m', `message ${qos}`];
          const published = await start('mosquitto_pub', args).ended;
          assert.equal(published.code, 0, published.output);
        }
        const { code, output } = await subscriber.ended;
        assert.equal(code, 0, output);
        const got = output.split('\n').filter((line) => line.startsWith('GOT'));
        assert.deepEqual(
          got,
          [0, 1, 2].map((qos) => `GOT ${qos} ${topic} message ${qos}`),
        );
      });

      test(`${version} over ${door}: a retained message waits for a subscriber that comes later`, async () => {
        const topic = `clients/${door}/${version}/retained`;
        const args = [...common(door, version, 'alice'), '-t', topic, '-q', '1', '-r', '-m', 'kept'];
        const published = await start('mosquitto_pub', args).ended;
        assert.equal(published.code, 0, published.output);
        const { code, output } = await start('mosquitto_sub', [
          ...[...common(door, version, 'bob'), '-t', topic, '-C', '1', '-W', WAIT_SECONDS, '-F', '%r %p'],
        ]).ended;
        assert.equal(code, 0, output);
        assert.equal(output.trim(), '1 kept');
      });

      test(`${version} over ${door}: a wrong password is refused`, async () => {
        const args = [...common(door, version, 'alice', 'wrong'), '-t', 'clients/x', '-m', 'x'];
        const { code, output } = await start('mosquitto_pub', args).ended;
        assert.notEqual(code, 0);
        assert.match(output, /not authori[sz]ed|bad user ?name or password/i);
      });
    }
  }

  test('a subscription that the ACL denies is refused', async () => {
    const args = [...common('mqtt', 'mqttv5', 'bob'), '-t', 'other/#', '-C', '1', '-W', WAIT_SECONDS];
    const { output } = await start('mosquitto_sub', args).ended;
    assert.match(output, /denied|not authori[sz]ed|rejected/i);
  });

  test('mosquitto_sub refuses a door whose certificate its authority did not sign', async () => {
    const stranger = await startChildBroker({ doors: ['mqtts://127.0.0.1:0'] });
    try {
      const args = ['-h', '127.0.0.1', '-p', String(stranger.port('mqtts')), '--cafile', broker.caFile];
      const { code, output } = await start('mosquitto_pub', [...args, '-t', 'x', '-m', 'x']).ended;
      assert.notEqual(code, 0, output);
    } finally {
      await stranger.stop();
    }
  });
});
