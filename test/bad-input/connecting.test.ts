/** On the way in: too late, too many, in a wrong version, under a wrong name, or before it is decided who it is. */
import assert from 'node:assert/strict';
import type { Attempt, Authenticator, Verdict } from '../../src/interfaces/auth.ts';
import { connect, pingreq, publish, raw, subscribe } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';
import { badInput, REAL_DOORS, type Stage, VERSIONS } from './stage.ts';

badInput(
  'who sends no CONNECT in time is closed, and so is who sends half of one',
  {
    limits: { connectTimeoutSeconds: 3 },
  },
  async (stage) => {
    for (const door of REAL_DOORS) {
      const silent = await stage.dial(door);
      const slow = await stage.dial(door);
      await stage.advanceSeconds(2);
      const before = stage.broker.statistics.bytesReceived;
      slow.send(Buffer.from([0x10, 20, 0, 4]));
      await stage.until(() => stage.broker.statistics.bytesReceived === before + 4, 'half a CONNECT');
      await stage.advanceSeconds(2);
      await silent.expectClosed();
      await slow.expectClosed();
    }
    assert.equal(stage.log.of('client.connect_timeout').length, 4);
  },
);

badInput('an unsupported version gets CONNACK 0x01, or 0x84 from MQTT 5 on', {}, async (stage) => {
  for (const [name, level, version, code] of [
    ['MQTT', 3, 4, 1],
    ['MQTT', 0, 4, 1],
    ['MQIsdp', 4, 4, 1],
    ['mqtt', 4, 4, 1],
    ['MQTT', 6, 5, 0x84],
    ['MQTT', 127, 5, 0x84],
  ] as const) {
    for (const door of REAL_DOORS) {
      const client = await stage.dial(door, version);
      client.send(raw(0x10, name, level, 2, 0, 60, 0, 0, 1, 0x63));
      await client.expectRefused(code);
    }
  }
});

badInput('a listener answers versions it does not speak', { door: { versions: [4] } }, async (stage) => {
  for (const [version, code] of [
    [3, 1],
    [5, 0x84],
  ] as const) {
    const client = await stage.dial('tcp', version);
    client.send(connect({ version }));
    await client.expectRefused(code);
  }
  await stage.connect({ version: 4, clientId: 'right' });
});

badInput('a bad client id gets 0x02 or 0x85', { limits: { clientIdBytesMax: 30 } }, async (stage) => {
  for (const [version, clientId, cleanStart] of [
    [3, '', true],
    [3, 'x'.repeat(24), true],
    [4, '', false],
    [4, 'é'.repeat(16), true],
    [5, 'x'.repeat(31), true],
  ] as const) {
    for (const door of REAL_DOORS) {
      const client = await stage.dial(door, version);
      client.send(connect({ version, clientId, cleanStart }));
      await client.expectRefused(version === 5 ? 0x85 : 2);
    }
  }
});

badInput(
  'one connection too many for the broker gets CONNACK 0x97 or 0x03 on every door',
  {
    limits: { connectionsMax: 3 },
  },
  async (stage) => {
    const [first, second] = [
      await stage.connect({ clientId: '1' }),
      await stage.connect({ clientId: '2' }, 'ws'),
    ];
    for (const door of REAL_DOORS) {
      for (const version of VERSIONS) {
        const client = await stage.dial(door, version);
        client.send(connect({ version, clientId: 'extra' }));
        await client.expectRefused(version === 5 ? 0x97 : 3);
        await stage.connectionsLeft(3);
      }
    }
    await second.expectQuiet();
    first.raw.end();
    await first.over();
    await stage.connectionsLeft(2);
    await (await stage.connect({ clientId: 'extra' })).expectQuiet();
  },
);

badInput(
  'one connection too many for a listener does not concern the others',
  {
    door: { connectionsMax: 1 },
  },
  async (stage) => {
    await stage.connect({ clientId: 'tcp' });
    const client = await stage.dial('tcp');
    client.send(connect({ clientId: 'extra' }));
    await client.expectRefused(0x97);
    await (await stage.connect({ clientId: 'extra' }, 'ws')).expectQuiet();
  },
);

badInput(
  'a flood of connections beyond the limit is cut without a word',
  {
    limits: { connectionsMax: 2 },
  },
  async (stage) => {
    const flood = await Promise.all(Array.from({ length: 150 }, () => stage.dial('tcp')));
    await stage.connectionsLeft(102);
    assert.equal(flood.filter((client) => !client.closed).length, 101);
    for (const client of flood) client.raw.abort();
    await stage.connectionsLeft(1);
  },
);

/** Decides when the test says so. */
class SlowAuthenticator implements Authenticator {
  readonly attempts: { attempt: Attempt; decide: (verdict: Verdict) => void }[] = [];

  authenticate(attempt: Attempt): Verdict | Promise<Verdict> {
    if (attempt.username === null) return { ok: true, username: null };
    return new Promise((decide) => this.attempts.push({ attempt, decide }));
  }

  /** The next attempt; waits until it has come. */
  async next(): Promise<(typeof this.attempts)[number]> {
    for (let turn = 0; this.attempts.length === 0 && turn < 1_000; turn++) await settle();
    const attempt = this.attempts.shift();
    assert.ok(attempt !== undefined, 'nobody asked the authenticator');
    return attempt;
  }
}

const YES = (username: string): Verdict => ({ ok: true, username });
const NO: Verdict = { ok: false, reason: 'bad-credentials' };

function slow(name: string, run: (stage: Stage, gate: SlowAuthenticator) => Promise<void>): void {
  const gate = new SlowAuthenticator();
  badInput(name, { authenticator: gate }, (stage) => run(stage, gate));
}

slow(
  'nothing behind a CONNECT acts before it is decided, and nobody is taken over before',
  async (stage, gate) => {
    const watcher = await stage.connect({ clientId: 'watcher' });
    await watcher.subscribe('#', 0);
    const first = await stage.dial('tcp');
    first.send(connect({ clientId: 'c', username: 'alice' }));
    (await gate.next()).decide(YES('alice'));
    await first.expect('CONNACK', { reasonCode: 0 });
    const second = await stage.dial('tcp');
    second.send(
      connect({ clientId: 'c', username: 'alice' }),
      publish('early', 'x', { retain: true }),
      subscribe(1, ['t']),
    );
    const { decide } = await gate.next();
    await settle();
    await first.expectQuiet();
    await watcher.expectQuiet();
    assert.equal(stage.broker.router.retained.count, 0);
    decide(YES('alice'));
    await second.expect('CONNACK', { reasonCode: 0 });
    await second.expect('SUBACK', { reasonCodes: [0] });
    await watcher.receive('early', 'x');
    await first.expectThrownOut(0x8e);
  },
);

slow('nothing behind a refused CONNECT acts, not even another CONNECT', async (stage, gate) => {
  const victim = await stage.dial('tcp');
  victim.send(connect({ clientId: 'c', username: 'alice' }));
  (await gate.next()).decide(YES('alice'));
  await victim.expect('CONNACK', { reasonCode: 0 });
  for (const door of REAL_DOORS) {
    const client = await stage.dial(door);
    client.send(
      connect({ clientId: 'c', username: 'alice', password: 'guess' }),
      connect({ clientId: 'c', username: 'alice', password: 'second guess' }),
      publish('early', 'x', { retain: true }),
    );
    (await gate.next()).decide(NO);
    await client.expectRefused(0x86);
    await settle();
    assert.equal(gate.attempts.length, 0, 'the second CONNECT of a refused connection was looked at');
  }
  assert.equal(stage.broker.router.retained.count, 0);
  await victim.expectQuiet();
});

slow('who leaves or sends too much before the verdict gets none, and leaves nothing', async (stage, gate) => {
  const leaver = await stage.dial('tcp');
  leaver.send(connect({ clientId: 'leaver', username: 'alice', will: { topic: 'will' } }));
  const { decide } = await gate.next();
  leaver.raw.abort();
  await stage.connectionsLeft(1);
  decide(YES('alice'));
  const flooder = await stage.dial('memory');
  flooder.send(connect({ clientId: 'flooder', username: 'alice' }), Buffer.alloc(200_000, 0xc0));
  await flooder.expectRefused(0x97);
  (await gate.next()).decide(YES('alice'));
  await settle();
  assert.equal(stage.broker.sessions.size, 1);
  assert.equal(stage.broker.statistics.connected, 1);
});

slow('an authenticator that takes long counts as silence of nobody', async (stage, gate) => {
  const client = await stage.dial('tcp');
  client.send(connect({ clientId: 'c', username: 'alice', keepAliveSeconds: 1 }), pingreq());
  const { decide } = await gate.next();
  await stage.advanceSeconds(9);
  decide(YES('alice'));
  await client.expect('CONNACK', { reasonCode: 0 });
  await client.expect('PINGRESP');
});

badInput(
  'an authenticator that fails refuses with 0x88, at once or later',
  {
    authenticator: {
      authenticate: ({ username }) => {
        if (username === 'later') return Promise.reject(new Error('no database'));
        return { ok: true, username };
      },
    },
  },
  async (stage) => {
    const client = await stage.dial('tcp');
    client.send(connect({ clientId: 'c', username: 'later' }));
    await client.expectRefused(0x88);
    assert.equal(stage.log.of('auth.error').length, 1);
    stage.log.lines = [];
  },
);

badInput("another user's client id gets 0x85, or 0x02, and changes nothing", {}, async (stage) => {
  const kept = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const alice = await stage.connect({ ...kept, username: 'alice' });
  await alice.subscribe('t', 1);
  for (const connected of [true, false]) {
    if (!connected) {
      alice.raw.abort();
      await stage.connectionsLeft(1);
      const publisher = await stage.connect({ clientId: 'publisher' });
      publisher.send(publish('t', 'queued', { qos: 1, packetId: 1 }));
      await publisher.expect('PUBACK');
    }
    for (const version of VERSIONS) {
      for (const [username, cleanStart] of [
        ['bob', true],
        ['bob', false],
        [null, true],
      ] as const) {
        const client = await stage.dial('tcp', version);
        client.send(connect({ version, clientId: 'c', cleanStart, username }));
        await client.expectRefused(version === 5 ? 0x85 : 2);
      }
    }
    if (connected) await alice.expectQuiet();
  }
  const back = await stage.dial('tcp');
  back.send(connect({ ...kept, username: 'alice' }));
  await back.expect('CONNACK', { reasonCode: 0, sessionPresent: true });
  await back.receive('t', 'queued');
});

badInput('client ids made to harm are client ids like any other', {}, async (stage) => {
  for (const clientId of [
    '__proto__',
    'constructor',
    '#',
    '+/+',
    '../../etc/passwd',
    '<script>',
    '\u001b[2J',
    ' ',
  ]) {
    const client = await stage.connect({ clientId, properties: { sessionExpiryInterval: 10 } });
    await client.subscribe('t', 1);
    client.raw.end();
    await client.over();
    const again = await stage.dial('ws');
    again.send(connect({ clientId, cleanStart: false }));
    await again.expect('CONNACK', { reasonCode: 0, sessionPresent: true });
  }
});
