import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBroker } from '../../support/broker.ts';
import { puback, publish } from '../../support/packets.ts';

test('a packet id in use is passed over when the ids start again [MQTT-2.2.1-4] [MQTT-4.3.2-1]', async (t) => {
  const broker = await startBroker(t);
  const client = await broker.connect();
  const publisher = await broker.connect();
  await client.subscribe('t', 1);
  await publisher.publish('t', 'held', { qos: 1 });
  const held = await client.receive('t', 'held');
  const packets = Array.from({ length: 30 }, (_, n) => publish('t', 'x', { qos: 1, packetId: n + 1 }));
  for (let sent = 0; sent < 66_000; sent += packets.length) {
    publisher.sendTogether(...packets);
    for (let n = 0; n < packets.length; n++) {
      const { packetId } = await client.receive('t', 'x');
      assert.notEqual(packetId, held.packetId);
      assert.notEqual(packetId, 0);
      client.send(puback(packetId));
    }
    for (const { packetId } of packets) await publisher.expect('PUBACK', { packetId });
  }
});
