/** An MQTT client for tests: sends any bytes, and says exactly what came back. */
import assert from 'node:assert/strict';
import { decodePacket } from '../../src/codec/decode.ts';
import { encodePacket } from '../../src/codec/encode.ts';
import {
  type AcknowledgePacket,
  type AuthPacket,
  type ConnackPacket,
  type DisconnectPacket,
  type Packet,
  PacketType,
  type PingrespPacket,
  type Properties,
  type ProtocolVersion,
  type PublishPacket,
  type QoS,
  type SubackPacket,
  type UnsubackPacket,
} from '../../src/codec/packets.ts';
import {
  type ConnectOptions,
  connect,
  disconnect,
  type FilterOptions,
  type PublishOptions,
  puback,
  pubcomp,
  publish,
  pubrec,
  pubrel,
  subscribe,
  unsubscribe,
} from './packets.ts';

interface Received {
  CONNACK: ConnackPacket;
  PUBLISH: PublishPacket;
  PUBACK: AcknowledgePacket;
  PUBREC: AcknowledgePacket;
  PUBREL: AcknowledgePacket;
  PUBCOMP: AcknowledgePacket;
  SUBACK: SubackPacket;
  UNSUBACK: UnsubackPacket;
  PINGRESP: PingrespPacket;
  DISCONNECT: DisconnectPacket;
  AUTH: AuthPacket;
}
export type ReceivedName = keyof Received;

/** How a connection ended, as the client sees it. */
export interface ClientEnding {
  readonly reasonCode?: number | undefined;
  readonly by: 'core' | 'client';
  readonly how: 'end' | 'abort';
}

/** The client's end of a connection: a `MemoryClient`, or one over sockets. */
export interface ClientEnd {
  readonly closed: ClientEnding | undefined;
  readonly unsentBytes: number;
  write(bytes: Uint8Array): unknown;
  /** What came since the last `take`. */
  take(): Buffer;
  pause(): void;
  resume(): void;
  /** After `pause`: takes the one write that waits. */
  takeOneWrite(): void;
  end(): void;
  abort(): void;
  /** Opens a data stream; in memory only. */
  openStream?(): ClientEnd;
  /** Resolves when nothing is under way. Without it that is so after a few turns of the event loop. */
  settled?(): Promise<void>;
}

/** Event-loop turns after which the broker has said all it has to say: it writes once per turn, and may wait for a promise. */
const SETTLE_TURNS = 6;

/** Lets everything that was set going come to rest. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < SETTLE_TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export class TestClient {
  readonly version: ProtocolVersion;
  /** The CONNACK, once `connect` has returned. */
  connack!: ConnackPacket;
  readonly #wire: ClientEnd;
  /** Of the connection as a whole, whichever stream a packet goes on. */
  readonly #packetIds: { next: number };
  #pending: Buffer = Buffer.alloc(0);

  constructor(wire: ClientEnd, version: ProtocolVersion, packetIds = { next: 1 }) {
    this.#wire = wire;
    this.#packetIds = packetIds;
    this.version = version;
  }

  /** Opens a data stream of this connection. */
  openStream(): TestClient {
    return new TestClient(this.#wire.openStream!(), this.version, this.#packetIds);
  }

  /** The data stream was reset by the broker with this reason code, and nothing came on it. */
  async expectReset(reasonCode: number): Promise<void> {
    await this.expectClosed();
    assert.equal(this.#wire.closed?.reasonCode, reasonCode);
  }

  /** Sends packets or bytes, each in a write of its own. */
  send(...packets: (Packet | Uint8Array)[]): void {
    for (const packet of packets) {
      this.#wire.write(packet instanceof Uint8Array ? packet : encodePacket(packet, this.version));
    }
  }

  /** Sends packets or bytes in a single write. */
  sendTogether(...packets: (Packet | Uint8Array)[]): void {
    const parts = packets.map((p) => (p instanceof Uint8Array ? p : encodePacket(p, this.version)));
    this.#wire.write(Buffer.concat(parts));
  }

  /** Sends CONNECT and expects to be let in. */
  async connect(options: ConnectOptions = {}): Promise<this> {
    this.send(connect({ ...options, version: this.version }));
    this.connack = await this.expect('CONNACK', { reasonCode: 0 });
    return this;
  }

  /** The next packet as it stands on the wire; null when none comes. */
  async nextBytes(): Promise<Buffer | null> {
    for (let turn = 0; turn <= SETTLE_TURNS; turn++) {
      const frame = this.#takeFrame();
      if (frame !== null) return frame;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await this.#wire.settled?.();
    return this.#takeFrame();
  }

  #takeFrame(): Buffer | null {
    this.#pending = Buffer.concat([this.#pending, this.#wire.take()]);
    const length = frameLength(this.#pending);
    if (length === 0) return null;
    const frame = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(length);
    return frame;
  }

  #settle(): Promise<void> {
    return this.#wire.settled?.() ?? settle();
  }

  /** The next packet, whatever it is; null when none comes. */
  async next(): Promise<Packet | null> {
    const frame = await this.nextBytes();
    return frame === null ? null : this.#decode(frame);
  }

  /** Every packet that still comes. */
  async rest(): Promise<Packet[]> {
    const packets: Packet[] = [];
    for (let packet = await this.next(); packet !== null; packet = await this.next()) packets.push(packet);
    return packets;
  }

  /** The next packet must be of this type and have these fields. */
  async expect<N extends ReceivedName>(name: N, fields: Partial<Received[N]> = {}): Promise<Received[N]> {
    const frame = await this.nextBytes();
    assert.ok(
      frame !== null,
      `${name} expected, nothing came${this.closed ? ' and the connection is closed' : ''}`,
    );
    const packet = this.#decode(frame);
    assert.equal(packet.type, PacketType[name], `${name} expected, came ${JSON.stringify(packet)}`);
    for (const [key, value] of Object.entries(fields)) {
      assert.deepEqual((packet as unknown as Record<string, unknown>)[key], value, `${key} of ${name}`);
    }
    return packet as Received[N];
  }

  /** The next packet must be these bytes. */
  async expectBytes(bytes: Uint8Array): Promise<void> {
    const frame = await this.nextBytes();
    assert.equal(frame?.toString('hex'), Buffer.from(bytes).toString('hex'));
  }

  /** A PUBLISH of this topic and payload, which is left unacknowledged. */
  async receive(topic: string, payload: string, fields: Partial<PublishPacket> = {}): Promise<PublishPacket> {
    const packet = await this.expect('PUBLISH', { topic, ...fields });
    assert.equal(Buffer.from(packet.payload).toString(), payload);
    return packet;
  }

  /** As `receive`, then acknowledges it to the end. */
  async receiveAndAck(
    topic: string,
    payload: string,
    fields: Partial<PublishPacket> = {},
  ): Promise<PublishPacket> {
    const packet = await this.receive(topic, payload, fields);
    const { packetId } = packet;
    if (packet.qos === 1) this.send(puback(packetId));
    if (packet.qos === 2) {
      this.send(pubrec(packetId));
      await this.expect('PUBREL', { packetId, reasonCode: 0 });
      this.send(pubcomp(packetId));
    }
    return packet;
  }

  /** Nothing comes, and the connection stays open. */
  async expectNothing(): Promise<void> {
    const frame = await this.nextBytes();
    assert.equal(frame?.toString('hex'), undefined, 'nothing expected');
    assert.equal(this.#wire.closed, undefined, 'the connection should be open');
  }

  /** The broker closes, and says nothing before that. */
  async expectClosed(): Promise<void> {
    const frame = await this.nextBytes();
    assert.equal(frame?.toString('hex'), undefined, 'only the close expected');
    assert.equal(this.#wire.closed?.by, 'core', 'the broker should have closed the connection');
  }

  /** MQTT 5: DISCONNECT with one of these reason codes, then the close. */
  async expectDisconnect(...reasonCodes: number[]): Promise<DisconnectPacket> {
    const packet = await this.expect('DISCONNECT');
    assert.ok(reasonCodes.includes(packet.reasonCode), `reason code 0x${packet.reasonCode.toString(16)}`);
    await this.expectClosed();
    return packet;
  }

  /** The CONNECT is refused: with nothing, or with a CONNACK of one of these codes; then the close. */
  async expectRefused(...reasonCodes: number[]): Promise<void> {
    const frame = await this.nextBytes();
    if (frame !== null) {
      const packet = this.#decode(frame);
      assert.equal(
        packet.type,
        PacketType.CONNACK,
        `CONNACK or nothing expected, came ${JSON.stringify(packet)}`,
      );
      const { reasonCode, sessionPresent } = packet as ConnackPacket;
      assert.ok(reasonCodes.includes(reasonCode), `reason code 0x${reasonCode.toString(16)}`);
      assert.equal(sessionPresent, false);
    }
    await this.expectClosed();
  }

  /** Subscribes and expects every filter to be granted as asked. */
  async subscribe(
    filter: FilterOptions | FilterOptions[],
    qos: QoS = 0,
    properties: Properties = {},
  ): Promise<void> {
    const list = [filter].flat().map((entry) => (typeof entry === 'string' ? { filter: entry, qos } : entry));
    const packetId = this.#packetIds.next++;
    this.send(subscribe(packetId, list, properties));
    await this.expect('SUBACK', { packetId, reasonCodes: list.map((entry) => entry.qos ?? 0) });
  }

  async unsubscribe(...filters: string[]): Promise<void> {
    const packetId = this.#packetIds.next++;
    this.send(unsubscribe(packetId, filters));
    await this.expect('UNSUBACK', { packetId });
  }

  /** Publishes, through the whole exchange of its QoS. */
  async publish(topic: string, payload: string, options: PublishOptions = {}): Promise<void> {
    const qos = options.qos ?? 0;
    const packetId = options.packetId ?? (qos === 0 ? 0 : this.#packetIds.next++);
    this.send(publish(topic, payload, { ...options, packetId }));
    if (qos === 0) await this.#settle();
    if (qos === 1) await this.expect('PUBACK', { packetId });
    if (qos === 2) {
      await this.expect('PUBREC', { packetId });
      this.send(pubrel(packetId));
      await this.expect('PUBCOMP', { packetId, reasonCode: 0 });
    }
  }

  /** Strictly, as from a server: a reserved flag, a foreign property or reason code fails the test. */
  #decode(frame: Buffer): Packet {
    const bodyStart = 1 + frame.subarray(1, 5).findIndex((byte) => byte < 128) + 1;
    return decodePacket(frame, frame[0], bodyStart, frame.length, this.version, 'server');
  }

  /** Stops reading: what the broker writes from here on is left with it. */
  stall(): void {
    this.#wire.pause();
  }

  /** Takes the one write that waits, and what comes next is left again. */
  takeOneWrite(): void {
    this.#wire.takeOneWrite();
  }

  /** Reads again. */
  read(): void {
    this.#wire.resume();
  }

  /** Bytes sent that the broker has not read. */
  get unsentBytes(): number {
    return this.#wire.unsentBytes;
  }

  /** How the connection ended; undefined while it is open. */
  get ending(): string | undefined {
    const { closed } = this.#wire;
    return closed === undefined ? undefined : `${closed.how} by ${closed.by}`;
  }

  /** True once the connection is over. */
  get closed(): boolean {
    return this.#wire.closed !== undefined;
  }

  /** Ends this stream: behind what was sent nothing more comes. */
  endStream(): void {
    this.#wire.end();
  }

  /** Breaks this stream off. */
  breakOff(): void {
    this.#wire.abort();
  }

  /** Leaves politely. */
  async disconnect(reasonCode = 0, properties: Properties = {}): Promise<void> {
    this.send(disconnect(reasonCode, properties));
    this.#wire.end();
    await this.#settle();
  }

  /** The network breaks. */
  async drop(): Promise<void> {
    this.#wire.abort();
    await this.#settle();
  }
}

/** Length of the first packet in the buffer; 0 while it is incomplete. */
function frameLength(buffer: Buffer): number {
  let length = 0;
  for (let index = 1; index < Math.min(buffer.length, 5); index++) {
    length += (buffer[index] & 127) * 128 ** (index - 1);
    if (buffer[index] < 128) return index + 1 + length <= buffer.length ? index + 1 + length : 0;
  }
  return 0;
}
