import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { raw, subscribe } from '../../support/packets.ts';

const V = { version: 4 } as const;

for (const [filter, topics, others] of [
  ['a/#', ['a', 'a/b', 'a/b/c', 'a/'], ['b', 'aa', '/a']],
  ['#', ['a', 'a/b', '/', '/a'], []],
  ['a/+/c', ['a/b/c', 'a//c'], ['a/c', 'a/b/b/c', 'a/b/c/d']],
  ['+', ['a'], ['a/b', '/a']],
  ['+/+', ['a/b', '/a', 'a/'], ['a', 'a/b/c']],
  ['/+', ['/a'], ['a', 'a/b']],
  ['+/tail/#', ['a/tail', 'a/tail/b/c'], ['a/b/tail']],
] as [string, string[], string[]][]) {
  test(`the filter ${filter} selects its topics and no others [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-3.3.2-3]`, async (t) => {
    const broker = await startBroker(t);
    const client = await broker.connect(V);
    await client.subscribe(filter);
    const publisher = await broker.connect(V);
    for (const topic of others) await publisher.publish(topic, 'no');
    for (const topic of topics) await publisher.publish(topic, 'yes');
    for (const topic of topics) await client.receive(topic, 'yes');
    await client.expectNothing();
  });
}

for (const [filter, statements] of [
  ['a/#/b', '[MQTT-4.7.1-2]'],
  ['#/a', '[MQTT-4.7.1-2]'],
  ['a#', '[MQTT-4.7.1-2]'],
  ['a/b#', '[MQTT-4.7.1-2]'],
  ['##', '[MQTT-4.7.1-2]'],
  ['a+', '[MQTT-4.7.1-3]'],
  ['+a', '[MQTT-4.7.1-3]'],
  ['a/b+/c', '[MQTT-4.7.1-3]'],
  ['++', '[MQTT-4.7.1-3]'],
]) {
  test(`the filter ${filter} closes the connection ${statements}`, async (t) => {
    const client = await (await startBroker(t)).connect(V);
    client.send(subscribe(1, [filter]));
    await client.expectClosed();
  });
}

test('an empty filter closes the connection [MQTT-4.7.3-1]', async (t) => {
  const client = await (await startBroker(t)).connect(V);
  client.send(raw(0x82, 0, 1, '', 0));
  await client.expectClosed();
});

test('a wildcard at the first level does not select topics that begin with $ [MQTT-4.7.2-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe(['#', '+/b', '+', '+/#']);
  const publisher = await broker.connect(V);
  await publisher.publish('$own/b', 'x', { retain: true });
  await publisher.publish('$own', 'x');
  await client.expectNothing();
  await client.subscribe('+/+');
  await client.expectNothing();
  await client.subscribe('$own/#');
  await client.receive('$own/b', 'x', { retain: true });
});

test('a wildcard at a later level does select levels that begin with $ [MQTT-4.7.2-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('a/+');
  await (await broker.connect(V)).publish('a/$b', 'x');
  await client.receive('a/$b', 'x');
});

test('topics that look alike are not the same [MQTT-4.7.3-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  const topic = 'caf\u00e9/\u212b/x y';
  await client.subscribe(topic);
  const publisher = await broker.connect(V);
  for (const other of [
    'cafe\u0301/\u212b/x y',
    'caf\u00e9/\u00c5/x y',
    'CAF\u00c9/\u212b/X Y',
    `/${topic}`,
    `${topic}/`,
    ` ${topic}`,
  ]) {
    await publisher.publish(other, 'no');
  }
  await publisher.publish(topic, 'yes');
  await client.receive(topic, 'yes');
  await client.expectNothing();
});

test('unassigned characters pass unchanged [MQTT-4.7.3-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  await client.subscribe('\u0378/\u{1f4a9}/#');
  await (await broker.connect(V)).publish('\u0378/\u{1f4a9}/a', 'x');
  await client.expectBytes(raw(0x30, '\u0378/\u{1f4a9}/a', 0x78));
});

test('a topic of 4000 bytes is delivered whole [MQTT-4.7.3-3]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  const topic = 'x'.repeat(4000);
  await client.subscribe(topic);
  await (await broker.connect(V)).publish(topic, 'y');
  await client.receive(topic, 'y');
});
