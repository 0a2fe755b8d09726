import { test } from 'node:test';
import { startBroker } from '../support/broker.ts';
import { pingreq, publish } from '../support/packets.ts';

const BIG = 'x'.repeat(5_000);

test('input goes on after a packet over outBytesMax that the wire took at once', async (t) => {
  const broker = await startBroker(t, { limits: { outBytesMax: 1_000 } });
  const client = await broker.connect();
  await client.subscribe('a');
  client.send(publish('a', BIG));
  await client.receive('a', BIG);
  client.send(pingreq());
  await client.expect('PINGRESP');
});

test('what was queued behind a packet over outBytesMax is sent once the wire took it', async (t) => {
  const broker = await startBroker(t, { limits: { outBytesMax: 1_000 } });
  const receiver = await broker.connect();
  await receiver.subscribe('a', 1);
  const sender = await broker.connect();
  sender.sendTogether(publish('a', BIG), publish('a', 'behind', { qos: 1, packetId: 1 }));
  await sender.expect('PUBACK');
  await receiver.receive('a', BIG, { qos: 0 });
  await receiver.receiveAndAck('a', 'behind', { qos: 1 });
});
