/** Accepts connections so that all sockets of a door read into one buffer, lent to the core while it looks at the bytes. */
import { type Server, Socket, type SocketConstructorOpts } from 'node:net';

/** As much as libuv asks for at a time. */
const READ_BYTES_MAX = 65_536;

/** Where a socket's bytes are given; set by whoever takes the socket. */
export interface ReadSource {
  onData: (chunk: Buffer) => void;
}

/** The part of libuv's handles used here. `setNoDelay` and `setKeepAlive` are missing where the socket is not TCP. */
interface Handle {
  setNoDelay?(on: boolean): number;
  setKeepAlive?(on: boolean, seconds: number): number;
}
interface ServerHandle extends Handle {
  onconnection?(status: number, client: Handle | undefined): void;
}

/** `source` is null where the socket gives its bytes by `data` events. */
export type OnSocket = (socket: Socket, source: ReadSource | null) => void;

/**
 * Node gives every read of an accepted socket a new 64 KB buffer and takes it through the stream machinery, which is a
 * fifth of the broker's work where packets come one by one. `onread`, documented for sockets that one makes oneself,
 * avoids both; so the accepted handle is put into such a socket (docs/decisions/0009-lent-reads.md).
 */
export class LentReads {
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES_MAX);
  readonly #keepAliveSeconds: number;

  constructor(keepAliveMs: number) {
    this.#keepAliveSeconds = keepAliveMs / 1000;
  }

  /** Gives the sockets that a listening `server` accepts to `onSocket`. A Node that keeps its handle elsewhere goes the ordinary way. */
  accept(server: Server, onSocket: OnSocket): void {
    const handle = (server as unknown as { _handle?: ServerHandle })._handle;
    const ordinary = handle?.onconnection;
    if (handle === undefined || ordinary === undefined) {
      server.on('connection', (socket: Socket) => onSocket(socket, null));
      return;
    }
    // Linux gives these to every socket that is accepted, which spares five system calls a connect.
    const inherited = process.platform === 'linux';
    if (inherited) this.#setOptions(handle);
    handle.onconnection = (status, client) => {
      if (status !== 0 || client === undefined) {
        ordinary.call(handle, status, client);
        return;
      }
      if (!inherited) this.#setOptions(client);
      this.#open(client, onSocket);
    };
  }

  #setOptions(handle: Handle): void {
    handle.setNoDelay?.(true);
    handle.setKeepAlive?.(true, this.#keepAliveSeconds);
  }

  #open(client: Handle, onSocket: OnSocket): void {
    const source: ReadSource = { onData() {} };
    const buffer = this.#buffer;
    const callback = (bytes: number): boolean => {
      source.onData(bytes === READ_BYTES_MAX ? buffer : buffer.subarray(0, bytes));
      return true;
    };
    const options = { handle: client, allowHalfOpen: false, onread: { buffer, callback } };
    // The types know only some of what `handle` may be.
    onSocket(new Socket(options as unknown as SocketConstructorOpts), source);
  }
}
