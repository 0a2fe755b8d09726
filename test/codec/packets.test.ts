/** What the vectors cannot say: copies, limits, the fitting of packets, and the caller's own mistakes. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decodePacket, UnsupportedVersionError } from '../../src/codec/decode.ts';
import { encodePacket, encodePublish, encodeWithin } from '../../src/codec/encode.ts';
import type { ConnackPacket, ConnectPacket, Packet, PublishPacket } from '../../src/codec/packets.ts';
import {
  EMPTY_PROPERTIES,
  PROPERTIES,
  propertiesLength,
  propertySectionLength,
  writeProperties,
} from '../../src/codec/properties.ts';
import { isReasonCodeAllowed, REASON_CODES, ReasonCode } from '../../src/codec/reason-codes.ts';
import { ProtocolError } from '../../src/errors.ts';
import { bodyStart, decodeFrame } from './vectors.ts';

const CONNECT: ConnectPacket = {
  type: 1,
  protocolVersion: 5,
  cleanStart: true,
  keepAliveSeconds: 0,
  clientId: 'c',
  will: {
    topic: 'w',
    payload: Uint8Array.of(1),
    qos: 0,
    retain: false,
    properties: { correlationData: Uint8Array.of(2), userProperties: [['a', '1']] },
  },
  username: 'u',
  password: Uint8Array.of(3),
  properties: {
    authenticationMethod: 'm',
    authenticationData: Uint8Array.of(4),
    userProperties: [['b', '2']],
  },
};

const PUBLISH: PublishPacket = {
  type: 3,
  dup: false,
  qos: 0,
  retain: false,
  topic: 't',
  packetId: 0,
  properties: {},
  payload: Uint8Array.of(7),
};

function decode(bytes: Buffer, userPropertiesMax?: number): Packet {
  return decodePacket(bytes, bytes[0]!, bodyStart(bytes), bytes.length, 5, undefined, userPropertiesMax);
}

describe('decoding', () => {
  test('a CONNECT keeps nothing of the buffer it came in', () => {
    const bytes = encodePacket(CONNECT, 5);
    const packet = decode(bytes);
    bytes.fill(0xff);
    assert.deepEqual(packet, CONNECT);
  });

  test('the payload of a PUBLISH is a view of the buffer it came in', () => {
    const bytes = encodePublish(PUBLISH, 5);
    const packet = decode(bytes) as PublishPacket;
    assert.equal(packet.payload.buffer, bytes.buffer);
  });

  test('an unsupported protocol is named with its level 5.0:[MQTT-3.1.2-2]', () => {
    const bytes = Buffer.from('100c000448545450092f0000000161', 'hex');
    assert.throws(
      () => decode(bytes),
      (error) =>
        error instanceof UnsupportedVersionError &&
        error instanceof ProtocolError &&
        error.reasonCode === ReasonCode.UNSUPPORTED_PROTOCOL_VERSION &&
        error.protocolName === 'HTTP' &&
        error.protocolLevel === 9,
    );
  });

  test('a long protocol name is cut before it reaches a message', () => {
    const name = 'x'.repeat(1000);
    const body = Buffer.concat([Buffer.from([1000 >> 8, 1000 & 255]), Buffer.from(name), Buffer.from([5])]);
    assert.throws(
      () => decodePacket(body, 0x10, 0, body.length, 5),
      (error) => error instanceof UnsupportedVersionError && error.message.length < 100,
    );
  });

  test('user properties over the limit are refused as a quota exceeded, the will’s counted with the packet’s', () => {
    const bytes = encodePacket(CONNECT, 5);
    assert.deepEqual(decode(bytes, 2), CONNECT);
    for (const limit of [0, 1]) {
      assert.throws(
        () => decode(bytes, limit),
        (error) => error instanceof ProtocolError && error.reasonCode === ReasonCode.QUOTA_EXCEEDED,
      );
    }
  });

  test('user properties keep their order, repeats and names of object members', () => {
    const userProperties: [string, string][] = [
      ['b', '1'],
      ['__proto__', 'x'],
      ['a', '2'],
      ['b', '3'],
      ['constructor', ''],
    ];
    const packet: PublishPacket = { ...PUBLISH, properties: { userProperties } };
    assert.deepEqual(decodeFrame(encodePacket(packet, 5), 5), packet);
  });

  test('a packet without properties holds the shared frozen ones', () => {
    const packet = decode(encodePacket(PUBLISH, 5)) as PublishPacket;
    assert.equal(packet.properties, EMPTY_PROPERTIES);
    assert.ok(Object.isFrozen(EMPTY_PROPERTIES));
  });
});

describe('encoding', () => {
  test('a CONNECT is written in its own version whatever the connection speaks', () => {
    assert.deepEqual(encodePacket(CONNECT, 4), encodePacket(CONNECT, 5));
  });

  test('properties and reason codes are left out for 3.x peers', () => {
    const packet: PublishPacket = { ...PUBLISH, properties: { contentType: 'c' } };
    assert.equal(encodePublish(packet, 4).toString('hex'), '300400017407');
    assert.equal(
      encodePacket({ type: 4, packetId: 1, reasonCode: 0x87, properties: { reasonString: 'r' } }, 4).toString(
        'hex',
      ),
      '40020001',
    );
    assert.equal(encodePacket({ type: 14, reasonCode: 0x8b, properties: {} }, 4).toString('hex'), 'e000');
  });

  test('DUP is not written at QoS 0 5.0:[MQTT-3.3.1-2]', () => {
    assert.equal(encodePublish({ ...PUBLISH, dup: true }, 4)[0], 0x30);
  });

  test('a CONNACK to a 3.1 client has no session present flag', () => {
    assert.equal(
      encodePacket({ type: 2, sessionPresent: true, reasonCode: 0, properties: {} }, 3).toString('hex'),
      '20020000',
    );
  });

  test('what has no form is the caller’s defect', () => {
    const bad: readonly (readonly [Packet, 4 | 5])[] = [
      [{ type: 15, reasonCode: 0x18, properties: {} }, 4],
      [{ ...PUBLISH, qos: 1 }, 5],
      [{ ...PUBLISH, topic: 'x'.repeat(65_536) }, 5],
      [{ ...PUBLISH, properties: { receiveMaximum: 1 } }, 5],
      [{ ...PUBLISH, properties: { topicAlias: 0 } }, 5],
      [{ ...PUBLISH, properties: { messageExpiryInterval: 2 ** 32 } }, 5],
      [{ ...PUBLISH, properties: { subscriptionIdentifiers: [0] } }, 5],
      [{ ...CONNECT, protocolVersion: 4, username: null }, 4],
      [{ ...CONNECT, password: new Uint8Array(65_536) }, 5],
    ];
    for (const [packet, version] of bad) assert.throws(() => encodePacket(packet, version), RangeError);
  });

  test('absent and undefined properties take no bytes', () => {
    const properties = { contentType: undefined } as unknown as PublishPacket['properties'];
    assert.equal(encodePublish({ ...PUBLISH, properties }, 5).toString('hex'), '30050001740007');
  });

  test('the property lengths are those of what is written', () => {
    const { properties } = CONNECT;
    const buffer = Buffer.alloc(100);
    const end = writeProperties(buffer, 0, properties);
    assert.equal(end, propertySectionLength(properties, 1));
    assert.equal(buffer[0], propertiesLength(properties, 1));
    assert.throws(() => propertiesLength(properties, 3), RangeError);
  });
});

describe('fitting a packet into the receiver’s maximum', () => {
  const connack: ConnackPacket = {
    type: 2,
    sessionPresent: false,
    reasonCode: 0x87,
    properties: { reasonString: 'because', serverReference: 's', userProperties: [['k', 'v']] },
  };
  const sizeOf = (packet: Packet): number => encodePacket(packet, 5).length;
  const withoutReason: ConnackPacket = {
    ...connack,
    properties: { serverReference: 's', userProperties: [['k', 'v']] },
  };
  const withoutBoth: ConnackPacket = { ...connack, properties: { serverReference: 's' } };

  test('a packet that fits is left whole', () => {
    assert.deepEqual(encodeWithin(connack, 5, sizeOf(connack)), encodePacket(connack, 5));
  });

  test('the reason string goes first, then the user properties 5.0:[MQTT-3.2.2-19] 5.0:[MQTT-3.2.2-20]', () => {
    assert.deepEqual(encodeWithin(connack, 5, sizeOf(connack) - 1), encodePacket(withoutReason, 5));
    assert.deepEqual(encodeWithin(connack, 5, sizeOf(withoutReason) - 1), encodePacket(withoutBoth, 5));
  });

  test('what still does not fit is not encoded 5.0:[MQTT-3.1.2-24]', () => {
    assert.equal(encodeWithin(connack, 5, sizeOf(withoutBoth) - 1), null);
  });

  test('acknowledgements, SUBACK, UNSUBACK, DISCONNECT and AUTH give way alike', () => {
    const properties = { reasonString: 'because', userProperties: [['k', 'v'] as [string, string]] };
    const packets: Packet[] = [
      ...([4, 5, 6, 7] as const).map((type): Packet => ({ type, packetId: 1, reasonCode: 0x92, properties })),
      ...([9, 11] as const).map((type): Packet => ({ type, packetId: 1, reasonCodes: [0x80], properties })),
      { type: 14, reasonCode: 0x8b, properties },
      { type: 15, reasonCode: 0, properties: { ...properties, authenticationMethod: 'm' } },
    ];
    for (const packet of packets) {
      const fitted = encodeWithin(packet, 5, 8);
      assert.ok(fitted !== null && fitted.length <= 8, `packet type ${packet.type}`);
    }
  });

  test('a PUBLISH keeps its user properties or is not encoded 5.0:[MQTT-3.3.2-17]', () => {
    const packet: PublishPacket = { ...PUBLISH, properties: { userProperties: [['k', 'v']] } };
    assert.equal(encodeWithin(packet, 5, sizeOf(packet) - 1), null);
    assert.notEqual(encodeWithin(packet, 5, sizeOf(packet)), null);
  });

  test('a 3.x packet that is too long is not encoded', () => {
    assert.equal(encodeWithin({ ...connack, reasonCode: 5 }, 4, 3), null);
  });
});

describe('the tables', () => {
  test('every reason code has a name and at least one packet', () => {
    for (const code of Object.values(ReasonCode)) {
      const info = REASON_CODES.get(code);
      assert.ok(info !== undefined && (info.fromClient | info.fromServer) !== 0, code.toString(16));
    }
    assert.equal(REASON_CODES.size, Object.keys(ReasonCode).length);
  });

  test('who may send a reason code depends on the sender', () => {
    assert.equal(isReasonCodeAllowed(0x04, 14, 'client'), true);
    assert.equal(isReasonCodeAllowed(0x04, 14, 'server'), false);
    assert.equal(isReasonCodeAllowed(0x04, 14), true);
    assert.equal(isReasonCodeAllowed(0x03, 14), false);
  });

  test('the 27 properties stand at their identifiers', () => {
    const found = PROPERTIES.flatMap((spec, id) => (spec === undefined ? [] : [spec.id === id]));
    assert.equal(found.length, 27);
    assert.ok(found.every(Boolean));
  });
});
