/** A RawClient over one stream of a WebTransport session of `rwebtransport`. */
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { WebTransport, type WebTransportOptions } from 'rwebtransport';
import type { RawClient, RawStream } from '../contract/transport.ts';

const CONNECT_TIMEOUT_MS = 3_000;

/** What a client is told to trust instead of an authority. */
export function certificateHash(file: string): Buffer {
  return createHash('sha256')
    .update(new X509Certificate(readFileSync(file)).raw)
    .digest();
}

/** Opens a session; resolves when it is there. Rejects when it is refused. */
export async function openSession(
  url: string,
  certificateFile: string,
  options: WebTransportOptions = {},
): Promise<WebTransport> {
  const transport = new WebTransport(url.replace(/^wt:/, 'https:'), {
    serverCertificateHashes: [{ algorithm: 'sha-256', value: certificateHash(certificateFile) }],
    protocols: ['mqtt'],
    ...options,
  });
  // A UDP port where nobody listens is silent.
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('nobody answers')), CONNECT_TIMEOUT_MS);
  });
  await Promise.race([transport.ready, silence]).finally(() => clearTimeout(timer));
  return transport;
}

/** A session with its first stream. */
export async function webTransportClient(url: string, certificateFile: string): Promise<RawClient> {
  return new StreamClient(await openSession(url, certificateFile)).open();
}

/** The client's side of a session, of whatever library. */
export interface ClientSession {
  readonly closed: Promise<unknown>;
  createBidirectionalStream(): Promise<{
    readonly readable: ReadableStream<Uint8Array>;
    readonly writable: WritableStream<Uint8Array>;
  }>;
}

/** The first stream of a session. */
export class StreamClient implements RawStream {
  readonly #session: ClientSession;
  #reader!: ReadableStreamDefaultReader<Uint8Array>;
  #writer!: WritableStreamDefaultWriter<Uint8Array>;
  #unsentBytes = 0;
  #paused = false;
  #reading = false;
  #isClosed = false;
  #onData = (_chunk: Buffer): void => {};
  #onClosed = (): void => {};

  resetCode: number | undefined;
  /** Undefined: it is the first. */
  readonly #isFurther: boolean;
  #ended = false;

  constructor(session: ClientSession, isFurther = false) {
    this.#session = session;
    this.#isFurther = isFurther;
  }

  openStream(): Promise<RawStream> {
    return new StreamClient(this.#session, true).open();
  }

  async open(): Promise<this> {
    const stream = await this.#session.createBidirectionalStream();
    this.#reader = stream.readable.getReader();
    this.#writer = stream.writable.getWriter();
    this.#writer.closed.catch((error) => this.#reset(error));
    const closed = () => this.#closed();
    this.#session.closed.then(closed, closed);
    return this;
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#onClosed();
  }

  #reset(error: { streamErrorCode?: number | null; message?: string } | undefined): void {
    if (!this.#isFurther) return;
    // One of the libraries tells it in words only.
    const told = /with code:(\d+)$/.exec(error?.message ?? '')?.[1];
    this.resetCode ??= error?.streamErrorCode ?? (told === undefined ? undefined : Number(told));
    this.#closed();
  }

  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  write(bytes: Uint8Array): void {
    this.#unsentBytes += bytes.length;
    const sent = () => {
      this.#unsentBytes -= bytes.length;
    };
    this.#writer.write(bytes).then(sent, sent);
  }

  onData(listener: (chunk: Buffer) => void): void {
    this.#onData = listener;
    this.#read();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#read();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#writer.close().catch(() => {});
  }

  abort(): void {
    this.#writer.abort().catch(() => {});
    if (this.#isFurther) this.#reader.cancel().catch(() => {});
    if (this.#isFurther) this.#closed();
  }

  onClosed(listener: () => void): void {
    this.#onClosed = listener;
    if (this.#isClosed) listener();
  }

  /** One chunk may still come after `pause`. */
  #read(): void {
    if (this.#reading || this.#paused) return;
    this.#reading = true;
    this.#reader.read().then(
      ({ done, value }) => {
        this.#reading = false;
        if (done) {
          this.end();
          if (this.#isFurther) this.#closed();
          return;
        }
        this.#onData(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
        this.#read();
      },
      (error) => this.#reset(error),
    );
  }
}
