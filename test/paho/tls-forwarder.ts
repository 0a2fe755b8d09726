/** A plain door in front of a TLS door, for test suites that cannot speak TLS. */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface Forwarder {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Listens on a free loopback port; each connection is carried to `port` over TLS and verified against `ca` (PEM).
 * An end or a break at one side ends the other. Rejects when the TLS door cannot be reached or trusted.
 */
export async function startTlsForwarder(port: number, ca: string): Promise<Forwarder> {
  await shakeHands(port, ca);
  const open = new Set<Socket>();
  const server = createServer((plain) => {
    const secure = connectTls({ host: '127.0.0.1', port, ca, servername: 'localhost' });
    for (const [side, other] of [
      [plain, secure],
      [secure, plain],
    ]) {
      open.add(side);
      side.setNoDelay(true);
      side.pipe(other);
      side.on('error', () => other.destroy());
      side.on('close', () => {
        open.delete(side);
        other.end();
      });
    }
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      resolve({ port: (server.address() as AddressInfo).port, close: () => closeAll(server, open) });
    });
  });
}

/** One connection ahead of the others: it finds faults, and the suite's short timeouts do not meet the slow first one. */
function shakeHands(port: number, ca: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port, ca, servername: 'localhost' });
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      socket.destroy();
      resolve();
    });
  });
}

function closeAll(server: Server, open: ReadonlySet<Socket>): Promise<void> {
  for (const socket of open) socket.destroy();
  return new Promise((resolve) => server.close(() => resolve()));
}
