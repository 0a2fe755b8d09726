/** Exchanges begun and never ended, packets that announce or carry too much: what one client can make the broker remember. */
import assert from 'node:assert/strict';
import { encodePacket } from '../../src/codec/encode.ts';
import { PacketType } from '../../src/codec/packets.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { DoorClient } from '../bad-input/door-client.ts';
import type { DoorName } from '../bad-input/stage.ts';
import type { RawClient } from '../contract/transport.ts';
import { connect, pingreq, publish, raw, subscribe } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';
import { attackCore } from './harness/core.ts';
import { attackBroker } from './harness/target.ts';

const DOORS: readonly DoorName[] = ['memory', 'tcp', 'ws'];
const { receiveMaximum, inflightMax, topicAliasMaximum, topicBytesMax, userPropertiesMax } = DEFAULT_LIMITS;
const IDS = 65_535;

attackCore('QoS 2 without PUBREL ends at the receive maximum with 0x93', {}, async (target) => {
  for (const door of DOORS) {
    const client = await target.stage.connect({ clientId: 'never-releases' }, door);
    await target.canary.singDuring(receiveMaximum, async (step) => {
      client.send(publish('t', 'x', { qos: 2, packetId: step + 1 }));
      await client.expect('PUBREC', { packetId: step + 1 });
    });
    client.send(publish('t', 'x', { qos: 2, packetId: receiveMaximum + 1 }));
    await client.expectThrownOut(0x93);
  }
});

attackCore('3.1.1 clients that never send PUBREL hold an id each and no message', {}, async (target) => {
  const { stage } = target;
  const clients: RawClient[] = [];
  for (let number = 0; number < 4; number++) {
    const client = await stage.dialRaw('memory');
    client.onData(() => {});
    client.write(encodePacket(connect({ clientId: `hoarder-${number}`, version: 4 }), 4));
    clients.push(client);
  }
  const payload = 'x'.repeat(1_000);
  await target.canary.singDuring(64, async (step) => {
    for (const client of clients)
      for (let id = step * 1_024 + 1; id <= Math.min((step + 1) * 1_024, IDS); id++)
        client.write(encodePacket(publish('t', payload, { qos: 2, packetId: id }), 4));
    await settle();
  });
  for (let number = 0; number < clients.length; number++)
    assert.equal(stage.broker.sessions.get(`hoarder-${number}`)?.inboundCount, IDS);
  const growth = target.assertGrownBy(clients.length * IDS * 64, 'every QoS 2 packet id of four clients');
  target.tell(`${Math.round(growth / (clients.length * IDS))} bytes for each id`);
  for (const client of clients) client.abort();
});

attackCore(
  'a client that never acknowledges runs out of window, never of packet ids',
  { limits: { queueMessagesMax: 2_000 } },
  async (target) => {
    const { stage } = target;
    const { statistics } = stage.broker;
    for (const qos of [1, 2] as const) {
      const deaf = await stage.connect({ clientId: 'deaf', version: 4 }, 'memory');
      await deaf.subscribe('t', qos);
      const publisher = await stage.connect({ clientId: 'publisher' }, 'memory');
      let refused = 0;
      await target.canary.singDuring(70, async () => {
        for (let id = 1; id <= 1_000; id++)
          publisher.send(publish('t', 'x'.repeat(100), { qos: 1, packetId: id }));
        for (let id = 1; id <= 1_000; id++) {
          const { reasonCode } = await publisher.expect('PUBACK', { packetId: id });
          if (reasonCode === 0x97) refused++;
        }
      });
      deaf.send(pingreq());
      let sent = 0;
      for (let packet = await deaf.next(); packet?.type !== PacketType.PINGRESP; packet = await deaf.next())
        sent++;
      assert.equal(sent, inflightMax, 'the window');
      assert.equal(statistics.queuedMessages, 2_000, 'the queue');
      assert.equal(refused, 70_000 - inflightMax - 2_000, 'the rest was refused with 0x97');
      target.assertGrownBy((inflightMax + 2_000) * 2_000, 'a window and a queue');
      deaf.raw.abort();
      publisher.raw.abort();
      await stage.connectionsLeft(1);
    }
  },
);

attackBroker('hoards of topic aliases end at the maximum with 0x94', {}, async (target) => {
  const hoarders: DoorClient[] = [];
  await target.canary.singDuring(100, async (step) => {
    const client = await target.connect({ clientId: `hoarder-${step}` }, 'tcp', 1 + step);
    hoarders.push(client);
    for (let alias = 1; alias <= topicAliasMaximum; alias++) {
      const topic = `${step}/${alias}/`.padEnd(topicBytesMax, 'x');
      client.send(publish(topic, '', { properties: { topicAlias: alias } }));
    }
    await client.expectQuiet();
  });
  // Each topic is kept as text and as bytes.
  const bytesMax = hoarders.length * topicAliasMaximum * (2 * topicBytesMax + 2_000);
  const growth = await target.assertGrownBy(bytesMax, `${hoarders.length} full alias tables`);
  target.tell(`${Math.round(growth / hoarders.length / 1_024)} KB for each full table of aliases`);
  for (const hoarder of hoarders) {
    hoarder.send(publish('t', '', { properties: { topicAlias: topicAliasMaximum + 1 } }));
    await hoarder.expectThrownOut(0x94);
  }
});

/** CONNECT, PUBLISH and SUBSCRIBE with so many user properties. */
function bombs(count: number) {
  const userProperties = Array.from({ length: count }, (_, at): [string, string] => [`k${at}`, '__proto__']);
  return [
    connect({ clientId: 'bomb', properties: { userProperties } }),
    publish('t', '', { qos: 1, packetId: 1, properties: { userProperties } }),
    subscribe(1, ['t'], { userProperties }),
  ] as const;
}

attackCore('user-property bombs are refused, before login and after it', {}, async (target) => {
  const { stage } = target;
  const [bigConnect, ...others] = bombs(4_000);
  await target.canary.singDuring(30, async (step) => {
    const door = DOORS[step % DOORS.length]!;
    const stranger = await stage.dial(door);
    stranger.send(bigConnect);
    const answer = await stranger.expect('CONNACK');
    assert.ok(answer.reasonCode >= 0x80, 'let in');
    await stranger.expectClosed();
    for (const bomb of others) {
      const client = await stage.connect({ clientId: 'bomb' }, door);
      client.send(bomb);
      await client.expect('DISCONNECT');
      await client.expectClosed();
    }
  });
  // The bound itself is no bomb.
  const [fits] = bombs(userPropertiesMax);
  const client = await stage.dial('memory');
  client.send(fits);
  await client.expect('CONNACK', { reasonCode: 0 });
  client.raw.abort();
});

attackCore('an announced packet of 256 MB is refused before anything of it is kept', {}, async (target) => {
  const { stage } = target;
  const announced = (first: number): Buffer => Buffer.from([first, 0xff, 0xff, 0xff, 0x7f, 0, 4]);
  const stubborn: DoorClient[] = [];
  await target.canary.singDuring(60, async (step) => {
    const door = DOORS[step % DOORS.length]!;
    const stranger = await stage.dial(door);
    // The version is not known yet, or it is that of 3.1.1: closed without a word.
    stranger.send(announced(0x10));
    await stranger.over();
    const known = await stage.dial(door);
    const opening = encodePacket(connect({ clientId: 'known' }), 5);
    known.send(Buffer.concat([Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]), opening.subarray(2)]));
    await known.expect('CONNACK', { reasonCode: 0x95 });
    await known.expectClosed();
    for (const first of [0x30, 0x32, 0x82, 0xe0]) {
      const client = await stage.connect({ clientId: 'huge' }, door);
      client.send(announced(first));
      await client.expectThrownOut(0x95);
    }
    // A megabyte is what may be announced, and costs nothing until it comes.
    const patient = await stage.connect({ clientId: `patient-${step}` }, 'memory');
    patient.send(Buffer.from([0x30, 0xf0, 0xff, 0x3f, 0, 1, 0x74]));
    stubborn.push(patient);
  });
  target.assertGrownBy(4 << 20, '60 packets of a megabyte announced');
  for (const client of stubborn) client.raw.abort();
});

attackCore(
  'CONNECT packets that never end cost what they carry, and at most 64 KB each',
  {},
  async (target) => {
    const { stage } = target;
    const strangers: DoorClient[] = [];
    const { connectPacketBytesMax } = stage.broker.limits;
    await target.canary.singDuring(50, async () => {
      const stranger = await stage.dial('memory');
      strangers.push(stranger);
      const body = raw(0, 'MQTT', 5, 0xc0, 0, 0, 0, 'c', 'u', Buffer.alloc(60_000)).subarray(4);
      const length = connectPacketBytesMax - 4;
      const header = [0x10, (length & 127) | 128, ((length >> 7) & 127) | 128, length >> 14];
      stranger.send(Buffer.concat([Buffer.from(header), body]));
      await settle();
      assert.equal(stranger.closed, false);
    });
    const growth = target.assertGrownBy(
      50 * 2 * connectPacketBytesMax,
      '50 CONNECT packets but for their ends',
    );
    target.tell(`${Math.round(growth / 50 / 1_024)} KB for each CONNECT of 64 KB but for its end`);
    await stage.advanceSeconds(11);
    for (const stranger of strangers) await stranger.expectClosed();
    assert.equal(stage.log.of('client.connect_timeout').length, 50);
  },
);

attackCore('a CONNECT that comes byte by byte has ten seconds in all', {}, async (target) => {
  const { stage } = target;
  for (const door of DOORS) {
    const drip = encodePacket(connect({ clientId: 'slow', username: 'a'.repeat(100) }), 5);
    const client = await stage.dial(door);
    let sent = 0;
    await target.canary.singDuring(9, async (step) => {
      client.send(drip.subarray(step, step + 1));
      sent++;
      const { statistics } = stage.broker;
      const before = statistics.bytesReceived;
      await stage.until(() => door === 'memory' || statistics.bytesReceived > before, 'the byte arrives');
      await stage.advanceSeconds(1);
      assert.equal(client.closed, false, `cut off after ${sent} s`);
    });
    await stage.advanceSeconds(2);
    await client.over();
  }
  assert.equal(stage.log.of('client.connect_timeout').length, DOORS.length);
});
