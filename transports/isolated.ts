/**
 * A door in a process of its own: what breaks there, such as the native code of an engine, breaks nothing here, and what is computed there, such as a
 * TLS handshake, holds up nothing here (docs/decisions/0019-engines-in-a-process.md).
 */
import { DoorUnavailable } from '../src/errors.ts';
import type { Doorkeeper } from '../src/interfaces/doorkeeper.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { Address, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { Arrivals } from './arrival.ts';
import { openEngineDoor } from './isolated/engine-door.ts';
import { EngineLife, howItEnded } from './isolated/engine-life.ts';
import type { EngineEnd, EngineProcessOptions } from './isolated/engine-process.ts';
import type { BoundMessage, EngineSpec, Ids } from './isolated/messages.ts';
import { formatListenUrl, type ListenUrl, type OnError, parseListenUrl } from './listen-url.ts';
import { QUIC_PORTS } from './quic.ts';
import { loadTls } from './tls/tls-options.ts';
import { TLS_PORTS } from './tls.ts';
import { WEBSOCKET_PATH_DEFAULT, WEBSOCKET_PORTS } from './websocket.ts';
import { WEBTRANSPORT_PATH_DEFAULT, WEBTRANSPORT_PORTS } from './webtransport.ts';

/** Of a native engine: ten thousand connections of the hungrier one, and a bound for one that leaks. */
const ENGINE_MEMORY_BYTES_MAX = 1_073_741_824;
/** Of V8's memory in such a process; what engines allocate is not in it. */
const ENGINE_HEAP_MEGABYTES_MAX = 512;
/** The first restart; each that follows soon waits twice as long, up to the second number. */
const RESTART_MS = 100;
const RESTART_MS_MAX = 30_000;
/** Who has lived for so long died of something new. */
const STEADY_MS = 60_000;
/** From its start to its port. A busy machine may take seconds. */
const START_TIMEOUT_MS = 30_000;
/** Beyond the grace that clients are given: then it is killed. */
const CLOSE_TIMEOUT_MS = 5_000;

/** Where the URL names none. */
const PATHS: Readonly<Record<string, string>> = {
  wt: WEBTRANSPORT_PATH_DEFAULT,
  wss: WEBSOCKET_PATH_DEFAULT,
};

export interface IsolatedOptions
  extends Omit<EngineSpec, 'ids'>,
    Pick<EngineProcessOptions, 'times' | 'entry'> {
  /** `quic://host[:port]`, `wt://host[:port][/path]`, `mqtts://host[:port]` or `wss://host[:port][/path]`. */
  readonly url: string;
  /** Without one everybody may knock. */
  readonly doorkeeper?: Doorkeeper | undefined;
  /** Also hears of failed handshakes. */
  readonly onError?: OnError | undefined;
  /** Hears of crashes, of restarts, and what the door in the process has to say. */
  readonly log?: Log | undefined;
  /** Resident memory of the process beyond which it is started anew. Default 1 GiB; without a native engine as much as there is. */
  readonly memoryMaxBytes?: number | undefined;
  /** Whom the process becomes when it has bound its port, if it was root who started it. */
  readonly ids?: Ids | null | undefined;
  /** Milliseconds to the first restart. Default 100. */
  readonly restartMs?: number | undefined;
}

export interface IsolatedStatistics {
  /** Of the process that serves; undefined: none does. */
  readonly pid: number | undefined;
  /** How often a process died that should not have. */
  readonly crashes: number;
  readonly wires: number;
  /** Resident memory, as the process told within the last seconds. */
  readonly memoryBytes: number;
}

/** Opens the door in a process of its own, and does so again, later and later, when that dies. */
export class IsolatedTransport implements Transport {
  readonly #options: IsolatedOptions;
  readonly #listen: ListenUrl;
  readonly #arrivals: Arrivals;
  #accept: (wire: Wire) => WireEvents;
  #life: EngineLife | undefined;
  /** Called when the process is gone. */
  #onGone: (() => void) | undefined;
  #port: number;
  #certificateHash: string;
  #isClosing: boolean;
  #closing: Promise<void> | undefined;
  #crashes: number;
  /** Of them, those that came soon behind one another. */
  #crashesInARow: number;
  #restartTimer: NodeJS.Timeout | undefined;

  /** @throws ConfigError when the URL or an option cannot be used */
  constructor(options: IsolatedOptions) {
    const { url, doorkeeper, onError } = options;
    // The door itself knows best what it cannot do; no engine is loaded for that.
    openEngineDoor(options, {});
    const listen = parseListenUrl(url, {
      ...QUIC_PORTS,
      ...WEBTRANSPORT_PORTS,
      ...TLS_PORTS,
      ...WEBSOCKET_PORTS,
    });
    this.#options = options;
    this.#listen = {
      ...listen,
      path: listen.path === '' ? (PATHS[listen.scheme] ?? '') : listen.path,
    };
    this.#arrivals = new Arrivals(url, { doorkeeper }, onError);
    this.#accept = () => {
      throw new Error('not listening');
    };
    this.#life = undefined;
    this.#onGone = undefined;
    this.#port = listen.port;
    this.#certificateHash = '';
    this.#isClosing = false;
    this.#closing = undefined;
    this.#crashes = 0;
    this.#crashesInARow = 0;
    this.#restartTimer = undefined;
  }

  /** Rejects with DoorUnavailable when the engine cannot be loaded, or takes its process down before the door is open. */
  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    this.#accept = accept;
    const { port, certificateHash = '' } = await this.#start();
    this.#port = port;
    this.#certificateHash = certificateHash;
    this.#options.log?.info('door.engine_process', { door: this.#options.url, pid: this.#life?.pid });
    return { url: formatListenUrl(this.#listen, port), port };
  }

  /** SHA-256 of the certificate that was in force at the start, in Base64; '' for a door that has no use for it. */
  get certificateHash(): string {
    return this.#certificateHash;
  }

  get statistics(): IsolatedStatistics {
    const { pid, wires = 0, memoryBytes = 0 } = this.#life ?? {};
    return { pid, crashes: this.#crashes, wires, memoryBytes };
  }

  /**
   * Has the process read the files again.
   * @throws ConfigError when they cannot be used: the old ones stay in force
   */
  reload(): void {
    loadTls(this.#options.url, this.#options.tls);
    this.#life?.reload();
  }

  close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#restartTimer);
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const life = this.#life;
    if (life === undefined) return;
    const gone = new Promise<void>((resolve) => {
      this.#onGone = resolve;
    });
    life.close(graceMs);
    const timer = setTimeout(
      () => life.kill('it did not end when it was told to'),
      graceMs + CLOSE_TIMEOUT_MS,
    );
    await gone;
    clearTimeout(timer);
  }

  /** Resolves when the door is open. */
  #start(): Promise<BoundMessage> {
    const { url, onError, log, times, entry } = this.#options;
    // Node's own TLS does not leak, and a fleet of any size may be behind it.
    const hasEngine = this.#listen.scheme === 'wt' || this.#listen.scheme === 'quic';
    const memoryMaxBytes = this.#options.memoryMaxBytes ?? (hasEngine ? ENGINE_MEMORY_BYTES_MAX : Infinity);
    const heapMegabytesMax = hasEngine ? ENGINE_HEAP_MEGABYTES_MAX : undefined;
    const ids = process.geteuid?.() === 0 ? (this.#options.ids ?? null) : null;
    return new Promise((resolve, reject) => {
      let state: 'starting' | 'serving' | 'failed' = 'starting';
      const startedAt = performance.now();
      const settle = (error?: Error): void => {
        if (state !== 'starting') return;
        clearTimeout(timer);
        state = error === undefined ? 'serving' : 'failed';
        if (error !== undefined) reject(error);
      };
      const life = new EngineLife({
        spec: { ...settingsOf(this.#options), url: formatListenUrl(this.#listen, this.#port), ids },
        door: url,
        arrivals: this.#arrivals,
        accept: (wire) => this.#accept(wire),
        onError,
        log,
        memoryMaxBytes,
        heapMegabytesMax,
        times,
        entry,
        onBound: (bound) => {
          settle();
          resolve(bound);
        },
        onFailed: settle,
        onGone: (end, wires) => {
          this.#life = undefined;
          settle(this.#diedTooSoon(end));
          if (state === 'serving' && !this.#isClosing)
            this.#crashed(life, end, wires, performance.now() - startedAt);
          this.#onGone?.();
        },
      });
      const timer = setTimeout(
        () => life.kill(`it did not listen within ${START_TIMEOUT_MS} ms`),
        START_TIMEOUT_MS,
      );
      this.#life = life;
    });
  }

  #diedTooSoon(end: EngineEnd): DoorUnavailable {
    const said = end.lastWords === '' ? '' : ` (${end.lastWords.split('\n', 1)[0]})`;
    const problem = `the process of its engine ${howItEnded(end)}, before the door was open${said}`;
    return new DoorUnavailable(
      this.#options.url,
      problem,
      'Take the listener out, or try another version of its engine',
    );
  }

  #crashed(life: EngineLife, end: EngineEnd, clients: number, livedMs: number): void {
    const { url: door, log, onError } = this.#options;
    this.#crashes++;
    if (livedMs >= STEADY_MS) this.#crashesInARow = 0;
    const restartMs = this.#restartSoon();
    const problem = `the process of the engine ${howItEnded(end)}`;
    if (log === undefined) onError?.(new Error(problem));
    log?.error('door.engine_crashed', {
      door,
      problem,
      pid: life.pid,
      exitCode: end.exitCode,
      signal: end.signal,
      clients,
      crashes: this.#crashes,
      restartMs,
      ...(end.lastWords === '' ? {} : { lastWords: end.lastWords }),
    });
  }

  /** Answers in how many milliseconds. */
  #restartSoon(): number {
    const { restartMs = RESTART_MS } = this.#options;
    const ms = Math.min(restartMs * 2 ** this.#crashesInARow, RESTART_MS_MAX);
    this.#crashesInARow++;
    this.#restartTimer = setTimeout(() => void this.#restart(), ms);
    return ms;
  }

  async #restart(): Promise<void> {
    const { url: door, log, onError } = this.#options;
    try {
      await this.#start();
      log?.info('door.engine_back', { door, pid: this.#life?.pid, crashes: this.#crashes });
    } catch (error) {
      if (this.#isClosing) return;
      const restartMs = this.#restartSoon();
      if (log === undefined) onError?.(error as Error);
      log?.error('door.engine_failed', { door, problem: (error as Error).message, restartMs });
    }
  }
}

/** What the process is told: the settings of its door, and nothing else of what is known here. */
function settingsOf(options: IsolatedOptions): Omit<EngineSpec, 'url' | 'ids'> {
  const { tls, origins, engine, streamTimeoutMs, dataStreamsMax, frameBytesMax, strangerBytesMax } = options;
  return { tls, origins, engine, streamTimeoutMs, dataStreamsMax, frameBytesMax, strangerBytesMax };
}
