/** The TLS door: `mqtts://`. */
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { ConfigError } from '../src/errors.ts';
import type { Address, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import {
  BACKLOG_DEFAULT,
  formatListenUrl,
  type ListenUrl,
  type OnError,
  parseListenUrl,
} from './listen-url.ts';
import { plainAddress, SocketServer, TCP_KEEP_ALIVE_MS } from './socket-server.ts';
import { SocketWire } from './socket-wire.ts';
import { loadTls, type TlsOptions } from './tls-options.ts';

export const TLS_PORTS = { mqtts: 8883 } as const;

export interface TlsTransportOptions {
  /** `mqtts://host[:port]`; IPv6 in brackets; port 0 for an ephemeral one. */
  readonly url: string;
  readonly tls: TlsOptions;
  /** Connections the kernel may hold before they are accepted. */
  readonly backlog?: number | undefined;
  /** Also hears of failed handshakes. */
  readonly onError?: OnError | undefined;
}

/** Accepts TLS connections. */
export class TlsTransport implements Transport {
  readonly #options: TlsTransportOptions;
  readonly #listen: ListenUrl;
  #server: SocketServer | undefined;
  #tls: Server | undefined;

  /** @throws ConfigError when the URL cannot be used */
  constructor(options: TlsTransportOptions) {
    this.#options = options;
    this.#listen = parseListenUrl(options.url, TLS_PORTS);
    if (this.#listen.path !== '' && this.#listen.path !== '/') {
      throw new ConfigError(options.url, 'a TLS listener has no path', 'Remove what follows the port');
    }
  }

  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const { url, onError, backlog } = this.#options;
    const server = createServer({
      ...loadTls(url, this.#options.tls),
      allowHalfOpen: false,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    });
    const sockets = new SocketServer(server, url, onError);
    server.on('secureConnection', (socket: TLSSocket) => {
      sockets.hold(socket);
      const peer = {
        door: url,
        address: plainAddress(socket.remoteAddress),
        port: socket.remotePort ?? 0,
        secure: true,
      };
      SocketWire.open(socket, peer, accept, onError);
    });
    server.on('tlsClientError', (error, socket) => {
      onError?.(error, plainAddress(socket.remoteAddress));
      // Node leaves the socket open when it was the handshake's deadline that failed.
      socket.destroy();
    });
    const { host, port } = this.#listen;
    const bound = await sockets.listen({ host, port, backlog: backlog ?? BACKLOG_DEFAULT });
    this.#server = sockets;
    this.#tls = server;
    return { url: formatListenUrl(this.#listen, bound), port: bound };
  }

  /**
   * Reads the files again for connections to come; those that are open stay.
   * @throws ConfigError when the new files cannot be used: the old ones stay in force
   */
  reload(): void {
    this.#tls?.setSecureContext(loadTls(this.#options.url, this.#options.tls));
  }

  async close(graceMs: number): Promise<void> {
    await this.#server?.close(graceMs);
  }
}
