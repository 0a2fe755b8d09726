/** A Wire on libuv's own handle, without the streams of `node:net` in between (docs/decisions/0009-lent-reads.md). */
import { getSystemErrorName } from 'node:util';
import type { Visit } from '../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { END_TIMEOUT_MS } from '../src/limits.ts';
import type { OnError } from './listen-url.ts';
import { asError, NO_EVENTS } from './socket-wire.ts';

/** As much as libuv asks for at a time. */
const READ_BYTES_MAX = 65_536;
/** libuv's number for the end of the stream, the same on every system. */
const END_OF_STREAM = -4_095;
const WIRE = Symbol('wire');

/** The part of libuv's stream handles used here. What is optional only TCP has. */
export interface StreamHandle {
  [WIRE]?: HandleWire;
  onread: (this: StreamHandle) => void;
  useUserBuffer(buffer: Buffer): void;
  readStart(): number;
  readStop(): number;
  writeBuffer(request: Request, bytes: Uint8Array): number;
  shutdown(request: Request): number;
  close(done: (this: StreamHandle) => void): void;
  reset?(done: (this: StreamHandle) => void): number;
}

/** What libuv calls back when a write or a shutdown that had to wait is over. */
interface Request {
  oncomplete?: (status: number, handle: StreamHandle) => void;
  /** Keeps the bytes of a write alive. */
  bytes?: Uint8Array;
}

/** What Node keeps beside its handles: how many bytes were read, whether a write waits. */
interface StreamBinding {
  readonly WriteWrap: new () => Request;
  readonly ShutdownWrap: new () => Request;
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
}

/** Null where Node has it no longer, or where its permission model forbids it. */
function streamBinding(): StreamBinding | null {
  try {
    const { binding } = process as unknown as { binding?: (name: string) => Partial<StreamBinding> };
    const found = binding?.('stream_wrap');
    const { WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = found ?? {};
    if (WriteWrap === undefined || ShutdownWrap === undefined || streamBaseState === undefined) return null;
    if (kReadBytesOrError === undefined || kLastWriteWasAsync === undefined) return null;
    return { WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync };
  } catch {
    // Then wires go the documented way.
    return null;
  }
}

/** Hears that the handle of a wire is closed for good. */
export type OnGone = (wire: HandleWire) => void;

/** What all wires of one door share: a buffer that they read into, one at a time, and a request for writes that do not wait. */
export class HandleStage {
  readonly buffer = Buffer.allocUnsafeSlow(READ_BYTES_MAX);
  readonly onError: OnError | undefined;
  readonly onGone: OnGone;
  readonly #binding: StreamBinding;
  #request: Request;

  private constructor(binding: StreamBinding, onError: OnError | undefined, onGone: OnGone) {
    this.#binding = binding;
    this.#request = new binding.WriteWrap();
    this.onError = onError;
    this.onGone = onGone;
  }

  /** Null where this Node cannot do it. */
  static open(onError: OnError | undefined, onGone: OnGone): HandleStage | null {
    const binding = streamBinding();
    return binding === null ? null : new HandleStage(binding, onError, onGone);
  }

  /** Bytes read in the call that is going on, or a negative error number. */
  get bytesRead(): number {
    return this.#binding.streamBaseState[this.#binding.kReadBytesOrError];
  }

  /** 0: the kernel has taken all of `bytes`. 1: the rest waits, and `writeDone` will follow. Negative: an error number. */
  write(handle: StreamHandle, bytes: Uint8Array): number {
    const { streamBaseState, kLastWriteWasAsync, WriteWrap } = this.#binding;
    const request = this.#request;
    const status = handle.writeBuffer(request, bytes);
    // A write that is done at once leaves the request as it was, to be used again.
    if (status !== 0 || streamBaseState[kLastWriteWasAsync] === 0) return status;
    request.bytes = bytes;
    request.oncomplete = onWritten;
    this.#request = new WriteWrap();
    return 1;
  }

  /** Sends our FIN behind what is being written; `shutdownDone` will follow. Negative: an error number. */
  shutdown(handle: StreamHandle): number {
    const request = new this.#binding.ShutdownWrap();
    request.oncomplete = onShutdown;
    return handle.shutdown(request);
  }
}

/** One connection. Reads, and writes that the kernel takes at once, allocate nothing but a view of the bytes. */
export class HandleWire implements Wire {
  /** Of the proxy, until it has said whom it brings. */
  peer: PeerInfo;
  readonly visit: Visit;
  readonly #handle: StreamHandle;
  readonly #stage: HandleStage;
  #events: WireEvents = NO_EVENTS;
  /** Data and drain may still be raised, and writes are taken. */
  #live = true;
  /** A write is waiting for its drain. */
  #held = false;
  /** The core ended or aborted: what breaks from here on is not news. */
  #coreEnded = false;
  /** The peer's FIN is here. */
  #peerEnded = false;
  #finSent: 'no' | 'soon' | 'yes' = 'no';
  #closing = false;
  #closedRaised = false;
  #error: Error | undefined = undefined;
  #endTimer: NodeJS.Timeout | undefined = undefined;

  private constructor(handle: StreamHandle, peer: PeerInfo, stage: HandleStage, visit: Visit) {
    this.#handle = handle;
    this.peer = peer;
    this.visit = visit;
    this.#stage = stage;
  }

  /** Hands an accepted handle to the core. Never throws: what `accept` throws goes to `onError` and closes the handle. */
  static open(
    handle: StreamHandle,
    peer: PeerInfo,
    stage: HandleStage,
    accept: (wire: Wire) => WireEvents,
    visit: Visit,
  ): HandleWire {
    const wire = new HandleWire(handle, peer, stage, visit);
    handle[WIRE] = wire;
    handle.onread = onRead;
    handle.useUserBuffer(stage.buffer);
    try {
      wire.#events = accept(wire);
    } catch (error) {
      wire.#fail(error);
    }
    if (wire.#live) handle.readStart();
    return wire;
  }

  /** Whether data may still be raised. */
  get isLive(): boolean {
    return this.#live;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#live) return true;
    const status = this.#stage.write(this.#handle, bytes);
    if (status === 0) return true;
    if (status < 0) {
      this.#broke(systemError('write', status));
      return true;
    }
    this.#held = true;
    return false;
  }

  pause(): void {
    if (this.#live) this.#handle.readStop();
  }

  resume(): void {
    if (this.#live) this.#handle.readStart();
  }

  end(): void {
    if (!this.#live) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#sendFin();
    // Input is read and dropped until the peer's FIN: unread input would turn our FIN into a reset that eats the last bytes.
    if (!this.#closing) this.#handle.readStart();
  }

  abort(error?: Error): void {
    if (this.#closedRaised || this.#closing) return;
    this.#coreEnded = true;
    this.#error = error;
    this.#reset();
  }

  /** Closes without a word; `closed` is raised when it is done. */
  destroy(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#live = false;
    this.#handle.close(onClosed);
  }

  /** Called by the handle: bytes are in the stage's buffer, or reading is over. */
  readDone(): void {
    const bytes = this.#stage.bytesRead;
    if (bytes > 0) this.#data(bytes);
    else if (bytes === END_OF_STREAM) this.#ended();
    else if (bytes < 0) this.#broke(systemError('read', bytes));
  }

  /** Called when the kernel has taken what it could not take at once. */
  writeDone(status: number): void {
    this.#held = false;
    if (!this.#live) return;
    if (status < 0) {
      this.#broke(systemError('write', status));
      return;
    }
    try {
      this.#events.drain();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Called when our FIN is out, or cannot get out. */
  shutdownDone(status: number): void {
    this.#finSent = 'yes';
    if (this.#peerEnded || status < 0) this.destroy();
  }

  /** Called when the handle is closed. */
  closeDone(): void {
    clearTimeout(this.#endTimer);
    this.#finish();
    this.visit.left();
    this.#stage.onGone(this);
  }

  #data(bytes: number): void {
    if (!this.#live) return;
    const { buffer } = this.#stage;
    try {
      this.#events.data(bytes === READ_BYTES_MAX ? buffer : buffer.subarray(0, bytes));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The peer's FIN. What is still being written goes out first; else closing sends ours, without a shutdown before. */
  #ended(): void {
    this.#live = false;
    this.#peerEnded = true;
    if (this.#held && this.#finSent === 'no') this.#sendFin();
    if (this.#finSent !== 'soon') this.destroy();
    this.#finish();
  }

  #broke(error: Error): void {
    if (!this.#coreEnded) this.#error ??= error;
    this.destroy();
  }

  #finish(): void {
    if (this.#closedRaised) return;
    this.#closedRaised = true;
    try {
      this.#events.closed(this.#error);
    } catch (error) {
      this.#stage.onError?.(asError(error), this.peer.address);
    }
  }

  /** A handler threw: that is the end of this wire, and of no other. */
  #fail(thrown: unknown): void {
    const error = asError(thrown);
    this.#stage.onError?.(error, this.peer.address);
    this.abort(error);
  }

  /** Sends our FIN behind what is being written, and bounds the wait for it and for the peer's. */
  #sendFin(): void {
    this.#finSent = 'soon';
    this.#endTimer = setTimeout(destroy, END_TIMEOUT_MS, this);
    this.#endTimer.unref();
    const status = this.#stage.shutdown(this.#handle);
    if (status < 0) this.#broke(systemError('shutdown', status));
  }

  /** Closes so that the kernel lets go of unsent bytes at once. libuv refuses to reset behind a FIN, and a pipe has no reset. */
  #reset(): void {
    if (this.#closing) return;
    if (this.#handle.reset === undefined || this.#finSent !== 'no') {
      this.destroy();
      return;
    }
    this.#closing = true;
    this.#live = false;
    this.#handle.reset(onClosed);
  }
}

function onRead(this: StreamHandle): void {
  this[WIRE]?.readDone();
}

function onWritten(status: number, handle: StreamHandle): void {
  handle[WIRE]?.writeDone(status);
}

function onShutdown(status: number, handle: StreamHandle): void {
  handle[WIRE]?.shutdownDone(status);
}

function onClosed(this: StreamHandle): void {
  this[WIRE]?.closeDone();
}

function destroy(wire: HandleWire): void {
  wire.destroy();
}

function systemError(call: string, status: number): Error {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`${call} ${code}`), { code });
}
