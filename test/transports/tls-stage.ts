/** A door with TLS that tells who came in, for tests of what `mqtts` and `wss` have in common. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import type { Clock } from '../../src/interfaces/clock.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { Address, PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import type { TlsOptions } from '../../transports/tls/tls-options.ts';
import { TlsTransport } from '../../transports/tls.ts';
import { WebSocketTransport } from '../../transports/websocket.ts';

export const SCHEMES = ['mqtts', 'wss'] as const;
export type TlsScheme = (typeof SCHEMES)[number];

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Keeps what is logged, and lets a test wait for it. */
export class KeptLog implements Log {
  readonly lines: LogLine[] = [];
  #waiting: (() => void)[] = [];

  debug = (event: string, fields: object = {}): void => this.#add('debug', event, fields);
  info = (event: string, fields: object = {}): void => this.#add('info', event, fields);
  warn = (event: string, fields: object = {}): void => this.#add('warn', event, fields);
  error = (event: string, fields: object = {}): void => this.#add('error', event, fields);

  of(event: string): LogLine[] {
    return this.lines.filter((line) => line.event === event);
  }

  /** Resolves with the lines when there are `count` of this event. */
  async until(event: string, count = 1): Promise<LogLine[]> {
    while (this.of(event).length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.of(event);
  }

  #add(level: string, event: string, fields: object): void {
    this.lines.push({ level, event, fields: { ...fields } });
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** What became of a client: who the core was told it is, and its socket; or nobody, refused. */
export interface Guest {
  readonly peer: PeerInfo;
  readonly socket: TLSSocket;
  /** As the newest ticket has it: a session to resume. */
  readonly session: Buffer | undefined;
  /** Whether this one was resumed. */
  readonly reused: boolean;
}

export class TlsStage {
  /** Also of a test that failed half-way; it would hold the process. */
  static readonly #open = new Set<TlsStage>();

  static async closeAll(): Promise<void> {
    await Promise.all([...TlsStage.#open].map((stage) => stage.close()));
  }

  readonly log = new KeptLog();
  readonly errors: Error[] = [];
  readonly #transport: TlsTransport | WebSocketTransport;
  readonly #peers: PeerInfo[] = [];
  readonly #scheme: TlsScheme;
  #address: Address | null = null;

  private constructor(scheme: TlsScheme, tls: TlsOptions, clock: Clock | undefined) {
    const options = {
      url: `${scheme}://127.0.0.1:0`,
      tls,
      clock,
      log: this.log,
      onError: (error: Error) => this.errors.push(error),
    };
    this.#scheme = scheme;
    this.#transport = scheme === 'mqtts' ? new TlsTransport(options) : new WebSocketTransport(options);
  }

  static async open(scheme: TlsScheme, tls: TlsOptions, clock?: Clock): Promise<TlsStage> {
    const stage = new TlsStage(scheme, tls, clock);
    stage.#address = await stage.#transport.listen((wire) => stage.#accept(wire));
    TlsStage.#open.add(stage);
    return stage;
  }

  get port(): number {
    return this.#address!.port;
  }

  reload(): void {
    this.#transport.reload();
  }

  close(): Promise<void> {
    TlsStage.#open.delete(this);
    return this.#transport.close(0);
  }

  /** Connects, and stays connected when let in; null when refused, in the handshake or behind it. */
  async visit(options: ConnectionOptions): Promise<Guest | null> {
    const dial = { host: '127.0.0.1', port: this.port, servername: '', ...options };
    let session: Buffer | undefined;
    const note = (ticket: Buffer) => {
      session = ticket;
    };
    const before = this.#peers.length;
    const socket = connect(dial);
    socket.on('session', note).on('error', () => {});
    const greeted = this.#scheme === 'mqtts' ? greetingOf(socket) : upgrade(socket, this.port);
    if (!(await greeted)) return null;
    // In TLS 1.3 tickets come when the server likes, also behind the first data.
    if (session === undefined && options.session === undefined && socket.getProtocol() === 'TLSv1.3') {
      await once(socket, 'session');
    }
    return { peer: this.#peers[before], socket, session, reused: socket.isSessionReused() };
  }

  #accept(wire: Wire): WireEvents {
    this.#peers.push(wire.peer);
    wire.write(Buffer.from('hello'));
    return { data() {}, drain() {}, closed() {} };
  }
}

/** True when the first bytes come, false when the connection ends before. */
function greetingOf(socket: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('data', () => resolve(true)).once('close', () => resolve(false));
  });
}

/** The same, behind an upgrade to WebSocket over this socket. */
function upgrade(socket: TLSSocket, port: number): Promise<boolean> {
  const ws = new WebSocket(`wss://127.0.0.1:${port}/mqtt`, ['mqtt'], { createConnection: () => socket });
  return new Promise((resolve) => {
    ws.on('error', () => {});
    ws.once('message', () => resolve(true)).once('close', () => resolve(false));
  });
}

/** Certificate and key of a client, as options of `visit`. */
export function pairOf({ cert, key }: { cert: string; key: string }): ConnectionOptions {
  return { cert: readFileSync(cert), key: readFileSync(key) };
}
