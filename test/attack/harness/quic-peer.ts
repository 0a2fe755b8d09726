/** One end of a QUIC connection that opens any streams, sends any datagrams, and has no manners. Its engine is the door's own. */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { HostPort, QuicheConfig, QuicheConnection } from '../../../transports/quic/quiche.ts';
import type { RawClient } from '../../contract/transport.ts';
import { type QuicEnd, quiche } from '../../transports/quic-client.ts';
import { keysOf, type PacketKeys, shortPacket } from './quic-packets.ts';

const HOST = '127.0.0.1';
const READ_BYTES = 65_536;
const DATAGRAM_BYTES = 1_350;
/** The engine was seen to send probes without end when its first flight is answered late. */
const AT_ONCE_MAX = 64;
/** Streams above are written once. */
const LONG_LIVED_MAX = 16;

/** What the engine can besides what the door uses of it. */
interface NativePeer extends QuicheConnection {
  setKeylog(file: string): void;
  destinationId(): Uint8Array;
  dgramSend(bytes: Uint8Array): void;
}

export interface QuicPeerOptions {
  /** Default `mqtt`. */
  readonly protocol?: string;
  /** An address of this machine. Default 127.0.0.1. */
  readonly host?: string;
  /** Keeps the secrets, for `inject`. */
  readonly logsKeys?: boolean;
  readonly configure?: (config: QuicheConfig) => void;
}

interface Outgoing {
  readonly chunks: Buffer[];
  fin: boolean;
}

export class QuicPeer {
  readonly native: NativePeer;
  readonly socket: Socket;
  /** Resolves when the connection is over. */
  readonly over: Promise<QuicEnd>;
  readonly paused = new Set<number>();
  isOver = false;
  readonly #port: number;
  readonly #local: HostPort;
  readonly #outgoing = new Map<number, Outgoing>();
  readonly #listeners = new Map<number, (chunk: Buffer, isLast: boolean) => void>();
  readonly #readBuffer = Buffer.alloc(READ_BYTES);
  #timer: NodeJS.Timeout | undefined;
  #keyFile: string | undefined;
  #keys: PacketKeys | undefined;
  #injected = 0;
  #isDeaf = false;
  #settle: (end: QuicEnd) => void = () => {};
  #onChange: () => void = () => {};

  private constructor(socket: Socket, native: QuicheConnection, local: HostPort, port: number) {
    this.socket = socket;
    this.native = native as NativePeer;
    this.#local = local;
    this.#port = port;
    this.over = new Promise((resolve) => {
      this.#settle = resolve;
    });
    socket.on('message', (datagram, from) => this.#arrive(datagram, from.port));
  }

  /** Sends the first packet, and no more than that. */
  static async start(port: number, options: QuicPeerOptions = {}): Promise<QuicPeer> {
    const { protocol = 'mqtt', host = HOST, configure, logsKeys = false } = options;
    const socket = createSocket('udp4');
    socket.bind(0, host);
    await once(socket, 'listening');
    const config = quiche.Config.withBoringSslCtx(false, false, null, null, null, null);
    config.setApplicationProtos([protocol]);
    config.setMaxIdleTimeout(60_000);
    config.setInitialMaxData(1 << 20);
    config.setInitialMaxStreamDataBidiLocal(1 << 18);
    config.setInitialMaxStreamDataBidiRemote(1 << 18);
    config.setInitialMaxStreamDataUni(1 << 18);
    config.setInitialMaxStreamsUni(3);
    config.enableDgram(true, 100, 1_000);
    if (logsKeys) (config as QuicheConfig & { logKeys(): void }).logKeys();
    configure?.(config);
    const local = { host, port: socket.address().port };
    const native = quiche.Connection.connect(
      'localhost',
      randomBytes(16),
      local,
      { host: HOST, port },
      config,
    );
    const peer = new QuicPeer(socket, native, local, port);
    if (logsKeys) {
      peer.#keyFile = path.join(mkdtempSync(path.join(tmpdir(), 'sluice-keys-')), 'keys');
      peer.native.setKeylog(peer.#keyFile);
    }
    peer.turn();
    return peer;
  }

  /** Resolves when the handshake is done, or when it is clear that it will not be. */
  static async open(port: number, options: QuicPeerOptions = {}): Promise<QuicPeer> {
    const peer = await QuicPeer.start(port, options);
    await peer.until(() => peer.native.isEstablished());
    return peer;
  }

  /** Resolves once this holds or the connection is over. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const before = this.#onChange;
      const check = (): void => {
        before();
        if (!this.isOver && !condition()) return;
        this.#onChange = before;
        resolve();
      };
      this.#onChange = check;
      check();
    });
  }

  /** Hears what comes on a stream. */
  onStream(stream: number, listener: (chunk: Buffer, isLast: boolean) => void): void {
    this.#listeners.set(stream, listener);
  }

  /** Sends on a stream as much as the other side lets, and the rest when it does. */
  send(stream: number, bytes: Uint8Array, fin = false): void {
    const outgoing = this.#outgoing.get(stream) ?? { chunks: [], fin: false };
    this.#outgoing.set(stream, outgoing);
    outgoing.chunks.push(Buffer.from(bytes));
    outgoing.fin ||= fin;
    this.turn();
  }

  /** Written, and not yet taken by the engine. */
  unsentBytes(stream: number): number {
    return (this.#outgoing.get(stream)?.chunks ?? []).reduce((sum, { length }) => sum + length, 0);
  }

  datagram(bytes: Uint8Array): void {
    try {
      this.native.dgramSend(bytes);
    } catch {
      // Not allowed, or the queue is full.
    }
    this.turn();
  }

  /** Cuts a stream off in both directions. */
  reset(stream: number, code = 0): void {
    for (const direction of [quiche.Shutdown.Read, quiche.Shutdown.Write]) {
      try {
        this.native.streamShutdown(stream, direction, code);
      } catch {
        // There is no such direction.
      }
    }
    this.#outgoing.delete(stream);
    this.turn();
  }

  close(code = 0): void {
    if (this.#isDeaf) this.vanish();
    if (this.isOver) return;
    try {
      this.native.close(true, code, Buffer.alloc(0));
    } catch {
      // Closed already.
    }
    this.turn();
  }

  /** Is gone without a word. */
  vanish(): void {
    if (this.isOver) return;
    this.#end();
  }

  /** Sends frames of any kind in a packet of their own. From the first on the engine is out of the game: it would find this odd. */
  inject(frames: Uint8Array): void {
    this.#keys ??= this.#readKeys();
    this.#isDeaf = true;
    clearTimeout(this.#timer);
    const number = 100_000 + this.#injected++;
    this.socket.send(shortPacket(this.native.destinationId(), number, frames, this.#keys), this.#port, HOST);
  }

  #readKeys(): PacketKeys {
    const secret = /^CLIENT_TRAFFIC_SECRET_0 \w+ (\w{64})$/m.exec(readFileSync(this.#keyFile!, 'utf8'));
    if (secret === null) throw new Error('the cipher is another than AES-128-GCM');
    return keysOf(Buffer.from(secret[1]!, 'hex'));
  }

  /** A stream as a client of doors. */
  stream(id: number, firstBytes: Uint8Array = Buffer.alloc(0)): RawClient {
    if (firstBytes.length > 0) this.send(id, firstBytes);
    const unsentBytes = (): number => this.unsentBytes(id);
    return {
      write: (bytes) => this.send(id, bytes),
      get unsentBytes() {
        return unsentBytes();
      },
      onData: (listener) => {
        this.onStream(id, (chunk, isLast) => {
          if (chunk.length > 0) listener(chunk);
          // As a client does: the server has said all.
          if (isLast) this.close(0);
        });
        this.turn();
      },
      pause: () => void this.paused.add(id),
      resume: () => {
        this.paused.delete(id);
        this.turn();
      },
      end: () => this.send(id, Buffer.alloc(0), true),
      abort: () => this.close(7),
      onClosed: (listener) => void this.over.then(listener),
    };
  }

  /** Reads, writes and sends what can be. */
  turn(): void {
    if (this.isOver || this.#isDeaf) return;
    const { native } = this;
    if (native.isEstablished()) {
      this.#writeAll();
      for (const stream of native.readable()) this.#read(stream);
    }
    this.#flush();
    if (native.isDraining() || native.isClosed()) this.#end();
    this.#onChange();
  }

  #arrive(datagram: Buffer, from: number): void {
    if (this.isOver || this.#isDeaf) return;
    try {
      this.native.recv(datagram, { from: { host: HOST, port: from }, to: this.#local });
    } catch {
      // It is closed now, and says why.
    }
    this.turn();
  }

  #writeAll(): void {
    /** Kinds of streams (the two lowest bits of their ids) of which no more may be opened. */
    const full = new Set<number>();
    for (const [stream, outgoing] of this.#outgoing) {
      if (full.has(stream & 3)) continue;
      try {
        this.#write(stream, outgoing);
      } catch (error) {
        // Not yet, or no longer.
        if ((error as Error).message.startsWith('StreamLimit')) full.add(stream & 3);
        else outgoing.chunks.length = 0;
      }
      if (outgoing.chunks.length === 0 && stream > LONG_LIVED_MAX) this.#outgoing.delete(stream);
    }
  }

  #write(stream: number, { chunks, fin }: Outgoing): void {
    while (chunks.length > 0) {
      const first = chunks[0]!;
      const sent = this.native.streamSend(stream, first, fin && chunks.length === 1) ?? 0;
      if (sent < first.length) {
        chunks[0] = first.subarray(sent);
        return;
      }
      chunks.shift();
    }
  }

  #read(stream: number): void {
    if (this.paused.has(stream)) return;
    const listener = this.#listeners.get(stream);
    try {
      for (;;) {
        const result = this.native.streamRecv(stream, this.#readBuffer);
        if (result === null) return;
        const [bytes, isLast] = result;
        listener?.(Buffer.from(this.#readBuffer.subarray(0, bytes)), isLast);
        if (isLast) return;
      }
    } catch {
      // Reset.
    }
  }

  #flush(): void {
    for (let count = 0; count < AT_ONCE_MAX; count++) {
      const datagram = Buffer.alloc(DATAGRAM_BYTES);
      const sent = this.native.send(datagram);
      if (sent === null) break;
      this.socket.send(datagram.subarray(0, sent[0]), this.#port, HOST, () => {});
    }
    clearTimeout(this.#timer);
    const ms = this.native.timeout();
    if (ms === null) return;
    this.#timer = setTimeout(() => {
      this.native.onTimeout();
      this.turn();
    }, ms + 1);
    this.#timer.unref();
  }

  #end(): void {
    if (this.isOver) return;
    this.isOver = true;
    clearTimeout(this.#timer);
    const { native } = this;
    // What was just sent is on its way only when the send has called back.
    this.socket.send(Buffer.alloc(0), this.#port, HOST, () => this.socket.close());
    if (this.#keyFile !== undefined) rmSync(path.dirname(this.#keyFile), { recursive: true, force: true });
    this.#settle({ theirs: native.peerError(), ours: native.localError(), timedOut: native.isTimedOut() });
    this.#onChange();
  }
}
