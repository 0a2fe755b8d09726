/** Listening, and closing with a grace period: shared by every door that stands on a `node:net` server. */
import type { AddressInfo, ListenOptions, Server, Socket } from 'node:net';
import { listenFault, type OnError } from './listen-url.ts';

/** TCP probes an idle connection after this: the only way to notice a vanished peer that asked for keep alive 0. */
export const TCP_KEEP_ALIVE_MS = 60_000;

/** What carries a wire and can be closed at once. */
interface WireHolder {
  destroy(): void;
}

/** A `net.Server` (or one of its kin: tls, http, https) whose sockets are all known, so that it can be closed for good. */
export class SocketServer {
  readonly #server: Server;
  readonly #url: string;
  readonly #onError: OnError | undefined;
  /** Every accepted socket, handshaking or idle ones included. */
  readonly #sockets: Set<Socket>;
  /** Those that carry a wire. */
  readonly #wireHolders: Set<WireHolder>;
  #onWiresGone: (() => void) | undefined;

  constructor(server: Server, url: string, onError: OnError | undefined) {
    this.#server = server;
    this.#url = url;
    this.#onError = onError;
    this.#sockets = new Set();
    this.#wireHolders = new Set();
    this.#onWiresGone = undefined;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  /**
   * Binds. Resolves with the port (0 on a path). Rejects with a ConfigError that names the URL. `onListening` is called
   * before the first connection is accepted.
   */
  listen(options: ListenOptions, onListening?: () => void): Promise<number> {
    return new Promise((resolve, reject) => {
      const refused = (error: Error) => reject(listenFault(this.#url, error));
      this.#server.once('error', refused);
      this.#server.listen(options, () => {
        this.#server.off('error', refused);
        onListening?.();
        // From here on an error is a failed accept, such as EMFILE: report it, and go on accepting.
        this.#server.on('error', (error) => this.#onError?.(error));
        const address = this.#server.address() as AddressInfo | string;
        resolve(typeof address === 'string' ? 0 : address.port);
      });
    });
  }

  /** Counts `socket` as a wire that `close` must wait for. */
  hold(socket: Socket): void {
    this.keep(socket);
    socket.on('close', () => this.release(socket));
  }

  /** Counts a wire that `close` must wait for, until `release`. */
  keep(wire: WireHolder): void {
    this.#wireHolders.add(wire);
  }

  release(wire: WireHolder): void {
    this.#wireHolders.delete(wire);
    if (this.#wireHolders.size === 0) this.#onWiresGone?.();
  }

  /** Stops accepting, waits up to `graceMs` for the wires to end, destroys what is left. Resolves when nothing is left. */
  async close(graceMs: number): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    await this.#wiresGone(graceMs);
    for (const socket of this.#sockets) socket.destroy();
    for (const wire of this.#wireHolders) wire.destroy();
    await closed;
    if (this.#wireHolders.size > 0) await this.#wiresGone(graceMs);
  }

  #wiresGone(graceMs: number): Promise<void> {
    if (this.#wireHolders.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#onWiresGone = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** A peer's address as text; an IPv4 peer of an IPv6 listener is shown, and limited, as the IPv4 address it is. */
export function plainAddress(address = ''): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}
