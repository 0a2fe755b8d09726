/** Reading a proxy's header off a connection, before anybody else sees a byte of it. */
import type { Socket } from 'node:net';
import type { Wire, WireEvents } from '../../src/interfaces/transport.ts';
import type { Arrivals } from '../arrival.ts';
import { asError } from '../socket-wire.ts';
import { type ProxyHeader, type ProxySource, parseProxyHeader } from './proxy-protocol.ts';

export type { ProxySource } from './proxy-protocol.ts';

/** Collects what comes until the header is whole. Holds less than `HEADER_BYTES_MAX` bytes. */
class HeaderBytes {
  #held: Buffer | null = null;

  /**
   * @param chunk only lent
   * @returns null when more has to come; else the header, and the bytes behind it
   * @throws ProxyError when it is no header
   */
  push(chunk: Buffer): { readonly header: ProxyHeader; readonly rest: Buffer } | null {
    const bytes = this.#held === null ? chunk : Buffer.concat([this.#held, chunk]);
    const header = parseProxyHeader(bytes);
    if (header !== null) return { header, rest: bytes.subarray(header.length) };
    this.#held = this.#held === null ? Buffer.from(chunk) : bytes;
    return null;
  }
}

/**
 * Takes the header off a socket that nobody has read from; what follows it stays to be read.
 * @param done called once, unless the socket ends before: with what the header says, or why it could not be had
 */
export function readProxyHeader(
  socket: Socket,
  timeoutMs: number,
  done: (result: ProxySource | null | Error) => void,
): void {
  const bytes = new HeaderBytes();
  const finish = (result: ProxySource | null | Error): void => {
    clearTimeout(timer);
    socket.off('readable', read);
    socket.off('end', ended);
    socket.off('error', finish);
    socket.off('close', closed);
    // An error that comes after ours is no news.
    if (result instanceof Error) socket.on('error', () => {});
    done(result);
  };
  const read = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    try {
      const found = bytes.push(chunk);
      if (found === null) return;
      if (found.rest.length > 0) socket.unshift(found.rest);
      finish(found.header.source);
    } catch (error) {
      finish(asError(error));
    }
  };
  const ended = (): void => finish(new Error('the connection ended before its PROXY header'));
  const closed = (): void => clearTimeout(timer);
  const timer = setTimeout(() => finish(lateHeader(timeoutMs)), timeoutMs);
  timer.unref();
  socket.on('readable', read);
  socket.on('end', ended);
  socket.on('error', finish);
  socket.on('close', closed);
}

function lateHeader(timeoutMs: number): Error {
  return new Error(`no PROXY header within ${timeoutMs} ms`);
}

/** A wire that can wait for its header: whom it carries is known only then. */
export interface ProxiedWire extends Wire {
  peer: Wire['peer'];
  /** Data may still be raised. */
  readonly isLive: boolean;
}

/** Stands between a wire and the core: hears the header, makes the introduction, and hands on everything that follows. */
export class Introduction implements WireEvents {
  readonly #wire: ProxiedWire;
  readonly #arrivals: Arrivals;
  readonly #accept: (wire: Wire) => WireEvents;
  readonly #bytes = new HeaderBytes();
  readonly #timer: NodeJS.Timeout;
  #core: WireEvents | null = null;

  constructor(wire: ProxiedWire, arrivals: Arrivals, accept: (wire: Wire) => WireEvents) {
    this.#wire = wire;
    this.#arrivals = arrivals;
    this.#accept = accept;
    const { headerTimeoutMs } = arrivals;
    this.#timer = setTimeout(() => this.#refuse(lateHeader(headerTimeoutMs)), headerTimeoutMs);
    this.#timer.unref();
  }

  data(chunk: Buffer): void {
    if (this.#core !== null) {
      this.#core.data(chunk);
      return;
    }
    let found: ReturnType<HeaderBytes['push']>;
    try {
      found = this.#bytes.push(chunk);
    } catch (error) {
      this.#refuse(asError(error));
      return;
    }
    if (found !== null) this.#introduce(found.header.source, found.rest);
  }

  drain(): void {
    this.#core?.drain();
  }

  closed(error?: Error): void {
    clearTimeout(this.#timer);
    this.#core?.closed(error);
  }

  #introduce(source: ProxySource | null, rest: Buffer): void {
    clearTimeout(this.#timer);
    const wire = this.#wire;
    const { peer, visit } = wire;
    if (visit?.moved(source?.address ?? peer.address) === false) {
      wire.abort();
      return;
    }
    if (source !== null) wire.peer = { ...peer, ...source, proxy: peer.address };
    this.#core = this.#accept(wire);
    if (rest.length > 0 && wire.isLive) this.#core.data(rest);
  }

  #refuse(error: Error): void {
    this.#arrivals.onError?.(error, this.#wire.peer.address);
    this.#wire.abort();
  }
}
