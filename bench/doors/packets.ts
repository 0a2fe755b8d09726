/** Just enough of MQTT 3.1.1 for the load client: packets made once and stamped, and a scanner that does not keep payloads. */

/** A publisher's time stamp, at the beginning of each payload. */
export const STAMP_BYTES = 8;

export function connectPacket(clientId: string, user: string, password: string): Buffer {
  const keepAliveSeconds = [0, 60];
  const head = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0xc2, ...keepAliveSeconds]);
  return packet(0x10, head, text(clientId), text(user), text(password));
}

export function subscribePacket(packetId: number, filter: string, qos: 0 | 1): Buffer {
  return packet(0x82, Buffer.from([packetId >> 8, packetId & 255]), text(filter), Buffer.from([qos]));
}

export const DISCONNECT = Buffer.from([0xe0, 0]);

export function pubackPacket(packetId: number): Buffer {
  return Buffer.from([0x40, 2, packetId >> 8, packetId & 255]);
}

/** A PUBLISH whose packet identifier and time stamp are filled in for each copy. */
export class PublishTemplate {
  readonly #bytes: Buffer;
  readonly #packetIdAt: number;
  readonly #stampAt: number;

  constructor(topic: string, qos: 0 | 1, payloadBytes: number) {
    const body = [text(topic), Buffer.alloc(qos === 0 ? 0 : 2), Buffer.alloc(payloadBytes, 'x')];
    this.#bytes = packet(0x30 | (qos << 1), ...body);
    this.#stampAt = this.#bytes.length - payloadBytes;
    this.#packetIdAt = qos === 0 ? -1 : this.#stampAt - 2;
  }

  /** So many of them, one behind the other. @param firstPacketId of the first; the others count up to 65 535 and begin with 1 again */
  copies(count: number, stampMs: number, firstPacketId = 1): Buffer {
    const { length } = this.#bytes;
    const bytes = Buffer.allocUnsafe(length * count);
    for (let index = 0; index < count; index += 1) {
      const start = index * length;
      this.#bytes.copy(bytes, start);
      bytes.writeDoubleLE(stampMs, start + this.#stampAt);
      if (this.#packetIdAt !== -1)
        bytes.writeUInt16BE(((firstPacketId + index - 1) % 65_535) + 1, start + this.#packetIdAt);
    }
    return bytes;
  }
}

/** Hears of packets when their last byte is there. */
export interface PacketEvents {
  /** @param packetId 0: QoS 0 */
  published(stampMs: number, packetId: number): void;
  acknowledged(packetId: number): void;
  /** CONNACK or SUBACK with its last byte, which is 0 to 2 when all is well. */
  answered(returnCode: number): void;
}

const NONE = Buffer.alloc(0);

/** Finds the packets in the bytes of one stream. */
export class PacketScanner {
  readonly #events: PacketEvents;
  /** The beginning of a packet whose head is not all there. */
  #rest: Buffer;
  /** Bytes to come of a message whose head was read. */
  #toCome: number;
  #stampMs: number;
  #packetId: number;

  constructor(events: PacketEvents) {
    this.#events = events;
    this.#rest = NONE;
    this.#toCome = 0;
    this.#stampMs = 0;
    this.#packetId = 0;
  }

  /** Throws what the events throw. */
  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    if (this.#toCome > 0) {
      at = Math.min(this.#toCome, bytes.length);
      this.#toCome -= at;
      if (this.#toCome === 0) this.#events.published(this.#stampMs, this.#packetId);
    }
    while (at < bytes.length) {
      const taken = this.#packet(bytes, at);
      if (taken === 0) break;
      at += taken;
    }
    this.#rest = at === bytes.length ? NONE : Buffer.from(bytes.subarray(at));
  }

  /** Answers how many bytes were used; 0: more are needed first. */
  #packet(bytes: Buffer, at: number): number {
    let body = at + 1;
    let length = 0;
    for (let scale = 1; ; scale *= 128) {
      if (body >= bytes.length) return 0;
      const byte = bytes[body];
      body += 1;
      length += (byte & 127) * scale;
      if (byte < 128) break;
    }
    const type = bytes[at] >> 4;
    const end = body + length;
    if (type === 3) return this.#publish(bytes, at, body, end);
    if (end > bytes.length) return 0;
    if (type === 4) this.#events.acknowledged(bytes.readUInt16BE(body));
    else this.#events.answered(bytes[end - 1]);
    return end - at;
  }

  #publish(bytes: Buffer, at: number, body: number, end: number): number {
    if (body + 2 > bytes.length) return 0;
    const hasPacketId = (bytes[at] & 6) !== 0;
    const idAt = body + 2 + bytes.readUInt16BE(body);
    const stampAt = hasPacketId ? idAt + 2 : idAt;
    if (stampAt + STAMP_BYTES > bytes.length) return 0;
    this.#packetId = hasPacketId ? bytes.readUInt16BE(idAt) : 0;
    this.#stampMs = bytes.readDoubleLE(stampAt);
    if (end > bytes.length) {
      this.#toCome = end - bytes.length;
      return bytes.length - at;
    }
    this.#events.published(this.#stampMs, this.#packetId);
    return end - at;
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

function packet(header: number, ...parts: readonly Buffer[]): Buffer {
  let rest = parts.reduce((sum, part) => sum + part.length, 0);
  const head = [header];
  do {
    head.push(rest > 127 ? (rest & 127) | 128 : rest);
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from(head), ...parts]);
}
