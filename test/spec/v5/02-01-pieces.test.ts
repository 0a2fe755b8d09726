import { test } from 'node:test';
import { encodePacket } from '../../../src/codec/encode.ts';
import { Random } from '../../codec/random-packets.ts';
import { startBroker } from '../../support/broker.ts';
import { publish } from '../../support/packets.ts';

const SEED = 20_240_607;
const MESSAGE_BYTES = 300_000;
const PIECE_BYTES_MAX = 20_000;

for (const version of [3, 4, 5] as const) {
  test(`a large message of version ${version} that comes in pieces of all sizes is delivered whole`, async (t) => {
    const broker = await startBroker(t);
    const random = new Random(SEED + version);
    const payload = 'a bottle of something in the sea'.repeat(MESSAGE_BYTES / 32);
    const watcher = await broker.connect({ version });
    await watcher.subscribe('large', 2);
    const client = await broker.connect({ version });
    const bytes = encodePacket(publish('large', payload, { qos: 2, packetId: 1 }), version);
    for (let at = 0; at < bytes.length; ) {
      // The head byte by byte.
      const length = at < 8 ? 1 : 1 + random.below(PIECE_BYTES_MAX);
      client.send(bytes.subarray(at, at + length));
      at += length;
    }
    await client.expect('PUBREC', { packetId: 1 });
    await watcher.receiveAndAck('large', payload, { qos: 2 });
    await watcher.expectNothing();
  });
}
