/** A channel over a WebSocket, for networks that let no UDP through. */
import { type Channel, TransportError } from './channel.ts';

/** What is used of the W3C's `WebSocket`: the browser's own, Node's own, and that of the package `ws` fit. */
export type WebSocketClass = new (url: string, protocols?: string | string[]) => WebSocketLike;

export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  readonly readyState: number;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
  addEventListener(type: string, listener: (event: never) => void): void;
}

const OPEN = 1;
const NORMAL_CLOSURE = 1000;
/** A WebSocket says how much it holds, not when that has become less. */
const BUFFERED_BYTES_MAX = 256 * 1024;
const POLL_MS = 10;

/**
 * Opens a WebSocket of the subprotocol `mqtt`.
 *
 * @param signal gives up when it is aborted
 * @throws TransportError when it does not come up
 */
export async function openWebSocket(
  url: string,
  WebSocket: WebSocketClass,
  signal: AbortSignal,
): Promise<Channel> {
  const remedy = 'Is the broker there, is its certificate trusted, and may this page connect (origins)?';
  const failed = (what: string) => new TransportError(`WebSocket to ${url}: ${what}. ${remedy}`);
  if (signal.aborted) throw failed('given up');
  const socket = new WebSocket(url, 'mqtt');
  const channel = new WebSocketChannel(socket);
  const opened = new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve());
    // What failed is kept from pages.
    socket.addEventListener('close', () => reject(failed('it could not be opened')));
    signal.addEventListener('abort', () => reject(failed('given up')));
  });
  try {
    await opened;
    return channel;
  } catch (error) {
    channel.close();
    throw error;
  }
}

/** Nothing can hold back what a WebSocket receives: it waits here. The broker's own bound is Receive Maximum. */
class WebSocketChannel implements Channel {
  readonly #socket: WebSocketLike;
  readonly #received: Uint8Array[] = [];
  /** Null: in order; undefined: still open. */
  #end: Error | null | undefined;
  #wake = (): void => {};

  constructor(socket: WebSocketLike) {
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('message', ({ data }: { data: unknown }) => {
      if (data instanceof ArrayBuffer) this.#received.push(new Uint8Array(data));
      else this.#end ??= new Error('the broker sent a text message, which MQTT does not know');
      this.#wake();
    });
    socket.addEventListener('close', ({ code, wasClean }: { code: number; wasClean: boolean }) => {
      if (this.#end === undefined)
        this.#end = wasClean ? null : new Error(`the WebSocket was lost (${code})`);
      this.#wake();
    });
    socket.addEventListener('error', () => {});
  }

  async read(): Promise<Uint8Array | null> {
    while (this.#received.length === 0 && this.#end === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const bytes = this.#received.shift();
    if (bytes !== undefined) return bytes;
    if (this.#end) throw this.#end;
    return null;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#socket.readyState !== OPEN) throw new Error('the WebSocket is closed');
    // No view of shared memory comes here; the type cannot say so.
    this.#socket.send(bytes as Uint8Array<ArrayBuffer>);
    while (this.#socket.bufferedAmount > BUFFERED_BYTES_MAX && this.#socket.readyState === OPEN)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }

  /** A WebSocket has no halves: the closing handshake goes behind what was sent, and the broker's answer is its end. */
  async end(): Promise<void> {
    this.#socket.close(NORMAL_CLOSURE);
  }

  close(): void {
    try {
      this.#socket.close();
    } catch {
      // Some classes throw where they are not open yet; the listener for errors takes the rest.
    }
  }
}
