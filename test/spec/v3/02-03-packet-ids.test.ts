import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { puback, publish, raw } from '../../support/packets.ts';

const V = { version: 4 } as const;

test('the packet id of an unacknowledged message is not used again after others wrapped around [MQTT-2.3.1-4]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect(V);
  const publisher = await broker.connect(V);
  await client.subscribe('t', 1);
  await publisher.publish('t', 'held', { qos: 1 });
  const held = await client.receive('t', 'held');
  const packets = Array.from({ length: 30 }, (_, n) => publish('t', 'x', { qos: 1, packetId: n + 1 }));
  for (let round = 0; round < 2200; round++) {
    publisher.sendTogether(...packets);
    for (let n = 0; n < packets.length; n++) {
      const { packetId } = await client.receive('t', 'x');
      assert.notEqual(packetId, held.packetId);
      assert.notEqual(packetId, 0);
      client.send(puback(packetId));
    }
    for (const { packetId } of packets) await publisher.expectBytes(raw(0x40, 0, packetId));
  }
});
