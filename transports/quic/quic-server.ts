/** The UDP socket of a QUIC listener: finds the connection of each datagram, and lets new ones in. */
import { randomBytes } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import type { Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { type Arrivals, EVICTED } from '../arrival.ts';
import { listenFault, type OnError } from '../listen-url.ts';
import { plainAddress } from '../socket-server.ts';
import { CONNECTION_ID_BYTES, INITIAL_BYTES_MIN, type PacketHead, readPacketHead } from './packet-head.ts';
import { PATH, QuicConnection, type QuicHost } from './quic-connection.ts';
import type { QuicTls } from './quic-tls.ts';
import { DATAGRAM_BYTES_MAX, type Quiche } from './quiche.ts';
import { RetryTokens } from './retry-tokens.ts';

/** What the kernel may keep of a burst; it lowers this to its own bound (`net.core.rmem_max`). */
const SOCKET_BUFFER_BYTES = 4_194_304;
const READ_BUFFER_BYTES = 65_536;
/** Datagrams are written one behind the other into pieces of memory of this size. */
const SLAB_BYTES = 65_536;
/** How long it is remembered that a connection is over, for packets still under way. */
const TOMBSTONE_MS = 3_000;
const TOMBSTONES_MAX = 1_000;
/** How often a peer that goes on sending is told that it is over. */
const REMINDERS_MAX = 5;

/** A connection that is over. */
interface Tombstone {
  /** What its peer was told; null: nothing. */
  readonly last: Buffer | null;
  reminders: number;
  readonly timer: NodeJS.Timeout;
}

export interface QuicServerOptions {
  readonly url: string;
  readonly quiche: Quiche;
  readonly tls: QuicTls;
  readonly arrivals: Arrivals;
  readonly onError: OnError | undefined;
  readonly accept: (wire: Wire) => WireEvents;
}

export class QuicServer implements QuicHost {
  readonly url: string;
  readonly quiche: Quiche;
  readonly tls: QuicTls;
  readonly onError: OnError | undefined;
  readonly accept: (wire: Wire) => WireEvents;
  readonly readBuffer: Buffer;
  readonly #arrivals: Arrivals;
  readonly #tokens: RetryTokens;
  readonly #connections: Map<string, QuicConnection>;
  readonly #tombstones: Map<string, Tombstone>;
  readonly #runTurns: () => void;
  #turns: QuicConnection[];
  #socket: Socket | undefined;
  #slab: Buffer;
  #isClosing: boolean;
  #onConnectionGone: (() => void) | undefined;

  constructor(options: QuicServerOptions) {
    this.url = options.url;
    this.quiche = options.quiche;
    this.tls = options.tls;
    this.onError = options.onError;
    this.accept = options.accept;
    this.readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
    this.#arrivals = options.arrivals;
    this.#tokens = new RetryTokens();
    this.#connections = new Map();
    this.#tombstones = new Map();
    this.#runTurns = () => this.#allTurns();
    this.#turns = [];
    this.#socket = undefined;
    this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#isClosing = false;
    this.#onConnectionGone = undefined;
  }

  /** Binds; resolves with the port. Rejects with a ConfigError that names the URL. */
  async listen(host: string, port: number): Promise<number> {
    try {
      const { address, family } =
        isIP(host) === 0 ? await lookup(host) : { address: host, family: isIP(host) };
      const socket = createSocket({
        type: family === 6 ? 'udp6' : 'udp4',
        recvBufferSize: SOCKET_BUFFER_BYTES,
        sendBufferSize: SOCKET_BUFFER_BYTES,
        // All addresses here are such as the socket told; Node would look each of them up for each datagram.
        lookup: (name, _options, done) => done(null, name, family),
      });
      this.#socket = socket;
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.bind(port, address, () => {
          socket.off('error', reject);
          resolve();
        });
      });
      socket.on('error', (error) => this.onError?.(error));
      socket.on('message', (datagram, from) => this.#arrive(datagram, from));
      return socket.address().port;
    } catch (error) {
      this.#socket?.close();
      this.#socket = undefined;
      throw listenFault(this.url, error as NodeJS.ErrnoException);
    }
  }

  /** Stops accepting, waits up to `graceMs` for the wires to end, closes what is left. Resolves when nothing is left. */
  async close(graceMs: number): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined || this.#isClosing) return;
    this.#isClosing = true;
    await this.#wiresGone(graceMs);
    for (const connection of [...this.#connections.values()]) connection.evict();
    this.#allTurns();
    for (const connection of [...this.#connections.values()]) connection.drop();
    for (const { timer } of this.#tombstones.values()) clearTimeout(timer);
    this.#tombstones.clear();
    this.#socket = undefined;
    await new Promise<void>((resolve) => void socket.close(resolve));
  }

  schedule(connection: QuicConnection): void {
    if (connection.isScheduled) return;
    connection.isScheduled = true;
    if (this.#turns.push(connection) === 1) setImmediate(this.#runTurns);
  }

  flushSoon(connection: QuicConnection): void {
    if (connection.isFlushScheduled) return;
    connection.isFlushScheduled = true;
    process.nextTick(flushNow, connection);
  }

  room(): Buffer {
    if (this.#slab.length < DATAGRAM_BYTES_MAX) this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    return this.#slab;
  }

  send(bytes: number, { host, port }: QuicConnection): Buffer {
    const datagram = this.#slab.subarray(0, bytes);
    this.#slab = this.#slab.subarray(bytes);
    this.#socket?.send(datagram, port, host, ignore);
    return datagram;
  }

  gone(connection: QuicConnection, last: Buffer | null): void {
    this.#connections.delete(connection.id);
    this.#bury(connection.id, last === null ? null : Buffer.from(last));
    connection.visit.left();
    this.#onConnectionGone?.();
  }

  #allTurns(): void {
    const turns = this.#turns;
    this.#turns = [];
    for (const connection of turns) {
      connection.isScheduled = false;
      connection.turn();
    }
  }

  #arrive(datagram: Buffer, from: RemoteInfo): void {
    const head = readPacketHead(datagram);
    if (head === null) return;
    const id = head.dcid.toString('latin1');
    const connection = this.#connections.get(id);
    if (connection !== undefined) {
      if (connection.port === from.port && connection.host === from.address) connection.receive(datagram);
      return;
    }
    const tombstone = this.#tombstones.get(id);
    if (tombstone !== undefined) this.#remind(tombstone, from);
    else if (head.isLong && datagram.length >= INITIAL_BYTES_MIN && !this.#isClosing) {
      this.#greet(datagram, head, id, from);
    }
  }

  /** The first packet of a connection, or what looks like one: nothing is kept before its address is known to be right. */
  #greet(datagram: Buffer, head: PacketHead, id: string, from: RemoteInfo): void {
    const { quiche } = this;
    if (!head.isInitial) {
      if (head.version !== 0 && !quiche.versionIsSupported(head.version)) {
        this.#answer(quiche.negotiateVersion(head.scid, head.dcid, this.room()), from);
      }
      return;
    }
    const client = `${from.address} ${from.port}`;
    const dcid = head.token.length === 0 ? null : this.#tokens.check(client, head.token, head.dcid);
    if (dcid !== null) {
      this.#admit(datagram, head, id, dcid, from);
      return;
    }
    const scid = randomBytes(CONNECTION_ID_BYTES);
    const token = this.#tokens.make(client, head.dcid, scid);
    this.#answer(quiche.retry(head.scid, head.dcid, scid, token, head.version, this.room()), from);
  }

  #answer(bytes: number, { address, port }: RemoteInfo): void {
    this.#socket?.send(this.#slab.subarray(0, bytes), port, address, ignore);
    this.#slab = this.#slab.subarray(bytes);
  }

  #admit(datagram: Buffer, head: PacketHead, id: string, dcid: Buffer, from: RemoteInfo): void {
    let connection: QuicConnection | undefined;
    const visit: Visit | null = this.#arrivals.knock(plainAddress(from.address), () =>
      connection?.evict(EVICTED),
    );
    if (visit === null) {
      // His packets come again and again, and are not to count each time.
      this.#bury(id, null);
      return;
    }
    try {
      const scid = Buffer.from(head.dcid);
      const native = this.quiche.Connection.accept(scid, dcid, PATH.to, PATH.from, this.tls.config);
      const client = { host: from.address, port: from.port };
      connection = new QuicConnection(this, native, id, client, visit);
      this.#connections.set(id, connection);
      connection.receive(datagram);
    } catch (error) {
      visit.left();
      this.onError?.(error as Error, from.address);
    }
  }

  #bury(id: string, last: Buffer | null): void {
    if (this.#tombstones.size >= TOMBSTONES_MAX) return;
    const timer = setTimeout(() => this.#tombstones.delete(id), TOMBSTONE_MS);
    timer.unref();
    this.#tombstones.set(id, { last, reminders: 0, timer });
  }

  #remind(tombstone: Tombstone, { address, port }: RemoteInfo): void {
    if (tombstone.last === null || tombstone.reminders++ >= REMINDERS_MAX) return;
    this.#socket?.send(tombstone.last, port, address, ignore);
  }

  #wiresGone(graceMs: number): Promise<void> {
    const isDone = () => [...this.#connections.values()].every((connection) => !connection.hasWire);
    if (isDone()) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#onConnectionGone = () => {
        if (!isDone()) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function ignore(): void {}

function flushNow(connection: QuicConnection): void {
  connection.isFlushScheduled = false;
  connection.flush();
}
