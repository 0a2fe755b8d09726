/** Which transport the next connection takes: WebTransport, else the fall-back, and WebTransport again when it is there. */
import { type Channel, reasonOf, TransportError, type TransportKind } from './channel.ts';
import { MqttStream } from './mqtt-stream.ts';
import { openWebSocket, type WebSocketClass } from './websocket-channel.ts';
import {
  type CertificateHashes,
  closeQuietly,
  openSession,
  openStream,
  type WebTransportClass,
  type WebTransportSession,
} from './webtransport-channel.ts';

export interface ChoiceOptions {
  readonly url: string;
  readonly fallbackUrl: string | undefined;
  readonly certificateHashes: CertificateHashes | undefined;
  readonly timeoutMs: number;
  readonly retryAfterMs: number;
  readonly retryAfterMaxMs: number;
  readonly moveBack: boolean;
  readonly onTransport: (transport: TransportKind, reason?: Error) => void;
  /** Whether the browser itself opens the sessions, and slows down who fails often. */
  readonly isPaced: boolean;
  /** Undefined where there is none; then every connection takes the fall-back. */
  readonly WebTransport: WebTransportClass | undefined;
  readonly WebSocket: WebSocketClass | undefined;
}

/** What is used of MQTT.js's MqttClient. */
export interface Client {
  readonly connected: boolean;
  readonly disconnecting: boolean;
  readonly disconnected: boolean;
  readonly options: { readonly reconnectPeriod?: number };
  connect(): unknown;
}

/** One attempt to connect, from its start to its end. */
interface Attempt {
  kind: TransportKind;
  /** Whether it has tried WebTransport. */
  hasTried: boolean;
  /** Why it does not take WebTransport. */
  reason: Error | undefined;
  /** What ended it, where something did. */
  error: Error | undefined;
  /** When the first bytes came, in ms; undefined before. */
  upAt: number | undefined;
}

/** DISCONNECT, normal disconnection, in every version of MQTT: the session stays as long as it was to stay, and the will is not published. */
const DISCONNECT = Uint8Array.of(0xe0, 0x00);
/** Part of a waiting time that is left to chance, so that pages that fell back together do not all come back together. */
const JITTER = 0.25;
/**
 * While nothing comes up, WebTransport is tried after this time, and after twice as long each further time. Chromium lets every handshake of a page wait for
 * 10 ms doubled with each that has failed in the last five minutes: after nine of them it is too late for a time limit of two seconds.
 */
const OUTAGE_MS = 1_000;
const OUTAGE_MAX_MS = 120_000;

export class TransportChoice {
  readonly #options: ChoiceOptions;
  /** Attempts over WebTransport in a row that came to nothing while the fall-back did. */
  #failures = 0;
  /** Those that came to nothing since anything has come up. */
  #outages = 0;
  /** Before it, WebTransport is not tried; ms of `performance.now`. */
  #retryAt = 0;
  #reason: Error | undefined;
  /** Opened while the fall-back served, for the connection that follows. */
  #prepared: WebTransportSession | null = null;
  /** The connection over the fall-back that has been left for it. */
  #left: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ChoiceOptions) {
    this.#options = options;
    if (options.WebTransport !== undefined) return;
    this.#retryAt = Number.POSITIVE_INFINITY;
    this.#reason = new TransportError(
      'There is no WebTransport here. Browsers have it in pages from https and localhost; elsewhere hand in a class (WebTransport)',
    );
  }

  /** Makes the stream for one connection of this client. */
  stream(client: Client): MqttStream {
    const attempt: Attempt = {
      kind: 'webtransport',
      hasTried: false,
      reason: undefined,
      error: undefined,
      upAt: undefined,
    };
    const stream: MqttStream = new MqttStream(
      (signal) => this.#open(attempt, signal),
      () => this.#up(client, stream, attempt),
    );
    return stream
      .on('error', (error: Error) => {
        attempt.error = error;
      })
      .on('close', () => this.#closed(attempt));
  }

  async #open(attempt: Attempt, signal: AbortSignal): Promise<Channel> {
    // The broker would take a second connection of the same client for a takeover, and publish the first one's will.
    await this.#left;
    const { url, fallbackUrl } = this.#options;
    const isTooEarly = this.#prepared === null && performance.now() < this.#retryAt;
    if (isTooEarly && fallbackUrl !== undefined) return this.#fallBack(attempt, signal);
    if (isTooEarly) await pauseUntil(this.#retryAt, signal);
    attempt.hasTried = true;
    try {
      const session = this.#prepared ?? (await this.#session(signal));
      this.#prepared = null;
      return await openStream(url, session);
    } catch (error) {
      this.#prepared = null;
      if (fallbackUrl === undefined || signal.aborted) throw error;
      this.#reason = error as Error;
      const channel = await this.#fallBack(attempt, signal);
      // Where the fall-back does not come up either, the failure says nothing of UDP.
      this.#failed();
      return channel;
    }
  }

  async #fallBack(attempt: Attempt, signal: AbortSignal): Promise<Channel> {
    const { fallbackUrl, WebSocket } = this.#options;
    attempt.kind = 'websocket';
    attempt.reason = this.#reason;
    try {
      return await openWebSocket(fallbackUrl!, WebSocket!, signal);
    } catch (error) {
      this.#outage(attempt);
      throw new TransportError(`${reasonOf(error)} Before that: ${reasonOf(attempt.reason)}`);
    }
  }

  #session(signal: AbortSignal): Promise<WebTransportSession> {
    const { url, certificateHashes, timeoutMs, WebTransport } = this.#options;
    return openSession({ url, certificateHashes, timeoutMs, WebTransport: WebTransport! }, signal);
  }

  /** The broker has answered. */
  #up(client: Client, stream: MqttStream, attempt: Attempt): void {
    attempt.upAt = performance.now();
    this.#outages = 0;
    if (attempt.kind === 'websocket') this.#watch(client, stream);
    this.#options.onTransport(attempt.kind, attempt.reason);
  }

  #closed(attempt: Attempt): void {
    clearTimeout(this.#timer);
    if (attempt.kind !== 'webtransport' || !attempt.hasTried) return;
    if (attempt.upAt === undefined) {
      const why = attempt.error === undefined ? '' : ` (${reasonOf(attempt.error)})`;
      const what = `WebTransport to ${this.#options.url}: it ended before an answer came${why}`;
      this.#reason = new TransportError(`${what}. Is the path right, and may this page connect (origins)?`);
      if (this.#options.fallbackUrl === undefined) this.#outage(attempt);
      else this.#failed();
    } else if (performance.now() - attempt.upAt >= this.#waitMs()) {
      this.#failures = 0;
      this.#reason = undefined;
    }
  }

  #failed(): void {
    this.#failures++;
    const random = crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
    this.#retryAt = performance.now() + this.#waitMs() * (1 + JITTER * random);
  }

  /** Nothing came up: then the broker is away, and that says nothing of UDP. */
  #outage({ hasTried }: Attempt): void {
    if (this.#options.WebTransport === undefined) return;
    const waitMs = this.#options.isPaced ? Math.min(OUTAGE_MS * 2 ** this.#outages, OUTAGE_MAX_MS) : 0;
    const at = performance.now() + waitMs;
    this.#retryAt = hasTried ? at : Math.min(this.#retryAt, at);
    if (hasTried) this.#outages++;
  }

  /** How long WebTransport is left alone after the failures so far. */
  #waitMs(): number {
    const { retryAfterMs, retryAfterMaxMs } = this.#options;
    return Math.min(retryAfterMs * 2 ** Math.max(0, this.#failures - 1), retryAfterMaxMs);
  }

  /** Over the fall-back: looks for WebTransport when its time has come. */
  #watch(client: Client, stream: MqttStream): void {
    const reconnects = (client.options.reconnectPeriod ?? 0) > 0;
    if (!this.#options.moveBack || !reconnects || this.#retryAt === Number.POSITIVE_INFINITY) return;
    clearTimeout(this.#timer);
    const waitMs = Math.max(0, this.#retryAt - performance.now());
    this.#timer = setTimeout(() => void this.#probe(client, stream), waitMs);
  }

  async #probe(client: Client, stream: MqttStream): Promise<void> {
    let session: WebTransportSession;
    try {
      session = await this.#session(new AbortController().signal);
    } catch (error) {
      this.#reason = error as Error;
      this.#failed();
      if (stream.readable) this.#watch(client, stream);
      return;
    }
    if (!stream.readable || !client.connected || client.disconnecting) {
      closeQuietly(session);
      return;
    }
    this.#prepared = session;
    this.#left = stream.leave(DISCONNECT);
    // A listener of `close` may have ended the client.
    if (!client.disconnecting && !client.disconnected) {
      client.connect();
      return;
    }
    this.#prepared = null;
    closeQuietly(session);
  }
}

/** @throws Error when the signal is aborted before */
function pauseUntil(at: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, at - performance.now());
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(new Error('given up'));
    });
  });
}
