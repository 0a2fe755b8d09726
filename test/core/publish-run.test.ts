import { test } from 'node:test';
import { startBroker } from '../support/broker.ts';
import { publish } from '../support/packets.ts';

test('the cap on message expiry holds for every packet of a run from a 3.x publisher', async (t) => {
  const broker = await startBroker(t, { limits: { messageExpiryMaxSeconds: 60 } });
  const receiver = await broker.connect();
  await receiver.subscribe('a');
  const sender = await broker.connect({ version: 4 });
  sender.sendTogether(publish('a', '1'), publish('a', '2'), publish('a', '3'));
  for (const payload of ['1', '2', '3'])
    await receiver.receive('a', payload, { properties: { messageExpiryInterval: 60 } });
});
