/** Clients that do not read: what waits for them is bounded, they hold nobody up, and in the end they go. */
import assert from 'node:assert/strict';
import type { DoorClient } from '../bad-input/door-client.ts';
import { publish } from '../support/packets.ts';
import { DOOR_URLS, DOORS } from './harness/doors.ts';
import { attackBroker, type LogLine, type Target } from './harness/target.ts';

const READERS = 12;
const PAYLOAD_BYTES = 65_536;
/** 32 MB for each reader: several times what the kernel takes off the broker's hands for a connection. */
const MESSAGES = 512;
const OUT_BYTES_MAX = 1_048_576;
/** Beside what waits: the message being sent, routes, sessions, the garbage of libraries. */
const SLACK_BYTES = 8 << 20;
/** So that those who do not read go while the test looks on. */
const LIMITS = { outBytesMax: OUT_BYTES_MAX, stalledReaderSeconds: 3 };

/** Publishes at QoS 1, one after the other, beside the canary's songs; `reader` gets each. */
async function flood(target: Target, reader: DoorClient): Promise<void> {
  const publisher = await target.connect({ clientId: 'publisher' }, 'tcp', 90);
  const payload = Buffer.alloc(PAYLOAD_BYTES, 0x78);
  await target.canary.singDuring(MESSAGES, async (step) => {
    publisher.send(publish('flood', payload, { qos: 1, packetId: 1 + step }));
    await publisher.expect('PUBACK', { packetId: 1 + step, reasonCode: 0 });
    await reader.expect('PUBLISH', { topic: 'flood' });
  });
  publisher.raw.end();
}

for (const qos of [0, 1] as const) {
  attackBroker(
    `${READERS} readers at QoS ${qos} that stand still in a flood of 64 KB messages hold up nobody, and go`,
    { doors: DOOR_URLS, config: { limits: LIMITS } },
    async (target) => {
      const stalled: DoorClient[] = [];
      for (let number = 0; number < READERS; number++) {
        const door = DOORS[number % DOORS.length]!;
        const reader = await target.connect({ clientId: `still-${number}` }, door, 1 + number);
        await reader.subscribe('flood', qos);
        reader.raw.pause();
        stalled.push(reader);
      }
      const reader = await target.connect({ clientId: 'reader' }, 'tcp', 80);
      await reader.subscribe('flood', 0);
      await flood(target, reader);
      // The message being sent, routes, sessions and what libraries leave behind are in it.
      const growth = await target.assertGrownBy(READERS * OUT_BYTES_MAX, 'readers that stand still');
      target.tell(`QoS ${qos}: ${Math.round(growth / READERS / 1_024)} KB for each reader that stands still`);
      const gone = (): LogLine[] =>
        target.log('client.disconnected').filter(({ clientId }) => String(clientId).startsWith('still'));
      await target.until(() => gone().length === READERS, 'they are disconnected');
      for (const { by } of gone()) assert.equal(by, 'broker');
      for (const each of stalled) each.raw.abort();
      reader.raw.end();
    },
  );
}

const PINGREQS = Buffer.alloc(60_000, Buffer.from([0xc0, 0]));
/** SUBSCRIBE with packet id 1 to `r/#` at QoS 0 without properties. */
const SUBSCRIBES = Buffer.concat(
  Array.from({ length: 5_000 }, () => Buffer.from([0x82, 9, 0, 1, 0, 0, 3, 0x72, 0x2f, 0x23, 0])),
);

attackBroker(
  'PINGREQ and SUBSCRIBE floods of clients that never read are no longer read, over every door',
  { doors: DOOR_URLS, config: { limits: LIMITS } },
  async (target) => {
    const retainer = await target.connect({ clientId: 'retainer' }, 'tcp', 99);
    for (let n = 0; n < 20; n++) retainer.send(publish(`r/${n}`, 'x'.repeat(1_000), { retain: true }));
    await retainer.expectQuiet();
    const flooders: DoorClient[] = [];
    for (const [number, door] of DOORS.entries()) {
      for (const [kind, packets] of [PINGREQS, SUBSCRIBES].entries()) {
        const flooder = await target.connect(
          { clientId: `flooder-${number}-${kind}` },
          door,
          1 + flooders.length,
        );
        flooder.raw.pause();
        flooders.push(flooder);
        await target.canary.singDuring(4, () => flooder.send(packets));
        // Sixteen megabytes are more than the kernel takes: what is left over here was not read there.
        for (let count = 0; !flooder.closed && flooder.raw.unsentBytes < 16 << 20 && count < 2_000; count++) {
          flooder.send(packets);
          if (count % 50 === 0) await target.canary.sing();
        }
        await target.canary.singDuring(5, () => {});
        assert.ok(flooder.closed || flooder.raw.unsentBytes > 1 << 20, `the broker goes on reading ${door}`);
      }
    }
    const growth = await target.assertGrownBy(
      flooders.length * 2 * OUT_BYTES_MAX + SLACK_BYTES,
      'flooders that never read',
    );
    target.tell(`${Math.round(growth / flooders.length / 1_024)} KB for each flooder that never reads`);
    const gone = (): number =>
      target.log('client.disconnected').filter(({ clientId }) => String(clientId).startsWith('flooder'))
        .length;
    await target.until(() => gone() === flooders.length, 'they are disconnected');
    for (const flooder of flooders) flooder.raw.abort();
    for (let n = 0; n < 20; n++) retainer.send(publish(`r/${n}`, '', { retain: true }));
    await retainer.expectQuiet();
    retainer.raw.end();
  },
);
