/** A RawClient over any stream socket. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { RawClient } from '../contract/transport.ts';

/** Resolves when `ready` is raised; rejects when the connection fails first. */
export function socketClient(
  socket: Socket | TLSSocket,
  ready: 'connect' | 'secureConnect',
): Promise<RawClient> {
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.once(ready, () => resolve(rawClient(socket)));
  });
}

function rawClient(socket: Socket): RawClient {
  return {
    write: (bytes) => socket.write(bytes),
    get unsentBytes() {
      return socket.writableLength;
    },
    onData: (listener) => socket.on('data', listener),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    end: () => socket.end(),
    abort: () => {
      // Neither a pipe nor TLS can send a reset.
      if (socket.remoteFamily === undefined || 'encrypted' in socket) socket.destroy();
      else socket.resetAndDestroy();
    },
    onClosed: (listener) => (socket.closed ? listener() : socket.once('close', listener)),
  };
}
