/** What happens to a connection before a door makes it a wire: the doorkeeper is asked, and a trusted proxy says whom it brings. */
import type { Server, Socket } from 'node:net';
import { ConfigError } from '../src/errors.ts';
import type { Doorkeeper, Visit } from '../src/interfaces/doorkeeper.ts';
import type { PeerInfo, Wire } from '../src/interfaces/transport.ts';
import type { OnError } from './listen-url.ts';
import { Networks } from './networks.ts';
import { forwardedClient } from './proxy/forwarded-for.ts';
import { type ProxySource, readProxyHeader } from './proxy/proxy-header.ts';
import { plainAddress } from './socket-server.ts';
import { abortSocket } from './socket-wire.ts';
import { awaitFirstBytes } from './tls/first-bytes.ts';
import { HandshakeTurns } from './tls/handshake-turns.ts';

/** What every door can be told of those who arrive. */
export interface ArrivalOptions {
  /** Without one everybody may knock. */
  readonly doorkeeper?: Doorkeeper | undefined;
  /** Every connection begins with a PROXY header, and comes from one of `trustedProxies`; others are refused. */
  readonly proxyProtocol?: boolean | undefined;
  /** Networks of the proxies that are believed. */
  readonly trustedProxies?: readonly string[] | undefined;
  /** From accept to the end of the PROXY header. */
  readonly proxyHeaderTimeoutMs?: number | undefined;
}

/** A proxy sends its header with the handshake; as long as a client may take for its CONNECT. */
const PROXY_HEADER_TIMEOUT_MS = 10_000;

/** Heard by the core of a wire that had to make room. One object: a flood must not cost a stack trace each. */
export const EVICTED = new Error('a stranger that had not logged in had to make room for another');

/** For doors without a doorkeeper. */
const FREE_VISIT: Visit = { moved: () => true, loggedIn() {}, left() {} };

/** A visit whose login the door wants to hear of as well. */
export class HeardVisit implements Visit {
  readonly inner: Visit;
  readonly #onLoggedIn: () => void;

  constructor(inner: Visit, onLoggedIn: () => void) {
    this.inner = inner;
    this.#onLoggedIn = onLoggedIn;
  }

  moved(address: string): boolean {
    return this.inner.moved(address);
  }

  loggedIn(): void {
    this.#onLoggedIn();
    this.inner.loggedIn();
  }

  left(): void {
    this.inner.left();
  }
}

const ARRIVAL = Symbol('arrival');

/** Where the arrival of a socket is kept; TLS wraps the socket that arrived, and Node keeps that as `_parent`. */
interface ArrivedSocket {
  [ARRIVAL]?: Arrival;
  _parent?: ArrivedSocket;
}

/** One door's rules for those who arrive. */
export class Arrivals {
  readonly onError: OnError | undefined;
  readonly needsHeader: boolean;
  readonly headerTimeoutMs: number;
  readonly #door: string;
  readonly #doorkeeper: Doorkeeper | undefined;
  readonly #trusted: Networks;

  /**
   * @param door the listener's URL as configured
   * @throws ConfigError when `trustedProxies` cannot be used, or is missing
   */
  constructor(door: string, options: ArrivalOptions, onError: OnError | undefined) {
    const { doorkeeper, proxyProtocol = false, trustedProxies = [], proxyHeaderTimeoutMs } = options;
    this.onError = onError;
    this.needsHeader = proxyProtocol;
    this.headerTimeoutMs = proxyHeaderTimeoutMs ?? PROXY_HEADER_TIMEOUT_MS;
    this.#door = door;
    this.#doorkeeper = doorkeeper;
    this.#trusted = new Networks(`${door} trustedProxies`, trustedProxies);
    if (proxyProtocol && this.#trusted.size === 0) {
      const remedy =
        'List the networks of the proxies: whoever may send a PROXY header may claim any address';
      throw new ConfigError(`${door} proxyProtocol`, 'trustedProxies is missing', remedy);
    }
    // They would never say whom they bring, and be counted nowhere.
    if (!proxyProtocol && this.#trusted.size > 0 && !/^wss?:/.test(door)) {
      const remedy = 'Set proxyProtocol, or leave trustedProxies out';
      throw new ConfigError(`${door} trustedProxies`, 'nothing is read of them here', remedy);
    }
  }

  /**
   * Asks the doorkeeper. Null: close it at once, without a word.
   * @param evict closes it at once
   */
  knock(address: string, evict: () => void): Visit | null {
    // The system knows it no longer: it was reset before it was accepted, as a proxy's health check is.
    if (address === '') return null;
    const isProxy = this.isTrusted(address);
    if (this.needsHeader && !isProxy) {
      this.onError?.(new Error('refused: it is not one of trustedProxies'), address);
      return null;
    }
    // A proxy's own address says nothing of whom it brings, and would be everybody's.
    return this.#doorkeeper === undefined
      ? FREE_VISIT
      : this.#doorkeeper.knock(this.#door, isProxy ? '' : address, evict);
  }

  isTrusted(address: string): boolean {
    return this.#trusted.includes(address);
  }

  /**
   * Who is behind the proxy, by its X-Forwarded-For; that of anybody else is not believed.
   * @returns false: it is turned away, or the header cannot be read
   */
  forwarded(arrival: Arrival, header: string | undefined): boolean {
    if (!this.isTrusted(arrival.address)) return true;
    // Counted by its own address after all: it brings nobody.
    if (header === undefined) return arrival.isPlaced || arrival.cameFrom(null);
    const address = forwardedClient(header, (hop) => this.isTrusted(hop));
    if (address !== null) return arrival.cameFrom({ address, port: 0 });
    this.onError?.(new Error('refused: its X-Forwarded-For holds what is no address'), arrival.address);
    return false;
  }

  /** Tells of a failed TLS handshake, unless it was us who ended it. */
  handshakeFailed(error: Error, socket: Socket): void {
    const arrival = Arrival.of(socket);
    if (arrival?.isEvicted !== true) this.onError?.(error, arrival?.address);
    // Node leaves the socket open when it was the handshake's deadline that failed.
    socket.destroy();
  }

  /** Lets a socket in that a `node:net` server accepted: `enter` is called when it may become a wire, its PROXY header read. */
  admit(socket: Socket, address: string, enter: (arrival: Arrival) => void): void {
    const arrival = Arrival.at(this, socket, address);
    if (arrival === null) {
      abortSocket(socket);
      return;
    }
    if (!this.needsHeader) {
      enter(arrival);
      return;
    }
    readProxyHeader(socket, this.headerTimeoutMs, (result) => {
      if (result instanceof Error) {
        if (!arrival.isEvicted) this.onError?.(result, address);
        abortSocket(socket);
      } else if (arrival.cameFrom(result)) enter(arrival);
      else abortSocket(socket);
    });
  }
}

/** One socket that arrived, from before its handshake until it is gone. */
export class Arrival {
  visit: Visit;
  address: string;
  port: number;
  /** The proxy that said so. */
  proxy: string | undefined;
  isEvicted: boolean;
  /** The doorkeeper has heard where it comes from. */
  isPlaced: boolean;
  readonly #socket: Socket;
  #wire: Wire | undefined;

  private constructor(socket: Socket, address: string) {
    this.visit = FREE_VISIT;
    this.address = address;
    this.port = socket.remotePort ?? 0;
    this.proxy = undefined;
    this.isEvicted = false;
    this.isPlaced = false;
    this.#socket = socket;
    this.#wire = undefined;
  }

  /** Null: the doorkeeper did not let it in. */
  static at(arrivals: Arrivals, socket: Socket, address: string): Arrival | null {
    const arrival = new Arrival(socket, address);
    const visit = arrivals.knock(address, () => arrival.#evict());
    if (visit === null) return null;
    arrival.visit = visit;
    (socket as ArrivedSocket)[ARRIVAL] = arrival;
    socket.once('close', () => visit.left());
    return arrival;
  }

  /** The arrival of a socket, or of the one that TLS is wrapped around; undefined: it did not pass the doorkeeper, and must not come in. */
  static of(socket: Socket): Arrival | undefined {
    const arrived = socket as ArrivedSocket;
    return arrived[ARRIVAL] ?? arrived._parent?.[ARRIVAL];
  }

  /** A trusted proxy said where it comes from; null: the proxy comes by itself. False: it is turned away after all. */
  cameFrom(source: ProxySource | null): boolean {
    this.isPlaced = true;
    if (source === null) return this.visit.moved(this.address);
    this.proxy = this.address;
    this.address = source.address;
    this.port = source.port;
    return this.visit.moved(source.address);
  }

  /** From now on an eviction is told to the core of this wire. */
  became(wire: Wire): void {
    this.#wire = wire;
  }

  peer(door: string, secure: boolean): PeerInfo {
    const { address, port, proxy } = this;
    return proxy === undefined ? { door, address, port, secure } : { door, address, port, secure, proxy };
  }

  #evict(): void {
    this.isEvicted = true;
    if (this.#wire === undefined) abortSocket(this.#socket);
    else this.#wire.abort(EVICTED);
  }
}

/**
 * Puts `arrivals` before everything else that a server (`node:net`, tls, http, https) does with a socket: handshakes included. To be
 * called when the server is made, before others listen for its connections.
 * @param handshakeTimeoutMs of a server with TLS, which hears of a socket only when its handshake begins; 0: of one without
 */
export function guard(server: Server, arrivals: Arrivals, handshakeTimeoutMs: number): void {
  const inner = server.listeners('connection');
  const turns = new HandshakeTurns();
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    arrivals.admit(socket, plainAddress(socket.remoteAddress), () => {
      const enter = (): void => {
        for (const listener of inner) listener.call(server, socket);
      };
      if (handshakeTimeoutMs === 0) {
        enter();
        return;
      }
      const failed = (error: Error): void => arrivals.handshakeFailed(error, socket);
      awaitFirstBytes(socket, handshakeTimeoutMs, (error) => {
        if (error === undefined) turns.wait(socket, enter, failed);
        else failed(error);
      });
    });
  });
}
