import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStore } from '../../persistence/memory.ts';
import { Message } from '../../src/session/message.ts';
import { startBroker } from '../support/broker.ts';
import { puback } from '../support/packets.ts';
import { RecordedLog } from '../support/recorded-log.ts';

test('of two messages that a store holds under one packet identifier both arrive, the second as new', async (t) => {
  const store = new MemoryStore();
  const clientId = 'kept';
  const session = { clientId, owner: null, expirySeconds: 1000, disconnectedAtMs: 0, will: null };
  store.append({ kind: 'session', session });
  for (const position of [1, 2, 3]) {
    const message = new Message({ topic: `t/${position}`, payload: Buffer.from('x'), qos: 1, retain: false });
    const options = {
      qos: 1,
      retain: false,
      identifiers: null,
      sharedFilter: null,
      released: false,
    } as const;
    store.append({ kind: 'enqueue', clientId, delivery: { ...options, position, message, packetId: 7 } });
  }
  const log = new RecordedLog();
  const broker = await startBroker(t, { store, log });
  const client = await broker.connect({
    clientId,
    cleanStart: false,
    properties: { sessionExpiryInterval: 1000 },
  });
  const seen = [
    await client.expect('PUBLISH'),
    await client.expect('PUBLISH'),
    await client.expect('PUBLISH'),
  ];
  assert.deepEqual(
    seen.map(({ topic, dup }) => [topic, dup]),
    [
      ['t/1', true],
      ['t/2', false],
      ['t/3', false],
    ],
  );
  assert.equal(seen[0].packetId, 7);
  assert.equal(new Set(seen.map(({ packetId }) => packetId)).size, 3);
  for (const { packetId } of seen) client.send(puback(packetId));
  await client.rest();
  assert.equal(log.of('session.packet_id_twice').length, 2);
});
