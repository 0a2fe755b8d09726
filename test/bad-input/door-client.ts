/** An MQTT client over any door: sends any bytes, and waits for what comes back. */
import assert from 'node:assert/strict';
import { decodePacket } from '../../src/codec/decode.ts';
import { encodePacket } from '../../src/codec/encode.ts';
import { type Packet, PacketType, type ProtocolVersion, type QoS } from '../../src/codec/packets.ts';
import type { RawClient } from '../contract/transport.ts';
import {
  type ConnectOptions,
  connect,
  pingreq,
  puback,
  pubcomp,
  pubrec,
  subscribe,
} from '../support/packets.ts';

/** Only a broker that does not answer at all makes a test wait that long. */
const ANSWER_MS = 20_000;

type Holding<P, T> = P extends { type: infer Types } ? (T extends Types ? P : never) : never;
type Named<N extends keyof typeof PacketType> = Holding<Packet, (typeof PacketType)[N]>;

export class DoorClient {
  readonly version: ProtocolVersion;
  readonly raw: RawClient;
  closed = false;
  #bytes: Buffer = Buffer.alloc(0);
  readonly #packets: Packet[] = [];
  #wake: () => void = () => {};

  constructor(raw: RawClient, version: ProtocolVersion) {
    this.raw = raw;
    this.version = version;
    raw.onData((chunk) => this.#data(chunk));
    raw.onClosed(() => {
      this.closed = true;
      this.#wake();
    });
  }

  /** Sends packets or bytes in a single write. */
  send(...packets: (Packet | Uint8Array)[]): void {
    const parts = packets.map((each) =>
      each instanceof Uint8Array ? each : encodePacket(each, this.version),
    );
    this.raw.write(Buffer.concat(parts));
  }

  /** The next packet; null when the connection is over. */
  async next(): Promise<Packet | null> {
    while (this.#packets.length === 0 && !this.closed) await this.#change();
    return this.#packets.shift() ?? null;
  }

  /** The next packet must be of this type and have these fields. */
  async expect<N extends keyof typeof PacketType>(
    name: N,
    fields: Partial<Named<N>> = {},
  ): Promise<Named<N>> {
    const packet = await this.next();
    assert.ok(packet !== null, `${name} expected, but the connection was closed`);
    assert.equal(packet.type, PacketType[name], `${name} expected, came ${JSON.stringify(packet)}`);
    assert.partialDeepStrictEqual(packet, fields);
    return packet as Named<N>;
  }

  /** The broker closes, and says nothing before that. */
  async expectClosed(): Promise<void> {
    const packet = await this.next();
    assert.equal(packet, null, `only the close expected, came ${JSON.stringify(packet)}`);
  }

  /** MQTT 5: DISCONNECT with this reason code, then the close; 3.x: the close alone. */
  async expectThrownOut(reasonCode: number): Promise<void> {
    if (this.version === 5) await this.expect('DISCONNECT', { reasonCode });
    await this.expectClosed();
  }

  /** The CONNECT is refused with this code, then the close. */
  async expectRefused(reasonCode: number): Promise<void> {
    await this.expect('CONNACK', { reasonCode, sessionPresent: false });
    await this.expectClosed();
  }

  /** Sends CONNECT and expects to be let in. */
  async connect(options: ConnectOptions = {}): Promise<this> {
    this.send(connect({ ...options, version: this.version }));
    await this.expect('CONNACK', { reasonCode: 0 });
    return this;
  }

  async subscribe(filter: string, qos: QoS): Promise<void> {
    this.send(subscribe(1, [{ filter, qos }]));
    await this.expect('SUBACK', { packetId: 1, reasonCodes: [qos] });
  }

  /** A round trip: nothing else came before its answer, and the connection is open. */
  async expectQuiet(): Promise<void> {
    this.send(pingreq());
    await this.expect('PINGRESP');
  }

  /** Receives this message and acknowledges it to the end. */
  async receive(topic: string, payload: string): Promise<void> {
    const { qos, packetId, ...packet } = await this.expect('PUBLISH', { topic });
    assert.equal(Buffer.from(packet.payload).toString(), payload);
    if (qos === 1) this.send(puback(packetId));
    if (qos < 2) return;
    this.send(pubrec(packetId));
    await this.expect('PUBREL', { packetId });
    this.send(pubcomp(packetId));
  }

  /** Resolves once the connection is over, whatever came. */
  async over(): Promise<void> {
    while (!this.closed) await this.#change();
  }

  async #change(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error('the broker does not answer')), ANSWER_MS);
    });
    const changed = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    try {
      await Promise.race([changed, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #data(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    for (let frame = this.#frame(); frame !== null; frame = this.#frame()) {
      const { bodyStart, end } = frame;
      this.#packets.push(decodePacket(this.#bytes, this.#bytes[0], bodyStart, end, this.version, 'server'));
      this.#bytes = this.#bytes.subarray(end);
    }
    this.#wake();
  }

  #frame(): { bodyStart: number; end: number } | null {
    let length = 0;
    for (let at = 1; at < Math.min(this.#bytes.length, 5); at++) {
      length += (this.#bytes[at] & 127) * 128 ** (at - 1);
      if (this.#bytes[at] >= 128) continue;
      return at + 1 + length <= this.#bytes.length ? { bodyStart: at + 1, end: at + 1 + length } : null;
    }
    return null;
  }
}
