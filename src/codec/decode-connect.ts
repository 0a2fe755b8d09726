/** CONNECT and CONNACK (MQTT 5.0 sections 3.1 and 3.2). */

import { ProtocolError } from '../errors.ts';
import { isValidTopicName } from '../topics/names.ts';
import { checkResponseTopic } from './decode-publish.ts';
import type { ConnackPacket, ConnectPacket, ProtocolVersion, QoS, Will } from './packets.ts';
import { EMPTY_PROPERTIES, readProperties, WILL_PROPERTIES } from './properties.ts';
import type { Reader } from './reader.ts';
import { isReasonCodeAllowed, ReasonCode } from './reason-codes.ts';
import { malformed, violation } from './refuse.ts';

/** A CONNECT for a protocol that is not MQTT 3.1, 3.1.1 or 5.0: 0x84, in 3.x return code 1 [MQTT-3.1.2-2]. */
export class UnsupportedVersionError extends ProtocolError {
  /** The name and level the client asked for. */
  readonly protocolName: string;
  readonly protocolLevel: number;
  constructor(protocolName: string, protocolLevel: number) {
    super(
      ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
      `protocol ${JSON.stringify(protocolName)} level ${protocolLevel} is not MQIsdp 3, MQTT 4 or MQTT 5`,
    );
    this.name = 'UnsupportedVersionError';
    this.protocolName = protocolName;
    this.protocolLevel = protocolLevel;
  }
}

/** Characters of a stranger's protocol name that reach a message or a log. */
const PROTOCOL_NAME_SHOWN_MAX = 16;

const FLAG_USERNAME = 0x80;
const FLAG_PASSWORD = 0x40;
const FLAG_WILL_RETAIN = 0x20;
const FLAG_WILL = 0x04;
const FLAG_CLEAN_START = 0x02;
const FLAG_RESERVED = 0x01;

/** Reads a CONNECT body; its own protocol level says in which version. Binary fields and strings are copies. */
export function decodeConnect(reader: Reader, userPropertiesMax: number): ConnectPacket {
  const protocolVersion = readVersion(reader);
  const flags = readFlags(reader, protocolVersion);
  const keepAliveSeconds = reader.u16('keep alive');
  const properties =
    protocolVersion === 5 ? readProperties(reader, 1, undefined, userPropertiesMax) : EMPTY_PROPERTIES;
  const clientId = reader.string('client identifier');
  const propertiesLeft = userPropertiesMax - (properties.userProperties?.length ?? 0);
  const will = (flags & FLAG_WILL) !== 0 ? readWill(reader, flags, protocolVersion, propertiesLeft) : null;
  return {
    type: 1,
    protocolVersion,
    cleanStart: (flags & FLAG_CLEAN_START) !== 0,
    keepAliveSeconds,
    clientId,
    will,
    username: isPresent(reader, flags, FLAG_USERNAME, protocolVersion) ? reader.string('user name') : null,
    password: isPresent(reader, flags, FLAG_PASSWORD, protocolVersion) ? reader.binary('password') : null,
    properties,
  };
}

/** MQTT 3.1 lets the Remaining Length overrule these two flags: a field that the packet ends before is just absent. */
function isPresent(reader: Reader, flags: number, flag: number, version: ProtocolVersion): boolean {
  return (flags & flag) !== 0 && (version !== 3 || reader.remaining > 0);
}

/** The name and level that every version puts first [MQTT-3.1.2-1]. Levels with bit 7 set are 3.x bridges: unsupported. */
function readVersion(reader: Reader): ProtocolVersion {
  const name = reader.string('protocol name');
  const level = reader.u8('protocol level');
  if (name === 'MQTT' && (level === 4 || level === 5)) return level;
  if (name === 'MQIsdp' && level === 3) return level;
  throw new UnsupportedVersionError(name.slice(0, PROTOCOL_NAME_SHOWN_MAX), level);
}

function readFlags(reader: Reader, version: ProtocolVersion): number {
  const flags = reader.u8('connect flags');
  // [MQTT-3.1.2-3]
  if ((flags & FLAG_RESERVED) !== 0) throw malformed('the reserved connect flag is 1');
  if ((flags & FLAG_WILL) === 0) {
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
    if ((flags & 0x38) !== 0) throw malformed('will QoS or will retain is set without the will flag');
  } else if ((flags & 0x18) === 0x18) {
    // [MQTT-3.1.2-12]
    throw malformed('will QoS is 3');
  }
  if (version !== 5 && (flags & FLAG_PASSWORD) !== 0 && (flags & FLAG_USERNAME) === 0) {
    throw malformed('the password flag is set without the user name flag, which only MQTT 5.0 allows');
  }
  return flags;
}

function readWill(reader: Reader, flags: number, version: ProtocolVersion, userPropertiesMax: number): Will {
  const properties =
    version === 5 ? readProperties(reader, WILL_PROPERTIES, undefined, userPropertiesMax) : EMPTY_PROPERTIES;
  checkResponseTopic(properties);
  const topic = reader.string('will topic');
  if (!isValidTopicName(topic, Number.POSITIVE_INFINITY)) {
    throw new ProtocolError(ReasonCode.TOPIC_NAME_INVALID, 'the will topic is empty or holds a wildcard');
  }
  return {
    topic,
    payload: reader.binary('will payload'),
    qos: ((flags >> 3) & 3) as QoS,
    retain: (flags & FLAG_WILL_RETAIN) !== 0,
    properties,
  };
}

/** Reads a CONNACK body. */
export function decodeConnack(
  reader: Reader,
  version: ProtocolVersion,
  userPropertiesMax: number,
): ConnackPacket {
  const flags = reader.u8('connect acknowledge flags');
  // [MQTT-3.2.2-1]; MQTT 3.1 has no session present flag and reserves the whole byte.
  if (flags > (version === 3 ? 0 : 1)) throw malformed('reserved connect acknowledge flags are set');
  const reasonCode = reader.u8('reason code');
  const allowed = version === 5 ? isReasonCodeAllowed(reasonCode, 2) : reasonCode <= 5;
  if (!allowed) throw violation(`CONNACK may not carry code 0x${reasonCode.toString(16)}`);
  // [MQTT-3.2.2-6]
  if (flags === 1 && reasonCode !== 0) throw violation('session present is set in a CONNACK that refuses');
  const properties =
    version === 5 ? readProperties(reader, 2, undefined, userPropertiesMax) : EMPTY_PROPERTIES;
  return { type: 2, sessionPresent: flags === 1, reasonCode, properties };
}
