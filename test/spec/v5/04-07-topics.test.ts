import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { subscribe } from '../../support/packets.ts';

for (const [filter, topics, others] of [
  ['a/#', ['a', 'a/b', 'a/b/c', 'a/'], ['b', 'aa', '/a']],
  ['#', ['a', 'a/b', '/', '/a'], []],
  ['a/+/c', ['a/b/c', 'a//c'], ['a/c', 'a/b/b/c', 'a/b/c/d']],
  ['+', ['a'], ['a/b', '/a']],
  ['+/+', ['a/b', '/a', 'a/'], ['a', 'a/b/c']],
  ['+/tail/#', ['a/tail', 'a/tail/b/c'], ['a/b/tail']],
] as [string, string[], string[]][]) {
  test(`the filter ${filter} selects its topics and no others [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-3.3.2-3]`, async (t) => {
    const broker = await startBroker(t);
    const client = await broker.connect();
    await client.subscribe(filter);
    const publisher = await broker.connect();
    for (const topic of others) await publisher.publish(topic, 'no');
    for (const topic of topics) await publisher.publish(topic, 'yes');
    for (const topic of topics) await client.receive(topic, 'yes');
    await client.expectNothing();
  });
}

for (const [filter, statements] of [
  ['', '[MQTT-4.7.3-1]'],
  ['a/#/b', '[MQTT-4.7.1-1]'],
  ['#/a', '[MQTT-4.7.1-1]'],
  ['a#', '[MQTT-4.7.1-1]'],
  ['##', '[MQTT-4.7.1-1]'],
  ['a+', '[MQTT-4.7.1-2]'],
  ['+a', '[MQTT-4.7.1-2]'],
  ['a/b+/c', '[MQTT-4.7.1-2]'],
  ['$share//t', '[MQTT-4.8.2-1]'],
  ['$share/g', '[MQTT-4.8.2-2]'],
  ['$share/g/', '[MQTT-4.8.2-2]'],
  ['$share/g+/t', '[MQTT-4.8.2-2]'],
  ['$share/#/t', '[MQTT-4.8.2-2]'],
  ['$share/g/a#', '[MQTT-4.8.2-2]'],
]) {
  test(`the filter ${filter} is refused, or ends the connection ${statements}`, async (t) => {
    const client = await (await startBroker(t)).connect();
    client.send(subscribe(1, [filter]));
    const packet = await client.next();
    if (packet?.type === 9) {
      assert.deepEqual(packet.reasonCodes, [0x8f]);
    } else {
      assert.ok(
        packet?.type === 14 && [0x81, 0x82, 0x8f].includes(packet.reasonCode),
        JSON.stringify(packet),
      );
      await client.expectClosed();
    }
  });
}

test('a wildcard at the first level does not select topics that begin with $ [MQTT-4.7.2-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  await client.subscribe(['#', '+/b', '+', '$share/g/#', '$share/h/+/b']);
  const publisher = await broker.connect();
  await publisher.publish('$own/b', 'x', { retain: true });
  await publisher.publish('$own', 'x');
  await client.expectNothing();
  await client.subscribe('+/+');
  await client.expectNothing();
  await client.subscribe('$own/#');
  await client.receive('$own/b', 'x', { retain: true });
});

test('topics that look alike are not the same [MQTT-4.7.3-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const topic = 'caf\u00e9/\u212b/x y';
  await client.subscribe(topic);
  const publisher = await broker.connect();
  const others = [
    'cafe\u0301/\u212b/x y',
    'caf\u00e9/\u00c5/x y',
    'CAF\u00c9/\u212b/X Y',
    `/${topic}`,
    `${topic}/`,
  ];
  for (const other of others) await publisher.publish(other, 'no');
  await publisher.publish(topic, 'yes');
  await client.receive(topic, 'yes');
  await client.expectNothing();
});
