/** One connection to a broker, as bytes: a socket, or a wire in this process. */
import net from 'node:net';
import type { MemoryClient } from '../../../transports/memory.ts';

export interface Link {
  write(bytes: Uint8Array): void;
  /** Closes it after what was written. */
  end(): void;
  /** Breaks it. */
  abort(): void;
  /** Hears each chunk and, once, the end. Nothing comes after it. */
  listen(data: (chunk: Buffer) => void, closed: () => void): void;
}

/** Connects to a TCP port of this machine. Rejects when nobody listens. */
export function dialSocket(port: number): Promise<Link> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      // A broker that was killed resets its connections; the close that follows says so too.
      socket.on('error', () => {});
      resolve({
        write: (bytes) => void socket.write(bytes),
        end: () => void socket.end(),
        abort: () => void socket.destroy(),
        listen: (data, closed) => {
          socket.on('data', data);
          socket.once('close', closed);
        },
      });
    });
  });
}

/** A link over the memory transport. */
export function memoryLink(wire: MemoryClient): Link {
  return {
    write: (bytes) => void wire.write(bytes),
    end: () => wire.end(),
    abort: () => wire.abort(),
    listen: (data, closed) => {
      wire.onData(data);
      wire.onClosed(() => closed());
    },
  };
}
