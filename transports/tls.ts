/** The TLS door: `mqtts://`. */
import { createServer, type TLSSocket } from 'node:tls';
import { ConfigError } from '../src/errors.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { Address, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { Arrival, type ArrivalOptions, Arrivals, guard } from './arrival.ts';
import {
  BACKLOG_DEFAULT,
  formatListenUrl,
  type ListenUrl,
  type OnError,
  parseListenUrl,
} from './listen-url.ts';
import { SocketServer, TCP_KEEP_ALIVE_MS } from './socket-server.ts';
import { SocketWire } from './socket-wire.ts';
import type { TlsOptions } from './tls/tls-options.ts';
import { ServerTls } from './tls/tls-server.ts';

export const TLS_PORTS = { mqtts: 8883 } as const;

export interface TlsTransportOptions extends ArrivalOptions {
  /** `mqtts://host[:port]`; IPv6 in brackets; port 0 for an ephemeral one. */
  readonly url: string;
  readonly tls: TlsOptions;
  /** Connections the kernel may hold before they are accepted. */
  readonly backlog?: number | undefined;
  /** Also hears of failed handshakes. */
  readonly onError?: OnError | undefined;
  /** Hears of certificates: loaded, refused, about to expire. */
  readonly log?: Log | undefined;
  /** For the dates of certificates. */
  readonly clock?: Clock | undefined;
}

/** As registered for ALPN. */
const PROTOCOLS = ['mqtt'];

/** Accepts TLS connections. */
export class TlsTransport implements Transport {
  readonly #options: TlsTransportOptions;
  readonly #listen: ListenUrl;
  readonly #arrivals: Arrivals;
  readonly #tls: ServerTls;
  #server: SocketServer | undefined;

  /** @throws ConfigError when the URL cannot be used */
  constructor(options: TlsTransportOptions) {
    this.#options = options;
    this.#listen = parseListenUrl(options.url, TLS_PORTS);
    if (this.#listen.path !== '' && this.#listen.path !== '/') {
      throw new ConfigError(options.url, 'a TLS listener has no path', 'Remove what follows the port');
    }
    this.#arrivals = new Arrivals(options.url, options, options.onError);
    this.#tls = new ServerTls({ ...options, protocols: PROTOCOLS });
  }

  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const { url, onError, backlog } = this.#options;
    const server = createServer({
      ...this.#tls.load(),
      allowHalfOpen: false,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    });
    this.#tls.attach(server);
    guard(server, this.#arrivals, this.#tls.handshakeTimeoutMs);
    const sockets = new SocketServer(server, url, onError);
    server.on('secureConnection', (socket: TLSSocket) => {
      const arrival = Arrival.of(socket);
      if (arrival === undefined) {
        socket.destroy();
        return;
      }
      const client = this.#tls.admit(socket, arrival.address);
      if (client === null) return;
      sockets.hold(socket);
      const { username } = client;
      const peer = { ...arrival.peer(url, true), ...(username === undefined ? {} : { username }) };
      SocketWire.open(socket, peer, accept, onError, arrival);
    });
    server.on('tlsClientError', (error, socket) => this.#arrivals.handshakeFailed(error, socket));
    const { host, port } = this.#listen;
    const bound = await sockets.listen({ host, port, backlog: backlog ?? BACKLOG_DEFAULT });
    this.#server = sockets;
    this.#tls.start();
    return { url: formatListenUrl(this.#listen, bound), port: bound };
  }

  /**
   * Reads the files again for connections to come; those that are open stay.
   * @throws ConfigError when the new files cannot be used: the old ones stay in force
   */
  reload(): void {
    this.#tls.reload();
  }

  async close(graceMs: number): Promise<void> {
    this.#tls.stop();
    await this.#server?.close(graceMs);
  }
}
