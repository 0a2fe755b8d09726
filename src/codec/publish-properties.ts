/** Scans the properties of a received PUBLISH in place (MQTT 5.0 section 3.3.2.3). */

import { Buffer } from 'node:buffer';
import { ProtocolError } from '../errors.ts';
import { PROPERTIES, PropertyKind, type PropertySpec } from './properties.ts';
import { Reader } from './reader.ts';
import { ReasonCode } from './reason-codes.ts';
import { malformed, violation } from './refuse.ts';

const PUBLISH_PLACE = 1 << 3;
const PAYLOAD_FORMAT_INDICATOR = 0x01;
const MESSAGE_EXPIRY_INTERVAL = 0x02;
const RESPONSE_TOPIC = 0x08;
const SUBSCRIPTION_IDENTIFIER = 0x0b;
const TOPIC_ALIAS = 0x23;
const [PLUS, HASH] = [0x2b, 0x23];
const EMPTY = Buffer.alloc(0);

/** The result of the last `scan`. Filled again for every packet: no object per message. */
export class PublishPropertyScanner {
  /** The offset after the property section. */
  sectionEnd = 0;
  /** 0: none. */
  topicAlias = 0;
  /** -1: none. */
  expirySeconds = -1;
  payloadIsUtf8 = false;
  /** What is to be forwarded: a range of the packet, or of a scratch buffer where alias or expiry had to be cut out. */
  forwardBytes: Buffer = EMPTY;
  forwardStart = 0;
  forwardEnd = 0;
  /** User properties that a packet may have. */
  userPropertiesMax: number;
  readonly #reader = new Reader(EMPTY, 0, 0);
  #scratch: Buffer = EMPTY;
  #seen = 0;
  #userProperties = 0;

  constructor(userPropertiesMax: number) {
    this.userPropertiesMax = userPropertiesMax;
  }

  /** Reads the section that begins with its length at `start`. Throws ProtocolError as `readProperties` does. */
  scan(buffer: Buffer, start: number, end: number): this {
    const reader = this.#reader.reset(buffer, start, end);
    const length = reader.varint('property length');
    reader.narrow(length, 'properties');
    this.sectionEnd = reader.end;
    this.topicAlias = 0;
    this.expirySeconds = -1;
    this.payloadIsUtf8 = false;
    this.forwardBytes = buffer;
    this.forwardStart = reader.offset;
    this.forwardEnd = reader.end;
    this.#seen = 0;
    this.#userProperties = 0;
    while (reader.remaining > 0) this.#property(reader);
    return this;
  }

  #property(reader: Reader): void {
    const from = reader.offset;
    const id = reader.varint('property identifier');
    const spec = PROPERTIES[id];
    if (spec === undefined || (spec.places & PUBLISH_PLACE) === 0)
      throw malformed(`property 0x${id.toString(16)} may not stand in a PUBLISH`);
    // [MQTT-3.3.4-6]
    if (id === SUBSCRIPTION_IDENTIFIER)
      throw violation('a PUBLISH from a client has a subscription identifier');
    this.#count(spec);
    this.#value(spec, reader);
    // [MQTT-3.3.2-7] an alias is for one connection only; the expiry is written anew with what is left of it
    if (id === TOPIC_ALIAS || id === MESSAGE_EXPIRY_INTERVAL) this.#cutOut(reader, from);
    else if (this.forwardBytes !== reader.buffer) this.#keep(reader.buffer, from, reader.offset);
  }

  #count(spec: PropertySpec): void {
    if (spec.kind === PropertyKind.PAIR) {
      if (++this.#userProperties > this.userPropertiesMax)
        throw new ProtocolError(
          ReasonCode.QUOTA_EXCEEDED,
          `more than ${this.userPropertiesMax} user properties in a packet`,
        );
      return;
    }
    // The alias, 0x23, is the only one here over 31; its bit would be that of 0x03.
    const bit = 1 << (spec.id === TOPIC_ALIAS ? 31 : spec.id);
    if ((this.#seen & bit) !== 0) throw violation(`property ${spec.name} stands more than once`);
    this.#seen |= bit;
  }

  #value(spec: PropertySpec, reader: Reader): void {
    switch (spec.kind) {
      case PropertyKind.STRING:
        if (spec.id === RESPONSE_TOPIC) checkResponseTopic(reader);
        reader.skipString(spec.name);
        return;
      case PropertyKind.BINARY:
        reader.skipBinary(spec.name);
        return;
      case PropertyKind.PAIR:
        reader.skipString(spec.name);
        reader.skipString(spec.name);
        return;
      default:
        this.#number(spec, reader);
    }
  }

  #number(spec: PropertySpec, reader: Reader): void {
    const { kind, name } = spec;
    const value =
      kind === PropertyKind.BYTE
        ? reader.u8(name)
        : kind === PropertyKind.U16
          ? reader.u16(name)
          : reader.u32(name);
    if (value < spec.min || value > spec.max)
      throw new ProtocolError(spec.refusal, `${name} is ${value}, it must be ${spec.min} to ${spec.max}`);
    if (spec.id === TOPIC_ALIAS) this.topicAlias = value;
    else if (spec.id === MESSAGE_EXPIRY_INTERVAL) this.expirySeconds = value;
    else if (spec.id === PAYLOAD_FORMAT_INDICATOR) this.payloadIsUtf8 = value === 1;
  }

  /** Leaves out the property that ends at the reader's offset; what stood before it moves to the scratch buffer. */
  #cutOut(reader: Reader, from: number): void {
    if (this.forwardBytes !== reader.buffer) return;
    const section = this.forwardEnd - this.forwardStart;
    if (this.#scratch.length < section) this.#scratch = Buffer.allocUnsafe(section);
    const start = this.forwardStart;
    this.forwardBytes = this.#scratch;
    this.forwardStart = 0;
    this.forwardEnd = 0;
    this.#keep(reader.buffer, start, from);
  }

  #keep(buffer: Buffer, start: number, end: number): void {
    buffer.copy(this.#scratch, this.forwardEnd, start, end);
    this.forwardEnd += end - start;
  }
}

/** [MQTT-3.3.2-14] a response topic has no wildcard characters. */
function checkResponseTopic(reader: Reader): void {
  const { buffer, offset, end } = reader;
  if (offset + 2 > end) return;
  const last = Math.min(end, offset + 2 + buffer.readUInt16BE(offset));
  for (let at = offset + 2; at < last; at++)
    if (buffer[at] === PLUS || buffer[at] === HASH)
      throw violation('the response topic has a wildcard character');
}
