/** A channel over the first bidirectional stream of a WebTransport session, as docs/webtransport.md maps MQTT onto it. */
import { type Channel, END_MS, reasonOf, TransportError } from './channel.ts';

/** SHA-256 of the broker's certificate: base64, as `sluice certs init --browser` prints it, or its 32 bytes. */
export type CertificateHash = string | Uint8Array;
/** The hashes, or what is asked for them before every attempt: a certificate that is renewed has another hash. */
export type CertificateHashes =
  | readonly CertificateHash[]
  | (() => readonly CertificateHash[] | Promise<readonly CertificateHash[]>);

/** What is used of the W3C's `WebTransport`: the browser's own, and classes of packages for Node, fit. */
export type WebTransportClass = new (
  url: string,
  options?: {
    serverCertificateHashes?: { algorithm: string; value: Uint8Array<ArrayBuffer> }[];
    protocols?: string[];
  },
) => WebTransportSession;

export interface WebTransportSession {
  readonly ready: Promise<unknown>;
  readonly closed: Promise<{ closeCode?: number; reason?: string }>;
  createBidirectionalStream(): Promise<{
    readonly readable: ReadableStream<Uint8Array>;
    readonly writable: WritableStream<Uint8Array>;
  }>;
  close(): void;
}

export interface SessionOptions {
  readonly url: string;
  readonly WebTransport: WebTransportClass;
  readonly certificateHashes: CertificateHashes | undefined;
  /** For hashes and handshake together. */
  readonly timeoutMs: number;
}

const SHA256_BYTES = 32;
/** Streams of a closed session fail; in an engine where one does not, the session's end is its end after this time. */
const CLOSED_MS = 250;

/**
 * Opens a session and waits until it is there.
 *
 * @param signal gives up when it is aborted
 * @throws TransportError when it does not come up in time
 */
export async function openSession(
  options: SessionOptions,
  signal: AbortSignal,
): Promise<WebTransportSession> {
  const { url, timeoutMs } = options;
  let session: WebTransportSession | null = null;
  let isGivenUp = false;
  let giveUp = (_reason: unknown): void => {};
  const givenUp = new Promise<never>((_resolve, reject) => {
    giveUp = reject;
  });
  const timer = setTimeout(() => giveUp(`no answer within ${timeoutMs} ms`), timeoutMs);
  const aborted = () => giveUp('given up');
  signal.addEventListener('abort', aborted);
  const open = async (): Promise<WebTransportSession> => {
    const hashes = await hashesOf(options.certificateHashes);
    if (isGivenUp) throw new Error('given up');
    session = new options.WebTransport(url, {
      protocols: ['mqtt'],
      ...(hashes.length > 0 && { serverCertificateHashes: hashes }),
    });
    session.closed.catch(() => {});
    await session.ready;
    return session;
  };
  try {
    signal.throwIfAborted();
    return await Promise.race([open(), givenUp]);
  } catch (error) {
    isGivenUp = true;
    if (session !== null) closeQuietly(session);
    const remedy = 'Is the UDP port open, and is the certificate trusted (or its hash the present one)?';
    throw new TransportError(`WebTransport to ${url}: ${reasonOf(error)}. ${remedy}`);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', aborted);
  }
}

/**
 * Opens the one stream of a session.
 *
 * @throws TransportError when the session is gone
 */
export async function openStream(url: string, session: WebTransportSession): Promise<Channel> {
  try {
    const { readable, writable } = await session.createBidirectionalStream();
    return new WebTransportChannel(session, readable, writable);
  } catch (error) {
    closeQuietly(session);
    const remedy = 'Is the path right, and may this page connect (origins)?';
    throw new TransportError(
      `WebTransport to ${url}: the session ended at once (${reasonOf(error)}). ${remedy}`,
    );
  }
}

/** Closes a session in whatever state it is. */
export function closeQuietly(session: WebTransportSession): void {
  try {
    session.close();
  } catch {
    // It never came up, or is closed already.
  }
}

class WebTransportChannel implements Channel {
  readonly #session: WebTransportSession;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  /** How the session has ended. */
  #lost: Error | null = null;
  /** Halves that have ended in order, 0 to 2. */
  #ended = 0;

  constructor(
    session: WebTransportSession,
    readable: ReadableStream<Uint8Array>,
    writable: WritableStream<Uint8Array>,
  ) {
    this.#session = session;
    this.#reader = readable.getReader();
    this.#writer = writable.getWriter();
    this.#reader.closed.catch(() => {});
    this.#writer.closed.catch(() => {});
    void this.#watch();
  }

  async #watch(): Promise<void> {
    const how = await this.#session.closed.then(
      ({ closeCode, reason }) => `closed with code ${closeCode}${reason ? ` (${reason})` : ''}`,
      (error) => `lost (${reasonOf(error)})`,
    );
    this.#lost = new Error(`the session was ${how}`);
    await pause(CLOSED_MS);
    this.#reader.cancel().catch(() => {});
  }

  async read(): Promise<Uint8Array | null> {
    const { done, value } = await this.#reader.read().catch(async (error) => {
      // How the session ended says more than how its streams failed, and may come just behind.
      if (this.#lost === null) await pause(CLOSED_MS);
      throw this.#lost ?? error;
    });
    if (!done) return value;
    if (this.#lost !== null) throw this.#lost;
    this.#ended++;
    return null;
  }

  async write(bytes: Uint8Array): Promise<void> {
    // Whether it failed is told by `ready`.
    this.#writer.write(bytes).catch(() => {});
    await this.#writer.ready;
  }

  async end(): Promise<void> {
    await this.#writer.close();
    this.#ended++;
  }

  /** Behind both ends the broker closes the session; closing it first could cut off what it has not read yet. */
  close(): void {
    if (this.#ended < 2) {
      closeQuietly(this.#session);
      return;
    }
    const close = () => closeQuietly(this.#session);
    const timer = setTimeout(close, END_MS);
    const closed = () => clearTimeout(timer);
    this.#session.closed.then(closed, closed);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function hashesOf(source: CertificateHashes | undefined) {
  const hashes = typeof source === 'function' ? await source() : (source ?? []);
  return hashes.map((hash) => ({ algorithm: 'sha-256', value: bytesOf(hash) }));
}

function bytesOf(hash: CertificateHash): Uint8Array<ArrayBuffer> {
  const bytes = typeof hash === 'string' ? fromBase64(hash) : Uint8Array.from(hash);
  if (bytes.length === SHA256_BYTES) return bytes;
  const expected = `expected the ${SHA256_BYTES} bytes of a SHA-256, in base64 44 characters`;
  throw new Error(`certificateHashes has an entry of ${bytes.length} bytes (${expected})`);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    throw new Error(`certificateHashes has an entry that is not base64: "${text}"`);
  }
}
