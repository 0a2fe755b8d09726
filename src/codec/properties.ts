/** The MQTT 5.0 properties (section 2.2.2): one table, and the loops that read and write by it. */

import type { Buffer } from 'node:buffer';
import { ProtocolError } from '../errors.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import type { Properties } from './packets.ts';
import type { Reader } from './reader.ts';
import { ReasonCode } from './reason-codes.ts';
import { malformed, violation } from './refuse.ts';
import { variableByteIntegerLength, writeVariableByteInteger } from './varint.ts';
import { binaryLength, stringLength, writeBinary, writeString } from './writer.ts';

/** Where properties stand: a packet type, or 0 for those of a will, which stand in the payload of CONNECT. */
export type PropertyPlace = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 14 | 15;
export const WILL_PROPERTIES = 0;

export const PropertyKind = { BYTE: 1, U16: 2, U32: 3, VARINT: 4, STRING: 5, BINARY: 6, PAIR: 7 } as const;
export type PropertyKindValue = (typeof PropertyKind)[keyof typeof PropertyKind];

export interface PropertySpec {
  readonly id: number;
  readonly name: keyof Properties;
  readonly kind: PropertyKindValue;
  /** Bit `1 << place` is set for every place that may hold the property. */
  readonly places: number;
  /** The same for the places where it may stand more than once. */
  readonly repeats: number;
  /** Bounds of a number, and the reason code for one outside them. */
  readonly min: number;
  readonly max: number;
  readonly refusal: number;
}

const WILL = 1 << 0;
const CONNECT = 1 << 1;
const CONNACK = 1 << 2;
const PUBLISH = 1 << 3;
const ACKNOWLEDGE = (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7);
const SUBSCRIBE = 1 << 8;
const SUBACK = 1 << 9;
const UNSUBSCRIBE = 1 << 10;
const UNSUBACK = 1 << 11;
const DISCONNECT = 1 << 14;
const AUTH = 1 << 15;
const MESSAGE = PUBLISH | WILL;
const REASONED = CONNACK | ACKNOWLEDGE | SUBACK | UNSUBACK | DISCONNECT | AUTH;
const ANYWHERE = REASONED | MESSAGE | CONNECT | SUBSCRIBE | UNSUBSCRIBE;

const MAX_OF_KIND = [0, 0xff, 0xffff, 0xffff_ffff, 268_435_455];

interface Rule {
  repeats?: number;
  min?: number;
  max?: number;
  refusal?: number;
}

function spec(
  id: number,
  name: keyof Properties,
  kind: PropertyKindValue,
  places: number,
  rule: Rule = {},
): PropertySpec {
  const max = rule.max ?? MAX_OF_KIND[kind] ?? 0;
  const refusal = rule.refusal ?? ReasonCode.PROTOCOL_ERROR;
  return { id, name, kind, places, repeats: rule.repeats ?? 0, min: rule.min ?? 0, max, refusal };
}

const { BYTE, U16, U32, VARINT, STRING, BINARY, PAIR } = PropertyKind;
const FLAG = { max: 1 };
const NONZERO = { min: 1 };

/** Table 2-4 of the specification, in its order. */
const SPECS: readonly PropertySpec[] = [
  spec(0x01, 'payloadFormatIndicator', BYTE, MESSAGE, FLAG),
  spec(0x02, 'messageExpiryInterval', U32, MESSAGE),
  spec(0x03, 'contentType', STRING, MESSAGE),
  spec(0x08, 'responseTopic', STRING, MESSAGE),
  spec(0x09, 'correlationData', BINARY, MESSAGE),
  spec(0x0b, 'subscriptionIdentifiers', VARINT, PUBLISH | SUBSCRIBE, { min: 1, repeats: PUBLISH }),
  spec(0x11, 'sessionExpiryInterval', U32, CONNECT | CONNACK | DISCONNECT),
  spec(0x12, 'assignedClientIdentifier', STRING, CONNACK),
  spec(0x13, 'serverKeepAlive', U16, CONNACK),
  spec(0x15, 'authenticationMethod', STRING, CONNECT | CONNACK | AUTH),
  spec(0x16, 'authenticationData', BINARY, CONNECT | CONNACK | AUTH),
  spec(0x17, 'requestProblemInformation', BYTE, CONNECT, FLAG),
  spec(0x18, 'willDelayInterval', U32, WILL),
  spec(0x19, 'requestResponseInformation', BYTE, CONNECT, FLAG),
  spec(0x1a, 'responseInformation', STRING, CONNACK),
  spec(0x1c, 'serverReference', STRING, CONNACK | DISCONNECT),
  spec(0x1f, 'reasonString', STRING, REASONED),
  spec(0x21, 'receiveMaximum', U16, CONNECT | CONNACK, NONZERO),
  spec(0x22, 'topicAliasMaximum', U16, CONNECT | CONNACK),
  spec(0x23, 'topicAlias', U16, PUBLISH, { min: 1, refusal: ReasonCode.TOPIC_ALIAS_INVALID }),
  spec(0x24, 'maximumQos', BYTE, CONNACK, FLAG),
  spec(0x25, 'retainAvailable', BYTE, CONNACK, FLAG),
  spec(0x26, 'userProperties', PAIR, ANYWHERE, { repeats: ANYWHERE }),
  spec(0x27, 'maximumPacketSize', U32, CONNECT | CONNACK, NONZERO),
  spec(0x28, 'wildcardSubscriptionAvailable', BYTE, CONNACK, FLAG),
  spec(0x29, 'subscriptionIdentifierAvailable', BYTE, CONNACK, FLAG),
  spec(0x2a, 'sharedSubscriptionAvailable', BYTE, CONNACK, FLAG),
];

/** The table by property identifier; undefined where the specification has none. */
export const PROPERTIES: readonly (PropertySpec | undefined)[] = Object.freeze(byId());
const PROPERTY_BY_NAME: ReadonlyMap<string, PropertySpec> = new Map(SPECS.map((each) => [each.name, each]));

/** What a packet without properties holds; frozen, because it is shared. */
export const EMPTY_PROPERTIES: Properties = Object.freeze({});

function byId(): (PropertySpec | undefined)[] {
  const table: (PropertySpec | undefined)[] = new Array(0x2b).fill(undefined);
  for (const each of SPECS) table[each.id] = each;
  return table;
}

/**
 * Reads a property length and the properties it announces, into `out` or a new object; no properties and no `out` give
 * the frozen `EMPTY_PROPERTIES`. Errors (section 2.2.2): unknown or misplaced 0x81; twice or a bad value 0x82, Topic
 * Alias 0 0x94; authentication data without a method 0x82; more than `userPropertiesMax` user properties 0x97.
 */
export function readProperties(
  reader: Reader,
  where: PropertyPlace,
  out?: Properties,
  userPropertiesMax: number = DEFAULT_LIMITS.userPropertiesMax,
): Properties {
  const length = reader.varint('property length');
  if (length === 0) return out ?? EMPTY_PROPERTIES;
  const properties: Properties = out ?? {};
  const packetEnd = reader.narrow(length, 'properties');
  while (reader.remaining > 0) {
    const found = propertyAt(reader, where);
    if (found.kind === PAIR) readUserProperty(reader, properties, userPropertiesMax);
    else readProperty(reader, found, where, properties);
  }
  reader.end = packetEnd;
  if (properties.authenticationData !== undefined && properties.authenticationMethod === undefined) {
    throw violation('authentication data stands without an authentication method');
  }
  return properties;
}

function propertyAt(reader: Reader, where: PropertyPlace): PropertySpec {
  const id = reader.varint('property identifier');
  const found = PROPERTIES[id];
  if (found === undefined) throw malformed(`0x${id.toString(16)} is not a property identifier`);
  if ((found.places & (1 << where)) === 0) {
    throw malformed(
      `property ${found.name} may not stand in ${where === 0 ? 'a will' : `packet type ${where}`}`,
    );
  }
  return found;
}

function readUserProperty(reader: Reader, properties: Properties, userPropertiesMax: number): void {
  properties.userProperties ??= [];
  if (properties.userProperties.length >= userPropertiesMax) {
    throw new ProtocolError(
      ReasonCode.QUOTA_EXCEEDED,
      `more than ${userPropertiesMax} user properties in a packet`,
    );
  }
  const name = reader.string('user property name');
  properties.userProperties.push([name, reader.string('user property value')]);
}

function readProperty(
  reader: Reader,
  found: PropertySpec,
  where: PropertyPlace,
  properties: Properties,
): void {
  const fields = properties as Record<string, unknown>;
  if (fields[found.name] !== undefined && (found.repeats & (1 << where)) === 0) {
    throw violation(`property ${found.name} stands more than once`);
  }
  if (found.kind === STRING) fields[found.name] = reader.string(found.name);
  else if (found.kind === BINARY) fields[found.name] = reader.binary(found.name);
  else {
    const value = readNumber(reader, found);
    if (found.kind !== VARINT) fields[found.name] = value;
    else if (properties.subscriptionIdentifiers === undefined) properties.subscriptionIdentifiers = [value];
    else properties.subscriptionIdentifiers.push(value);
  }
}

function readNumber(reader: Reader, found: PropertySpec): number {
  let value: number;
  if (found.kind === BYTE) value = reader.u8(found.name);
  else if (found.kind === U16) value = reader.u16(found.name);
  else if (found.kind === U32) value = reader.u32(found.name);
  else value = reader.varint(found.name);
  if (value < found.min || value > found.max) {
    throw new ProtocolError(
      found.refusal,
      `${found.name} is ${value}, it must be ${found.min} to ${found.max}`,
    );
  }
  return value;
}

/**
 * Bytes that the properties take, their own length field not included. Throws RangeError on a value out of range and,
 * when `where` is given, on a property that may not stand there: a packet we would refuse is never sent.
 */
export function propertiesLength(properties: Properties, where?: PropertyPlace): number {
  const fields = properties as Record<string, unknown>;
  let length = 0;
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (value === undefined) continue;
    const found = PROPERTY_BY_NAME.get(name);
    if (found === undefined || (where !== undefined && (found.places & (1 << where)) === 0)) {
      throw new RangeError(`property ${name} may not stand in place ${where}`);
    }
    length += propertyLength(found, value);
  }
  return length;
}

/** Bytes of the length field and the properties together; errors as in `propertiesLength`. */
export function propertySectionLength(properties: Properties, where?: PropertyPlace): number {
  const length = propertiesLength(properties, where);
  return variableByteIntegerLength(length) + length;
}

function propertyLength(found: PropertySpec, value: unknown): number {
  if (found.kind === STRING) return 1 + stringLength(value as string);
  if (found.kind === BINARY) return 1 + binaryLength(value as Uint8Array);
  let length = 0;
  if (found.kind === PAIR) {
    for (const [name, text] of value as [string, string][])
      length += 1 + stringLength(name) + stringLength(text);
  } else if (found.kind === VARINT) {
    for (const number of value as number[]) length += 1 + variableByteIntegerLength(inRange(found, number));
  } else {
    inRange(found, value as number);
    length = 1 + (found.kind === BYTE ? 1 : found.kind === U16 ? 2 : 4);
  }
  return length;
}

function inRange(found: PropertySpec, value: number): number {
  if (value >= found.min && value <= found.max) return value;
  throw new RangeError(`property ${found.name} is ${value}, it must be ${found.min} to ${found.max}`);
}

/** Writes the length field and the properties in the order of the object's keys; returns the offset after them. */
export function writeProperties(buffer: Buffer, offset: number, properties: Properties): number {
  const fields = properties as Record<string, unknown>;
  let at = writeVariableByteInteger(buffer, offset, propertiesLength(properties));
  for (const name of Object.keys(fields)) {
    const found = PROPERTY_BY_NAME.get(name);
    const value = fields[name];
    if (found !== undefined && value !== undefined) at = writeProperty(buffer, at, found, value);
  }
  return at;
}

function writeProperty(buffer: Buffer, offset: number, found: PropertySpec, value: unknown): number {
  let at = offset;
  if (found.kind === PAIR) {
    for (const [name, text] of value as [string, string][]) {
      at = buffer.writeUInt8(found.id, at);
      at = writeString(buffer, at, name);
      at = writeString(buffer, at, text);
    }
    return at;
  }
  if (found.kind === VARINT) {
    for (const number of value as number[]) {
      at = buffer.writeUInt8(found.id, at);
      at = writeVariableByteInteger(buffer, at, number);
    }
    return at;
  }
  at = buffer.writeUInt8(found.id, at);
  if (found.kind === STRING) return writeString(buffer, at, value as string);
  if (found.kind === BINARY) return writeBinary(buffer, at, value as Uint8Array);
  if (found.kind === BYTE) return buffer.writeUInt8(value as number, at);
  return found.kind === U16
    ? buffer.writeUInt16BE(value as number, at)
    : buffer.writeUInt32BE(value as number, at);
}
