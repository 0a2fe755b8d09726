/** The QUIC door: `quic://`. The first stream of a connection carries MQTT as over TCP, others are data streams, as EMQX does it (docs/quic.md). */
import { ConfigError } from '../src/errors.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { Address, Transport, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { type ArrivalOptions, Arrivals } from './arrival.ts';
import { formatListenUrl, type ListenUrl, type OnError, parseListenUrl } from './listen-url.ts';
import { QuicServer } from './quic/quic-server.ts';
import { checkQuicTls, QuicTls } from './quic/quic-tls.ts';
import { loadQuiche } from './quic/quiche.ts';
import type { TlsOptions } from './tls/tls-options.ts';

export const QUIC_PORTS = { quic: 14567 } as const;

export interface QuicTransportOptions extends Pick<ArrivalOptions, 'doorkeeper'> {
  /** `quic://host[:port]`; IPv6 in brackets; port 0 for an ephemeral one. */
  readonly url: string;
  /** Always TLS 1.3; `requestCert` is required or none; not: `crl`, `ciphers`, `sni`, `ocspResponse`. */
  readonly tls: TlsOptions;
  /** Streams that a client may open beside its control stream: QUIC lets it open no more. Default 10. */
  readonly dataStreamsMax?: number | undefined;
  /** Also hears of failed handshakes. */
  readonly onError?: OnError | undefined;
  /** Hears of certificates: loaded, refused, about to expire. */
  readonly log?: Log | undefined;
  /** For the dates of certificates. */
  readonly clock?: Clock | undefined;
}

/** Accepts QUIC connections. */
export class QuicTransport implements Transport {
  readonly #options: QuicTransportOptions;
  readonly #listen: ListenUrl;
  readonly #arrivals: Arrivals;
  readonly #tls: QuicTls;
  #server: QuicServer | undefined;

  /** @throws ConfigError when the URL or an option cannot be used */
  constructor(options: QuicTransportOptions) {
    this.#options = options;
    this.#listen = parseListenUrl(options.url, QUIC_PORTS);
    if (this.#listen.path !== '' && this.#listen.path !== '/') {
      throw new ConfigError(options.url, 'a QUIC listener has no path', 'Remove what follows the port');
    }
    checkQuicTls(options.url, options.tls);
    this.#arrivals = new Arrivals(options.url, { doorkeeper: options.doorkeeper }, options.onError);
    this.#tls = new QuicTls(options);
  }

  /** @throws DoorUnavailable when the engine cannot be loaded */
  async listen(accept: (wire: Wire) => WireEvents): Promise<Address> {
    const { url, onError } = this.#options;
    const quiche = loadQuiche(url);
    this.#tls.load(quiche);
    const server = new QuicServer({ url, quiche, tls: this.#tls, arrivals: this.#arrivals, onError, accept });
    const bound = await server.listen(this.#listen.host, this.#listen.port);
    this.#server = server;
    this.#tls.start();
    return { url: formatListenUrl(this.#listen, bound), port: bound };
  }

  /**
   * Reads the files again for connections to come; those that are open stay.
   * @throws ConfigError when the new files cannot be used: the old ones stay in force
   */
  reload(): void {
    this.#tls.reload();
  }

  async close(graceMs: number): Promise<void> {
    this.#tls.stop();
    await this.#server?.close(graceMs);
  }
}
