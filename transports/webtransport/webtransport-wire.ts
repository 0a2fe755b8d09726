/** One bidirectional stream of a WebTransport session: the first is the MQTT connection, others are its data streams. */
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { END_TIMEOUT_MS, STREAM_REFUSED } from '../../src/limits.ts';
import type { OnError } from '../listen-url.ts';
import { asError } from '../socket-wire.ts';
import type { CloseInfo, EngineStream } from './engine.ts';

/** Small writes are copied, so that the caller has its buffer back at once. */
const COPY_BYTES_MAX = 16_384;
/** Of copies the engine has not taken yet: beyond, the caller waits. A few of the caller's largest writes. */
const COPIED_BYTES_MAX = 65_536;

/** MQTT 5 reason code Unspecified error (2.4): the close code of a session that is cut off. */
export const CLOSE_ABORTED = 0x80;

const NO_EVENTS: WireEvents = { data() {}, drain() {}, closed() {} };

export interface WireParts {
  readonly peer: PeerInfo;
  /** Undefined: it is a data stream. */
  readonly visit: Visit | undefined;
  readonly stream: EngineStream;
  /** The stream is over, and the core is about to hear of it; `code`: why, for the session that ends with it. */
  readonly over: (code: number) => void;
  readonly onError: OnError | undefined;
}

export class WebTransportWire implements Wire {
  readonly peer: PeerInfo;
  readonly visit?: Visit;
  /** Bytes went one way or the other since this was last set to false. */
  isActive: boolean;
  readonly #stream: EngineStream;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #isData: boolean;
  readonly #tellOver: (code: number) => void;
  readonly #onError: OnError | undefined;
  #events: WireEvents;
  /** The core has neither ended it nor heard of its end. */
  #live: boolean;
  #paused: boolean;
  #reading: boolean;
  /** What was being read when the core paused: one chunk at most. */
  #waiting: Uint8Array | undefined;
  /** Handed to the engine and not taken by it, in bytes; a copied write counts here until it is. */
  #unwrittenBytes: number;
  /** A write has returned false, and its drain has not been told. */
  #held: boolean;
  /** The client has closed the session in order; what came before may still be unread. */
  #isSessionClosed: boolean;
  #closedRaised: boolean;
  #error: Error | undefined;
  #endTimer: NodeJS.Timeout | undefined;
  #endCode: number;

  private constructor({ peer, visit, stream, over, onError }: WireParts) {
    this.peer = peer;
    if (visit !== undefined) this.visit = visit;
    this.isActive = true;
    this.#stream = stream;
    this.#reader = stream.readable.getReader();
    this.#writer = stream.writable.getWriter();
    this.#isData = visit === undefined;
    this.#tellOver = over;
    this.#onError = onError;
    this.#events = NO_EVENTS;
    this.#live = true;
    this.#paused = false;
    this.#reading = false;
    this.#waiting = undefined;
    this.#unwrittenBytes = 0;
    this.#held = false;
    this.#isSessionClosed = false;
    this.#closedRaised = false;
    this.#error = undefined;
    this.#endTimer = undefined;
    this.#endCode = 0;
  }

  /**
   * Hands the first stream to the core. Never throws: what `accept` throws goes to `onError` and ends the session.
   * @param sessionClosed that of the session
   */
  static open(
    parts: WireParts,
    sessionClosed: Promise<CloseInfo>,
    accept: (wire: Wire) => WireEvents,
    became: (wire: WebTransportWire) => void,
  ): void {
    const wire = new WebTransportWire(parts);
    became(wire);
    sessionClosed.then(
      ({ closeCode }) => wire.#sessionClosed(closeCode),
      (error) => wire.#over(asError(error)),
    );
    wire.#begin(accept);
  }

  /** Hands a further stream to the core, who may not want it: null, and the stream is reset. Never throws. */
  openData(parts: Omit<WireParts, 'visit'>): WebTransportWire | null {
    const wire = new WebTransportWire({ ...parts, visit: undefined });
    const accept = (further: Wire) => (this.#live ? this.#events.stream?.(further) : null) ?? null;
    return wire.#begin(accept) ? wire : null;
  }

  #begin(accept: (wire: Wire) => WireEvents | null): boolean {
    // Also when nothing is being written: the client may refuse to hear more.
    this.#writer.closed.catch((error) => this.#broke(error));
    try {
      const events = accept(this);
      if (events === null) {
        this.#closedRaised = true;
        this.#live = false;
        this.#reset(STREAM_REFUSED);
        return false;
      }
      this.#events = events;
    } catch (error) {
      this.#fail(error);
      return true;
    }
    this.#read();
    return true;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#live) return true;
    this.isActive = true;
    const { length } = bytes;
    const copies = length <= COPY_BYTES_MAX && this.#unwrittenBytes + length <= COPIED_BYTES_MAX;
    this.#unwrittenBytes += length;
    this.#writer.write(copies ? Uint8Array.from(bytes) : bytes).then(
      () => this.#written(length),
      // `closed` of the writer tells why.
      () => {},
    );
    if (copies) return true;
    this.#held = true;
    return false;
  }

  pause(): void {
    if (!this.#live || this.#paused) return;
    this.#paused = true;
    this.#stream.hold(true);
  }

  resume(): void {
    if (!this.#live || !this.#paused) return;
    this.#paused = false;
    this.#stream.hold(false);
    if (this.#waiting === undefined) this.#read();
    else process.nextTick(() => this.#deliverWaiting());
  }

  end(reasonCode = 0): void {
    if (!this.#live) return;
    this.#live = false;
    this.#endCode = reasonCode;
    this.#waiting = undefined;
    if (this.#isData && reasonCode !== 0) {
      this.#reset(reasonCode);
      queueMicrotask(() => this.#over());
      return;
    }
    this.#stream.hold(false);
    // To close the session now would lose what the client has not acknowledged yet. It closes its half when it has read ours.
    // A data stream is done with when ours has been handed over.
    this.#writer.close().catch(() => {});
    this.#endTimer = setTimeout(() => this.#over(), END_TIMEOUT_MS);
    this.#read();
  }

  abort(error?: Error): void {
    if (this.#closedRaised) return;
    this.#live = false;
    this.#error ??= error;
    this.#endCode = CLOSE_ABORTED;
    this.#waiting = undefined;
    if (this.#isData) this.#reset(CLOSE_ABORTED);
    else this.#writer.abort().catch(() => {});
    // Not from within a call of the core.
    queueMicrotask(() => this.#over(error));
  }

  /** The session is over, and with it this data stream. */
  endWithSession(): void {
    this.#over();
  }

  #reset(code: number): void {
    const reason = this.#stream.reset(code);
    this.#writer.abort(reason).catch(() => {});
    this.#reader.cancel(reason).catch(() => {});
  }

  #read(): void {
    if (this.#reading || this.#closedRaised || (this.#live && this.#paused)) return;
    this.#reading = true;
    this.#reader.read().then(
      ({ done, value }) => {
        this.#reading = false;
        if (done) this.#clientEnded();
        else this.#chunk(value);
      },
      (error) => {
        this.#reading = false;
        this.#broke(error);
      },
    );
  }

  #chunk(chunk: Uint8Array): void {
    this.isActive = true;
    if (this.#live && this.#paused) {
      this.#waiting = chunk;
      return;
    }
    if (this.#live) this.#deliver(chunk);
    // After `end` the client's bytes are read for their end alone.
    this.#read();
  }

  #deliver({ buffer, byteOffset, byteLength }: Uint8Array): void {
    if (byteLength === 0) return;
    try {
      this.#events.data(Buffer.from(buffer, byteOffset, byteLength));
    } catch (error) {
      this.#fail(error);
    }
  }

  #deliverWaiting(): void {
    const chunk = this.#waiting;
    if (!this.#live || this.#paused || chunk === undefined) return;
    this.#waiting = undefined;
    this.#deliver(chunk);
    this.#read();
  }

  #written(bytes: number): void {
    this.#unwrittenBytes -= bytes;
    if (!this.#held || this.#unwrittenBytes > 0 || !this.#live) return;
    this.#held = false;
    try {
      this.#events.drain();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The end of the stream is the end of the connection. */
  #clientEnded(): void {
    if (this.#live) this.#writer.close().catch(() => {});
    this.#over();
  }

  /** One of the two directions broke off, or the whole session did. */
  #broke(error: unknown): void {
    if (this.#isSessionClosed) this.#over();
    // Else the session tells by itself, and better.
    else if ((error as { source?: unknown } | undefined)?.source !== 'session')
      this.#brokeOff(asError(error));
  }

  #brokeOff(error: Error): void {
    // The other direction of a data stream is of no use either; that of the first ends with the session.
    if (this.#isData && !this.#closedRaised) this.#reset(CLOSE_ABORTED);
    this.#over(error);
  }

  #sessionClosed(code: number): void {
    this.#isSessionClosed = code === 0;
    // What came before the end is still to be read, unless the core waits for something that can no longer leave.
    const unread = this.#live && this.#paused && !this.#held;
    if (code !== 0) this.#over(new Error(`the client closed the session with code ${code}`));
    else if (!unread) setImmediate(() => this.#over());
  }

  /** The end, told once. An end of ours has no error. */
  #over(error?: Error): void {
    if (this.#closedRaised) return;
    this.#closedRaised = true;
    const reason = this.#live ? error : this.#error;
    this.#live = false;
    this.#waiting = undefined;
    clearTimeout(this.#endTimer);
    this.#tellOver(reason !== undefined && this.#endCode === 0 ? CLOSE_ABORTED : this.#endCode);
    this.#reader.cancel().catch(() => {});
    try {
      this.#events.closed(reason);
    } catch (thrown) {
      this.#onError?.(asError(thrown), this.peer.address);
    }
  }

  /** A handler threw: that is the end of this wire, and of no other. */
  #fail(thrown: unknown): void {
    const error = asError(thrown);
    this.#onError?.(error, this.peer.address);
    this.abort(error);
  }
}
