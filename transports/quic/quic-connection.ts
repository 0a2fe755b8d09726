/** One QUIC connection: its handshake, its deadlines, its control stream, and its end. */
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { END_TIMEOUT_MS } from '../../src/limits.ts';
import { HeardVisit } from '../arrival.ts';
import type { OnError } from '../listen-url.ts';
import { plainAddress } from '../socket-server.ts';
import { QuicDataStreams, resetStream, type StreamEngine, type StreamHost } from './quic-data-stream.ts';
import { PROTOCOL, type QuicTls } from './quic-tls.ts';
import { CODES, QuicWire, type WireStream } from './quic-wire.ts';
import type { HostPort, Quiche, QuicheConnection, RecvInfo } from './quiche.ts';

/** The first bidirectional stream that a client opens. */
const CONTROL_STREAM = 0;
/** The bit in a stream's number that says that it is unidirectional (RFC 9000, 2.1). */
const UNIDIRECTIONAL = 2;
/** Told to whoever opens such: MQTT 5, implementation specific error. */
const STREAM_UNKNOWN = 0x83;
/** MQTT 5 reasons that mean: there is no room for you now. */
const OVERLOADED: ReadonlySet<number> = new Set([0x89, 0x97, 0x9f]);
/** TLS alert bad_certificate, as QUIC carries it (RFC 9001, 4.8). */
const BAD_CERTIFICATE = 0x12a;
/** From the end of the handshake to the first byte of the control stream. */
const STREAM_TIMEOUT_MS = 10_000;
/** Some probe timeouts of a slow path. */
const LAST_WORD_MS = 3_000;
/**
 * What may come of a stranger besides what the core has read: a window of his stream, and a handshake with a chain of certificates and its
 * repetitions. The engine has no bound on what it keeps of a handshake's messages that do not follow each other, before or after its end.
 */
const STRANGER_BYTES_MAX = 131_072;
/** What the engine holds for a connection, roughly. */
const ENGINE_BYTES = 32_768;
/** 20 MB, more than a window lets out. As a client's, the engine was seen to send probes of 67 bytes without end; that must not hold the process. */
const DATAGRAMS_AT_ONCE_MAX = 16_384;
const NONE = Buffer.alloc(0);

/**
 * The paths a connection takes, as the engine is told of them. Packets from elsewhere are dropped before it sees them, so it needs no real
 * addresses; and a connection that cannot move cannot be used to make the engine keep many paths.
 */
export const PATH: RecvInfo = {
  from: { host: '192.0.2.1', port: 1 },
  to: { host: '192.0.2.2', port: 2 },
};

/** What all connections of a listener share. */
export interface QuicHost {
  readonly url: string;
  readonly quiche: Quiche;
  readonly tls: QuicTls;
  readonly onError: OnError | undefined;
  readonly accept: (wire: Wire) => WireEvents;
  /** Bytes are read into it, and lent to the core. */
  readonly readBuffer: Buffer;
  /** Calls `turn` when all that has arrived by now was received. */
  schedule(connection: QuicConnection): void;
  /** Calls `flush` when what runs now is through. */
  flushSoon(connection: QuicConnection): void;
  /** Room for a datagram. */
  room(): Buffer;
  /** Sends the first `bytes` of `room`, which is given away with it; answers what was sent. */
  send(bytes: number, connection: QuicConnection): Buffer;
  /** The connection is over; `last` is what its peer is told if he goes on sending. */
  gone(connection: QuicConnection, last: Buffer | null): void;
}

export class QuicConnection implements WireStream {
  /** Its connection id, as `latin1` text. */
  readonly id: string;
  /** Where its packets come from and go to, as the socket tells it. */
  readonly host: string;
  readonly port: number;
  readonly visit: Visit;
  /**
   * Never touched. V8 knows nothing of the engine's memory, which is free only when it has collected what stands for it here; by the size of
   * this it sees that it is time to.
   */
  readonly ballast: ArrayBufferView;
  isScheduled: boolean;
  isFlushScheduled: boolean;
  readonly #host: QuicHost;
  readonly #native: QuicheConnection;
  #wire: QuicWire | null;
  /** Made with the wire. */
  #data: QuicDataStreams | null;
  /** From the client's certificate. */
  #username: string | undefined;
  #isEstablished: boolean;
  #isLoggedIn: boolean;
  /** Came in datagrams, and was not handed to the core; counted until the login. */
  #unreadBytes: number;
  #isGone: boolean;
  #isEvicted: boolean;
  /** To be closed with this code in the next turn. */
  #killCode: number | null;
  /** The core has ended it: the code to close with when the client has everything. */
  #endCode: number | null;
  /** The engine was told to close it. */
  #isDying: boolean;
  /** The core, or `onError`, knows that it is over. */
  #isTold: boolean;
  /** The end of the control stream is on its way to the client. */
  #isFinished: boolean;
  #problem: Error | undefined;
  #last: Buffer | null;
  #timer: NodeJS.Timeout | undefined;
  #timerEndsAt: number;
  #deadline: NodeJS.Timeout | undefined;

  /** @param native made by the engine, which has not seen a packet yet */
  constructor(host: QuicHost, native: QuicheConnection, id: string, from: HostPort, visit: Visit) {
    this.id = id;
    this.host = from.host;
    this.port = from.port;
    this.visit = new HeardVisit(visit, () => {
      this.#isLoggedIn = true;
    });
    this.ballast = Buffer.allocUnsafeSlow(ENGINE_BYTES);
    this.isScheduled = false;
    this.isFlushScheduled = false;
    this.#host = host;
    this.#native = native;
    this.#wire = null;
    this.#data = null;
    this.#username = undefined;
    this.#isEstablished = false;
    this.#isLoggedIn = false;
    this.#unreadBytes = 0;
    this.#isGone = false;
    this.#isEvicted = false;
    this.#killCode = null;
    this.#endCode = null;
    this.#isDying = false;
    this.#isTold = false;
    this.#isFinished = false;
    this.#problem = undefined;
    this.#last = null;
    this.#timer = undefined;
    this.#timerEndsAt = Number.POSITIVE_INFINITY;
    this.#deadline = undefined;
    this.#expect('the handshake', host.tls.handshakeTimeoutMs);
  }

  /** Its IP address, as it is shown and limited. */
  get address(): string {
    return plainAddress(this.host);
  }

  get hasWire(): boolean {
    return this.#wire !== null;
  }

  /** A datagram from its address. Never throws. */
  receive(datagram: Buffer): void {
    if (this.#isGone) return;
    if (!this.#isLoggedIn) {
      this.#unreadBytes += datagram.length;
      if (this.#unreadBytes > STRANGER_BYTES_MAX) {
        this.#problem ??= new Error(`QUIC: ${STRANGER_BYTES_MAX} bytes came, and no login`);
        this.kill(CODES.normal);
        return;
      }
    }
    try {
      this.#native.recv(datagram, PATH);
    } catch (error) {
      // Where the engine has closed the connection, it knows what to tell the peer; other packets are none of this connection's.
      if (this.#native.localError() !== null)
        this.#problem ??= new Error(`QUIC: ${(error as Error).message}`);
    }
    this.#host.schedule(this);
  }

  /** Reads, writes and sends what can be. Never throws: a fault of the engine is the end of this connection. */
  turn(): void {
    try {
      if (this.#killCode === null && !this.#isEstablished) this.#establish();
      if (this.#killCode === null && this.#isEstablished) this.#streams();
      // Also when that was decided just now; who closed it with another code before was the first, and that counts.
      if (this.#killCode !== null) this.#close(true, this.#killCode);
      this.flush();
      this.#lookForEnd();
    } catch (error) {
      this.#broke(error as Error);
    }
  }

  /** Sends what the engine has to send. */
  flush(): void {
    if (this.#isGone) return;
    const host = this.#host;
    try {
      for (let count = 0; ; count++) {
        const sent = this.#native.send(host.room());
        if (sent === null) break;
        if (count === DATAGRAMS_AT_ONCE_MAX) throw new Error('QUIC: the engine does not cease to send');
        // Is answered by acknowledgements, in a fraction of its bytes.
        if (this.#unreadBytes > 0) this.#unreadBytes -= sent[0] >> 1;
        const datagram = host.send(sent[0], this);
        if (this.#killCode !== null) this.#last = datagram;
      }
      this.#arm();
    } catch (error) {
      this.#broke(error as Error);
    }
  }

  /** Copies into the engine what there is room for. */
  take(bytes: Uint8Array): number {
    if (this.#killCode !== null || this.#isGone) return bytes.length;
    try {
      return this.#native.streamSend(CONTROL_STREAM, bytes, false) ?? 0;
    } catch (error) {
      this.#streamLost(error as Error);
      return 0;
    }
  }

  sendSoon(): void {
    this.#host.flushSoon(this);
  }

  wake(): void {
    this.#host.schedule(this);
  }

  boundEnd(reasonCode: number): void {
    const code = OVERLOADED.has(reasonCode) ? CODES.overloaded : CODES.normal;
    this.#endCode = code;
    this.#setDeadline(() => this.kill(code), END_TIMEOUT_MS);
  }

  finish(): void {
    if (this.#isGone || this.#killCode !== null) return;
    this.#isFinished = true;
    try {
      this.#native.streamSend(CONTROL_STREAM, NONE, true);
      // The client need not send more, and his answer to this shows that the stream is done with.
      this.#native.streamShutdown(CONTROL_STREAM, this.#host.quiche.Shutdown.Read, CODES.normal);
    } catch {
      // He has ended or reset it himself.
    }
    this.#host.schedule(this);
  }

  kill(code: number): void {
    this.#killCode ??= code;
    this.#host.schedule(this);
  }

  /** Closes it at once: somebody else needs the place more, or the door closes. */
  evict(error?: Error): void {
    this.#isEvicted = true;
    if (this.#wire !== null) this.#wire.abort(error);
    else this.kill(CODES.overloaded);
  }

  #establish(): void {
    const native = this.#native;
    if (!native.isEstablished()) return;
    if (Buffer.from(native.applicationProto()).toString('latin1') !== PROTOCOL) {
      this.#close(true, CODES.normal);
      return;
    }
    const client = this.#host.tls.admit(native, this.address);
    if (client === null) {
      this.#isEvicted = true;
      this.#close(false, BAD_CERTIFICATE);
      return;
    }
    this.#isEstablished = true;
    this.#username = client.username;
    this.#expect('the first stream', STREAM_TIMEOUT_MS);
  }

  #streams(): void {
    const readable = [...this.#native.readable()];
    for (const stream of readable) {
      if (stream === CONTROL_STREAM) continue;
      if ((stream & UNIDIRECTIONAL) !== 0) resetStream(this.#engine, stream, STREAM_UNKNOWN);
      // Before the first stream is there, the others wait in the engine.
      else this.#data?.readable(stream);
    }
    // First, so that a goodbye on the control stream overtakes nothing that came with it.
    this.#data?.turn();
    if (readable.includes(CONTROL_STREAM)) this.#readControl();
    this.#wire?.roomAgain();
  }

  #readControl(): void {
    const wire = this.#wire ?? this.#open();
    if (wire === null) return;
    const { readBuffer } = this.#host;
    try {
      while (wire.wantsData) {
        const result = this.#native.streamRecv(CONTROL_STREAM, readBuffer);
        if (result === null) return;
        const [bytes, isLast] = result;
        this.#wasRead(bytes);
        if (bytes > 0) wire.data(readBuffer.subarray(0, bytes));
        if (!isLast) continue;
        this.#end(undefined);
        return;
      }
    } catch (error) {
      this.#streamLost(error as Error);
    }
  }

  #open(): QuicWire | null {
    clearTimeout(this.#deadline);
    const { accept, onError } = this.#host;
    this.#wire = QuicWire.open(this, this.#peer, this.visit, accept, onError);
    this.#data = new QuicDataStreams(this.#streamHost());
    return this.#wire;
  }

  get #peer(): PeerInfo {
    const { address, port } = this;
    const username = this.#username;
    const more = username === undefined ? {} : { username };
    return { door: this.#host.url, address, port, secure: true, ...more };
  }

  get #engine(): StreamEngine {
    const { quiche, readBuffer } = this.#host;
    return { native: this.#native, quiche, readBuffer };
  }

  /** Who is read may be as much ahead again: that is how far windows grow. */
  #wasRead(bytes: number): void {
    this.#unreadBytes -= 2 * bytes;
  }

  #streamHost(): StreamHost {
    return {
      ...this.#engine,
      peer: this.#peer,
      onError: this.#host.onError,
      isDying: () => this.#killCode !== null || this.#isGone,
      accept: (wire) => this.#wire?.stream(wire) ?? null,
      sendSoon: () => this.sendSoon(),
      wake: () => this.wake(),
      wasRead: (bytes) => this.#wasRead(bytes),
    };
  }

  /** The client has ended the control stream, which is the end of it all. */
  #end(error: Error | undefined): void {
    const code = error === undefined ? CODES.normal : CODES.controlStreamLost;
    this.#problem ??= error;
    this.#close(true, this.#endCode ?? code);
  }

  #streamLost(error: Error): void {
    if (this.#endCode !== null) return;
    this.#problem ??= new Error(`the client broke off the control stream (${error.message})`);
    this.kill(CODES.controlStreamLost);
  }

  #close(isApp: boolean, code: number): void {
    this.#killCode ??= code;
    try {
      this.#native.close(isApp, code, NONE);
    } catch {
      // It is closed already.
    }
  }

  /** After a turn: is it over, and why? */
  #lookForEnd(): void {
    if (this.#isGone && this.#wire === null) return;
    const native = this.#native;
    if (this.#killCode !== null) {
      // Where the congestion window is full, the engine sends its last word only with the next probe.
      if (native.isDraining() || native.isClosed() || !this.#isEstablished) this.#detach();
      else if (!this.#isDying) this.#setDeadline(() => this.drop(), LAST_WORD_MS);
      this.#isDying = true;
      this.#tell(this.#problem);
      return;
    }
    if (this.#isFinished && !this.#controlStreamIsOpen()) {
      this.kill(this.#endCode!);
      return;
    }
    if (!native.isDraining() && !native.isClosed()) return;
    const error = this.#whyClosed();
    // A client that said all and left: what he said is still heard.
    if (error === undefined && this.#wire?.isPaused === true && native.streamReadable(CONTROL_STREAM)) return;
    this.#over(error);
  }

  /** False: the peer has all that was sent, and has ended his side too. */
  #controlStreamIsOpen(): boolean {
    try {
      this.#native.streamWritable(CONTROL_STREAM, 0);
      return true;
    } catch (error) {
      return !(error as Error).message.startsWith('InvalidStreamState');
    }
  }

  #whyClosed(): Error | undefined {
    const native = this.#native;
    if (native.isTimedOut()) return new Error('QUIC: nothing was heard of the client for too long');
    const theirs = native.peerError();
    if (theirs === null) return this.#problem ?? new Error('QUIC: the connection broke');
    if (theirs.errorCode === 0) return undefined;
    const kind = theirs.isApp ? 'application' : 'QUIC';
    const reason = Buffer.from(theirs.reason).toString('utf8', 0, 200);
    return new Error(`the client closed with ${kind} error ${theirs.errorCode} ${JSON.stringify(reason)}`);
  }

  #broke(error: Error): void {
    this.#problem ??= error;
    this.#killCode ??= CODES.normal;
    this.#over(this.#problem);
  }

  #over(error: Error | undefined): void {
    this.#detach();
    this.#tell(error);
  }

  /** Once: why it is over. */
  #tell(error: Error | undefined): void {
    if (this.#isTold) return;
    this.#isTold = true;
    const wire = this.#wire;
    this.#data?.closed(error);
    if (wire !== null) wire.closed(error);
    else if (error !== undefined && !this.#isEvicted) this.#host.onError?.(error, this.address);
  }

  /** Forgets it, whatever its peer has not heard. */
  drop(): void {
    this.#detach();
  }

  #detach(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#deadline);
    this.#host.gone(this, this.#last);
  }

  #expect(what: string, ms: number): void {
    this.#setDeadline(() => {
      this.#problem ??= new Error(`QUIC: ${what} did not come within ${ms / 1_000} s`);
      this.kill(CODES.normal);
    }, ms);
  }

  #setDeadline(action: () => void, ms: number): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(action, ms);
    this.#deadline.unref();
  }

  /** Wakes the engine when it asked to be. One timer, set anew only when it must ring earlier. */
  #arm(): void {
    const ms = this.#native.timeout();
    if (ms === null) return;
    const endsAt = performance.now() + ms;
    if (endsAt >= this.#timerEndsAt) return;
    clearTimeout(this.#timer);
    this.#timerEndsAt = endsAt;
    // The engine counts whole milliseconds down, Node counts them up.
    this.#timer = setTimeout(() => this.#ring(), ms + 1);
    this.#timer.unref();
  }

  #ring(): void {
    this.#timerEndsAt = Number.POSITIVE_INFINITY;
    if (this.#isGone) return;
    try {
      // Looks at the time itself: too early is harmless.
      this.#native.onTimeout();
    } catch (error) {
      this.#problem ??= error as Error;
    }
    this.turn();
  }
}
