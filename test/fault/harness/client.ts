/**
 * A client that keeps its part of the protocol over reconnects: what it sent and may not forget yet stays with it, whatever
 * becomes of connection and broker. It writes all that it does and sees into the history.
 */
import { decodePacket } from '../../../src/codec/decode.ts';
import { encodePacket } from '../../../src/codec/encode.ts';
import {
  type AcknowledgePacket,
  type ConnackPacket,
  type Packet,
  PacketType,
  type ProtocolVersion,
  type PublishPacket,
  type QoS,
} from '../../../src/codec/packets.ts';
import { Framer } from '../../../src/connection/framer.ts';
import {
  connect,
  disconnect,
  pingreq,
  puback,
  pubcomp,
  publish,
  pubrec,
  pubrel,
  subscribe,
  unsubscribe,
} from '../../support/packets.ts';
import type { History } from './history.ts';
import type { Link } from './link.ts';
import { faultOfProperties, type OutgoingMessage, payloadOf, propertiesOf, readPayload } from './messages.ts';

const PACKET_ID_MAX = 65_535;
const SESSION_EXPIRY_SECONDS = 3_600;
/** MQTT 5.0 section 3.2.2.3.3, where CONNACK says nothing. */
const RECEIVE_MAXIMUM_DEFAULT = 65_535;

export interface ClientOptions {
  readonly id: string;
  readonly version: ProtocolVersion;
  /** Messages it sends before it waits for acknowledgements. */
  readonly window?: number;
  /** Messages it leaves unacknowledged as long as more come. */
  readonly lazy?: number;
  /** MQTT 5.0; what it has to be sent unacknowledged. */
  readonly receiveMaximum?: number;
}

export interface ConnectAsk {
  readonly cleanStart: boolean;
  readonly lasting: boolean;
}

interface Exchange {
  readonly message: OutgoingMessage;
  /** True once PUBREC came: PUBREL is what is left. */
  released: boolean;
  sent: number;
  asked: number;
}

interface Request {
  readonly packetId: number;
  readonly filter: string;
  readonly resolve: (answered: boolean) => void;
}

export class FaultClient {
  readonly id: string;
  readonly version: ProtocolVersion;
  /** Called for every PUBLISH, after it was written down. */
  onMessage: (topic: string, number: number, packet: PublishPacket) => void = () => {};
  /** Called when a publish has been answered to the end or refused. */
  onAnswer: (message: OutgoingMessage, code: number) => void = () => {};
  lazy: number;
  readonly #history: History;
  readonly #options: ClientOptions;
  /** Not over yet, in the order of the first sending. */
  readonly #exchanges = new Map<number, Exchange>();
  #backlog: OutgoingMessage[] = [];
  #link: Link | null = null;
  #opened = false;
  #leaving = false;
  #opening: ((opened: boolean) => void) | null = null;
  #request: Request | null = null;
  #pings: (() => void)[] = [];
  #idle: ((idle: boolean) => void)[] = [];
  #gone: (() => void)[] = [];
  #unacknowledged: Packet[] = [];
  #window: number;
  #lastPacketId = 0;
  /** Why the connection is about to end, if the broker said so. */
  #why = '';
  /** Who has ended the broker's life, if anyone. */
  readonly #isStopped: () => boolean;

  constructor(history: History, options: ClientOptions, isStopped: () => boolean) {
    this.id = options.id;
    this.version = options.version;
    this.lazy = options.lazy ?? 0;
    this.#history = history;
    this.#options = options;
    this.#window = options.window ?? 1;
    this.#isStopped = isStopped;
  }

  get connected(): boolean {
    return this.#opened;
  }

  /** Messages given to `publish` whose exchange is not over. */
  get unfinished(): number {
    return this.#exchanges.size + this.#backlog.length;
  }

  /** Sends CONNECT; true once CONNACK has let it in, false when the connection ended before. */
  connect(link: Link, ask: ConnectAsk): Promise<boolean> {
    this.#link = link;
    this.#leaving = false;
    this.#why = '';
    const framer = new Framer({
      frameBytesMax: Number.MAX_SAFE_INTEGER,
      frame: (buffer, start, bodyStart, end) => {
        if (this.#link === link)
          this.#packet(decodePacket(buffer, buffer[start], bodyStart, end, this.version, 'server'));
        return true;
      },
    });
    link.listen(
      (chunk) => this.#read(link, framer, chunk),
      () => this.#closed(link),
    );
    const { cleanStart, lasting } = ask;
    if (this.version < 5 && lasting === cleanStart)
      throw new RangeError('in 3.x one flag says both: a session is either clean or lasting');
    this.#history.add({ kind: 'connect', client: this.id, cleanStart, lasting });
    const { receiveMaximum } = this.#options;
    const properties = {
      ...(lasting ? { sessionExpiryInterval: SESSION_EXPIRY_SECONDS } : {}),
      ...(receiveMaximum === undefined ? {} : { receiveMaximum }),
    };
    const { id: clientId, version } = this;
    const packet = connect({ clientId, version, cleanStart, properties: version === 5 ? properties : {} });
    return new Promise((resolve) => {
      this.#opening = resolve;
      this.#send(packet);
    });
  }

  /** Publishes as soon as the window allows, and over as many connections as it takes. */
  publish(...messages: OutgoingMessage[]): void {
    this.#backlog.push(...messages);
    this.#pump();
  }

  /** True once every exchange is over, false when the connection has ended before. */
  idle(): Promise<boolean> {
    if (this.unfinished === 0) return Promise.resolve(true);
    if (this.#link === null) return Promise.resolve(false);
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Resolves when the connection is over. */
  gone(): Promise<void> {
    if (this.#link === null) return Promise.resolve();
    return new Promise((resolve) => this.#gone.push(resolve));
  }

  /** True once SUBACK came, false when the connection has ended before. One request at a time. */
  subscribe(filter: string, qos: QoS, identifier = 0): Promise<boolean> {
    if (!this.#opened) return Promise.resolve(false);
    this.#history.add({ kind: 'subscribe', client: this.id, filter, qos, identifier });
    const packetId = this.#freePacketId();
    const properties = identifier > 0 ? { subscriptionIdentifiers: [identifier] } : {};
    return this.#ask(packetId, filter, subscribe(packetId, [{ filter, qos }], properties));
  }

  /** True once UNSUBACK came, false when the connection has ended before. */
  unsubscribe(filter: string): Promise<boolean> {
    if (!this.#opened) return Promise.resolve(false);
    this.#history.add({ kind: 'unsubscribe', client: this.id, filter });
    const packetId = this.#freePacketId();
    return this.#ask(packetId, filter, unsubscribe(packetId, [filter]));
  }

  /** Resolves when PINGRESP came or the connection has ended. */
  ping(): Promise<void> {
    if (!this.#opened) return Promise.resolve();
    return new Promise((resolve) => {
      this.#pings.push(resolve);
      this.#send(pingreq());
    });
  }

  /** Acknowledges what it has left so far, and everything from now on at once. */
  catchUp(): void {
    this.lazy = 0;
    this.#acknowledgeAllBut(0);
  }

  /** Leaves: with DISCONNECT, or by breaking the connection. */
  leave(politely: boolean): void {
    const link = this.#link;
    if (link === null) return;
    this.#leaving = true;
    if (politely) {
      this.#send(disconnect());
      link.end();
    } else link.abort();
    this.#closed(link);
  }

  /** What cannot be decoded ends the connection, as in every client. */
  #read(link: Link, framer: Framer, chunk: Buffer): void {
    if (this.#link !== link) return;
    try {
      framer.push(chunk);
    } catch (error) {
      this.#broken(`the broker sent what cannot be read: ${error}`);
      link.abort();
    }
  }

  #send(packet: Packet): void {
    this.#link?.write(encodePacket(packet, this.version));
  }

  #closed(link: Link): void {
    if (this.#link !== link) return;
    this.#link = null;
    this.#opened = false;
    this.#unacknowledged = [];
    const by = this.#leaving ? 'client' : this.#isStopped() ? 'stop' : 'broker';
    this.#history.add({ kind: 'closed', client: this.id, by, why: this.#why });
    this.#opening?.(false);
    this.#opening = null;
    this.#request?.resolve(false);
    this.#request = null;
    for (const done of [...this.#pings.splice(0), ...this.#gone.splice(0)]) done();
    for (const done of this.#idle.splice(0)) done(false);
  }

  #packet(packet: Packet): void {
    switch (packet.type) {
      case PacketType.CONNACK:
        this.#connack(packet);
        return;
      case PacketType.PUBLISH:
        this.#received(packet);
        return;
      case PacketType.PUBREL:
        this.#history.add({ kind: 'pubrel', client: this.id, packetId: packet.packetId });
        this.#send(pubcomp(packet.packetId));
        return;
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBCOMP:
        this.#acknowledged(packet);
        return;
      case PacketType.SUBACK:
        this.#answered('suback', packet.packetId, packet.reasonCodes[0]);
        return;
      case PacketType.UNSUBACK:
        this.#answered('unsuback', packet.packetId, packet.reasonCodes[0] ?? 0);
        return;
      case PacketType.PINGRESP:
        this.#pings.shift()?.();
        return;
      case PacketType.DISCONNECT:
        this.#why = `0x${packet.reasonCode.toString(16)} ${packet.properties.reasonString ?? ''}`.trim();
        return;
      default:
        this.#broken(`came ${JSON.stringify(packet)}`);
    }
  }

  #connack({ sessionPresent, reasonCode, properties }: ConnackPacket): void {
    this.#history.add({ kind: 'connack', client: this.id, present: sessionPresent, code: reasonCode });
    this.#opened = reasonCode === 0;
    const quota = this.version === 5 ? (properties.receiveMaximum ?? RECEIVE_MAXIMUM_DEFAULT) : PACKET_ID_MAX;
    this.#window = Math.min(this.#options.window ?? 1, quota);
    if (!sessionPresent) this.#exchanges.clear();
    // [MQTT-4.4.0-1] in the order of the first sending
    for (const [packetId, exchange] of this.#exchanges) this.#sendExchange(packetId, exchange);
    this.#opening?.(this.#opened);
    this.#opening = null;
    this.#pump();
  }

  #pump(): void {
    while (this.#opened && this.#backlog.length > 0 && this.#exchanges.size < this.#window) {
      const message = this.#backlog.shift()!;
      const exchange = { message, released: false, sent: 0, asked: 0 };
      const packetId = this.#freePacketId();
      if (message.qos > 0) this.#exchanges.set(packetId, exchange);
      this.#sendExchange(message.qos > 0 ? packetId : 0, exchange);
    }
    if (this.unfinished === 0) for (const done of this.#idle.splice(0)) done(true);
  }

  #sendExchange(packetId: number, exchange: Exchange): void {
    if (exchange.released) {
      exchange.asked++;
      this.#send(pubrel(packetId));
      return;
    }
    const { message } = exchange;
    const { topic, number, qos, retain, clear } = message;
    const dup = exchange.sent++ > 0;
    this.#history.add({ kind: 'publish', client: this.id, topic, number, qos, retain, clear, dup, packetId });
    const properties = this.version === 5 ? propertiesOf(message) : {};
    this.#send(publish(topic, payloadOf(message), { qos, retain, dup, packetId, properties }));
  }

  #acknowledged({ type, packetId, reasonCode }: AcknowledgePacket): void {
    const exchange = this.#exchanges.get(packetId);
    const qos = type === PacketType.PUBACK ? 1 : 2;
    const fits = exchange?.message.qos === qos && exchange.released === (type === PacketType.PUBCOMP);
    if (exchange === undefined || !fits) {
      // A PUBLISH that was sent on two connections can be answered twice, if the first answer came late; on one it cannot.
      this.#broken(`packet type ${type} answers packet identifier ${packetId}, which does not wait for it`);
      return;
    }
    const { topic, number } = exchange.message;
    const name = { client: this.id, topic, number, code: reasonCode };
    if (type === PacketType.PUBCOMP) this.#history.add({ kind: 'pubcomp', ...name, asked: exchange.asked });
    else this.#history.add({ kind: 'acknowledged', ...name });
    if (type === PacketType.PUBREC && reasonCode < 0x80) {
      exchange.released = true;
      this.#sendExchange(packetId, exchange);
      return;
    }
    this.#exchanges.delete(packetId);
    this.onAnswer(exchange.message, reasonCode);
    this.#pump();
  }

  #received(packet: PublishPacket): void {
    const { topic, qos, retain, dup, packetId } = packet;
    const identifiers = packet.properties.subscriptionIdentifiers ?? [];
    const { number, fault: faultOfPayload } = readPayload(topic, packet.payload);
    const fault = faultOfPayload || faultOfProperties({ topic, number }, packet.properties);
    const fields = { topic, number, qos, retain, dup, packetId, identifiers, fault };
    this.#history.add({ kind: 'message', client: this.id, ...fields });
    if (qos > 0) this.#unacknowledged.push(qos === 1 ? puback(packetId) : pubrec(packetId));
    this.#acknowledgeAllBut(this.lazy);
    this.onMessage(topic, number, packet);
  }

  #acknowledgeAllBut(count: number): void {
    while (this.#unacknowledged.length > count) this.#send(this.#unacknowledged.shift()!);
  }

  #ask(packetId: number, filter: string, packet: Packet): Promise<boolean> {
    return new Promise((resolve) => {
      this.#request = { packetId, filter, resolve };
      this.#send(packet);
    });
  }

  #answered(kind: 'suback' | 'unsuback', packetId: number, code: number): void {
    const request = this.#request;
    if (request?.packetId !== packetId) {
      this.#broken(`${kind} for packet identifier ${packetId}, which does not wait for it`);
      return;
    }
    this.#request = null;
    const { filter } = request;
    if (kind === 'suback') this.#history.add({ kind, client: this.id, filter, code });
    else this.#history.add({ kind, client: this.id, filter });
    request.resolve(true);
  }

  #broken(what: string): void {
    this.#history.add({ kind: 'broken', client: this.id, what });
  }

  #freePacketId(): number {
    do this.#lastPacketId = this.#lastPacketId === PACKET_ID_MAX ? 1 : this.#lastPacketId + 1;
    while (this.#exchanges.has(this.#lastPacketId) || this.#request?.packetId === this.#lastPacketId);
    return this.#lastPacketId;
  }
}
