/** Too much of something: the answer that says so, and bounds that hold. */
import assert from 'node:assert/strict';
import { pingreq, publish, pubrel, subscribe } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';
import { badInput, REAL_DOORS } from './stage.ts';

badInput(
  'more unacknowledged QoS 2 messages than the receive maximum end the connection with 0x93',
  { limits: { receiveMaximum: 4 } },
  async (stage) => {
    for (const door of REAL_DOORS) {
      const client = await stage.connect({}, door);
      for (let packetId = 1; packetId <= 4; packetId++) {
        client.send(publish('t', '', { qos: 2, packetId }));
        await client.expect('PUBREC', { packetId });
      }
      // Released ones count no more, and neither does QoS 1 that was answered at once.
      client.send(pubrel(2));
      await client.expect('PUBCOMP', { packetId: 2 });
      client.send(publish('t', '', { qos: 1, packetId: 9 }));
      await client.expect('PUBACK', { packetId: 9 });
      client.send(publish('t', '', { qos: 2, packetId: 5 }), publish('t', '', { qos: 2, packetId: 6 }));
      await client.expect('PUBREC', { packetId: 5 });
      await client.expectThrownOut(0x93);
    }
  },
);

badInput(
  'a QoS 2 packet id sent again and again takes one place and is delivered once',
  {},
  async (stage) => {
    for (const version of [4, 5] as const) {
      const listener = await stage.connect({ clientId: 'listener' });
      await listener.subscribe('t', 0);
      const client = await stage.connect({ clientId: 'again', version });
      for (let times = 0; times < 200; times++) {
        client.send(publish('t', 'once', { qos: 2, packetId: 1, dup: times > 0 }));
        await client.expect('PUBREC', { packetId: 1 });
      }
      await listener.receive('t', 'once');
      await listener.expectQuiet();
      client.send(pubrel(1));
      await client.expect('PUBCOMP', { packetId: 1 });
    }
  },
);

badInput('a 3.x client with every QoS 2 packet id unreleased holds no more than those', {}, async (stage) => {
  const client = await stage.connect({ clientId: 'hoarder', version: 4 });
  for (let packetId = 1; packetId <= 65_535; packetId++) client.send(publish('t', '', { qos: 2, packetId }));
  for (let packetId = 1; packetId <= 65_535; packetId++) await client.expect('PUBREC', { packetId });
  client.send(publish('t', '', { qos: 2, packetId: 1 }));
  await client.expect('PUBREC', { packetId: 1 });
  assert.equal(stage.broker.sessions.get('hoarder')?.inboundCount, 65_535);
  await client.expectQuiet();
});

badInput(
  'a subscription too many gets 0x97, or 0x80, and one that is there may be replaced',
  { limits: { subscriptionsPerClientMax: 3 } },
  async (stage) => {
    const client = await stage.connect({ clientId: 'five' });
    client.send(subscribe(1, ['a', 'b', 'c', 'd', '$share/g/e']));
    await client.expect('SUBACK', { reasonCodes: [0, 0, 0, 0x97, 0x97] });
    client.send(subscribe(2, [{ filter: 'a', qos: 2 }]));
    await client.expect('SUBACK', { reasonCodes: [2] });
    const old = await stage.connect({ clientId: 'four', version: 4 });
    old.send(subscribe(1, ['a', 'b', 'c', 'd']));
    await old.expect('SUBACK', { reasonCodes: [0, 0, 0, 0x80] });
    assert.equal(stage.broker.statistics.subscriptions, 7);
    assert.equal(stage.log.of('subscribe.quota_exceeded').length > 0, true);
  },
);

badInput(
  'a session too many gets 0x97, or 0x03; one that is there may be resumed',
  { limits: { sessionsMax: 2 } },
  async (stage) => {
    const kept = { clientId: 'kept', properties: { sessionExpiryInterval: 100 } };
    const client = await stage.connect(kept);
    for (const version of [3, 4, 5] as const) {
      const extra = await stage.dial('tcp', version);
      extra.send({ ...connectOf(version) });
      await extra.expectRefused(version === 5 ? 0x97 : 3);
    }
    client.raw.abort();
    await stage.connectionsLeft(1);
    await (await stage.connect({ ...kept, cleanStart: false })).expectQuiet();
  },
);

function connectOf(version: 3 | 4 | 5) {
  return {
    type: 1 as const,
    protocolVersion: version,
    cleanStart: true,
    keepAliveSeconds: 0,
    clientId: 'extra',
    will: null,
    username: null,
    password: null,
    properties: {},
  };
}

badInput(
  'a retained message too many gets 0x97 and is kept nowhere; replacing and clearing go on',
  { limits: { retainedMessagesMax: 2, retainedBytesMax: 60 } },
  async (stage) => {
    const client = await stage.connect();
    const retain = async (topic: string, payload: string, reasonCode: number): Promise<void> => {
      client.send(publish(topic, payload, { qos: 1, packetId: 1, retain: true }));
      await client.expect('PUBACK', { reasonCode });
    };
    await retain('a', '1', 0x10);
    await retain('b', '1', 0x10);
    await retain('c', '1', 0x97);
    await retain('a', '2', 0x10);
    await retain('a', 'x'.repeat(100), 0x97);
    await retain('b', '', 0x10);
    await retain('c', '3', 0x10);
    client.send(publish('d', '1', { qos: 2, packetId: 2, retain: true }));
    await client.expect('PUBREC', { packetId: 2, reasonCode: 0x97 });
    const reader = await stage.connect({ clientId: 'reader' });
    reader.send(subscribe(1, ['a', 'b', 'c', 'd']));
    await reader.expect('SUBACK');
    await reader.receive('a', '2');
    await reader.receive('c', '3');
    await reader.expectQuiet();
    assert.equal(stage.log.of('retain.quota_exceeded').length > 0, true);
  },
);

badInput(
  'retained wills expire with the longest expiry that the broker allows, as all other messages do',
  { limits: { messageExpiryMaxSeconds: 60 } },
  async (stage) => {
    for (const version of [4, 5] as const) {
      const client = await stage.connect({
        version,
        clientId: `dying-${version}`,
        will: { topic: `will/${version}`, retain: true },
      });
      client.raw.abort();
      await stage.connectionsLeft(1);
    }
    assert.equal(stage.broker.router.retained.count, 2);
    for (let times = 0; times < 3; times++) await stage.advanceSeconds(61);
    assert.equal(stage.broker.router.retained.count, 0);
  },
);

badInput(
  'who floods with PINGREQ or SUBSCRIBE and never reads fills a bounded buffer, and is then no longer read',
  { limits: { outBytesMax: 50_000 } },
  async (stage) => {
    const retainer = await stage.connect({ clientId: 'retainer' });
    for (let n = 0; n < 20; n++) retainer.send(publish(`r/${n}`, 'x'.repeat(1_000), { retain: true }));
    await retainer.expectQuiet();
    const floods = [Buffer.alloc(60_000, Buffer.from([0xc0, 0])), subscribeFlood()];
    for (const door of ['memory', ...REAL_DOORS] as const) {
      for (const flood of floods) {
        const client = await stage.connect({ clientId: 'flooder' }, door);
        const [connection] = [...stage.broker.connections].filter(({ clientId }) => clientId === 'flooder');
        client.raw.pause();
        let most = 0;
        for (let times = 0; times < 400 && client.raw.unsentBytes < 2_000_000; times++) {
          client.raw.write(flood);
          await settle();
          most = Math.max(most, connection.out.waitingBytes);
        }
        assert.ok(client.raw.unsentBytes >= 2_000_000, 'the broker goes on reading');
        // One chunk of 64 KB may be answered in full after the bound is passed.
        assert.ok(most < 250_000, `${most} bytes wait for ${door}`);
        client.raw.abort();
        await stage.connectionsLeft(2);
      }
    }
  },
);

function subscribeFlood(): Buffer {
  // SUBSCRIBE with packet id 1 to `r/#` at QoS 0 without properties, 10 bytes each.
  const one = Buffer.from([0x82, 9, 0, 1, 0, 0, 3, 0x72, 0x2f, 0x23, 0]);
  return Buffer.concat(Array.from({ length: 5_000 }, () => one));
}

badInput(
  'a reader that stands still costs the publisher nothing and loses QoS 0 beyond its bound',
  { limits: { outBytesMax: 50_000, queueMessagesMax: 10 } },
  async (stage) => {
    const reader = await stage.connect({ clientId: 'still' });
    await reader.subscribe('t/#', 1);
    reader.raw.pause();
    const publisher = await stage.connect({ clientId: 'publisher' });
    const [connection] = [...stage.broker.connections].filter(({ clientId }) => clientId === 'still');
    for (let n = 1; n <= 2_000; n++) {
      publisher.send(publish('t/0', 'x'.repeat(5_000)));
      publisher.send(publish('t/1', 'x'.repeat(5_000), { qos: 1, packetId: n }));
      await publisher.expect('PUBACK', { packetId: n });
      assert.ok(connection.out.waitingBytes < 120_000, `${connection.out.waitingBytes} bytes wait`);
    }
    assert.ok(stage.broker.statistics.publishDropped > 1_000);
    assert.ok(stage.broker.statistics.queuedMessages <= 10);
    publisher.send(pingreq());
    await publisher.expect('PINGRESP');
  },
);

badInput(
  'who is answered more than the bound in one turn, and reads it, goes on being served',
  { limits: { outBytesMax: 10_000 } },
  async (stage) => {
    const retainer = await stage.connect({ clientId: 'retainer' });
    for (let n = 0; n < 20; n++) retainer.send(publish(`r/${n}`, 'x'.repeat(3_000), { retain: true }));
    await retainer.expectQuiet();
    for (const door of ['memory', ...REAL_DOORS] as const) {
      const pinger = await stage.connect({ clientId: 'pinger' }, door);
      pinger.send(Buffer.alloc(40_000, Buffer.from([0xc0, 0])));
      for (let n = 0; n < 20_000; n++) await pinger.expect('PINGRESP');
      await pinger.expectQuiet();
      pinger.send(subscribe(1, ['r/#']));
      await pinger.expect('SUBACK');
      for (let n = 0; n < 20; n++) await pinger.expect('PUBLISH');
      await pinger.expectQuiet();
    }
  },
);
