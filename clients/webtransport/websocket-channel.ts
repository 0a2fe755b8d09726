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
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
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
  const channel = new WebSocketChannel(new WebSocket(url, 'mqtt'));
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(failed('given up')));
  });
  // Why it failed is kept from pages.
  const opened = channel.opened.then((isOpen) => {
    if (!isOpen) throw failed('it could not be opened');
  });
  try {
    await Promise.race([opened, aborted]);
    return channel;
  } catch (error) {
    channel.close();
    throw error;
  }
}

/** Nothing can hold back what a WebSocket receives: it waits here. The broker's own bound is Receive Maximum. */
class WebSocketChannel implements Channel {
  /** Resolves to whether it has come up. */
  readonly opened: Promise<boolean>;
  readonly #socket: WebSocketLike;
  readonly #received: Uint8Array[] = [];
  /** Null: in order; undefined: still open. */
  #end: Error | null | undefined;
  #wake = (): void => {};

  constructor(socket: WebSocketLike) {
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    this.opened = new Promise((resolve) => {
      socket.onopen = () => resolve(true);
      socket.onclose = ({ code, wasClean }: { code: number; wasClean: boolean }) => {
        resolve(false);
        this.#ended(wasClean ? null : new Error(`the WebSocket was lost (${code})`));
      };
    });
    socket.onmessage = ({ data }: { data: unknown }) => {
      if (!(data instanceof ArrayBuffer)) {
        this.#ended(new Error('the broker sent a text message, which MQTT does not know'));
        return;
      }
      this.#received.push(new Uint8Array(data));
      this.#wake();
    };
    // `close` follows; some classes throw what nobody listens for.
    socket.onerror = () => {};
  }

  #ended(how: Error | null): void {
    if (this.#end === undefined) this.#end = how;
    this.#wake();
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
