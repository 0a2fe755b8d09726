/** A QUIC client on the engine of the door. Batches as the door does: everything that has arrived is taken in before anything is sent. */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import {
  DATAGRAM_BYTES_MAX,
  loadQuiche,
  type QuicheConfig,
  type QuicheConnection,
  type RecvInfo,
} from '../../transports/quic/quiche.ts';
import type { ByteStream, Connection } from './dial.ts';
import type { Congestion, Target } from './task.ts';

/** So large that the network decides, and not the client: as the WebTransport client has them. */
const STREAM_BYTES_MAX = 1_048_576;
const CONNECTION_BYTES_MAX = 10_485_760;
const WINDOW_BYTES_MAX = 25_165_824;
const IDLE_TIMEOUT_MS = 60_000;
const SOCKET_BUFFER_BYTES = 4_194_304;
const READ_BUFFER_BYTES = 65_536;
const SLAB_BYTES = 65_536;
const CONNECTION_ID_BYTES = 16;
/** Client, bidirectional: 0, 4, 8, … */
const STREAM_ID_STEP = 4;
/** The engine tells paths apart by these; there is only one. */
const PATH: RecvInfo = {
  from: { host: '192.0.2.1', port: 1 },
  to: { host: '192.0.2.2', port: 2 },
};
const NONE = Buffer.alloc(0);

/** What of the engine only clients need. */
interface MoreConfig {
  setCcAlgorithmName(name: Congestion): void;
}

/** Makes clients that share their settings. */
export class QuicDialler {
  readonly #quiche = loadQuiche('quic://client');
  readonly #config: QuicheConfig;
  readonly #target: Target;

  constructor(target: Target) {
    const verifies = true;
    const ca = readFileSync(target.caFile);
    const config = this.#quiche.Config.withBoringSslCtx(verifies, false, ca, null, null, null);
    config.setApplicationProtos(['mqtt']);
    config.setMaxIdleTimeout(IDLE_TIMEOUT_MS);
    config.setMaxRecvUdpPayloadSize(DATAGRAM_BYTES_MAX);
    config.setMaxSendUdpPayloadSize(DATAGRAM_BYTES_MAX);
    config.setInitialMaxData(CONNECTION_BYTES_MAX);
    config.setInitialMaxStreamDataBidiLocal(STREAM_BYTES_MAX);
    config.setMaxStreamWindow(WINDOW_BYTES_MAX);
    config.setMaxConnectionWindow(WINDOW_BYTES_MAX);
    (config as unknown as MoreConfig).setCcAlgorithmName(target.congestion);
    this.#config = config;
    this.#target = target;
  }

  /** Resolves when the handshake is done. */
  async dial(): Promise<Connection> {
    const { host, port } = this.#target;
    const socket = createSocket({
      type: isIPv6(host) ? 'udp6' : 'udp4',
      recvBufferSize: SOCKET_BUFFER_BYTES,
      sendBufferSize: SOCKET_BUFFER_BYTES,
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(port, host, resolve);
    });
    const scid = randomBytes(CONNECTION_ID_BYTES);
    const native = this.#quiche.Connection.connect('localhost', scid, PATH.to, PATH.from, this.#config);
    return new QuicClient(socket, native).open();
  }
}

class QuicStream implements ByteStream {
  readonly id: number;
  readonly #client: QuicClient;
  #unsent: Uint8Array[];
  #listener: (chunk: Buffer) => void;

  constructor(client: QuicClient, id: number) {
    this.id = id;
    this.#client = client;
    this.#unsent = [];
    this.#listener = () => {};
  }

  write(bytes: Uint8Array): void {
    this.#unsent.push(bytes);
    this.#client.sendSoon();
  }

  onData(listener: (chunk: Buffer) => void): void {
    this.#listener = listener;
  }

  data(chunk: Buffer): void {
    this.#listener(chunk);
  }

  /** Hands the engine what it takes. */
  feed(native: QuicheConnection): void {
    let whole = 0;
    for (const bytes of this.#unsent) {
      const taken = native.streamSend(this.id, bytes, false) ?? 0;
      if (taken < bytes.length) {
        this.#unsent[whole] = bytes.subarray(taken);
        break;
      }
      whole += 1;
    }
    if (whole > 0) this.#unsent = this.#unsent.slice(whole);
  }
}

class QuicClient implements Connection {
  readonly control: QuicStream;
  readonly ended: Promise<string>;
  readonly #socket: Socket;
  readonly #native: QuicheConnection;
  readonly #streams: Map<number, QuicStream>;
  readonly #readBuffer: Buffer;
  #slab: Buffer;
  #isTurnDue: boolean;
  #isOver: boolean;
  #timer: NodeJS.Timeout | undefined;
  #timerEndsAt: number;
  #established: () => void;
  #end: (why: string) => void;

  constructor(socket: Socket, native: QuicheConnection) {
    this.#socket = socket;
    this.#native = native;
    this.#streams = new Map();
    this.#readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
    this.#slab = NONE;
    this.#isTurnDue = false;
    this.#isOver = false;
    this.#timer = undefined;
    this.#timerEndsAt = Number.POSITIVE_INFINITY;
    this.#established = () => {};
    this.#end = () => {};
    this.control = this.#stream(0);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    socket.on('error', () => {});
    socket.on('message', (datagram) => this.#receive(datagram));
  }

  open(): Promise<Connection> {
    return new Promise((resolve, reject) => {
      this.#established = () => resolve(this);
      this.ended.then((why) => reject(new Error(why)));
      this.#turn();
    });
  }

  openStream(): Promise<ByteStream> {
    return Promise.resolve(this.#stream(this.#streams.size * STREAM_ID_STEP));
  }

  close(): void {
    if (this.#isOver) return;
    try {
      for (const stream of this.#streams.values()) stream.feed(this.#native);
      this.#flush();
      this.#native.close(true, 0, NONE);
    } catch {
      // It is closed already.
    }
    this.#turn();
  }

  sendSoon(): void {
    this.#turnSoon();
  }

  #stream(id: number): QuicStream {
    const stream = new QuicStream(this, id);
    this.#streams.set(id, stream);
    return stream;
  }

  #receive(datagram: Buffer): void {
    if (this.#isOver) return;
    try {
      this.#native.recv(datagram, PATH);
    } catch {
      // A packet of nobody; or the connection is closed now, and the turn finds out why.
    }
    this.#turnSoon();
  }

  #turnSoon(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#isTurnDue = false;
    if (this.#isOver) return;
    const native = this.#native;
    try {
      if (native.isEstablished()) {
        this.#established();
        this.#read();
        for (const stream of this.#streams.values()) stream.feed(native);
      }
      this.#flush();
    } catch (error) {
      this.#over((error as Error).message);
      return;
    }
    if (!native.isDraining() && !native.isClosed()) return;
    const problem = native.peerError() ?? native.localError();
    this.#over(`QUIC ended, ${problem === null ? 'in silence' : `with error ${problem.errorCode}`}`);
  }

  #read(): void {
    for (const id of this.#native.readable()) {
      for (;;) {
        const result = this.#native.streamRecv(id, this.#readBuffer);
        if (result === null) break;
        this.#streams.get(id)?.data(this.#readBuffer.subarray(0, result[0]));
        if (result[1]) break;
      }
    }
  }

  #flush(): void {
    for (;;) {
      if (this.#slab.length < DATAGRAM_BYTES_MAX) this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      const sent = this.#native.send(this.#slab);
      if (sent === null) break;
      this.#socket.send(this.#slab.subarray(0, sent[0]), () => {});
      this.#slab = this.#slab.subarray(sent[0]);
    }
    const ms = this.#native.timeout();
    if (ms === null) return;
    const endsAt = performance.now() + ms;
    if (endsAt >= this.#timerEndsAt) return;
    clearTimeout(this.#timer);
    this.#timerEndsAt = endsAt;
    this.#timer = setTimeout(() => {
      this.#timerEndsAt = Number.POSITIVE_INFINITY;
      if (this.#isOver) return;
      this.#native.onTimeout();
      this.#turn();
    }, ms + 1);
  }

  #over(why: string): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#end(why);
    // What was just sent is on its way only when a later send has called back.
    this.#socket.send(NONE, () => this.#socket.close());
  }
}
