/** A Wire over a WebSocket: the frames' payloads are one byte stream [MQTT-6.0.0-2]. */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Visit } from '../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { type Arrival, HeardVisit } from './arrival.ts';
import type { OnError } from './listen-url.ts';
import { abortSocket, asError } from './socket-wire.ts';

/** Browsers send none, libraries one in some seconds: more than this many pings and pongs in a window is a flood. */
const PINGS_MAX = 100;
const PING_WINDOW_MS = 10_000;

/** WebSocket close codes (RFC 6455, 7.4.1) for MQTT 5 reason codes (2.4). Other codes from 0x80 up are a policy's. */
const CLOSE_NORMAL = 1000;
const CLOSE_TEXT_FRAME = 1003;
const CLOSE_POLICY = 1008;
const CLOSE_CODES: ReadonlyMap<number, number> = new Map([
  [0x83, 1011],
  [0x8b, 1001],
  [0x95, 1009],
]);

const SEND_OPTIONS = { binary: true, compress: false };

const NO_EVENTS: WireEvents = { data() {}, drain() {}, closed() {} };

/** One WebSocket. Same states as a SocketWire; what differs is framing, and that `ws` may emit while paused. */
export class WebSocketWire implements Wire {
  readonly peer: PeerInfo;
  visit: Visit;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #onError: OnError | undefined;
  readonly #onWritten: (error?: Error | null) => void;
  #events: WireEvents;
  #live: boolean;
  /** Writes whose callback has not come. Not `bufferedAmount`: that also counts the pongs `ws` sends by itself. */
  #unwritten: number;
  #held: boolean;
  #paused: boolean;
  /** Payloads of the chunk that was being parsed when the core paused; bounded by one socket read. */
  #waiting: Buffer[];
  #coreEnded: boolean;
  #closedRaised: boolean;
  #error: Error | undefined;
  #pings: number;
  #pingWindowStart: number;
  /** Bytes read since the last whole message, while a stranger's are counted. */
  #unfinishedBytes: number;

  private constructor(
    ws: WebSocket,
    socket: Socket,
    peer: PeerInfo,
    visit: Visit,
    onError: OnError | undefined,
  ) {
    this.peer = peer;
    this.visit = visit;
    this.#ws = ws;
    this.#socket = socket;
    this.#onError = onError;
    this.#onWritten = (error) => this.#written(error);
    this.#events = NO_EVENTS;
    this.#live = true;
    this.#unwritten = 0;
    this.#held = false;
    this.#paused = false;
    this.#waiting = [];
    this.#coreEnded = false;
    this.#closedRaised = false;
    this.#error = undefined;
    this.#pings = 0;
    this.#pingWindowStart = 0;
    this.#unfinishedBytes = 0;
  }

  /** Hands an upgraded connection to the core. Never throws: what `accept` throws goes to `onError` and ends it. */
  static open(
    ws: WebSocket,
    socket: Socket,
    peer: PeerInfo,
    accept: (wire: Wire) => WireEvents,
    onError: OnError | undefined,
    arrival: Arrival,
    strangerBytesMax = Number.POSITIVE_INFINITY,
  ): void {
    const wire = new WebSocketWire(ws, socket, peer, arrival.visit, onError);
    arrival.became(wire);
    if (strangerBytesMax < Number.POSITIVE_INFINITY) wire.#watchStranger(strangerBytesMax);
    // Every message as the list of its fragments, which spares joining them.
    ws.binaryType = 'fragments';
    // `ws` keeps socket errors to itself and reports those of the protocol.
    socket.on('error', (error) => wire.#broke(error));
    ws.on('error', (error) => wire.#broke(error));
    ws.on('close', () => wire.#finish());
    try {
      wire.#events = accept(wire);
    } catch (error) {
      wire.#fail(error);
      return;
    }
    ws.on('message', (message, isBinary) => wire.#message(message as Buffer[], isBinary));
    ws.on('ping', () => wire.#countPing());
    ws.on('pong', () => wire.#countPing());
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#live || this.#ws.readyState !== this.#ws.OPEN) return true;
    this.#unwritten++;
    this.#ws.send(bytes, SEND_OPTIONS, this.#onWritten);
    if (this.#ws.bufferedAmount === 0) return true;
    this.#held = true;
    return false;
  }

  pause(): void {
    if (!this.#live) return;
    this.#paused = true;
    this.#ws.pause();
  }

  resume(): void {
    if (!this.#live || !this.#paused) return;
    this.#paused = false;
    if (this.#waiting.length === 0) this.#ws.resume();
    else process.nextTick(() => this.#deliverWaiting());
  }

  end(reasonCode = 0): void {
    if (!this.#live) return;
    this.#coreEnded = true;
    this.#close(CLOSE_CODES.get(reasonCode) ?? (reasonCode < 0x80 ? CLOSE_NORMAL : CLOSE_POLICY));
  }

  abort(error?: Error): void {
    if (this.#closedRaised) return;
    this.#live = false;
    this.#coreEnded = true;
    this.#error = error;
    // Gone already, and only the core's pause held `closed` back.
    if (this.#ws.readyState === this.#ws.CLOSED) this.#raiseClosed();
    else abortSocket(this.#socket);
  }

  /** `ws` keeps a message until it is whole, and a message may be as large as a packet: of a stranger's it keeps less. */
  #watchStranger(bytesMax: number): void {
    const count = (chunk: Buffer): void => {
      this.#unfinishedBytes += chunk.length;
      if (this.#unfinishedBytes <= bytesMax || !this.#live) return;
      // Not politely: until the peer answers a close frame, `ws` would go on keeping what comes.
      this.abort(new Error(`more than ${bytesMax} bytes of a WebSocket message before the login`));
    };
    // In front of the listener of `ws`, which may raise `message`.
    this.#socket.prependListener('data', count);
    this.visit = new HeardVisit(this.visit, () => this.#socket.off('data', count));
  }

  #message(fragments: Buffer[], isBinary: boolean): void {
    this.#unfinishedBytes = 0;
    if (!this.#live) return;
    if (!isBinary) {
      // [MQTT-6.0.0-1]
      this.#error = new Error('the client sent a WebSocket text frame; MQTT is carried in binary frames');
      this.#close(CLOSE_TEXT_FRAME);
      return;
    }
    for (const fragment of fragments) this.#data(fragment);
  }

  #data(chunk: Buffer): void {
    if (!this.#live || chunk.length === 0) return;
    if (this.#paused || this.#waiting.length > 0) {
      this.#waiting.push(chunk);
      return;
    }
    try {
      this.#events.data(chunk);
    } catch (error) {
      this.#fail(error);
    }
  }

  #deliverWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const chunk of waiting) this.#data(chunk);
    if (!this.#live || this.#paused) return;
    if (this.#ws.readyState === this.#ws.CLOSED) this.#finish();
    else this.#ws.resume();
  }

  #written(error: Error | null | undefined): void {
    this.#unwritten--;
    if (!this.#held || this.#unwritten > 0 || error || !this.#live) return;
    this.#held = false;
    try {
      this.#events.drain();
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #countPing(): void {
    if (!this.#live) return;
    const now = performance.now();
    if (now - this.#pingWindowStart > PING_WINDOW_MS) {
      this.#pingWindowStart = now;
      this.#pings = 0;
    }
    this.#pings++;
    if (this.#pings <= PINGS_MAX) return;
    this.#error = new Error(`more than ${PINGS_MAX} WebSocket pings and pongs in ${PING_WINDOW_MS} ms`);
    this.#close(CLOSE_POLICY);
  }

  /** Sends what was written and a close frame; `ws` destroys the socket when the peer's answer takes too long. */
  #close(code: number): void {
    this.#live = false;
    this.#waiting = [];
    this.#ws.close(code);
    // The peer's close frame must be read, whatever the core thinks of more data.
    this.#ws.resume();
  }

  #broke(error: Error): void {
    if (!this.#coreEnded) this.#error ??= error;
    // What has arrived before may still wait for the core to resume.
    if (this.#waiting.length === 0) this.#live = false;
  }

  #finish(): void {
    // As with a socket, the end comes after the bytes before it, once the core reads again.
    if (this.#live && this.#waiting.length > 0) return;
    this.#raiseClosed();
  }

  #raiseClosed(): void {
    this.#live = false;
    if (this.#closedRaised) return;
    this.#closedRaised = true;
    try {
      this.#events.closed(this.#error);
    } catch (error) {
      this.#onError?.(asError(error), this.peer.address);
    }
  }

  /** A handler threw: that is the end of this wire, and of no other. */
  #fail(thrown: unknown): void {
    const error = asError(thrown);
    this.#onError?.(error, this.peer.address);
    this.abort(error);
  }
}
