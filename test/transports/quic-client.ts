/** A QUIC client on the same engine as the door, one connection a socket, driven packet by packet. */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  loadQuiche,
  type Quiche,
  type QuicheConnection,
  type QuicheError,
} from '../../transports/quic/quiche.ts';
import type { RawClient, RawStream } from '../contract/transport.ts';

export const quiche: Quiche = loadQuiche('quic://client');

const HOST = '127.0.0.1';
const WINDOW_BYTES = 1 << 20;
/** Larger, so that a stream that is not read does not stop the others. */
const CONNECTION_WINDOW_BYTES = 4 * WINDOW_BYTES;
const AT_ONCE_MAX = 4_096;
const NONE = Buffer.alloc(0);

export interface QuicDial {
  /** PEM file; undefined: the server's certificate is not looked at. */
  readonly ca?: string | undefined;
  readonly pair?: { readonly cert: string; readonly key: string } | undefined;
  readonly protocols?: readonly string[] | undefined;
  /** Of an earlier connection, to be resumed. */
  readonly session?: Uint8Array | undefined;
  readonly earlyData?: boolean | undefined;
  readonly handshakeMs?: number | undefined;
}

/** How a connection ended. */
export interface QuicEnd {
  readonly theirs: QuicheError | null;
  readonly ours: QuicheError | null;
  readonly timedOut: boolean;
}

/** One bidirectional stream of a connection. */
class QuicStream implements RawStream {
  readonly #native: QuicheConnection;
  readonly #id: number;
  readonly #pump: () => void;
  readonly #readBuffer = Buffer.alloc(65_536);
  readonly #unsent: Buffer[] = [];
  #paused = false;
  #finWanted = false;
  #finSent = false;
  #isClosed = false;
  finRead = false;
  resetCode: number | undefined;
  #onData: (chunk: Buffer) => void = () => {};
  #onClosed: () => void = () => {};

  constructor(native: QuicheConnection, id: number, pump: () => void) {
    this.#native = native;
    this.#id = id;
    this.#pump = pump;
  }

  get unsentBytes(): number {
    return this.#unsent.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  write(bytes: Uint8Array): void {
    this.#unsent.push(Buffer.from(bytes));
    this.#pump();
  }

  onData(listener: (chunk: Buffer) => void): void {
    this.#onData = listener;
    this.#pump();
  }

  onClosed(listener: () => void): void {
    this.#onClosed = listener;
    if (this.#isClosed) listener();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#pump();
  }

  end(): void {
    this.#finWanted = true;
    this.#pump();
  }

  abort(): void {
    for (const direction of [0, 1]) this.#native.streamShutdown(this.#id, direction, 9);
    this.closed();
    this.#pump();
  }

  /** Both directions are over. */
  closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#onClosed();
  }

  /** Reads what there is. */
  read(): void {
    try {
      while (!this.#paused && this.#native.streamReadable(this.#id)) {
        const result = this.#native.streamRecv(this.#id, this.#readBuffer);
        if (result === null) return;
        const [bytes, isLast] = result;
        if (bytes > 0) this.#onData(Buffer.from(this.#readBuffer.subarray(0, bytes)));
        if (!isLast) continue;
        this.finRead = true;
        return;
      }
    } catch (error) {
      this.#reset(error as Error);
    }
  }

  /** Writes what there is room for. */
  send(): void {
    try {
      while (this.#unsent.length > 0) {
        const [first] = this.#unsent;
        const sent = this.#native.streamSend(this.#id, first, false) ?? 0;
        if (sent < first.length) {
          this.#unsent[0] = first.subarray(sent);
          return;
        }
        this.#unsent.shift();
      }
      if (this.#finWanted && !this.#finSent) this.#native.streamSend(this.#id, NONE, true);
      this.#finSent ||= this.#finWanted;
    } catch (error) {
      this.#unsent.length = 0;
      this.#reset(error as Error);
    }
  }

  /** What the server has ended, a client ends as well. */
  endBehindServer(): void {
    if (!this.finRead) return;
    if (!this.#finSent) this.#finWanted = true;
    this.send();
    this.closed();
  }

  #reset({ message }: Error): void {
    const code = /^Stream(?:Reset|Stopped)\((\d+)\)$/.exec(message)?.[1];
    if (code === undefined) return;
    this.resetCode ??= Number(code);
    this.closed();
  }
}

export class QuicClient implements RawClient {
  readonly native: QuicheConnection;
  readonly #socket: Socket;
  readonly #port: number;
  readonly #control: QuicStream;
  /** Those that were opened behind the first. */
  readonly #streams: QuicStream[] = [];
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #muted = false;
  readonly #waiting: (() => void)[] = [];
  #onEstablished: () => void = () => {};
  #end: (end: QuicEnd) => void = () => {};
  /** Resolves when the connection is over. */
  readonly ended: Promise<QuicEnd>;

  private constructor(socket: Socket, native: QuicheConnection, port: number) {
    this.#socket = socket;
    this.native = native;
    this.#port = port;
    this.#control = new QuicStream(native, 0, () => this.pump());
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    socket.on('message', (datagram, { address, port: from }) => {
      if (this.#over || this.#muted) return;
      const path = { from: { host: address, port: from }, to: { host: HOST, port: this.#localPort } };
      try {
        native.recv(datagram, path);
      } catch {
        // It is closed now, and says why in `ended`.
      }
      this.pump();
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
  }

  /** Resolves when the next datagram has been taken in. */
  arrived(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Hears and says nothing from now on. */
  mute(): void {
    this.#muted = true;
  }

  /** How large a QUIC datagram the server takes; null: none. */
  maxDatagramBytes(): number | null {
    return (this.native as unknown as { dgramMaxWritableLen(): number | null }).dgramMaxWritableLen();
  }

  get #localPort(): number {
    return this.#socket.address().port;
  }

  /** Resolves when the handshake is done; rejects when it fails or takes longer than `handshakeMs`. */
  static async dial(port: number, options: QuicDial = {}): Promise<QuicClient> {
    const client = await QuicClient.start(port, options);
    if (client.native.isEstablished()) return client;
    const established = new Promise<void>((resolve) => {
      client.#onEstablished = resolve;
    });
    const timer = setTimeout(() => client.abort(), options.handshakeMs ?? 1_000);
    const end = await Promise.race([established, client.ended]);
    clearTimeout(timer);
    if (end === undefined) return client;
    const { errorCode = -1 } = end.theirs ?? end.ours ?? {};
    throw new Error(`the handshake failed with error 0x${errorCode.toString(16)}`);
  }

  /** Sends the first packet. */
  static async start(port: number, options: QuicDial = {}): Promise<QuicClient> {
    const { ca, pair, protocols = ['mqtt'], session } = options;
    const socket = createSocket('udp4');
    socket.bind(0, HOST);
    await once(socket, 'listening');
    const config = quiche.Config.withBoringSslCtx(
      ca !== undefined,
      false,
      ca === undefined ? null : readFileSync(ca),
      pair === undefined ? null : [readFileSync(pair.key)],
      pair === undefined ? null : [readFileSync(pair.cert)],
      null,
    );
    config.setApplicationProtos([...protocols]);
    config.setMaxIdleTimeout(30_000);
    config.setInitialMaxData(CONNECTION_WINDOW_BYTES);
    config.setInitialMaxStreamDataBidiLocal(WINDOW_BYTES);
    config.setMaxStreamWindow(WINDOW_BYTES);
    config.setMaxConnectionWindow(CONNECTION_WINDOW_BYTES);
    if (options.earlyData === true) config.enableEarlyData();
    const local = { host: HOST, port: socket.address().port };
    const native = quiche.Connection.connect(
      'localhost',
      randomBytes(16),
      local,
      { host: HOST, port },
      config,
    );
    if (session !== undefined) native.setSession(session);
    const client = new QuicClient(socket, native, port);
    client.pump();
    return client;
  }

  get unsentBytes(): number {
    return this.#control.unsentBytes;
  }

  write(bytes: Uint8Array): void {
    this.#control.write(bytes);
  }

  onData(listener: (chunk: Buffer) => void): void {
    this.#control.onData(listener);
  }

  onClosed(listener: () => void): void {
    this.#control.onClosed(listener);
  }

  pause(): void {
    this.#control.pause();
  }

  resume(): void {
    this.#control.resume();
  }

  /** Ends the first stream behind what was written. */
  end(): void {
    this.#control.end();
  }

  /** Opens the next bidirectional stream; it is there for the server with its first byte. */
  openStream(): RawStream {
    const id = 4 * (this.#streams.length + 1);
    const stream = new QuicStream(this.native, id, () => this.pump());
    this.#streams.push(stream);
    return stream;
  }

  abort(): void {
    this.#muted = false;
    this.close(true, 7);
  }

  close(isApp: boolean, code: number): void {
    if (this.#over) return;
    try {
      this.native.close(isApp, code, NONE);
    } catch {
      // Closed already.
    }
    this.pump();
  }

  /** Reads, writes and sends what can be. */
  pump(): void {
    if (this.#over || this.#muted) return;
    const { native } = this;
    if (native.isEstablished() || native.isInEarlyData()) {
      this.#onEstablished();
      for (const stream of [this.#control, ...this.#streams]) {
        stream.send();
        stream.read();
      }
      for (const stream of this.#streams) stream.endBehindServer();
    }
    this.#flush();
    this.#lookForEnd();
  }

  #flush(): void {
    // The engine was seen to send probes without end when its first flight is answered late.
    for (let count = 0; count < AT_ONCE_MAX; count++) {
      const datagram = Buffer.alloc(1_350);
      const sent = this.native.send(datagram);
      if (sent === null) break;
      this.#socket.send(datagram.subarray(0, sent[0]), this.#port, HOST, () => {});
    }
    clearTimeout(this.#timer);
    const ms = this.native.timeout();
    if (ms === null) return;
    this.#timer = setTimeout(() => {
      this.native.onTimeout();
      this.pump();
    }, ms + 1);
  }

  #lookForEnd(): void {
    if (this.#over) return;
    const { native } = this;
    // As a client does: the server has said all.
    if (this.#control.finRead && !native.isDraining() && !native.isClosed()) {
      this.#control.finRead = false;
      this.close(true, 0);
      return;
    }
    if (!native.isDraining() && !native.isClosed()) return;
    this.#over = true;
    for (const stream of [...this.#streams, this.#control]) stream.read();
    clearTimeout(this.#timer);
    const end = { theirs: native.peerError(), ours: native.localError(), timedOut: native.isTimedOut() };
    // What was just sent is on its way only when the send has called back.
    this.#socket.send(NONE, this.#port, HOST, () => this.#socket.close());
    for (const stream of [...this.#streams, this.#control]) stream.closed();
    this.#end(end);
  }
}
