/** What the transport contract plays on: a listening door, the core's side of its wires, and the clients' side. */
import assert from 'node:assert/strict';
import type { Doorkeeper } from '../../src/interfaces/doorkeeper.ts';
import type { Address, Transport, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import type { OnError } from '../../transports/listen-url.ts';
import { RecordingDoorkeeper } from './doorkeeper.ts';

/** The other end of a wire, as a byte stream. */
export interface RawClient {
  write(bytes: Uint8Array): void;
  /** Written, and not yet taken by the transport. */
  readonly unsentBytes: number;
  onData(listener: (chunk: Buffer) => void): void;
  pause(): void;
  resume(): void;
  end(): void;
  abort(): void;
  /** Called once, when both directions are over. */
  onClosed(listener: () => void): void;
  /** Where the transport has streams: opens a further one of this connection. */
  openStream?(): RawStream | Promise<RawStream>;
}

/** A further stream. Its `abort` resets it. */
export interface RawStream extends RawClient {
  /** Set when the server has reset it. */
  readonly resetCode: number | undefined;
}

/** A door to be tested, before `listen`. */
export interface Door {
  readonly transport: Transport;
  readonly secure: boolean;
  /** Whether a client's abort reaches the core as an error; a unix socket has no reset. */
  readonly abortIsError: boolean;
  dial(address: Address): Promise<RawClient>;
}

/** Builds a fresh, not yet listening door that reports to `onError` and asks `doorkeeper`. */
export type OpenDoor = (onError: OnError, doorkeeper: Doorkeeper) => Door;

/** Waits for conditions that events make true. */
class Watch {
  readonly #waiting = new Set<() => void>();

  changed(): void {
    for (const check of this.#waiting) check();
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!condition()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** The core's side of one wire: keeps what it hears. A test replaces `onData` and its kin to act from within an event. */
export class Core implements WireEvents {
  readonly wire: Wire;
  readonly #watch: Watch;
  readonly chunks: Buffer[] = [];
  receivedBytes = 0;
  drains = 0;
  closes = 0;
  lateEvents = 0;
  error: Error | undefined;
  onData = (_chunk: Buffer): void => {};
  onDrain = (): void => {};
  onClosed = (): void => {};
  /** Those of further streams of this connection. */
  readonly streams: Core[] = [];
  /** False: they are not wanted. */
  onStream = (_wire: Wire): boolean => true;

  constructor(wire: Wire, watch: Watch) {
    this.wire = wire;
    this.#watch = watch;
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks);
  }

  data(chunk: Buffer): void {
    this.#count();
    // Only lent.
    this.chunks.push(Buffer.from(chunk));
    this.receivedBytes += chunk.length;
    try {
      this.onData(chunk);
    } finally {
      this.#watch.changed();
    }
  }

  drain(): void {
    this.#count();
    this.drains++;
    try {
      this.onDrain();
    } finally {
      this.#watch.changed();
    }
  }

  closed(error?: Error): void {
    this.#count();
    this.closes++;
    this.error = error;
    try {
      this.onClosed();
    } finally {
      this.#watch.changed();
    }
  }

  stream(wire: Wire): Core | null {
    this.#count();
    const core = new Core(wire, this.#watch);
    try {
      if (!this.onStream(wire)) return null;
      this.streams.push(core);
      return core;
    } finally {
      this.#watch.changed();
    }
  }

  #count(): void {
    if (this.closes > 0) this.lateEvents++;
  }
}

/** The client's side, with what it got. */
export class Peer {
  readonly raw: RawClient;
  readonly chunks: Buffer[] = [];
  receivedBytes = 0;
  closed = false;

  constructor(raw: RawClient, watch: Watch) {
    this.raw = raw;
    raw.onData((chunk) => {
      this.chunks.push(chunk);
      this.receivedBytes += chunk.length;
      watch.changed();
    });
    raw.onClosed(() => {
      this.closed = true;
      watch.changed();
    });
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

/** One listening door and everything that happened on it. */
export class Stage {
  readonly watch = new Watch();
  readonly cores: Core[] = [];
  readonly errors: Error[] = [];
  readonly keeper = new RecordingDoorkeeper();
  readonly door: Door;
  address: Address = { url: '', port: 0 };
  onAccept = (_wire: Wire): void => {};

  constructor(open: OpenDoor) {
    this.keeper.onChange = () => this.watch.changed();
    this.door = open((error) => {
      this.errors.push(error);
      this.watch.changed();
    }, this.keeper);
  }

  async listen(): Promise<void> {
    this.address = await this.door.transport.listen((wire) => {
      const core = new Core(wire, this.watch);
      this.cores.push(core);
      this.watch.changed();
      this.onAccept(wire);
      return core;
    });
  }

  async dial(): Promise<Peer> {
    return new Peer(await this.door.dial(this.address), this.watch);
  }

  /** For a client that is turned away: it may learn so before it has finished connecting. */
  dialRefused(): Promise<Peer | undefined> {
    return this.dial().catch(() => undefined);
  }

  /** A client and the core's view of it. */
  async connect(): Promise<{ peer: Peer; core: Core }> {
    const index = this.cores.length;
    const peer = await this.dial();
    await this.watch.until(() => this.cores.length > index);
    return { peer, core: this.cores[index] };
  }

  until(condition: () => boolean): Promise<void> {
    return this.watch.until(condition);
  }

  /** A client with a further stream on which it has said one byte, and the core's view of both. */
  async connectWithStream(): Promise<{ peer: Peer; core: Core; stream: Peer; streamCore: Core }> {
    const { peer, core } = await this.connect();
    const { stream, streamCore } = await this.openStream(peer, core);
    return { peer, core, stream, streamCore };
  }

  /** A further stream of a client, on which it has said one byte. */
  async openStream(peer: Peer, core: Core): Promise<{ stream: Peer; streamCore: Core }> {
    const index = core.streams.length;
    const stream = new Peer(await peer.raw.openStream!(), this.watch);
    stream.raw.write(Buffer.alloc(1));
    await this.until(() => core.streams[index]?.receivedBytes === 1);
    return { stream, streamCore: core.streams[index] };
  }

  /** A round trip on a connection of its own: whatever was on its way before has had its turn. */
  async settle(): Promise<void> {
    for (let round = 0; round < 3; round++) {
      const { peer, core } = await this.connect();
      peer.raw.write(Buffer.from('ping'));
      await this.until(() => core.receivedBytes === 4);
      core.wire.write(Buffer.from('pong'));
      await this.until(() => peer.receivedBytes === 4);
      peer.raw.end();
      await this.until(() => core.closes === 1);
    }
  }
}

/** Bytes that differ by position, so that a loss or a swap shows. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function assertSame(actual: Buffer, expected: Buffer): void {
  assert.equal(actual.length, expected.length);
  assert.ok(actual.equals(expected), 'the bytes differ');
}

/** Writes all of `bytes` as the core does: at most one buffer held, the next after its drain. */
export function pour(core: Core, bytes: Buffer, step: number): void {
  let at = 0;
  const go = () => {
    while (at < bytes.length) {
      const chunk = bytes.subarray(at, at + step);
      at += chunk.length;
      if (!core.wire.write(chunk)) return;
    }
  };
  core.onDrain = go;
  go();
}
