/**
 * The engine `@fails-components/webtransport` with its native HTTP/3 part. Written to version 1.6.8, its types and its test server; the
 * native part is fetched from outside the registry when it is installed, and could not be had where this was tested.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
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
const NATIVE_PACKAGE = '@fails-components/webtransport-transport-http3-quiche';
const SECRET_BYTES = 32;

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** What is used of the package. */
interface Library {
  readonly Http3Server: new (options: {
    readonly port: number;
    readonly host: string;
    readonly secret: string;
    readonly cert: string;
    readonly privKey: string;
  }) => LibraryServer;
}

interface LibraryServer {
  readonly ready: Promise<unknown>;
  readonly closed: Promise<unknown>;
  address(): { readonly port: number } | null;
  startServer(): void;
  stopServer(): void;
  setRequestCallback(callback: (request: { readonly header: Headers }) => Promise<Answer>): void;
  sessionStream(path: string): ReadableStream<LibrarySession>;
}

interface Answer {
  readonly path: string;
  readonly header: Headers;
  readonly status: number;
  readonly selectedProtocol?: string;
}

interface LibrarySession {
  readonly header: Headers;
  readonly peerAddress: string;
  readonly ready: Promise<unknown>;
  readonly closed: Promise<CloseInfo>;
  readonly incomingBidirectionalStreams: ReadableStream<Omit<EngineStream, 'hold'>>;
  readonly incomingUnidirectionalStreams: ReadableStream<ReadableStream<Uint8Array>>;
  readonly datagrams: { readonly readable: ReadableStream<Uint8Array> };
  close(info: CloseInfo): void;
}

/**
 * Loads the package and its native part.
 * @throws Error when one of them is not there
 */
export async function loadFailsComponents(): Promise<Engine> {
  // First the native part: without it the other writes to the console, and is of no use.
  const names = [NATIVE_PACKAGE, PACKAGE];
  for (const name of names) await import(name);
  const library = (await import(names[1])) as unknown as Library;
  return { name: 'fails-components', judgesRequests: true, serve: (options) => serve(library, options) };
}

async function serve(library: Library, options: ServeOptions): Promise<EngineServer> {
  const { host, port, path } = options;
  const [cert, privKey] = await Promise.all([readFile(options.cert, 'utf8'), readFile(options.key, 'utf8')]);
  const secret = randomBytes(SECRET_BYTES).toString('hex');
  const server = new library.Http3Server({ port, host, secret, cert, privKey });
  server.setRequestCallback(async ({ header }) => answer(header, options));
  const sessions = server.sessionStream(path);
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

function answer(header: Headers, options: ServeOptions): Answer {
  const status = options.judge(requestOf(header, ''));
  const offered = header['wt-available-protocols'];
  const selectedProtocol = options.protocols.find((name) => Array.isArray(offered) && offered.includes(name));
  const { path } = options;
  return { path, header, status, ...(selectedProtocol === undefined ? {} : { selectedProtocol }) };
}

async function accept(sessions: ReadableStream<LibrarySession>, options: ServeOptions): Promise<void> {
  for await (const session of sessions) {
    session.ready.then(
      () => options.session(adapt(session)),
      // It was gone before it was there.
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
        // Its streams are byte streams: what is not read stays with the peer.
        transform: ({ readable, writable }, controller) =>
          controller.enqueue({ readable, writable, hold() {} }),
      }),
    ),
    unidirectional: incomingUnidirectionalStreams,
    datagrams: datagrams.readable,
    close: (info) => session.close(info),
    // Browsers send PINGs while a session is open.
    keepAlive() {},
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

function text(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
