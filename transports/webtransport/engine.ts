/**
 * What the WebTransport door asks of an HTTP/3 library, and which one it takes. The shapes are those of the W3C's WebTransport API,
 * as far as they are needed, so that an adapter is thin.
 */
import { DoorUnavailable } from '../../src/errors.ts';
import { NATIVE_PACKAGE, nativePart } from './fails-components.ts';

/** Best first: `auto` takes the first that loads. */
export const ENGINE_NAMES = ['fails-components', 'rwebtransport'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];
export type EngineChoice = 'auto' | EngineName;

/** The extended CONNECT that asks for a session. */
export interface SessionRequest {
  /** With a query, if there is one. */
  readonly path: string;
  /** Host and port as the client wrote them; empty: it sent none. */
  readonly authority: string;
  readonly origin: string | undefined;
  /** IP address of the client. */
  readonly address: string;
  readonly port: number;
}

export interface CloseInfo {
  readonly closeCode: number;
  readonly reason: string;
}

/** A stream of bytes both ways. */
export interface EngineStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  /** While true the engine takes nothing more from the network for this stream, whatever room its own queue has. */
  hold(held: boolean): void;
  /**
   * Lets go of what waits to be sent, where the library would first wait for it to leave. Returns the reason to be given to `abort` and
   * `cancel` of the two halves, so that they tell the peer this error code.
   */
  reset(code: number): unknown;
}

/** An established session. */
export interface EngineSession {
  readonly request: SessionRequest;
  /** Rejects when the connection broke. */
  readonly closed: Promise<CloseInfo>;
  readonly bidirectional: ReadableStream<EngineStream>;
  readonly unidirectional: ReadableStream<ReadableStream<Uint8Array>>;
  readonly datagrams: ReadableStream<Uint8Array>;
  /** Closes at once; what was not sent is lost. */
  close(info: CloseInfo): void;
  /** Makes the other side show that it is there, without a word to the application: QUIC forgets who is silent for 30 s. */
  keepAlive(): void;
}

export interface ServeOptions {
  /** An IP address. */
  readonly host: string;
  /** 0: of the system's choice. */
  readonly port: number;
  /** Exact path without a query. */
  readonly path: string;
  /** PEM files. */
  readonly cert: string;
  readonly key: string;
  /** Best first; offering none is no reason to refuse. */
  readonly protocols: readonly string[];
  /** HTTP status for a request: 200, or that of the refusal. Asked by engines that let the request wait for it. */
  judge(request: SessionRequest): number;
  session(session: EngineSession): void;
  /** The engine is at its end after it had begun to serve; no session is left. */
  failed(error: Error): void;
}

export interface EngineServer {
  readonly port: number;
  /** Ends all that is left. Resolves when the socket is closed. */
  close(): Promise<void>;
}

export interface Engine {
  readonly name: EngineName;
  /** Whether `ServeOptions.judge` is asked before the session is established. */
  readonly judgesRequests: boolean;
  /** Rejects with what the system or the library says. */
  serve(options: ServeOptions): Promise<EngineServer>;
}

/** What would have to be installed for this choice; null: it is there. Whether it runs shows when it is loaded. */
export function missingEngine(choice: EngineChoice = 'auto'): string | null {
  const names = choice === 'auto' ? ENGINE_NAMES : [choice];
  return names.some((name) => IS_THERE[name]()) ? null : names.map((name) => PARTS[name]).join(' or ');
}

const PARTS: Readonly<Record<EngineName, string>> = {
  'fails-components': 'the native part of @fails-components/webtransport',
  rwebtransport: 'rwebtransport',
};

const IS_THERE: Readonly<Record<EngineName, () => boolean>> = {
  'fails-components': () => nativePart() === 'there',
  rwebtransport: () => {
    try {
      return import.meta.resolve('rwebtransport') !== '';
    } catch {
      return false;
    }
  },
};

/** Ways to load each engine; rejects with the reason. */
export type EngineLoaders = Readonly<Record<EngineName, () => Promise<Engine>>>;

const LOADERS: EngineLoaders = {
  'fails-components': async () => (await import('./fails-components.ts')).loadFailsComponents(),
  rwebtransport: async () => (await import('./rwebtransport.ts')).loadRwebtransport(),
};

/**
 * Loads the engine that was chosen, or the first that there is.
 * @param url the listener, for error messages
 * @throws DoorUnavailable that names what was tried and what to install
 */
export async function loadEngine(
  url: string,
  choice: EngineChoice,
  loaders: EngineLoaders = LOADERS,
): Promise<Engine> {
  const tried = choice === 'auto' ? ENGINE_NAMES : [choice];
  const problems: string[] = [];
  for (const name of tried) {
    try {
      return await loaders[name]();
    } catch (error) {
      problems.push(`${name}: ${firstLine((error as Error).message)}`);
    }
  }
  const problem = `no WebTransport engine can be loaded (${problems.join('; ')})`;
  throw new DoorUnavailable(`${url} engine`, problem, INSTALL[choice]());
}

const INSTALL: Readonly<Record<EngineChoice, () => string>> = {
  auto: () => 'Install one: "npm install rwebtransport", on Node 24 or 26',
  rwebtransport: () => 'Install it: "npm install rwebtransport", on Node 24 or 26',
  'fails-components': () => {
    const fetched = `npm explore ${NATIVE_PACKAGE} -- npm run install`;
    return nativePart() === 'not installed'
      ? `Install it: "npm install ${NATIVE_PACKAGE} && ${fetched}"`
      : `Fetch or build it: "${fetched}"`;
  },
};

function firstLine(text: string): string {
  return text.split('\n', 1)[0];
}
