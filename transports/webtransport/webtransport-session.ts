/** One WebTransport session: the doorkeeper is asked, the first stream becomes the wire, others its data streams; the rest is refused. */
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { EVICTED } from '../arrival.ts';
import type { OnError } from '../listen-url.ts';
import type { EngineSession, EngineStream } from './engine.ts';
import { CLOSE_ABORTED, WebTransportWire } from './webtransport-wire.ts';

/** Streams and datagrams that there is no use for; a client that goes on has lost its way. */
const REFUSALS_MAX = 16;
/** MQTT 5 reason code Protocol Error (2.4), as the close code of a session. */
const CLOSE_PROTOCOL_ERROR = 0x82;
/** How long a session that was closed may stay before it is no longer counted. */
const CLOSE_TIMEOUT_MS = 5_000;

export interface SessionParts {
  readonly session: EngineSession;
  readonly peer: PeerInfo;
  /** From the session to its first stream, in milliseconds. */
  readonly streamTimeoutMs: number;
  readonly onError: OnError | undefined;
  readonly accept: (wire: Wire) => WireEvents;
}

export class WebTransportSession {
  /** Resolves when the session is gone. Never rejects. */
  readonly gone: Promise<void>;
  readonly #session: EngineSession;
  readonly #peer: PeerInfo;
  readonly #onError: OnError | undefined;
  #wire: WebTransportWire | undefined;
  readonly #data: Set<WebTransportWire>;
  #visit: Visit | undefined;
  #refusals: number;
  #closing: boolean;
  #timer: NodeJS.Timeout | undefined;
  #onGone: () => void;

  constructor({ session, peer, onError }: SessionParts) {
    this.#session = session;
    this.#peer = peer;
    this.#onError = onError;
    this.#wire = undefined;
    this.#data = new Set();
    this.#visit = undefined;
    this.#refusals = 0;
    this.#closing = false;
    this.#timer = undefined;
    this.#onGone = () => {};
    this.gone = new Promise((resolve) => {
      this.#onGone = resolve;
    });
    void this.gone.then(() => {
      clearTimeout(this.#timer);
      this.#visit?.left();
    });
    session.closed.then(this.#onGone, this.#onGone);
  }

  get hasWire(): boolean {
    return this.#wire !== undefined;
  }

  /** To be called once, with what the doorkeeper said. */
  begin(visit: Visit, { streamTimeoutMs, accept }: SessionParts): void {
    this.#visit = visit;
    this.#timer = setTimeout(() => {
      this.#tell(`it opened no stream within ${streamTimeoutMs} ms`);
      this.close(CLOSE_ABORTED);
    }, streamTimeoutMs);
    const { bidirectional, unidirectional, datagrams } = this.#session;
    void this.#each(bidirectional, (stream) => {
      if (this.#wire === undefined) this.#open(stream, visit, accept);
      else this.#openData(stream, this.#wire);
    });
    void this.#each(unidirectional, (stream) => {
      stream.cancel().catch(() => {});
      this.#refuse('unidirectional streams');
    });
    void this.#each(datagrams, () => this.#refuse('datagrams'));
  }

  /** Instead of `begin`: the request should not have been granted. */
  refuse(visit: Visit, status: number): void {
    this.#visit = visit;
    this.close(status);
  }

  /** The doorkeeper needs the place for somebody else. */
  evict(): void {
    if (this.#wire === undefined) this.close(CLOSE_ABORTED);
    else this.#wire.abort(EVICTED);
  }

  /** Ends it at once. */
  abort(): void {
    if (this.#wire === undefined) this.close(CLOSE_ABORTED);
    else this.#wire.abort();
  }

  /** To be called now and then. */
  keepAlive(): void {
    if (this.#closing || this.#wire === undefined) return;
    if (!this.#wire.isActive) this.#session.keepAlive();
    this.#wire.isActive = false;
  }

  /** @param code MQTT 5 reason code, or an HTTP status where the engine has no other way to refuse a request */
  close(code: number, reason = ''): void {
    if (this.#closing) return;
    this.#closing = true;
    clearTimeout(this.#timer);
    // A client that takes nothing more hears nothing of its end either; its place is free all the same.
    this.#timer = setTimeout(this.#onGone, CLOSE_TIMEOUT_MS);
    this.#session.close({ closeCode: code, reason });
  }

  #open(stream: EngineStream, visit: Visit, accept: (wire: Wire) => WireEvents): void {
    if (this.#closing) return;
    clearTimeout(this.#timer);
    WebTransportWire.open(
      {
        peer: this.#peer,
        visit,
        stream,
        over: (code) => {
          for (const data of this.#data) data.endWithSession();
          this.close(code);
        },
        onError: this.#onError,
      },
      this.#session.closed,
      accept,
      (wire) => {
        this.#wire = wire;
      },
    );
  }

  #openData(stream: EngineStream, control: WebTransportWire): void {
    let data: WebTransportWire | null = null;
    const over = (): void => {
      if (data !== null) this.#data.delete(data);
    };
    data = control.openData({ peer: this.#peer, stream, over, onError: this.#onError });
    if (data === null) this.#refuse('further streams');
    else this.#data.add(data);
  }

  #refuse(what: string): void {
    this.#refusals++;
    if (this.#refusals !== REFUSALS_MAX) return;
    const problem = `it keeps sending ${what}, which there is no use for`;
    this.#tell(problem);
    // First the session, which keeps its code.
    this.close(CLOSE_PROTOCOL_ERROR);
    this.#wire?.abort(new Error(problem));
  }

  #tell(problem: string): void {
    this.#onError?.(new Error(`WebTransport session closed: ${problem}`), this.#peer.address);
  }

  /** Ends with the stream; that it breaks is told by the session. */
  async #each<T>(stream: ReadableStream<T>, use: (item: T) => void): Promise<void> {
    const reader = stream.getReader();
    try {
      for (let item = await reader.read(); !item.done; item = await reader.read()) use(item.value);
    } catch {
      // The session is over.
    }
  }
}
