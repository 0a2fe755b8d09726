/** Trees of topics and filters grown to hurt: how much they hold, and how long one message takes through them. */
import assert from 'node:assert/strict';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { DoorClient } from '../bad-input/door-client.ts';
import type { DoorName } from '../bad-input/stage.ts';
import { Random } from '../codec/random-packets.ts';
import { connect, type FilterOptions, publish, subscribe, unsubscribe } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';
import { attackCore, type CoreTarget } from './harness/core.ts';
import { attackBroker } from './harness/target.ts';

const SEED = Number(process.env.ATTACK_SEED ?? 20_240_607);
const DOORS: readonly DoorName[] = ['memory', 'tcp', 'ws'];
const { subscriptionsPerClientMax } = DEFAULT_LIMITS;
const FILTERS_A_PACKET = 1_000;

/** Subscribes to all of them, a thousand a packet, and the canary sings beside each; answers how many were granted. */
async function subscribeAll(
  target: CoreTarget,
  client: DoorClient,
  filters: readonly FilterOptions[],
): Promise<number> {
  let granted = 0;
  await target.canary.singDuring(Math.ceil(filters.length / FILTERS_A_PACKET), async (step) => {
    const part = filters.slice(step * FILTERS_A_PACKET, (step + 1) * FILTERS_A_PACKET);
    client.send(subscribe(step + 1, part));
    const { reasonCodes } = await client.expect('SUBACK', { packetId: step + 1 });
    for (const code of reasonCodes) {
      if (code <= 2) granted++;
      else assert.equal(code, 0x97);
    }
  });
  return granted;
}

/** Publishes to each of these topics at QoS 1 and tells what one took. */
async function publishAll(target: CoreTarget, client: DoorClient, topics: readonly string[]): Promise<void> {
  let busyMs = 0;
  await target.canary.singDuring(topics.length, async (step) => {
    const startedAt = performance.now();
    client.send(publish(topics[step]!, 'x', { qos: 1, packetId: 1 + step }));
    await client.expect('PUBACK', { packetId: 1 + step });
    busyMs += performance.now() - startedAt;
  });
  target.tell(`${(busyMs / topics.length).toFixed(2)} ms for a message through it`);
}

attackCore('100 000 subscriptions of one client are 10 000, and 90 000 times 0x97', {}, async (target) => {
  const client = await target.stage.connect({ clientId: 'greedy' }, 'memory');
  const filters = Array.from({ length: 100_000 }, (_, at) => `greedy/${at % 1_000}/+/${at}/#`);
  const granted = await subscribeAll(target, client, filters);
  assert.equal(granted, subscriptionsPerClientMax);
  assert.equal(target.stage.log.of('subscribe.quota_exceeded').length > 0, true);
  const growth = target.assertGrownBy(granted * 4_000, 'ten thousand subscriptions');
  target.tell(`${Math.round(growth / granted)} bytes for each subscription`);
  client.raw.abort();
});

attackCore(
  '100 000 subscriptions of ten clients cost what they cost, and go with them',
  {},
  async (target) => {
    const clients: DoorClient[] = [];
    for (let number = 0; number < 10; number++) {
      const client = await target.stage.connect({ clientId: `many-${number}` }, 'memory');
      const filters = Array.from({ length: 10_000 }, (_, at) => `many/${number}/${at}/+/x`);
      assert.equal(await subscribeAll(target, client, filters), 10_000);
      clients.push(client);
    }
    const growth = target.assertGrownBy(100_000 * 4_000, 'a hundred thousand subscriptions');
    target.tell(`${Math.round(growth / 100_000)} bytes for each subscription`);
    const topics = Array.from({ length: 50 }, (_, at) => `many/${at % 10}/${at}/none/y`);
    const publisher = await target.stage.connect({ clientId: 'publisher' }, 'memory');
    await publishAll(target, publisher, topics);
    for (const { raw } of [...clients, publisher]) raw.abort();
  },
);

attackCore('topics and filters of 65 535 bytes of slashes are refused', {}, async (target) => {
  const { stage } = target;
  const slashes = '/'.repeat(65_535);
  const deep = '/'.repeat(200);
  await target.canary.singDuring(30, async (step) => {
    const door = DOORS[step % DOORS.length]!;
    const bombs = step % 2 === 0 ? slashes : deep;
    const client = await stage.connect({ clientId: 'deep' }, door);
    client.send(publish(bombs, 'x', { qos: 1, packetId: 1 }));
    await client.expect('PUBACK', { packetId: 1, reasonCode: 0x90 });
    client.send(publish(bombs, 'x', { qos: 1, packetId: 1, retain: true }));
    await client.expect('PUBACK', { packetId: 1, reasonCode: 0x90 });
    client.send(subscribe(2, [bombs, `${bombs.slice(2)}/#`, `$share/g/${bombs.slice(9)}`]));
    await client.expect('SUBACK', { packetId: 2, reasonCodes: [0x8f, 0x8f, 0x8f] });
    client.send(unsubscribe(3, [bombs]));
    const { type } = (await client.next())!;
    assert.ok(type === 11 || type === 14, `type ${type}`);
    client.raw.abort();
    const dying = await stage.dial(door);
    dying.send(connect({ clientId: 'dying', will: { topic: bombs } }));
    const { reasonCode } = await dying.expect('CONNACK');
    assert.ok(reasonCode === 0x90 || reasonCode === 0x95, `will: ${reasonCode}`);
    await dying.expectClosed();
  });
  assert.equal(stage.broker.statistics.subscriptions, 1);
  target.assertGrownBy(4 << 20, 'what is left of the slashes');
});

/** All filters of so many levels, each of them `a` or `+`, with an end of their own. */
function bomb(levels: number, end: string): string[] {
  return Array.from({ length: 2 ** levels }, (_, bits) =>
    Array.from({ length: levels }, (_, level) => ((bits >> level) & 1 ? 'a' : '+'))
      .join('/')
      .concat(end),
  );
}

for (const [name, end, delivered] of [
  ['that all match delivers one copy to each client', '/#', true],
  ['none of which matches is walked to its end', '', false],
] as const) {
  attackCore(`a wildcard bomb of 16 384 filters ${name}`, {}, async (target) => {
    const { stage } = target;
    const filters = bomb(14, end);
    const bombers: DoorClient[] = [];
    for (let number = 0; number < 2; number++) {
      const bomber = await stage.connect({ clientId: `bomber-${number}` }, 'memory');
      const half = filters.slice(number * 8_192, (number + 1) * 8_192);
      assert.equal(await subscribeAll(target, bomber, half), 8_192);
      bombers.push(bomber);
    }
    const publisher = await stage.connect({ clientId: 'publisher' }, 'memory');
    // A new topic each time, so that no route is remembered.
    const random = new Random(SEED);
    const topics = Array.from({ length: 30 }, (_, at) => `${'a/'.repeat(14)}${random.below(1_000)}/${at}`);
    await publishAll(target, publisher, topics);
    for (const bomber of bombers) {
      if (delivered) for (const topic of topics) await bomber.receive(topic, 'x');
      await bomber.expectQuiet();
    }
    target.assertGrownBy(64 << 20, 'a wildcard bomb');
    for (const { raw } of [...bombers, publisher]) raw.abort();
  });
}

attackCore('10 000 overlapping filters of one client give it one copy', {}, async (target) => {
  const { stage } = target;
  const levels = 12;
  const topic = 'o/'.repeat(levels + 1).concat('end');
  const filters = new Set<string>();
  const random = new Random(SEED);
  while (filters.size < subscriptionsPerClientMax / 2) {
    const depth = 1 + random.below(levels);
    const parts = Array.from({ length: depth }, () => (random.chance(2) ? '+' : 'o'));
    filters.add(['o', ...parts, '#'].join('/'));
  }
  const client = await stage.connect({ clientId: 'overlapping' }, 'memory');
  const list = [...filters].map((filter) => ({ filter, qos: 1 as const }));
  assert.equal(await subscribeAll(target, client, list), filters.size);
  const publisher = await stage.connect({ clientId: 'publisher' }, 'memory');
  await target.canary.singDuring(20, async (step) => {
    publisher.send(publish(`${topic}/${step}`, 'once', { qos: 1, packetId: 1 }));
    await publisher.expect('PUBACK');
    await client.receive(`${topic}/${step}`, 'once');
    await client.expectQuiet();
  });
  for (const { raw } of [client, publisher]) raw.abort();
});

attackCore(
  'a retained flood stops at the bound with 0x97, and reaches a subscriber a part at a time',
  { limits: { retainedMessagesMax: 10_000, messageExpiryMaxSeconds: 3_600 } },
  async (target) => {
    const { stage } = target;
    const flooder = await stage.connect({ clientId: 'flooder' }, 'memory');
    let refused = 0;
    await target.canary.singDuring(100, async (step) => {
      for (let id = 1; id <= 200; id++) {
        const topic = `flood/${step}/${id}`;
        flooder.send(publish(topic, 'x'.repeat(100), { qos: 1, packetId: id, retain: true }));
      }
      for (let id = 1; id <= 200; id++) {
        const { reasonCode } = await flooder.expect('PUBACK', { packetId: id });
        if (reasonCode === 0x97) refused++;
      }
    });
    assert.equal(stage.broker.router.retained.count, 10_000);
    assert.equal(refused, 10_000);
    target.assertGrownBy(10_000 * 2_000, 'ten thousand retained messages');
    const reader = await stage.connect({ clientId: 'reader' }, 'memory');
    reader.send(subscribe(1, ['flood/#', 'flood/+/+', '+/+/+']));
    await reader.expect('SUBACK');
    await target.canary.singDuring(100, async () => {
      for (let count = 0; count < 300; count++) await reader.expect('PUBLISH');
    });
    await reader.expectQuiet();
    for (const { raw } of [flooder, reader]) raw.abort();
  },
);

/** What Node's pool of buffers may hold for one small message that is kept (cli/main.ts), and what the message itself costs. */
const KEPT_BYTES_MAX = 8_192 + 1_500;

for (const bytes of [3_000, 30_000])
  attackBroker(
    `small retained messages between ones of ${bytes} bytes that are replaced hold a bounded piece of the pool`,
    {},
    async (target) => {
      const flooder = await target.connect({ clientId: 'flooder' });
      const large = Buffer.alloc(bytes, 0x78);
      const count = 4_000;
      await target.canary.singDuring(count / 50, async (step) => {
        for (let at = 0; at < 50; at++) {
          flooder.send(
            publish('large', large, { retain: true }),
            publish(`small/${step}/${at}`, 'x', { retain: true }),
            publish('large', large, { retain: true }),
          );
        }
        await flooder.expectQuiet();
      });
      const growth = await target.assertGrownBy(
        count * KEPT_BYTES_MAX,
        `${count} retained messages of a byte`,
      );
      target.tell(`${Math.round(growth / count)} bytes for each retained message of one byte`);
      for (let at = 0; at < count; at++)
        flooder.send(publish(`small/${Math.floor(at / 50)}/${at % 50}`, '', { retain: true }));
      flooder.send(publish('large', '', { retain: true }));
      await flooder.expectQuiet();
      flooder.raw.end();
    },
  );

attackCore('client ids, topics and levels that look like numbers are as good as any', {}, async (target) => {
  const { stage } = target;
  // V8 keeps the value of such a string as its hash: these collide in tables of up to 2^16 buckets.
  const ids = Array.from({ length: 4_000 }, (_, at) => String(at * 65_536));
  const clients: DoorClient[] = [];
  const startedAt = performance.now();
  await target.canary.singDuring(40, async (step) => {
    for (const clientId of ids.slice(step * 100, (step + 1) * 100)) {
      const client = await stage.connect({ clientId, username: clientId }, 'memory');
      client.send(subscribe(1, [`n/${clientId}`]), publish(`m/${clientId}`, clientId, { retain: true }));
      await client.expect('SUBACK', { reasonCodes: [0] });
      clients.push(client);
    }
  });
  const numbersMs = performance.now() - startedAt;
  assert.equal(stage.broker.sessions.size, ids.length + 1);
  target.tell(`${(numbersMs / ids.length).toFixed(2)} ms for a client with numbers for names`);
  await target.canary.singDuring(40, async (step) => {
    for (const client of clients.slice(step * 100, (step + 1) * 100)) {
      client.send(publish(`m/${ids[clients.indexOf(client)]}`, '', { retain: true }));
      client.raw.abort();
    }
    await settle();
  });
});
