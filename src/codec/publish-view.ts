/** Reads a PUBLISH in place (MQTT 5.0 section 3.3): offsets into the received bytes, no object a packet. */

import { DEFAULT_LIMITS } from '../limits.ts';
import type { ProtocolVersion, QoS } from './packets.ts';
import { PublishPropertyScanner } from './publish-properties.ts';
import type { PublishSource } from './publish-source.ts';
import { malformed, violation } from './refuse.ts';

const EMPTY = Buffer.alloc(0);

/** One instance is filled again for every packet; what it points to is valid until the next `parse`. */
export class PublishView implements PublishSource {
  buffer: Buffer = EMPTY;
  frameStart = 0;
  frameEnd = 0;
  qos: QoS = 0;
  retain = false;
  dup = false;
  packetId = 0;
  /** Offset of the packet identifier from `frameStart`. */
  packetIdOffset = 0;
  topicBytes: Buffer = EMPTY;
  topicStart = 0;
  topicEnd = 0;
  payloadBytes: Buffer = EMPTY;
  payloadStart = 0;
  payloadEnd = 0;
  propertyBytes: Buffer = EMPTY;
  propertyStart = 0;
  propertyEnd = 0;
  /** 0: none. */
  topicAlias = 0;
  /** Message Expiry Interval in seconds; -1: none. */
  expirySeconds = -1;
  payloadIsUtf8 = false;
  readonly #scanner: PublishPropertyScanner;

  constructor(userPropertiesMax: number = DEFAULT_LIMITS.userPropertiesMax) {
    this.#scanner = new PublishPropertyScanner(userPropertiesMax);
  }

  /** User properties that a packet may have: each listener has its own bound. */
  set userPropertiesMax(max: number) {
    this.#scanner.userPropertiesMax = max;
  }

  /** The same for a packet whose fixed header has been checked: finds body and end by itself. */
  parseAt(buffer: Buffer, start: number, version: ProtocolVersion): void {
    let offset = start + 1;
    let length = 0;
    let shift = 0;
    let byte: number;
    do {
      byte = buffer[offset++];
      length |= (byte & 0x7f) << shift;
      shift += 7;
    } while (byte >= 0x80);
    this.parse(buffer, start, offset, offset + length, version);
  }

  /** Fills the view. Throws ProtocolError for a malformed packet. The topic's UTF-8 is left to whoever reads the topic. */
  parse(buffer: Buffer, frameStart: number, bodyStart: number, end: number, version: ProtocolVersion): void {
    const first = buffer[frameStart];
    const qos = (first >> 1) & 3;
    // [MQTT-3.3.1-4]
    if (qos === 3) throw malformed('a PUBLISH has QoS 3');
    this.dup = (first & 8) !== 0;
    // [MQTT-3.3.1-2] DUP must be 0 at QoS 0
    if (this.dup && qos === 0 && version !== 3) throw malformed('a QoS 0 PUBLISH has DUP set');
    this.buffer = buffer;
    this.frameStart = frameStart;
    this.frameEnd = end;
    this.qos = qos as QoS;
    this.retain = (first & 1) !== 0;
    let offset = bodyStart + 2;
    if (offset > end) throw malformed('a PUBLISH ends before its topic name');
    this.topicBytes = buffer;
    this.topicStart = offset;
    offset += (buffer[bodyStart] << 8) | buffer[bodyStart + 1];
    this.topicEnd = offset;
    this.packetId = 0;
    if (qos > 0) {
      this.packetIdOffset = offset - frameStart;
      offset += 2;
    }
    if (offset > end) throw malformed('the topic name of a PUBLISH is longer than the packet');
    if (qos > 0) {
      this.packetId = (buffer[offset - 2] << 8) | buffer[offset - 1];
      // [MQTT-2.2.1-3]
      if (this.packetId === 0) throw violation('packet identifier is 0, it must be 1 to 65535');
    }
    this.#resetProperties();
    if (version === 5) offset = this.#properties(buffer, offset, end);
    this.payloadBytes = buffer;
    this.payloadStart = offset;
    this.payloadEnd = end;
  }

  #resetProperties(): void {
    this.topicAlias = 0;
    this.expirySeconds = -1;
    this.payloadIsUtf8 = false;
    this.propertyBytes = EMPTY;
    this.propertyStart = 0;
    this.propertyEnd = 0;
  }

  #properties(buffer: Buffer, start: number, end: number): number {
    // The common case: no properties at all.
    if (start < end && buffer[start] === 0) return start + 1;
    const found = this.#scanner.scan(buffer, start, end);
    this.propertyBytes = found.forwardBytes;
    this.propertyStart = found.forwardStart;
    this.propertyEnd = found.forwardEnd;
    this.topicAlias = found.topicAlias;
    this.expirySeconds = found.expirySeconds;
    this.payloadIsUtf8 = found.payloadIsUtf8;
    return found.sectionEnd;
  }
}
