/** The TCP door: `mqtt://`. */
import { createServer } from 'node:net';
import { ConfigError } from '../src/errors.ts';
import type { Address, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { type ArrivalOptions, Arrivals } from './arrival.ts';
import { acceptWires } from './handle-door.ts';
import {
  BACKLOG_DEFAULT,
  formatListenUrl,
  type ListenUrl,
  type OnError,
  parseListenUrl,
} from './listen-url.ts';
import { SocketServer, TCP_KEEP_ALIVE_MS } from './socket-server.ts';

export const TCP_PORTS = { mqtt: 1883 } as const;

export interface TcpOptions extends ArrivalOptions {
  /** `mqtt://host[:port]`; IPv6 in brackets; port 0 for an ephemeral one. */
  readonly url: string;
  /** Connections the kernel may hold before they are accepted. */
  readonly backlog?: number | undefined;
  readonly onError?: OnError | undefined;
}

/** Accepts plain TCP connections. */
export class TcpTransport implements Transport {
  readonly #options: TcpOptions;
  readonly #listen: ListenUrl;
  readonly #arrivals: Arrivals;
  #server: SocketServer | undefined;

  /** @throws ConfigError when the URL or the proxies cannot be used */
  constructor(options: TcpOptions) {
    this.#options = options;
    this.#listen = parseListenUrl(options.url, TCP_PORTS);
    if (this.#listen.path !== '' && this.#listen.path !== '/') {
      throw new ConfigError(options.url, 'a TCP listener has no path', 'Remove what follows the port');
    }
    this.#arrivals = new Arrivals(options.url, options, options.onError);
  }

  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const { url, onError, backlog } = this.#options;
    const server = createServer({
      allowHalfOpen: false,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    });
    const sockets = new SocketServer(server, url, onError);
    const { host, port } = this.#listen;
    const bound = await sockets.listen({ host, port, backlog: backlog ?? BACKLOG_DEFAULT }, () => {
      const peer = (address: string, port: number) => ({ door: url, address, port, secure: false });
      acceptWires(server, { sockets, arrivals: this.#arrivals, accept, onError, peer });
    });
    this.#server = sockets;
    return { url: formatListenUrl(this.#listen, bound), port: bound };
  }

  async close(graceMs: number): Promise<void> {
    await this.#server?.close(graceMs);
  }
}
