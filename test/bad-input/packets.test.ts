/** Packets that no client may send, over TCP and WebSocket in every version: the answer, the log line, and nobody else hurt. */
import assert from 'node:assert/strict';
import type { ProtocolVersion } from '../../src/codec/packets.ts';
import { connect, pingreq, puback, publish, raw, subscribe } from '../support/packets.ts';
import { badInput, REAL_DOORS, VERSIONS } from './stage.ts';

interface BadPacket {
  readonly name: string;
  readonly reasonCode: number;
  /** Properties are left out for 3.x by giving an empty `none`. */
  bytes(none: Uint8Array, version: ProtocolVersion): Uint8Array;
  readonly versions?: readonly ProtocolVersion[];
}

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const only5 = [5] as const;

/** Sent by a client that is connected. */
const BAD_PACKETS: readonly BadPacket[] = [
  { name: 'a reserved packet type', reasonCode: 0x81, bytes: () => raw(0x00) },
  { name: 'AUTH, which 3.x has not', reasonCode: 0x81, versions: [3, 4], bytes: () => raw(0xf0) },
  { name: 'SUBSCRIBE with reserved flags 0', reasonCode: 0x81, bytes: (n) => raw(0x80, 0, 1, n, 'a', 0) },
  { name: 'PUBREL with reserved flags 0', reasonCode: 0x81, bytes: () => raw(0x60, 0, 1) },
  { name: 'SUBSCRIBE without a filter', reasonCode: 0x82, bytes: (n) => raw(0x82, 0, 1, n) },
  { name: 'UNSUBSCRIBE without a filter', reasonCode: 0x82, bytes: (n) => raw(0xa2, 0, 1, n) },
  { name: 'a filter longer than its packet', reasonCode: 0x81, bytes: (n) => raw(0x82, 0, 1, n, 0, 9, 0x61) },
  { name: 'QoS 3 in a filter', reasonCode: 0x82, versions: only5, bytes: (n) => raw(0x82, 0, 1, n, 'a', 3) },
  { name: 'QoS 3 in a filter', reasonCode: 0x81, versions: [3, 4], bytes: (n) => raw(0x82, 0, 1, n, 'a', 3) },
  { name: 'a topic longer than its packet', reasonCode: 0x81, bytes: () => raw(0x30, 0, 9, 0x61) },
  { name: 'a topic that is not UTF-8', reasonCode: 0x81, bytes: (n) => raw(0x30, 0, 1, 0xff, n) },
  { name: 'a topic with a surrogate', reasonCode: 0x81, bytes: (n) => raw(0x30, 0, 3, hex('eda080'), n) },
  { name: 'a topic with U+0000', reasonCode: 0x81, bytes: (n) => raw(0x30, 0, 2, 0x61, 0, n) },
  { name: 'PUBLISH at QoS 3', reasonCode: 0x81, bytes: (n) => raw(0x36, 'a', 0, 1, n) },
  { name: 'PUBLISH at QoS 1 with packet id 0', reasonCode: 0x82, bytes: (n) => raw(0x32, 'a', 0, 0, n) },
  { name: 'PUBLISH at QoS 1 without a packet id', reasonCode: 0x81, bytes: () => raw(0x32, 'a') },
  { name: 'PUBLISH without a body', reasonCode: 0x81, bytes: () => raw(0x30) },
  { name: 'PUBLISH to an empty topic', reasonCode: 0x82, versions: only5, bytes: (n) => raw(0x30, '', n) },
  { name: 'PUBLISH to an empty topic', reasonCode: 0x90, versions: [3, 4], bytes: () => raw(0x30, '') },
  { name: 'PUBLISH to a topic with #', reasonCode: 0x90, bytes: (n) => raw(0x30, 'a/#', n) },
  { name: 'PUBLISH to a topic with +', reasonCode: 0x90, bytes: (n) => raw(0x32, '+', 0, 1, n) },
  { name: 'a remaining length not in its shortest form', reasonCode: 0x81, bytes: () => hex('c08000') },
  { name: 'a remaining length of five bytes', reasonCode: 0x81, bytes: () => hex('30ffffffff01') },
  { name: 'a PUBLISH said to be 256 MB', reasonCode: 0x95, bytes: () => hex('30ffffff7f') },
  { name: 'PINGREQ with a body', reasonCode: 0x81, bytes: () => raw(0xc0, 1) },
  { name: 'a property twice', reasonCode: 0x82, versions: only5, bytes: () => raw(0x30, 'a', 4, 1, 0, 1, 0) },
  { name: 'an unknown property', reasonCode: 0x81, versions: only5, bytes: () => raw(0x30, 'a', 2, 0x7f, 0) },
  {
    name: 'a property elsewhere',
    reasonCode: 0x81,
    versions: only5,
    bytes: () => raw(0x30, 'a', 2, 0x24, 1),
  },
  {
    name: 'properties longer than the packet',
    reasonCode: 0x81,
    versions: only5,
    bytes: () => raw(0x30, 'a', 9),
  },
  { name: 'topic alias 0', reasonCode: 0x94, versions: only5, bytes: () => raw(0x30, 'a', 3, 0x23, 0, 0) },
  {
    name: 'an alias over the maximum',
    reasonCode: 0x94,
    versions: only5,
    bytes: () => raw(0x30, 'a', 3, 0x23, 0, 33),
  },
  {
    name: 'an alias never given',
    reasonCode: 0x82,
    versions: only5,
    bytes: () => raw(0x30, '', 3, 0x23, 0, 3),
  },
  { name: 'CONNACK', reasonCode: 0x82, bytes: (n) => raw(0x20, 0, 0, n) },
  { name: 'SUBACK', reasonCode: 0x82, bytes: (n) => raw(0x90, 0, 1, n, 0) },
  { name: 'UNSUBACK', reasonCode: 0x82, bytes: (n) => raw(0xb0, 0, 1, n) },
  { name: 'PINGRESP', reasonCode: 0x82, bytes: () => raw(0xd0) },
  { name: 'a second CONNECT', reasonCode: 0x82, bytes: (_n, version) => connectBytes(version) },
];

function connectBytes(version: ProtocolVersion): Uint8Array {
  const name = version === 3 ? 'MQIsdp' : 'MQTT';
  const properties = version === 5 ? [0] : [];
  return raw(0x10, name, version, 2, 0, 0, ...properties, 'bad');
}

for (const version of VERSIONS) {
  for (const { name, reasonCode, bytes, versions } of BAD_PACKETS) {
    if (versions !== undefined && !versions.includes(version)) continue;
    const answer = version === 5 ? `DISCONNECT 0x${reasonCode.toString(16)}` : 'a close and a log line';
    badInput(`version ${version}: ${name} is answered with ${answer}`, {}, async (stage) => {
      const none = Buffer.alloc(version === 5 ? 1 : 0);
      for (const door of REAL_DOORS) {
        const client = await stage.connect({ clientId: 'bad', version }, door);
        client.send(bytes(none, version));
        await client.expectThrownOut(reasonCode);
        const [line] = stage.log.of('client.protocol_error').slice(-1);
        assert.partialDeepStrictEqual(line.fields, { clientId: 'bad', username: null, reasonCode });
        assert.match(String(line.fields.address), /^127\.0\.0\.1:\d+$/);
        assert.ok(String(line.fields.door).startsWith(door === 'tcp' ? 'mqtt:' : 'ws:'));
      }
      assert.equal(stage.log.of('client.protocol_error').length, REAL_DOORS.length);
    });
  }
}

badInput('nothing but CONNECT may come first, whatever length it announces', {}, async (stage) => {
  const first = [
    ...[0x00, 0x20, 0x30, 0x82, 0xa2, 0xc0, 0xe0, 0xf0].map((byte) => raw(byte, 0, 1, 0)),
    hex('30ffffff7f'),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from([0x16, 3, 1, 2, 0]),
    Buffer.from([0x11, 0]),
  ];
  for (const door of REAL_DOORS) {
    for (const bytes of first) {
      const client = await stage.dial(door);
      client.send(bytes);
      await client.expectClosed();
    }
  }
  assert.equal(stage.log.of('client.protocol_error').length, first.length * REAL_DOORS.length);
});

badInput(
  'a packet over the limit is refused when its length is known, and not collected',
  {
    limits: { packetBytesMax: 1_000 },
  },
  async (stage) => {
    for (const version of VERSIONS) {
      const fits = 1_000 - 3 - 3 - (version === 5 ? 1 : 0);
      const client = await stage.connect({ version });
      client.send(publish('t', 'x'.repeat(fits)));
      await client.expectQuiet();
      // Only the fixed header: the broker must not wait for the rest.
      client.send(hex('30e607'));
      await client.expectThrownOut(0x95);
    }
  },
);

badInput('a CONNECT over the limit for strangers gets CONNACK 0x95', {}, async (stage) => {
  const client = await stage.dial('tcp');
  client.send(connect({ will: { topic: 't', payload: 'x'.repeat(65_535) } }));
  await client.expectRefused(0x95);
  assert.equal(stage.log.of('client.protocol_error').length, 1);
});

const BAD_CONNECTS: readonly (readonly [name: string, reasonCode: number, bytes: Uint8Array])[] = [
  ['with the reserved flag', 0x81, raw(0x10, 'MQTT', 5, 3, 0, 0, 0, 'c')],
  ['with will QoS 3', 0x81, raw(0x10, 'MQTT', 5, 0x1e, 0, 0, 0, 'c', 0, 't', 'w')],
  ['with bytes behind its end', 0x81, raw(0x10, 'MQTT', 5, 2, 0, 0, 0, 'c', 1)],
  ['that ends in its client id', 0x81, raw(0x10, 'MQTT', 5, 2, 0, 0, 0, 0, 9, 0x63)],
  ['with a client id that is not UTF-8', 0x81, raw(0x10, 'MQTT', 5, 2, 0, 0, 0, 0, 1, 0xff)],
  ['with a property twice', 0x82, raw(0x10, 'MQTT', 5, 2, 0, 0, 6, 0x21, 0, 1, 0x21, 0, 1, 'c')],
  ['with receive maximum 0', 0x82, raw(0x10, 'MQTT', 5, 2, 0, 0, 3, 0x21, 0, 0, 'c')],
  ['with a will to an invalid topic', 0x90, raw(0x10, 'MQTT', 5, 6, 0, 0, 0, 'c', 0, 't/#', 'w')],
];

for (const [name, reasonCode, bytes] of BAD_CONNECTS) {
  badInput(`a CONNECT ${name} gets CONNACK 0x${reasonCode.toString(16)}`, {}, async (stage) => {
    for (const door of REAL_DOORS) {
      const client = await stage.dial(door);
      client.send(bytes);
      await client.expectRefused(reasonCode);
    }
    assert.equal(stage.broker.sessions.get('c'), undefined);
  });
}

badInput('a malformed 3.x CONNECT is closed without an answer and logged', {}, async (stage) => {
  for (const bytes of [
    raw(0x10, 'MQTT', 4, 3, 0, 0, 'c'),
    raw(0x10, 'MQIsdp', 3, 2, 0, 0, 'c', 1),
    raw(0x10, 'MQTT', 4, 0x42, 0, 0, 'c', 'password without user'),
  ]) {
    const client = await stage.dial('tcp', 4);
    client.send(bytes);
    await client.expectClosed();
  }
  assert.equal(stage.log.of('client.protocol_error').length, 3);
});

badInput(
  '1000 user properties are refused with 0x97, in PUBLISH, SUBSCRIBE and CONNECT',
  {},
  async (stage) => {
    const userProperties = Array.from({ length: 1_000 }, (): [string, string] => ['a', 'b']);
    for (const packet of [
      publish('t', '', { properties: { userProperties } }),
      subscribe(1, ['t'], { userProperties }),
    ]) {
      const client = await stage.connect();
      client.send(packet);
      await client.expectThrownOut(0x97);
    }
    const client = await stage.dial('tcp');
    client.send(connect({ properties: { userProperties } }));
    await client.expectRefused(0x97);
  },
);

badInput(
  'the setting for user properties holds for every packet',
  { limits: { userPropertiesMax: 2 } },
  async (stage) => {
    const userProperties = Array.from({ length: 3 }, (): [string, string] => ['a', 'b']);
    for (const packet of [
      publish('t', '', { properties: { userProperties } }),
      subscribe(1, ['t'], { userProperties }),
    ]) {
      const client = await stage.connect();
      client.send(packet);
      await client.expectThrownOut(0x97);
    }
  },
);

badInput('a topic of 65 535 slashes is refused in bounded time, as name and as filter', {}, async (stage) => {
  const slashes = '/'.repeat(65_535);
  for (const version of VERSIONS) {
    const client = await stage.connect({ version });
    client.send(publish(slashes, ''));
    await client.expectThrownOut(0x90);
  }
  const client = await stage.connect();
  client.send(publish(slashes, '', { qos: 1, packetId: 9, retain: true }));
  await client.expect('PUBACK', { packetId: 9, reasonCode: 0x90 });
  client.send(subscribe(2, [slashes, '+/'.repeat(32_767), 'fine']));
  await client.expect('SUBACK', { reasonCodes: [0x8f, 0x8f, 0] });
  const old = await stage.connect({ version: 4, clientId: 'old' });
  old.send(subscribe(2, [slashes]));
  await old.expectClosed();
  assert.equal(stage.broker.router.retained.count, 0);
});

badInput('names and filters end at the limit of levels', { limits: { topicLevelsMax: 4 } }, async (stage) => {
  const client = await stage.connect();
  client.send(publish('a/b/c/d', '', { qos: 1, packetId: 1 }));
  await client.expect('PUBACK', { packetId: 1, reasonCode: 0x10 });
  client.send(publish('a/b/c/d/e', '', { qos: 2, packetId: 2 }));
  await client.expect('PUBREC', { packetId: 2, reasonCode: 0x90 });
  client.send(subscribe(3, ['a/b/c/#', 'a/b/c/d/#', '$share/g/a/b/c/d', '$share/g/a/b/c/d/e']));
  await client.expect('SUBACK', { reasonCodes: [0, 0x8f, 0, 0x8f] });
  const will = await stage.dial('tcp');
  will.send(connect({ clientId: 'will', will: { topic: 'a/b/c/d/e' } }));
  await will.expectRefused(0x90);
});

badInput('acknowledgements of nothing are ignored or answered, and hurt nobody', {}, async (stage) => {
  for (const version of VERSIONS) {
    const client = await stage.connect({ version });
    client.send(puback(1), raw(0x70, 0, 2));
    client.send(raw(0x50, 0, 3));
    await client.expect('PUBREL', { packetId: 3, reasonCode: version === 5 ? 0x92 : 0 });
    client.send(raw(0x62, 0, 4));
    await client.expect('PUBCOMP', { packetId: 4, reasonCode: version === 5 ? 0x92 : 0 });
    await client.expectQuiet();
  }
});

badInput(
  'what begins with $ and is not $SYS is an ordinary topic, which no wildcard at the first level selects',
  {},
  async (stage) => {
    const client = await stage.connect();
    for (const filter of ['#', '+/a', '$other/#']) await client.subscribe(filter, 0);
    client.send(publish('$other/a', 'x'), publish('$', 'y'), publish('$share/g/a', 'z'));
    await client.receive('$other/a', 'x');
    await client.expectQuiet();
  },
);

badInput(
  'a name with too many levels ends the connection at QoS 0, also when it was refused at QoS 1 before',
  {
    limits: { topicLevelsMax: 4 },
  },
  async (stage) => {
    const fresh = await stage.connect();
    fresh.send(publish('a/b/c/d/e', ''));
    await fresh.expectThrownOut(0x90);
    const client = await stage.connect();
    client.send(publish('a/b/c/d/e', '', { qos: 1, packetId: 2 }));
    await client.expect('PUBACK', { packetId: 2, reasonCode: 0x90 });
    // A ping, so that silence is told from an answer.
    client.send(publish('a/b/c/d/e', ''), pingreq());
    await client.expectThrownOut(0x90);
  },
);
