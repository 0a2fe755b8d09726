/**
 * What MQTT.js takes for a connection: the part of Node's Duplex that it uses. Browsers have no such class, and MQTT.js keeps the one in its bundle
 * to itself.
 */
import { type Channel, END_MS } from './channel.ts';

/** What MQTT.js pipes into: its parser. */
interface Destination {
  write(bytes: Uint8Array, done: () => void): unknown;
}

type Listener = (...args: never[]) => void;

/** Above it `write` says false, and `drain` follows. */
const UNSENT_BYTES_HIGH = 64 * 1024;
/** Small pieces are joined up to this length. */
const JOINED_BYTES_MAX = 64 * 1024;

export class MqttStream {
  readonly #listeners = new Map<string, Listener[]>();
  readonly #abort = new AbortController();
  readonly #released = Promise.withResolvers<void>();
  readonly #finished = Promise.withResolvers<void>();
  #channel: Channel | null = null;
  #destination: Destination | null = null;
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #isSending = false;
  #needsDrain = false;
  #isEnding = false;
  #isEnded = false;
  #isDestroyed = false;
  #isClosed = false;
  #endTimer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param open makes the connection; what is written before it is there waits. Its signal is aborted when the stream is destroyed
   * @param received called with the first bytes, before MQTT.js gets them
   */
  constructor(open: (signal: AbortSignal) => Promise<Channel>, received: () => void) {
    void this.#run(open, received);
  }

  get destroyed(): boolean {
    return this.#isDestroyed;
  }

  get writable(): boolean {
    return !this.#isEnding && !this.#isDestroyed;
  }

  get readable(): boolean {
    return !this.#isClosed && !this.#isDestroyed;
  }

  on(name: string, listener: Listener): this {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) this.#listeners.set(name, [listener]);
    else listeners.push(listener);
    return this;
  }

  once(name: string, listener: Listener): this {
    const once: Listener & { listener?: Listener } = (...args) => {
      this.removeListener(name, once);
      listener(...args);
    };
    once.listener = listener;
    return this.on(name, once);
  }

  removeListener(name: string, listener: Listener): this {
    const listeners = this.#listeners.get(name) ?? [];
    const index = listeners.findIndex(
      (known: Listener & { listener?: Listener }) => known === listener || known.listener === listener,
    );
    if (index >= 0) listeners.splice(index, 1);
    return this;
  }

  off(name: string, listener: Listener): this {
    return this.removeListener(name, listener);
  }

  /** There is no limit to warn of. */
  setMaxListeners(_count: number): this {
    return this;
  }

  pipe<T extends Destination>(destination: T): T {
    this.#destination = destination;
    return destination;
  }

  /** @returns whether more may follow at once; otherwise `drain` tells when. Behind the end nothing is taken any more */
  write(piece: Uint8Array | string, ..._encoding: unknown[]): boolean {
    if (!this.writable) return false;
    const bytes = typeof piece === 'string' ? new TextEncoder().encode(piece) : piece;
    this.#unsent.push(bytes);
    this.#unsentBytes += bytes.length;
    void this.#send();
    this.#needsDrain ||= this.#unsentBytes >= UNSENT_BYTES_HIGH;
    return this.#unsentBytes < UNSENT_BYTES_HIGH;
  }

  /** Ends the own half behind what was written; `close` comes when the broker has ended its half, too, or does not in `END_MS`. */
  end(finished?: () => void): this {
    if (finished !== undefined) this.once('finish', finished);
    if (this.#isEnding || this.#isDestroyed) return this;
    this.#isEnding = true;
    if (this.#channel === null) return this.destroy();
    this.#startEndTimer();
    void this.#send();
    return this;
  }

  /** Gives up the connection at once. */
  destroy(error?: Error): this {
    if (this.#isDestroyed) return this;
    this.#isDestroyed = true;
    this.#abort.abort();
    this.#release();
    queueMicrotask(() => {
      if (error !== undefined && !this.#isClosed) this.#emit('error', error);
      this.#sayClosed();
    });
    return this;
  }

  /**
   * Takes the connection away from MQTT.js, which hears `close` before this returns, and ends it in order behind what was written.
   *
   * @param last a last packet
   * @returns resolves when the broker has ended it, or did not in `END_MS`
   */
  leave(last: Uint8Array): Promise<void> {
    this.write(last);
    this.end();
    this.#sayClosed();
    return this.#released.promise;
  }

  async #run(open: (signal: AbortSignal) => Promise<Channel>, received: () => void): Promise<void> {
    try {
      const channel = await open(this.#abort.signal);
      this.#channel = channel;
      if (this.#isDestroyed) {
        channel.close();
        return;
      }
      void this.#send();
      await this.#receive(channel, received);
      // The broker has ended its half: so does the client, behind what it has written.
      this.end();
      await this.#finished.promise;
      this.destroy();
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** One chunk at a time, and the next when MQTT.js has handled it: that is the back-pressure, and nothing is lost at the end. */
  async #receive(channel: Channel, received: () => void): Promise<void> {
    let isFirst = true;
    for (let bytes = await channel.read(); bytes !== null; bytes = await channel.read()) {
      if (isFirst) this.#call(received);
      isFirst = false;
      if (!this.#isClosed) await this.#deliver(bytes);
    }
  }

  /** Resolves when MQTT.js has handled the bytes. */
  #deliver(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#call(() => this.#destination?.write(bytes, resolve));
    });
  }

  /** What a page's own listeners throw is theirs to hear of, as with any event; MQTT.js has stopped in the middle, so the connection ends. */
  #call(work: () => void): void {
    try {
      work();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
      this.destroy();
    }
  }

  async #send(): Promise<void> {
    const channel = this.#channel;
    if (channel === null || this.#isSending || this.#isDestroyed) return;
    this.#isSending = true;
    try {
      // MQTT.js writes a packet in pieces, and often several packets in a row.
      await null;
      while (this.#unsent.length > 0) {
        await channel.write(this.#take());
        if (this.#unsentBytes < UNSENT_BYTES_HIGH && this.#needsDrain) {
          this.#needsDrain = false;
          this.#call(() => this.#emit('drain'));
        }
      }
      if (this.#isEnding && !this.#isEnded) {
        this.#isEnded = true;
        await channel.end();
        this.#finished.resolve();
        this.#call(() => this.#emit('finish'));
      }
    } catch {
      // Something from the broker that says why may still be on its way; reading fails where nothing is.
      this.#isEnding = true;
      this.#finished.resolve();
      this.#startEndTimer();
    } finally {
      this.#isSending = false;
    }
  }

  /** The first unsent pieces as one. */
  #take(): Uint8Array {
    let count = 0;
    let length = 0;
    for (const piece of this.#unsent) {
      if (count > 0 && length + piece.length > JOINED_BYTES_MAX) break;
      count++;
      length += piece.length;
    }
    const pieces = this.#unsent.splice(0, count);
    this.#unsentBytes -= length;
    if (count === 1) return pieces[0];
    const joined = new Uint8Array(length);
    let offset = 0;
    for (const piece of pieces) {
      joined.set(piece, offset);
      offset += piece.length;
    }
    return joined;
  }

  #startEndTimer(): void {
    if (!this.#isDestroyed) this.#endTimer ??= setTimeout(() => this.destroy(), END_MS);
  }

  #release(): void {
    clearTimeout(this.#endTimer);
    this.#unsent = [];
    this.#unsentBytes = 0;
    this.#channel?.close();
    this.#released.resolve();
  }

  #sayClosed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#emit('close');
  }

  #emit(name: string, ...args: unknown[]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(...(args as never[]));
  }
}
