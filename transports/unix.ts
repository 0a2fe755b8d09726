/** The unix socket door: `unix:///path`. */
import { chmod, lstat, stat, unlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { dirname } from 'node:path';
import { ConfigError } from '../src/errors.ts';
import type { Doorkeeper } from '../src/interfaces/doorkeeper.ts';
import type { Address, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { Arrivals } from './arrival.ts';
import { acceptWires } from './handle-door.ts';
import { BACKLOG_DEFAULT, type OnError } from './listen-url.ts';
import { SocketServer } from './socket-server.ts';

/** What `sockaddr_un` holds on the narrowest system we run on (macOS: 104 with the final NUL). */
const PATH_BYTES_MAX = 103;

export interface UnixOptions {
  /** `unix:///absolute/path`. */
  readonly url: string;
  /** Permissions of the socket file, octal. Default `0660`. */
  readonly mode?: string | undefined;
  /** Connections the kernel may hold before they are accepted. */
  readonly backlog?: number | undefined;
  /** Without one everybody may knock. */
  readonly doorkeeper?: Doorkeeper | undefined;
  readonly onError?: OnError | undefined;
}

/** Accepts connections on a socket file. */
export class UnixTransport implements Transport {
  readonly #options: UnixOptions;
  readonly #path: string;
  readonly #mode: number;
  #server: SocketServer | undefined;

  /** @throws ConfigError when the URL or the mode cannot be used */
  constructor(options: UnixOptions) {
    this.#options = options;
    this.#path = parsePath(options.url);
    this.#mode = parseMode(options.url, options.mode ?? '0660');
  }

  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const { url, onError, backlog, doorkeeper } = this.#options;
    const arrivals = new Arrivals(url, { doorkeeper }, onError);
    const path = this.#path;
    await checkFolder(url, dirname(path));
    await removeStale(url, path);
    const server = createServer({ allowHalfOpen: false });
    const sockets = new SocketServer(server, url, onError);
    const peer = { door: url, address: path, port: 0, secure: false };
    await sockets.listen({ path, backlog: backlog ?? BACKLOG_DEFAULT }, () => {
      acceptWires(server, { sockets, arrivals, accept, onError, peer: () => peer });
    });
    this.#server = sockets;
    // Until here the umask decides; the usual ones (022, 027, 077) are narrower than any mode one would ask for.
    await chmod(path, this.#mode);
    return { url, port: 0 };
  }

  /** Also removes the socket file: Node does so when the server closes. */
  async close(graceMs: number): Promise<void> {
    await this.#server?.close(graceMs);
  }
}

function parsePath(url: string): string {
  const remedy = 'Write it like unix:///run/sluice/mqtt.sock';
  if (!url.startsWith('unix:///'))
    throw new ConfigError(url, 'it is not unix: with an absolute path', remedy);
  const path = url.slice('unix://'.length);
  if (path.endsWith('/') || path.includes('\0')) {
    throw new ConfigError(url, 'the path does not name a file', remedy);
  }
  const bytes = Buffer.byteLength(path);
  if (bytes > PATH_BYTES_MAX) {
    const problem = `the path has ${bytes} bytes, and a socket's may have ${PATH_BYTES_MAX}`;
    throw new ConfigError(url, problem, 'Use a shorter path');
  }
  return path;
}

function parseMode(url: string, mode: string): number {
  if (/^0?[0-7]{3}$/.test(mode)) return Number.parseInt(mode, 8);
  throw new ConfigError(
    `${url} mode`,
    `"${mode}" is not a file mode`,
    'Give three octal digits, like "0660"',
  );
}

/** A missing folder looks to the kernel like a missing file, and its message would send people looking for that. */
async function checkFolder(url: string, folder: string): Promise<void> {
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  throw new ConfigError(url, `there is no folder ${folder}`, `Make it: "mkdir -p ${folder}"`);
}

/** Removes the file a crashed broker left. Only a socket, and only when nobody answers on it. */
async function removeStale(url: string, path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new ConfigError(
      url,
      `the path cannot be looked at (${error.message})`,
      'Correct the path or its rights',
    );
  });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new ConfigError(url, 'a file that is not a socket is in the way', 'Move it, or use another path');
  }
  const fault = await knock(path);
  if (fault === undefined) {
    throw new ConfigError(url, 'another process already listens there', 'Stop it, or use another path');
  }
  if (fault.code === 'ENOENT') return;
  if (fault.code !== 'ECONNREFUSED') {
    const problem = `a socket is in the way and cannot be tried (${fault.message})`;
    throw new ConfigError(url, problem, 'Remove it, or use another path');
  }
  await unlink(path);
}

/** Tries to connect. Undefined when somebody answers, else why not. */
function knock(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.on('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.on('error', resolve);
  });
}
