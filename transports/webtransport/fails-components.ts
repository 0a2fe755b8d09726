/**
 * The engine `@fails-components/webtransport` with its native HTTP/3 part, version 1.6.8. The package is JavaScript and comes with Sluice; the
 * native part comes from outside the registry (docs/decisions/0021-fails-components.md). What lies above that part is tested here over the
 * package's HTTP/2 server, which shares it; what the native part does was read in its source.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { plainAddress } from '../socket-server.ts';
import type {
  CloseInfo,
  Engine,
  EngineServer,
  EngineSession,
  EngineStream,
  ServeOptions,
  SessionRequest,
} from './engine.ts';

const PACKAGE = '@fails-components/webtransport';
export const NATIVE_PACKAGE = '@fails-components/webtransport-transport-http3-quiche';
const SECRET_BYTES = 32;

type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** A server of the package: that for HTTP/3, or that for HTTP/2. */
export type ServerClass = new (options: {
  readonly port: number;
  readonly host: string;
  /** Signs the address tokens of QUIC. */
  readonly secret: string;
  /** PEM. */
  readonly cert: string;
  readonly privKey: string;
}) => LibraryServer;

interface LibraryServer {
  readonly ready: Promise<unknown>;
  readonly closed: Promise<unknown>;
  address(): { readonly port: number } | null;
  createTransportInt(): Promise<void>;
  startServer(): void;
  stopServer(): void;
  setRequestCallback(callback: (request: { readonly header: Headers }) => AtOnce<Answer>): void;
  sessionStream(path: string): ReadableStream<LibrarySession>;
}

interface Answer {
  readonly path: string;
  readonly header: Headers;
  readonly status: number;
  readonly selectedProtocol?: string;
}

/** As much of a promise as the library uses of one. */
interface AtOnce<T> {
  then(use: (value: T) => void): { catch(failed: (error: unknown) => void): void };
}

interface LibrarySession {
  readonly header: Headers;
  readonly peerAddress: string;
  readonly ready: Promise<unknown>;
  readonly closed: Promise<CloseInfo>;
  readonly incomingBidirectionalStreams: ReadableStream<LibraryStream>;
  readonly incomingUnidirectionalStreams: ReadableStream<ReadableStream<Uint8Array>>;
  readonly datagrams: { readonly readable: ReadableStream<Uint8Array> };
  readonly state: string;
  close(info: CloseInfo): void;
}

interface LibraryStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  readonly readableController: LibraryController;
  readonly writableController: LibraryController;
  /** Its half below: native, or that of HTTP/2. */
  readonly objint: {
    startReading(): void;
    stopReading(): void;
  };
}

interface LibraryController {
  error(reason: Error): void;
}

/** Whether the native part is installed, and has been fetched or built for this machine. */
export function nativePart(): 'there' | 'not built' | 'not installed' {
  let home: string;
  try {
    home = path.dirname(path.dirname(fileURLToPath(import.meta.resolve(NATIVE_PACKAGE))));
  } catch {
    return 'not installed';
  }
  const builds = [`build_${process.platform}_${process.arch}`, 'build'];
  const binaries = builds.map((build) => path.join(home, build, 'Release', 'webtransport.node'));
  return binaries.some((binary) => existsSync(binary)) ? 'there' : 'not built';
}

/**
 * Loads the package and its native part.
 * @throws Error when the native part is not there, or does not run on this machine
 */
export async function loadFailsComponents(): Promise<Engine> {
  const part = nativePart();
  if (part !== 'there') throw new Error(`its native part is ${part}`);
  // First the native part: where it does not load, the package would write to the console, and go on without.
  await import(NATIVE_PACKAGE);
  const { Http3Server } = (await import(PACKAGE)) as unknown as { readonly Http3Server: ServerClass };
  return engineOver(Http3Server);
}

/** The engine over a server of the package. */
export function engineOver(Server: ServerClass): Engine {
  return { name: 'fails-components', judgesRequests: true, serve: (options) => serve(Server, options) };
}

async function serve(Server: ServerClass, options: ServeOptions): Promise<EngineServer> {
  const { host, port } = options;
  const [cert, privKey] = await Promise.all([readFile(options.cert, 'utf8'), readFile(options.key, 'utf8')]);
  const secret = randomBytes(SECRET_BYTES).toString('hex');
  const server = new Server({ port, host, secret, cert, privKey });
  server.setRequestCallback(({ header }) => atOnce(answer(header, options)));
  const sessions = server.sessionStream(options.path);
  await create(server);
  server.startServer();
  await server.ready;
  let closing = false;
  const closed = server.closed.then(
    () => new Error('the engine has stopped'),
    (error: Error) => error,
  );
  void closed.then((error) => {
    if (!closing) options.failed(error);
  });
  void accept(sessions, options);
  return {
    port: server.address()?.port ?? port,
    close: async () => {
      closing = true;
      server.stopServer();
      await closed;
    },
  };
}

/** Ahead of `startServer`, which would keep to itself what goes wrong here, such as a key of another certificate, and never be ready. */
async function create(server: LibraryServer): Promise<void> {
  try {
    await server.createTransportInt();
  } catch (error) {
    // The message says that there is a problem, the stack which.
    const { message, stack = message } = error as Error;
    throw new Error(stack.split('\n', 1)[0].replace(/^\w*Error: /, ''), { cause: error });
  }
}

/**
 * What the library takes for a promise, and gets its answer from before it returns. It must: between its question and the turn of a real
 * promise the client may reset the request, and the native part then reads from memory that it has freed.
 */
function atOnce<T>(value: T): AtOnce<T> {
  return {
    // biome-ignore lint/suspicious/noThenProperty: see AtOnce.
    then(use) {
      try {
        use(value);
      } catch (error) {
        return { catch: (failed) => failed(error) };
      }
      return { catch() {} };
    },
  };
}

function answer(header: Headers, options: ServeOptions): Answer {
  const status = options.judge(requestOf(header, ''));
  const offered = header['wt-available-protocols'];
  // An array where it could be read, else the header as it came.
  const selectedProtocol = options.protocols.find((name) => Array.isArray(offered) && offered.includes(name));
  const { path } = options;
  return { path, header, status, ...(selectedProtocol === undefined ? {} : { selectedProtocol }) };
}

async function accept(sessions: ReadableStream<LibrarySession>, options: ServeOptions): Promise<void> {
  for await (const session of sessions) {
    // Who is gone before he was there breaks both, and a promise that nobody listens to would end the process.
    session.closed.catch(() => {});
    session.ready.then(
      () => options.session(adapt(session)),
      () => {},
    );
  }
}

function adapt(session: LibrarySession): EngineSession {
  const { closed, datagrams, incomingBidirectionalStreams, incomingUnidirectionalStreams } = session;
  return {
    request: requestOf(session.header, session.peerAddress),
    closed,
    bidirectional: incomingBidirectionalStreams.pipeThrough(
      new TransformStream({
        transform: (stream, controller) => controller.enqueue(adaptStream(stream, session)),
      }),
    ),
    unidirectional: incomingUnidirectionalStreams,
    datagrams: datagrams.readable,
    close: (info) => session.close(info),
    // Browsers send PINGs while a session is open.
    keepAlive() {},
  };
}

/**
 * Left alone a stream takes all that comes, read or not: its `pull` starts the half below, and nothing stops it again. Held, it does not
 * start, and what comes stays within the windows of the connection.
 */
function adaptStream(stream: LibraryStream, session: LibrarySession): EngineStream {
  const { readable, writable, objint, readableController, writableController } = stream;
  nameSource(readableController, session);
  nameSource(writableController, session);
  const start = objint.startReading.bind(objint);
  let held = false;
  objint.startReading = () => {
    if (!held) start();
  };
  const hold = (holds: boolean): void => {
    if (holds === held) return;
    held = holds;
    if (holds) objint.stopReading();
    else start();
  };
  const reset = (code: number): unknown => {
    // It looks for the code where errors of Node have theirs. A write that the client does not take delays it.
    return Object.assign(new Error(`reset with ${code}`), { code });
  };
  return { readable, writable, hold, reset };
}

/**
 * A session that ends breaks its streams first, with an error like that of a stream alone. Marks it as the W3C's API does, so that whoever
 * reads it waits for what the session says.
 */
function nameSource(controller: LibraryController, session: LibrarySession): void {
  const error = controller.error.bind(controller);
  controller.error = (reason) => {
    error(session.state === 'closed' ? Object.assign(reason, { source: 'session' }) : reason);
  };
}

/** @param peerAddress `address:port`, or an address alone; IPv6 with or without brackets */
function requestOf(header: Headers, peerAddress: string): SessionRequest {
  const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(peerAddress);
  return {
    path: text(header[':path']) ?? '/',
    authority: text(header[':authority']) ?? '',
    origin: text(header.origin),
    address: plainAddress(match === null ? peerAddress : (match[1] ?? match[2])),
    port: match === null ? 0 : Number(match[3]),
  };
}

function text(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'object' ? value[0] : value;
}
