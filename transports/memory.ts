/** The in-process door: pairs of wires without sockets or timers, so that protocol tests are fast and exact. */
import type { Doorkeeper, Visit } from '../src/interfaces/doorkeeper.ts';
import type { Address, PeerInfo, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { STREAM_REFUSED } from '../src/limits.ts';
import { EVICTED } from './arrival.ts';
import type { OnError } from './listen-url.ts';

export interface MemoryOptions {
  /** Names the door in `PeerInfo`. Default `memory://local`. */
  readonly url?: string | undefined;
  /** Without one everybody may knock. */
  readonly doorkeeper?: Doorkeeper | undefined;
  readonly onError?: OnError | undefined;
}

/** How a connection ended, as the client sees it. */
export interface MemoryClose {
  readonly by: 'core' | 'client';
  readonly how: 'end' | 'abort';
  /** What the core gave to `end`; of a data stream that is not 0: it was reset with it, also where the core refused it. */
  readonly reasonCode: number | undefined;
  /** What `abort` was called with. */
  readonly error: Error | undefined;
}

/**
 * Events towards the core, one at a time. Raised by the client they arrive before its call returns; raised while the core
 * is at work (in an event, or inside `write`) they wait until it has finished, as a socket's would.
 */
class EventTurns {
  readonly #queue: (() => void)[] = [];
  #depth = 0;

  /** Runs `event` now, or when the core has finished. */
  post(event: () => void): void {
    this.#queue.push(event);
    if (this.#depth === 0) this.#run();
  }

  /** Runs a call that the core made into the wire. */
  inCore<T>(call: () => T): T {
    this.#depth++;
    try {
      return call();
    } finally {
      this.#depth--;
      if (this.#depth === 0 && this.#queue.length > 0) queueMicrotask(() => this.#run());
    }
  }

  #run(): void {
    if (this.#depth > 0) return;
    this.#depth++;
    try {
      for (let event = this.#queue.shift(); event !== undefined; event = this.#queue.shift()) event();
    } finally {
      this.#depth--;
    }
  }
}

/** The core's end and the client's end of one connection. Both faces are views of it. */
class Pair {
  readonly turns: EventTurns;
  readonly onError: OnError | undefined;
  readonly peer: PeerInfo;
  readonly onGone: () => void;
  visit: Visit | undefined;
  events: WireEvents | undefined;
  /** Client to core, while the core has paused. */
  inbound: Buffer[] = [];
  inboundPaused = false;
  inboundEnded = false;
  /** Core to client, while the client has paused: the core's own buffer, so that touching it shows. */
  outbound: Uint8Array | undefined;
  outboundPaused = false;
  outboundEnded = false;
  reasonCode: number | undefined;
  received: Buffer[] = [];
  listener: ((chunk: Buffer) => void) | undefined;
  close: MemoryClose | undefined;
  closeListeners: ((close: MemoryClose) => void)[] = [];
  closedRaised = false;
  /** Further streams of this connection. */
  readonly streams = new Set<Pair>();

  constructor(turns: EventTurns, peer: PeerInfo, onError: OnError | undefined, onGone: () => void) {
    this.turns = turns;
    this.peer = peer;
    this.onError = onError;
    this.onGone = onGone;
  }

  /** Raises one event, unless the connection is over by the time its turn comes. */
  raise(event: (events: WireEvents) => void): void {
    this.turns.post(() => {
      if (this.close !== undefined || this.closedRaised) return;
      try {
        event(this.events!);
      } catch (thrown) {
        const error = thrown instanceof Error ? thrown : new Error(String(thrown));
        this.onError?.(error, this.peer.address);
        this.finish({ by: 'core', how: 'abort', reasonCode: undefined, error }, error);
      }
    });
  }

  /** Ends both directions; the core hears `closed` in its turn. */
  finish(close: MemoryClose, error: Error | undefined): void {
    if (this.close !== undefined) return;
    this.close = close;
    for (const stream of this.streams) stream.finish(close, error);
    this.outbound = undefined;
    this.inbound = [];
    for (const listener of this.closeListeners) listener(close);
    this.turns.post(() => this.raiseClosed(error));
  }

  raiseClosed(error: Error | undefined): void {
    if (this.closedRaised) return;
    this.closedRaised = true;
    try {
      this.events?.closed(error);
    } catch (thrown) {
      this.onError?.(thrown instanceof Error ? thrown : new Error(String(thrown)), this.peer.address);
    }
    this.onGone();
  }

  /** Hands what waits to the core, while it reads. */
  pumpIn(): void {
    this.raise((events) => {
      while (!this.inboundPaused && this.inbound.length > 0) events.data(this.inbound.shift()!);
      if (!this.inboundEnded || this.inboundPaused) return;
      this.finish({ by: 'client', how: 'end', reasonCode: undefined, error: undefined }, undefined);
    });
  }

  /** Copies to the client: the core may use its buffer again as soon as `write` has returned true. */
  deliver(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes);
    if (this.listener === undefined) this.received.push(chunk);
    else this.listener(chunk);
  }

  endOutbound(): void {
    const { reasonCode } = this;
    this.finish({ by: 'core', how: 'end', reasonCode, error: undefined }, undefined);
  }
}

/** A further stream: a reason code other than 0 resets it. */
class StreamPair extends Pair {
  override endOutbound(): void {
    if (this.reasonCode === undefined || this.reasonCode === 0) super.endOutbound();
    else this.reset(this.reasonCode);
  }

  /** What the client has not read is lost. */
  reset(reasonCode: number): void {
    this.finish({ by: 'core', how: 'end', reasonCode, error: undefined }, undefined);
  }
}

/** The core's face. Stricter than a socket: a write that breaks the Wire contract throws. */
class MemoryWire implements Wire {
  readonly peer: PeerInfo;
  readonly visit?: Visit;
  readonly #pair: Pair;

  constructor(pair: Pair) {
    this.peer = pair.peer;
    if (pair.visit !== undefined) this.visit = pair.visit;
    this.#pair = pair;
  }

  write(bytes: Uint8Array): boolean {
    const pair = this.#pair;
    if (pair.outboundEnded) throw new Error('write after end or abort: the core must write nothing more');
    if (pair.outbound !== undefined) throw new Error('write before drain: the wire still holds a buffer');
    if (pair.close !== undefined) return true;
    return pair.turns.inCore(() => {
      if (pair.outboundPaused) pair.outbound = bytes;
      else pair.deliver(bytes);
      return pair.outbound === undefined;
    });
  }

  pause(): void {
    this.#pair.inboundPaused = true;
  }

  resume(): void {
    const pair = this.#pair;
    if (!pair.inboundPaused) return;
    pair.inboundPaused = false;
    pair.turns.inCore(() => pair.pumpIn());
  }

  end(reasonCode?: number): void {
    const pair = this.#pair;
    if (pair.outboundEnded || pair.close !== undefined) return;
    pair.outboundEnded = true;
    pair.reasonCode = reasonCode;
    // What the client still sends is dropped from here on, as in every door.
    pair.inboundPaused = true;
    const isReset = pair instanceof StreamPair && reasonCode !== undefined && reasonCode !== 0;
    if (pair.outbound === undefined || isReset) pair.turns.inCore(() => pair.endOutbound());
  }

  abort(error?: Error): void {
    const pair = this.#pair;
    pair.outboundEnded = true;
    pair.turns.inCore(() => pair.finish({ by: 'core', how: 'abort', reasonCode: undefined, error }, error));
  }
}

/** The test's face of one connection. */
export class MemoryClient {
  readonly #pair: Pair;

  constructor(pair: Pair) {
    this.#pair = pair;
  }

  /** How the connection ended; undefined while it is open. */
  get closed(): MemoryClose | undefined {
    return this.#pair.close;
  }

  /** Opens a further stream of this connection; where the core does not want it, it is reset when this returns. */
  openStream(): MemoryClient {
    const { turns, peer, onError, streams } = this.#pair;
    const stream: StreamPair = new StreamPair(turns, peer, onError, () => streams.delete(stream));
    streams.add(stream);
    this.#pair.raise((events) => {
      stream.events = events.stream?.(new MemoryWire(stream)) ?? undefined;
      if (stream.events === undefined) stream.reset(STREAM_REFUSED);
    });
    return new MemoryClient(stream);
  }

  /** Of a further stream: the code that the core reset it with; undefined: it did not. */
  get resetCode(): number | undefined {
    const { close } = this.#pair;
    return close?.by === 'core' && (close.reasonCode ?? 0) !== 0 ? close.reasonCode : undefined;
  }

  /** Bytes written that the core has not taken, because it paused. */
  get unsentBytes(): number {
    return this.#pair.inbound.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  /** Sends a copy of `bytes`. True when the core took them all; false when it has paused, or the connection is over. */
  write(bytes: Uint8Array): boolean {
    const pair = this.#pair;
    if (pair.close !== undefined || pair.inboundEnded) return false;
    pair.inbound.push(Buffer.from(bytes));
    pair.pumpIn();
    return pair.inbound.length === 0;
  }

  /** What arrived since the last `take`, as one buffer. Empty when `onData` listens. */
  take(): Buffer {
    const bytes = Buffer.concat(this.#pair.received);
    this.#pair.received = [];
    return bytes;
  }

  /** Hears each chunk from now on, starting with what has already arrived. */
  onData(listener: (chunk: Buffer) => void): void {
    const waiting = this.#pair.received;
    this.#pair.received = [];
    this.#pair.listener = listener;
    for (const chunk of waiting) listener(chunk);
  }

  /** Hears of the end, at once if it has come already. */
  onClosed(listener: (close: MemoryClose) => void): void {
    if (this.#pair.close !== undefined) listener(this.#pair.close);
    else this.#pair.closeListeners.push(listener);
  }

  /** Stops reading: the core's next `write` returns false and its buffer is held until `resume`. */
  pause(): void {
    this.#pair.outboundPaused = true;
  }

  resume(): void {
    this.#pair.outboundPaused = false;
    this.takeOneWrite();
  }

  /** Reads the one write that is held, if there is one. */
  takeOneWrite(): void {
    const pair = this.#pair;
    const held = pair.outbound;
    if (held === undefined) return;
    pair.outbound = undefined;
    pair.deliver(held);
    if (pair.outboundEnded) pair.endOutbound();
    else pair.raise((events) => events.drain());
  }

  /** Closes politely: the core hears `closed` without an error, after the bytes before it. */
  end(): void {
    const pair = this.#pair;
    pair.inboundEnded = true;
    if (pair.outboundEnded) pair.endOutbound();
    else pair.pumpIn();
  }

  /** Breaks the connection: the core hears `closed` with an error. */
  abort(error: Error = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })): void {
    this.#pair.finish({ by: 'client', how: 'abort', reasonCode: undefined, error }, error);
  }
}

/** A door that tests knock on by calling `connect`. */
export class MemoryTransport implements Transport {
  readonly #url: string;
  readonly #onError: OnError | undefined;
  readonly #doorkeeper: Doorkeeper | undefined;
  readonly #turns = new EventTurns();
  readonly #pairs = new Set<Pair>();
  #accept: ((wire: Wire) => WireEvents) | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(options: MemoryOptions = {}) {
    this.#url = options.url ?? 'memory://local';
    this.#onError = options.onError;
    this.#doorkeeper = options.doorkeeper;
  }

  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    this.#accept = accept;
    return { url: this.#url, port: 0 };
  }

  /**
   * Opens a connection; when this returns, the core has accepted it, or the doorkeeper has turned it away and it is closed.
   * @param peer overrides what the core is told of the peer
   * @throws Error when the transport is not listening
   */
  connect(peer: Partial<PeerInfo> = {}): MemoryClient {
    const accept = this.#accept;
    if (accept === undefined) throw new Error('the memory transport is not listening: await listen first');
    const info = { door: this.#url, address: '127.0.0.1', port: 0, secure: false, ...peer };
    const pair: Pair = new Pair(this.#turns, info, this.#onError, () => this.#gone(pair));
    this.#pairs.add(pair);
    const knocked = this.#doorkeeper?.knock(this.#url, info.address, () => abortPair(pair, EVICTED));
    if (knocked === null) {
      abortPair(pair, undefined);
      return new MemoryClient(pair);
    }
    pair.visit = knocked;
    this.#turns.post(() => {
      if (pair.close !== undefined) return;
      try {
        pair.events = accept(new MemoryWire(pair));
      } catch (thrown) {
        const error = thrown instanceof Error ? thrown : new Error(String(thrown));
        this.#onError?.(error, info.address);
        pair.finish({ by: 'core', how: 'abort', reasonCode: undefined, error }, error);
      }
    });
    return new MemoryClient(pair);
  }

  async close(graceMs: number): Promise<void> {
    this.#accept = undefined;
    if (this.#pairs.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#abortAll(), graceMs);
      this.#onEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #abortAll(): void {
    for (const pair of this.#pairs) abortPair(pair, undefined);
  }

  #gone(pair: Pair): void {
    pair.visit?.left();
    this.#pairs.delete(pair);
    if (this.#pairs.size === 0) this.#onEmpty?.();
  }
}

function abortPair(pair: Pair, error: Error | undefined): void {
  pair.finish({ by: 'core', how: 'abort', reasonCode: undefined, error }, error);
}
