/** The WebSocket doors: `ws://` and `wss://`, MQTT 5 section 6. */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type ServerOptions, WebSocketServer } from 'ws';
import { ConfigError } from '../src/errors.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { Address, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { DEFAULT_LIMITS, END_TIMEOUT_MS } from '../src/limits.ts';
import { Arrival, type ArrivalOptions, Arrivals, guard } from './arrival.ts';
import {
  BACKLOG_DEFAULT,
  formatListenUrl,
  type ListenUrl,
  type OnError,
  parseListenUrl,
} from './listen-url.ts';
import { OriginRule } from './origin.ts';
import { SocketServer, TCP_KEEP_ALIVE_MS } from './socket-server.ts';
import { abortSocket } from './socket-wire.ts';
import type { TlsOptions } from './tls/tls-options.ts';
import { ServerTls } from './tls/tls-server.ts';
import { WebSocketWire } from './websocket-wire.ts';

export const WEBSOCKET_PORTS = { ws: 8083, wss: 8084 } as const;
export const WEBSOCKET_PATH_DEFAULT = '/mqtt';

/** Best first; both mean the same bytes. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'] as const;

/** A fixed header: one byte and a length of at most four. */
const FIXED_HEADER_BYTES_MAX = 5;
/** The request line and headers of an upgrade; browsers with many cookies stay below. */
const HEADER_BYTES_MAX = 16_384;
const HEADERS_MAX = 100;
/** From accept to the end of the headers; the CONNECT deadline runs in the core from the upgrade on. */
const HEADERS_TIMEOUT_MS = 10_000;
const HEADERS_CHECK_MS = 2_000;
/** Fragments of one message: at least this many, or one for each KB of the largest frame. */
const FRAGMENTS_MIN = 1_024;
const FRAGMENT_BYTES_MIN = 1_024;
/** Socket reads that one frame may be spread over: at least this many, or one for each 512 bytes of the largest frame. */
const CHUNKS_MIN = 16_384;
const CHUNK_BYTES_MIN = 512;

/** `X-Forwarded-For` is believed of `trustedProxies`, also without `proxyProtocol`. */
export interface WebSocketOptions extends ArrivalOptions {
  /** `ws://host[:port][/path]` or `wss://…`; the path defaults to `/mqtt`. */
  readonly url: string;
  /** Needed by `wss`, refused by `ws`. */
  readonly tls?: TlsOptions | undefined;
  /** Exact origins, or `*`. Default: pages from the same host name, on any port. */
  readonly origins?: readonly string[] | undefined;
  /** Largest message, in bytes. Default: a packet of the default `packetBytesMax` with its header. */
  readonly frameBytesMax?: number | undefined;
  /** Of a message that is not whole yet, from who has not logged in, in bytes. Without it: `frameBytesMax`. */
  readonly strangerBytesMax?: number | undefined;
  /** Connections the kernel may hold before they are accepted. */
  readonly backlog?: number | undefined;
  /** Also hears of failed handshakes. */
  readonly onError?: OnError | undefined;
  /** Hears of certificates: loaded, refused, about to expire. */
  readonly log?: Log | undefined;
  /** For the dates of certificates. */
  readonly clock?: Clock | undefined;
}

/** For ALPN: an upgrade to WebSocket is a matter of HTTP/1.1 here (RFC 8441 would be another). */
const PROTOCOLS = ['http/1.1'];

/** Accepts WebSocket upgrades on one path of an HTTP server of its own. */
export class WebSocketTransport implements Transport {
  readonly #options: WebSocketOptions;
  readonly #listen: ListenUrl;
  readonly #origins: OriginRule;
  readonly #arrivals: Arrivals;
  /** Null for `ws`. */
  readonly #tls: ServerTls | null;
  #server: SocketServer | undefined;

  /** @throws ConfigError when the URL, the origins or the presence of `tls` cannot be right */
  constructor(options: WebSocketOptions) {
    const { url, tls, origins } = options;
    const listen = parseListenUrl(url, WEBSOCKET_PORTS);
    if (listen.scheme === 'wss' && tls === undefined) {
      throw new ConfigError(
        `${url} tls`,
        'it is missing',
        'Give cert and key, or use ws:// for a door without TLS',
      );
    }
    if (listen.scheme === 'ws' && tls !== undefined) {
      throw new ConfigError(`${url} tls`, 'a ws:// door does not encrypt', 'Use wss://, or remove tls');
    }
    this.#options = options;
    this.#listen = { ...listen, path: listen.path === '' ? WEBSOCKET_PATH_DEFAULT : listen.path };
    this.#origins = new OriginRule(url, origins);
    this.#arrivals = new Arrivals(url, options, options.onError);
    this.#tls = tls === undefined ? null : new ServerTls({ ...options, tls, protocols: PROTOCOLS });
  }

  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const { url, onError, backlog, strangerBytesMax } = this.#options;
    const server = this.#createServer();
    guard(server, this.#arrivals, this.#tls?.handshakeTimeoutMs ?? 0);
    const sockets = new SocketServer(server, url, onError);
    const upgrader = createUpgrader(this.#options.frameBytesMax);
    const answer = (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response);
    server.on('request', answer);
    // Else Node would ask for the body.
    server.on('checkContinue', answer);
    server.on('checkExpectation', answer);
    server.on('upgrade', (request, stream, head) => {
      const socket = stream as Socket;
      const arrival = Arrival.of(socket);
      if (arrival === undefined) {
        socket.destroy();
        return;
      }
      socket.on('error', (error) => {
        if (!arrival.isEvicted) onError?.(error, arrival.address);
      });
      if (!this.#admits(request, socket, arrival)) return;
      upgrader.handleUpgrade(request, socket, head, (ws) => {
        sockets.hold(socket);
        const { origin } = request.headers;
        const username = this.#tls?.usernameOf(socket);
        const peer = {
          ...arrival.peer(url, this.#listen.scheme === 'wss'),
          ...(username === undefined ? {} : { username }),
          ...(origin === undefined ? {} : { origin }),
        };
        WebSocketWire.open(ws, socket, peer, accept, onError, arrival, strangerBytesMax);
      });
    });
    const { host, port } = this.#listen;
    const bound = await sockets.listen({ host, port, backlog: backlog ?? BACKLOG_DEFAULT });
    this.#server = sockets;
    this.#tls?.start();
    return { url: formatListenUrl(this.#listen, bound), port: bound };
  }

  /**
   * Reads the files of `tls` again for connections to come; those that are open stay.
   * @throws ConfigError when the new files cannot be used: the old ones stay in force
   */
  reload(): void {
    this.#tls?.reload();
  }

  async close(graceMs: number): Promise<void> {
    this.#tls?.stop();
    await this.#server?.close(graceMs);
  }

  #createServer(): Server {
    const tls = this.#tls;
    const http = {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: HEADERS_CHECK_MS,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    };
    const server: Server =
      tls === null ? createHttpServer(http) : createHttpsServer({ ...tls.load(), ...http });
    server.maxHeadersCount = HEADERS_MAX;
    // One request to a socket: what is asked for here is the upgrade.
    server.maxRequestsPerSocket = 1;
    if (tls === null) return server;
    tls.attach(server as HttpsServer);
    // HTTP's own listener: it gets only those whose certificate holds up.
    const [http1] = server.listeners('secureConnection');
    server.removeAllListeners('secureConnection');
    server.on('secureConnection', (socket: TLSSocket) => {
      const arrival = Arrival.of(socket);
      if (arrival === undefined) socket.destroy();
      else if (tls.admit(socket, arrival.address) !== null) http1.call(server, socket);
    });
    server.on('tlsClientError', (error: Error, socket: Socket) => {
      this.#arrivals.handshakeFailed(error, socket);
    });
    return server;
  }

  /** Answers what is not an upgrade, and says nothing of who answers. A body is not waited for. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    const known = pathOf(request) === this.#listen.path;
    const status = hasBody(request) ? 413 : known ? 426 : 404;
    response.writeHead(status, {
      Connection: status === 426 ? 'close, Upgrade' : 'close',
      'Content-Length': 0,
      ...(status === 426 ? { Upgrade: 'websocket' } : {}),
    });
    response.end();
  }

  /** Whether an upgrade may go on; else it has its answer. */
  #admits(request: IncomingMessage, socket: Socket, arrival: Arrival): boolean {
    const { origin, host, 'x-forwarded-for': forwarded } = request.headers;
    // Node has joined several of that name.
    if (!this.#arrivals.forwarded(arrival, forwarded as string | undefined)) {
      abortSocket(socket);
      return false;
    }
    const refusal = this.#refusal(request);
    if (refusal === undefined) return true;
    const [status] = refusal.split('\r\n');
    // Without the query, which is where pages put tokens.
    const asked = `path ${pathOf(request)}, origin ${origin ?? 'none'}, host ${host ?? 'none'}`;
    const error = new Error(`WebSocket upgrade refused with ${status} (${asked})`);
    this.#options.onError?.(error, arrival.address);
    refuse(socket, refusal);
    return false;
  }

  /** The status line an upgrade is refused with, or undefined. */
  #refusal(request: IncomingMessage): string | undefined {
    const { headers } = request;
    // Node drops those above the bound; the proxy's, or the Origin, may be among them.
    if (request.rawHeaders.length > HEADERS_MAX * 2) return '431 Request Header Fields Too Large';
    if (hasBody(request)) return '413 Content Too Large';
    if (pathOf(request) !== this.#listen.path) return '404 Not Found';
    // Version 8, which `ws` would take, carries its origin in another header.
    if (headers['sec-websocket-version'] !== '13') return '426 Upgrade Required\r\nSec-WebSocket-Version: 13';
    if (!this.#origins.allows(headers.origin, headers.host)) return '403 Forbidden';
    // [MQTT-6.0.0-3]
    const offered = new Set(headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()));
    return chooseSubprotocol(offered) === false ? '400 Bad Request' : undefined;
  }
}

/** The part of `ws` that completes a handshake and makes the connection. */
function createUpgrader(
  frameBytesMax = DEFAULT_LIMITS.packetBytesMax + FIXED_HEADER_BYTES_MAX,
): WebSocketServer {
  const options: ServerOptions & UntypedOptions = {
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: frameBytesMax,
    maxFragments: Math.max(FRAGMENTS_MIN, Math.ceil(frameBytesMax / FRAGMENT_BYTES_MIN)),
    maxBufferedChunks: Math.max(CHUNKS_MIN, Math.ceil(frameBytesMax / CHUNK_BYTES_MIN)),
    closeTimeout: END_TIMEOUT_MS,
    handleProtocols: chooseSubprotocol,
  };
  return new WebSocketServer(options);
}

/** What `ws` 8.23 knows and its type package does not yet. */
interface UntypedOptions {
  maxFragments: number;
  maxBufferedChunks: number;
  closeTimeout: number;
}

/** [MQTT-6.0.0-4] */
function chooseSubprotocol(offered: ReadonlySet<string>): string | false {
  return SUBPROTOCOLS.find((name) => offered.has(name)) ?? false;
}

function pathOf(request: IncomingMessage): string {
  return request.url?.split('?', 1)[0] ?? '';
}

/** Whether the headers announce a body. */
function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers['content-length'];
  return headers['transfer-encoding'] !== undefined || (length !== undefined && Number(length) !== 0);
}

/** Answers an upgrade with an error and ends the connection. */
function refuse(socket: Socket, status: string): void {
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
