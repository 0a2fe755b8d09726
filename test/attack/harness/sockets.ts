/** Attackers' sockets: any bytes over any door, from any address of the loopback network, and no manners. */
import { randomBytes } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { RawClient } from '../../contract/transport.ts';
import type { ChildBroker } from '../../support/child-broker.ts';

export type SocketDoorName = 'tcp' | 'tls' | 'ws' | 'wss';
export const SOCKET_DOORS: readonly SocketDoorName[] = ['tcp', 'tls', 'ws', 'wss'];

const SCHEMES: Readonly<Record<SocketDoorName, string>> = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' };
/** Only a broker that does nothing at all makes a test wait that long. */
const PATIENCE_MS = 30_000;

/** One of sixteen million addresses of this machine; three neighbours share a /30, 254 a /24. Number 0 is the usual one. */
export function address(number: number): string {
  if (number === 0) return '127.0.0.1';
  return `127.${1 + ((number / 64_516) | 0)}.${1 + (((number / 254) | 0) % 254)}.${1 + (number % 254)}`;
}

/** A stream to a door, below whatever is spoken on it. */
export class RawSocket {
  readonly socket: Socket;
  /** What has come and was not taken yet. */
  received: Buffer = Buffer.alloc(0);
  closed = false;
  #listener: ((chunk: Buffer) => void) | null = null;
  readonly #changed = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      if (this.#listener === null) this.received = Buffer.concat([this.received, chunk]);
      else this.#listener(chunk);
      this.#notify();
    });
    socket.once('close', () => {
      this.closed = true;
      this.#notify();
    });
    // A reset is one way of being cut off; `close` follows.
    socket.on('error', () => {});
  }

  /** Takes everything that has come and comes. */
  onData(listener: (chunk: Buffer) => void): void {
    this.#listener = listener;
    if (this.received.length > 0) listener(this.received);
    this.received = Buffer.alloc(0);
  }

  write(bytes: Uint8Array | string): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  /** Resolves once this holds or the connection is over. */
  until(condition: () => boolean, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        if (!this.closed && !condition()) return;
        clearTimeout(timer);
        this.#changed.delete(check);
        resolve();
      };
      const timer = setTimeout(() => reject(new Error(`${what}: this does not come to be`)), PATIENCE_MS);
      this.#changed.add(check);
      check();
    });
  }

  /** Resolves once the other side has cut it off. */
  over(): Promise<void> {
    return this.until(() => false, 'the broker closes the connection');
  }

  /** As a stream of MQTT bytes. */
  client(): RawClient {
    const { socket } = this;
    return {
      write: (bytes) => this.write(bytes),
      get unsentBytes() {
        return socket.writableLength;
      },
      onData: (listener) => this.onData(listener),
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      end: () => socket.end(),
      abort: () => socket.destroy(),
      onClosed: (listener) => (this.closed ? listener() : socket.once('close', listener)),
    };
  }

  #notify(): void {
    for (const check of [...this.#changed]) check();
  }
}

/** TCP to the port of a door, and nothing above it. */
export async function dialTcp(broker: ChildBroker, door: SocketDoorName, from = 1): Promise<RawSocket> {
  return await opened(broker, door, from, false);
}

/** Opens the stream below a door: TCP, and TLS where the door has it. Resolves also when it is cut off at once. */
export async function dial(broker: ChildBroker, door: SocketDoorName, from = 1): Promise<RawSocket> {
  return await opened(broker, door, from, door === 'tls' || door === 'wss');
}

async function opened(
  broker: ChildBroker,
  door: SocketDoorName,
  from: number,
  isTls: boolean,
): Promise<RawSocket> {
  const target = { port: broker.port(SCHEMES[door]), host: '127.0.0.1', localAddress: address(from) };
  const socket = isTls
    ? connectTls({ ...target, rejectUnauthorized: false })
    : connectTcp({ ...target, noDelay: true });
  const raw = new RawSocket(socket);
  let ready = false;
  await new Promise<void>((resolve) => {
    socket.once(isTls ? 'secureConnect' : 'connect', () => {
      ready = true;
      resolve();
    });
    socket.once('close', () => resolve());
  });
  if (!ready) raw.closed = true;
  return raw;
}

/** What a proxy says before all else. */
export function proxyHeader(client: string): string {
  return `PROXY TCP4 ${client} 127.0.0.1 1024 1883\r\n`;
}

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

export interface FrameOptions {
  readonly fin?: boolean;
  /** The bit that says "compressed". */
  readonly rsv1?: boolean;
  /** The length to announce, when it is not that of the payload. */
  readonly announced?: number;
}

/** A client's frame, masked with zeros, so that the payload stands in it as it is. */
export function frame(opcode: number, payload: Uint8Array, options: FrameOptions = {}): Buffer {
  const { fin = true, rsv1 = false, announced = payload.length } = options;
  const first = (fin ? 0x80 : 0) | (rsv1 ? 0x40 : 0) | opcode;
  const header = [first];
  if (announced < 126) header.push(0x80 | announced);
  else if (announced < 65_536) header.push(0x80 | 126, announced >> 8, announced & 255);
  else {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(announced));
    header.push(0x80 | 127, ...length);
  }
  return Buffer.concat([Buffer.from([...header, 0, 0, 0, 0]), payload]);
}

/** A request for an upgrade, with more header lines (each ended by CRLF) where wanted. */
export function upgradeRequest(more = ''): string {
  const key = randomBytes(16).toString('base64');
  return (
    'GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Protocol: mqtt\r\n${more}\r\n`
  );
}

/** A WebSocket that sends frames as they should not be. */
export class WebSocketPeer {
  readonly raw: RawSocket;
  /** The answer to the upgrade, its blank line included; what came until the close when it never ended. */
  answer = '';
  /** Of the close frame that came; 0: none. */
  closeCode = 0;
  pongs = 0;
  #frames: Buffer = Buffer.alloc(0);
  #listener: (chunk: Buffer) => void = () => {};
  /** Leaves when it is shown the door, instead of waiting to be thrown out. */
  #polite = false;

  private constructor(raw: RawSocket) {
    this.raw = raw;
  }

  /** Asks for the upgrade and waits for the answer. */
  static async open(raw: RawSocket, more = ''): Promise<WebSocketPeer> {
    const peer = new WebSocketPeer(raw);
    raw.write(upgradeRequest(more));
    await raw.until(() => raw.received.includes('\r\n\r\n'), 'the answer to the upgrade');
    const end = raw.received.indexOf('\r\n\r\n');
    const length = end === -1 ? raw.received.length : end + 4;
    peer.answer = raw.received.toString('latin1', 0, length);
    raw.received = raw.received.subarray(length);
    raw.onData((chunk) => peer.#take(chunk));
    return peer;
  }

  send(opcode: number, payload: Uint8Array, options: FrameOptions = {}): void {
    this.raw.write(frame(opcode, payload, options));
  }

  /** As a stream of MQTT bytes in binary frames. */
  client(): RawClient {
    this.#polite = true;
    const stream = this.raw.client();
    return {
      write: (bytes) => this.send(Opcode.BINARY, bytes),
      get unsentBytes() {
        return stream.unsentBytes;
      },
      onData: (listener) => {
        this.#listener = listener;
      },
      pause: stream.pause,
      resume: stream.resume,
      end: () => this.send(Opcode.CLOSE, Buffer.from([1000 >> 8, 1000 & 255])),
      abort: stream.abort,
      onClosed: stream.onClosed,
    };
  }

  #take(chunk: Buffer): void {
    this.#frames = Buffer.concat([this.#frames, chunk]);
    for (;;) {
      const bytes = this.#frames;
      if (bytes.length < 2) return;
      const short = bytes[1] & 127;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < start) return;
      const length =
        short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      if (bytes.length < start + length) return;
      this.#frames = bytes.subarray(start + length);
      this.#frame(bytes[0] & 15, bytes.subarray(start, start + length));
    }
  }

  #frame(opcode: number, payload: Buffer): void {
    if (opcode === Opcode.CLOSE) {
      this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      if (this.#polite) this.raw.socket.destroy();
    } else if (opcode === Opcode.PONG) this.pongs++;
    else this.#listener(payload);
  }
}
