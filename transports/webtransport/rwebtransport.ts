/** The engine `rwebtransport`: quiche and BoringSSL behind the W3C's API, its binary inside the package. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { plainAddress } from '../socket-server.ts';
import type { CloseInfo, Engine, EngineServer, EngineSession, EngineStream, ServeOptions } from './engine.ts';

const PACKAGE: string = 'rwebtransport';

const EMPTY = new Uint8Array(0);

/** What is used of the package. */
interface Library {
  readonly WebTransportServer: new (options: {
    readonly port: number;
    readonly host: string;
    readonly cert: string;
    readonly key: string;
    readonly supportedProtocols: string[];
  }) => LibraryServer;
  readonly WebTransportError: new (
    message: string,
    options: { readonly source: 'stream'; readonly streamErrorCode: number },
  ) => Error;
}

interface LibraryServer {
  readonly ready: Promise<void>;
  readonly closed: Promise<void>;
  readonly port: number;
  readonly incomingSessions: ReadableStream<LibrarySession>;
  close(): void;
}

interface LibrarySession {
  readonly authority: string;
  readonly path: string;
  readonly origin: string | null;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly closed: Promise<CloseInfo>;
  readonly incomingBidirectionalStreams: ReadableStream<LibraryStream>;
  readonly incomingUnidirectionalStreams: ReadableStream<ReadableStream<Uint8Array>>;
  readonly datagrams: {
    readonly readable: ReadableStream<Uint8Array>;
    readonly writable: WritableStream<Uint8Array>;
  };
  close(info: CloseInfo): void;
}

interface LibraryStream {
  readonly readable: ReadableStream<Uint8Array> & { readonly streamId: number };
  readonly writable: WritableStream<Uint8Array>;
}

/** What a session tells its native half; not public, so it may be gone one day. */
interface LibraryCore {
  readonly closed?: { readonly promise: Promise<CloseInfo> };
  setPaused?(streamId: number, paused: boolean): void;
  resetStream?(streamId: number, code: number): void;
}

/**
 * Loads the package.
 * @throws Error when it, or its binary for this machine, is not there
 */
export async function loadRwebtransport(): Promise<Engine> {
  // Without its binary the package would start a compiler, and hold the event loop until it is done.
  const home = path.dirname(path.dirname(createRequire(import.meta.url).resolve(PACKAGE)));
  const platform = `${process.platform}-${process.arch}`;
  if (!existsSync(path.join(home, 'prebuilds', platform, 'rwebtransport.node'))) {
    throw new Error(`it brings no binary for ${platform}`);
  }
  const library = (await import(PACKAGE)) as Library;
  return {
    name: 'rwebtransport',
    // It answers 200 to every session, then tells of it.
    judgesRequests: false,
    serve: (options) => serve(library, options),
  };
}

async function serve(library: Library, options: ServeOptions): Promise<EngineServer> {
  const { host, port, cert, key, protocols } = options;
  const server = new library.WebTransportServer({
    port,
    host: host.includes(':') ? `[${host}]` : host,
    cert,
    key,
    supportedProtocols: [...protocols],
  });
  muffle(server);
  await server.ready;
  let closing = false;
  const closed = server.closed.then(
    () => new Error('the engine has stopped'),
    (error: Error) => error,
  );
  void closed.then((error) => {
    if (!closing) options.failed(error);
  });
  void accept(library, server.incomingSessions, options);
  return {
    port: server.port,
    close: async () => {
      closing = true;
      server.close();
      await closed;
    },
  };
}

/**
 * The library puts a `finally` behind the end of each session, and hears nothing of what comes out of it: every session that ends by an error,
 * be it that a client's network is gone, would be an unhandled rejection and the end of the process. Not public, so it may be gone one day.
 */
function muffle(server: LibraryServer): void {
  const inner = server as { sessions?: unknown };
  if (inner.sessions instanceof Map) inner.sessions = new MuffledSessions(inner.sessions);
}

class MuffledSessions extends Map<number, LibraryCore> {
  override set(id: number, core: LibraryCore): this {
    const ended = core.closed?.promise;
    if (ended !== undefined) {
      ended.finally = (done) => {
        const settled = () => done?.();
        ended.then(settled, settled);
        return ended;
      };
    }
    return super.set(id, core);
  }
}

async function accept(
  library: Library,
  sessions: ReadableStream<LibrarySession>,
  options: ServeOptions,
): Promise<void> {
  for await (const session of sessions) options.session(adapt(library, session));
}

function adapt({ WebTransportError }: Library, session: LibrarySession): EngineSession {
  const { authority, path, origin, remoteAddress, remotePort, datagrams } = session;
  const held = new Set<number>();
  const core = (session as unknown as { core?: LibraryCore }).core;
  const setPaused = core?.setPaused?.bind(core);
  // The queue of a stream holds 32 chunks of any size before the library stops the peer, and each chunk asks for more. A reader that
  // pauses must stop the peer at once: whoever has not logged in could else make it keep megabytes.
  if (core !== undefined && setPaused !== undefined) {
    core.setPaused = (id, paused) => setPaused(id, paused || held.has(id));
  }
  const hold = (id: number, holds: boolean): void => {
    if (holds === held.has(id)) return;
    if (holds) held.add(id);
    else held.delete(id);
    setPaused?.(id, holds);
  };
  // `abort` waits for the write under way, and a peer that does not read never lets it end.
  const reset = (id: number, code: number): unknown => {
    core?.resetStream?.(id, code);
    return new WebTransportError(`reset with ${code}`, { source: 'stream', streamErrorCode: code });
  };
  const streams = new TransformStream<LibraryStream, EngineStream>({
    transform: ({ readable, writable }, controller) => {
      const id = readable.streamId;
      controller.enqueue({
        readable,
        writable,
        hold: (holds) => hold(id, holds),
        reset: (code) => reset(id, code),
      });
    },
  });
  let writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  return {
    request: {
      path,
      authority,
      origin: origin ?? undefined,
      address: plainAddress(remoteAddress),
      port: remotePort,
    },
    closed: session.closed,
    bidirectional: session.incomingBidirectionalStreams.pipeThrough(streams),
    unidirectional: session.incomingUnidirectionalStreams,
    datagrams: datagrams.readable,
    close: (info) => session.close(info),
    keepAlive: () => {
      // It sends no PING of its own; an empty datagram is acknowledged as well.
      writer ??= datagrams.writable.getWriter();
      writer.write(EMPTY).catch(() => {});
    },
  };
}
