/** Reads of all sockets of a door into one buffer, lent to the core while it looks at the bytes. */
import { Socket, type SocketConstructorOpts } from 'node:net';

/** As much as libuv asks for at a time. */
const READ_BYTES_MAX = 65_536;

/** Where a socket's bytes are given; set by whoever takes the socket. */
export interface ReadSource {
  onData: (chunk: Buffer) => void;
}

/**
 * Node gives every read of an accepted socket a new 64 KB buffer and takes it through the stream machinery, which is a
 * fifth of the broker's work where packets come one by one. `onread`, documented for sockets that one makes oneself, avoids both;
 * the accepted handle is put into such a socket.
 */
export class LentReads {
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES_MAX);

  /**
   * Replaces a socket that was accepted with `pauseOnConnect`. Where Node keeps its handle elsewhere than it has since
   * version 0.10, the socket itself is returned without a source, to be read by its `data` events.
   */
  adopt(accepted: Socket): { socket: Socket; source: ReadSource | null } {
    const holder = accepted as unknown as { _handle: object | null };
    const handle = holder._handle;
    if (handle === null || handle === undefined) {
      accepted.resume();
      return { socket: accepted, source: null };
    }
    holder._handle = null;
    const source: ReadSource = { onData() {} };
    const buffer = this.#buffer;
    const options = {
      handle,
      allowHalfOpen: false,
      onread: {
        buffer,
        callback: (bytes: number): boolean => {
          source.onData(bytes === READ_BYTES_MAX ? buffer : buffer.subarray(0, bytes));
          return true;
        },
      },
    };
    // The types know only part of what `handle` may be.
    const socket = new Socket(options as unknown as SocketConstructorOpts);
    // Without its handle it closes nothing but the server's count of it.
    accepted.destroy();
    return { socket, source };
  }
}
