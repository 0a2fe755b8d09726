/** Much at once: wills, sessions that end, retained messages. None is lost, and each takes turns with everything else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Deadlines } from '../../src/broker/deadlines.ts';
import { RETAINED_STEPS_PER_TURN_MAX, WILLS_PER_TURN_MAX } from '../../src/limits.ts';
import { Message } from '../../src/session/message.ts';
import { startBroker } from '../support/broker.ts';
import { publish, subscribe } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';

test('a storm of wills is published a few a turn, in order, and none is lost', async (t) => {
  const broker = await startBroker(t);
  const { statistics } = broker.broker;
  const watcher = await broker.connect({ clientId: 'watcher' });
  await watcher.subscribe('will/#');
  const clients = [];
  for (let count = 0; count < 500; count++) {
    const will = { topic: `will/${String(count).padStart(3, '0')}` };
    clients.push(await broker.connect({ clientId: `c-${count}`, will }));
  }
  const drops = clients.map((client) => client.drop());
  const published = [statistics.publishSent];
  for (let count = 0; count < 30; count++) {
    await turn();
    published.push(statistics.publishSent);
  }
  await Promise.all(drops);
  const steps = published.slice(1).map((sent, index) => sent - published[index]);
  assert.ok(Math.max(...steps) <= WILLS_PER_TURN_MAX, `${Math.max(...steps)} in one turn`);
  const topics = (await watcher.rest()).map((packet) => (packet.type === 3 ? packet.topic : ''));
  assert.deepEqual(
    topics,
    clients.map((_, count) => `will/${String(count).padStart(3, '0')}`),
  );
});

test('what a client publishes when it is back comes after its will, whatever else waits', async (t) => {
  const broker = await startBroker(t);
  const watcher = await broker.connect();
  await watcher.subscribe('will/#');
  const clients = [];
  for (let count = 0; count < 300; count++)
    clients.push(
      await broker.connect({ clientId: `c-${count}`, will: { topic: `will/${count}`, retain: true } }),
    );
  const drops = clients.map((client) => client.drop());
  const back = await broker.connect({ clientId: 'c-299' });
  back.send(publish('will/299', 'back', { retain: true }));
  await Promise.all(drops);
  await settle();
  const of299 = (await watcher.rest()).filter((packet) => packet.type === 3 && packet.topic === 'will/299');
  assert.deepEqual(
    of299.map((packet) => (packet.type === 3 ? Buffer.from(packet.payload).toString() : '')),
    ['will', 'back'],
  );
  const late = await broker.connect();
  await late.subscribe('will/299');
  await late.receive('will/299', 'back', { retain: true });
});

test('wills that wait when the broker stops are published before it does', async (t) => {
  const broker = await startBroker(t);
  for (let count = 0; count < 300; count++)
    await broker.connect({ clientId: `c-${count}`, will: { topic: `will/${count}`, retain: true } });
  await broker.stop();
  assert.equal(broker.broker.router.retained.count, 300);
});

test('a kept session whose will waits has it in the store until it is published, and not after', async (t) => {
  const broker = await startBroker(t);
  const properties = { sessionExpiryInterval: 1_000 };
  const wills: (string | null)[] = [];
  const append = broker.store.append.bind(broker.store);
  const clients = [];
  for (let count = 0; count < 100; count++)
    clients.push(
      await broker.connect({
        clientId: `c-${count}`,
        will: { topic: `will/${count}`, retain: true },
        properties,
      }),
    );
  broker.store.append = (operation) => {
    if (operation.kind === 'session' && operation.session.clientId === 'c-99')
      wills.push(operation.session.will?.message.topic ?? null);
    if (operation.kind === 'retain' && operation.message.topic === 'will/99') wills.push('published');
    append(operation);
  };
  await Promise.all(clients.map((client) => client.drop()));
  await settle();
  assert.deepEqual(wills, ['will/99', 'published', null]);
});

test('sessions that expire together end a few a turn, and one that is resumed meanwhile does not', async (t) => {
  const broker = await startBroker(t);
  const { sessions } = broker.broker;
  for (let count = 0; count < 300; count++) {
    const properties = { sessionExpiryInterval: 10 };
    const client = await broker.connect({ clientId: `c-${count}`, properties });
    await client.drop();
  }
  assert.equal(sessions.size, 300);
  broker.clock.advance(12_000);
  assert.ok(sessions.size >= 250, `${sessions.size} left after one turn`);
  const back = await broker.connect({ clientId: 'c-299', cleanStart: false });
  assert.equal(back.connack.sessionPresent, true);
  for (let count = 0; count < 10; count++) await turn();
  assert.equal(sessions.size, 1);
});

test('what falls due comes in order and completely, however little is taken at a time', () => {
  const deadlines = new Deadlines<number>();
  for (let item = 0; item < 100; item++) deadlines.set(item, 1_000 * Math.floor(item / 10));
  const taken: number[] = [];
  for (let part = deadlines.due(20_000, 7); part.length > 0; part = deadlines.due(20_000, 7)) {
    taken.push(...part);
    // Set anew meanwhile: it is due again, after those that were there before.
    if (taken.length === 7) deadlines.set(0, 0);
  }
  assert.deepEqual(
    taken.toSorted((a, b) => a - b),
    [0, ...Array.from({ length: 100 }, (_, item) => item)],
  );
  const first = taken.filter((item, index) => taken.indexOf(item) === index);
  assert.deepEqual(
    first,
    Array.from({ length: 100 }, (_, item) => item),
  );
});

/** A broker that retains `count` messages under `many/`. */
async function withRetained(
  t: Parameters<typeof startBroker>[0],
  count: number,
  may: (topic: string) => boolean,
) {
  const authorizer = {
    generation: 0,
    asked: 0,
    may(_identity: unknown, action: string, topic: string): boolean {
      if (action !== 'receive') return true;
      this.asked++;
      return may(topic);
    },
  };
  const broker = await startBroker(t, { authorizer });
  for (let index = 0; index < count; index++)
    broker.broker.router.retained.set(
      new Message({ topic: `many/${index}`, payload: Buffer.from('x'), qos: 0, retain: true }),
    );
  return { broker, authorizer };
}

test('a filter whose retained messages may mostly not be received is walked in parts', async (t) => {
  const { broker, authorizer } = await withRetained(t, 20_000, (topic) => topic === 'many/19999');
  const client = await broker.connect();
  authorizer.asked = 0;
  client.send(subscribe(1, [{ filter: '#' }]));
  assert.ok(authorizer.asked <= RETAINED_STEPS_PER_TURN_MAX, `${authorizer.asked} in one turn`);
  const other = await broker.connect();
  await other.publish('b', 'y', { qos: 1 });
  assert.ok(authorizer.asked < 20_000, 'the other was served before the walk was over');
  for (let count = 0; count < 20; count++) await turn();
  await client.expect('SUBACK');
  await client.receive('many/19999', 'x', { retain: true });
});

test('a filter that selects nothing among many topics is walked in parts, too', async (t) => {
  const { broker } = await withRetained(t, 10_000, () => true);
  const { retained } = broker.broker.router;
  const steps = [...retained.match('+/+/deeper')];
  assert.ok(steps.length >= 10_000);
  assert.ok(steps.every((step) => step === null));
});

test('two clients that get many retained messages take turns', async (t) => {
  const { broker } = await withRetained(t, 5_000, () => true);
  const first = await broker.connect();
  const second = await broker.connect();
  first.send(subscribe(1, [{ filter: 'many/#' }]));
  second.send(subscribe(1, [{ filter: 'many/#' }]));
  for (let count = 0; count < 2; count++) await turn();
  const counts = [(await first.rest()).length, (await second.rest()).length];
  assert.ok(counts[0] > 1 && counts[1] > 1);
  for (let count = 0; count < 20; count++) await turn();
  counts[0] += (await first.rest()).length;
  counts[1] += (await second.rest()).length;
  assert.deepEqual(counts, [5_001, 5_001]);
});

test('an UNSUBSCRIBE ends a walk that is under way', async (t) => {
  const { broker, authorizer } = await withRetained(t, 20_000, () => true);
  const client = await broker.connect();
  client.send(subscribe(1, [{ filter: 'many/#' }]));
  await turn();
  client.send({ type: 10, packetId: 2, filters: ['many/#'], properties: {} });
  const asked = authorizer.asked;
  assert.ok(asked < 20_000, 'it is under way');
  for (let count = 0; count < 20; count++) await turn();
  assert.equal(authorizer.asked, asked);
});
