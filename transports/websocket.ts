/** The WebSocket doors: `ws://` and `wss://`, MQTT 5 section 6. */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { type ServerOptions, WebSocketServer } from 'ws';
import { ConfigError } from '../src/errors.ts';
import type { Address, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { DEFAULT_LIMITS, END_TIMEOUT_MS } from '../src/limits.ts';
import {
  BACKLOG_DEFAULT,
  formatListenUrl,
  type ListenUrl,
  type OnError,
  parseListenUrl,
} from './listen-url.ts';
import { OriginRule } from './origin.ts';
import { plainAddress, SocketServer, TCP_KEEP_ALIVE_MS } from './socket-server.ts';
import { loadTls, type TlsOptions } from './tls-options.ts';
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

export interface WebSocketOptions {
  /** `ws://host[:port][/path]` or `wss://…`; the path defaults to `/mqtt`. */
  readonly url: string;
  /** Needed by `wss`, refused by `ws`. */
  readonly tls?: TlsOptions | undefined;
  /** Exact origins, or `*`. Default: pages from the same host name, on any port. */
  readonly origins?: readonly string[] | undefined;
  /** Largest message, in bytes. Default: a packet of the default `packetBytesMax` with its header. */
  readonly frameBytesMax?: number | undefined;
  /** Connections the kernel may hold before they are accepted. */
  readonly backlog?: number | undefined;
  /** Also hears of failed handshakes. */
  readonly onError?: OnError | undefined;
}

/** Accepts WebSocket upgrades on one path of an HTTP server of its own. */
export class WebSocketTransport implements Transport {
  readonly #options: WebSocketOptions;
  readonly #listen: ListenUrl;
  readonly #origins: OriginRule;
  #server: SocketServer | undefined;
  #https: HttpsServer | undefined;

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
  }

  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const { url, onError, backlog } = this.#options;
    const server = this.#createServer();
    const sockets = new SocketServer(server, url, onError);
    const upgrader = createUpgrader(this.#options.frameBytesMax);
    server.on('request', (request, response) => this.#answer(request, response));
    server.on('upgrade', (request, stream, head) => {
      const socket = stream as Socket;
      const address = plainAddress(socket.remoteAddress);
      socket.on('error', (error) => onError?.(error, address));
      const refusal = this.#refusal(request);
      if (refusal !== undefined) {
        const { origin, host } = request.headers;
        const [status] = refusal.split('\r\n');
        const asked = `path ${request.url}, origin ${origin ?? 'none'}, host ${host ?? 'none'}`;
        onError?.(new Error(`WebSocket upgrade refused with ${status} (${asked})`), address);
        refuse(socket, refusal);
        return;
      }
      upgrader.handleUpgrade(request, socket, head, (ws) => {
        sockets.hold(socket);
        const peer = {
          door: url,
          address,
          port: socket.remotePort ?? 0,
          secure: this.#listen.scheme === 'wss',
        };
        WebSocketWire.open(ws, socket, peer, accept, onError);
      });
    });
    const { host, port } = this.#listen;
    const bound = await sockets.listen({ host, port, backlog: backlog ?? BACKLOG_DEFAULT });
    this.#server = sockets;
    return { url: formatListenUrl(this.#listen, bound), port: bound };
  }

  /**
   * Reads the files of `tls` again for connections to come; those that are open stay.
   * @throws ConfigError when the new files cannot be used: the old ones stay in force
   */
  reload(): void {
    if (this.#options.tls === undefined) return;
    this.#https?.setSecureContext(loadTls(this.#options.url, this.#options.tls));
  }

  async close(graceMs: number): Promise<void> {
    await this.#server?.close(graceMs);
  }

  #createServer(): Server {
    const { url, tls, onError } = this.#options;
    const http = {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: HEADERS_CHECK_MS,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    };
    const server =
      tls === undefined ? createHttpServer(http) : createHttpsServer({ ...loadTls(url, tls), ...http });
    server.maxHeadersCount = HEADERS_MAX;
    if (tls === undefined) return server;
    this.#https = server as HttpsServer;
    server.on('tlsClientError', (error: Error, socket: Socket) => {
      onError?.(error, plainAddress(socket.remoteAddress));
      // Node leaves the socket open when it was the handshake's deadline that failed.
      socket.destroy();
    });
    return server;
  }

  /** Answers what is not an upgrade, and says nothing of who answers. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    const known = pathOf(request) === this.#listen.path;
    response.writeHead(known ? 426 : 404, {
      Connection: known ? 'close, Upgrade' : 'close',
      'Content-Length': 0,
      ...(known ? { Upgrade: 'websocket' } : {}),
    });
    response.end();
  }

  /** The status line an upgrade is refused with, or undefined. */
  #refusal(request: IncomingMessage): string | undefined {
    const { headers } = request;
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

/** Answers an upgrade with an error and ends the connection. */
function refuse(socket: Socket, status: string): void {
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
