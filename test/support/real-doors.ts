/** Every door on sockets, each with a client of its kind: for tests that are to hold over all of them. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connect as connectTls } from 'node:tls';
import { WebSocket } from 'ws';
import type { Address, Transport } from '../../src/interfaces/transport.ts';
import type { OnError } from '../../transports/listen-url.ts';
import { QuicTransport } from '../../transports/quic.ts';
import { TcpTransport } from '../../transports/tcp.ts';
import { TlsTransport } from '../../transports/tls.ts';
import { UnixTransport } from '../../transports/unix.ts';
import { WebSocketTransport } from '../../transports/websocket.ts';
import { WebTransportTransport } from '../../transports/webtransport.ts';
import type { RawClient } from '../contract/transport.ts';
import { Certificates } from '../transports/certificates.ts';
import { QuicClient } from '../transports/quic-client.ts';
import { socketClient } from '../transports/socket-client.ts';
import { webSocketClient } from '../transports/websocket-client.ts';
import { webTransportClient } from '../transports/webtransport-client.ts';

export const DOOR_NAMES = ['tcp', 'tls', 'unix', 'ws', 'wss', 'wt', 'quic'] as const;
export type RealDoorName = (typeof DOOR_NAMES)[number];

export interface RealDoor {
  readonly transport: Transport;
  dial(address: Address): Promise<RawClient>;
}

/** Makes doors, not yet listening, that share a certificate. */
export class RealDoors {
  readonly #certificates: Certificates;
  readonly #tls: { readonly cert: string; readonly key: string };
  readonly #directory: string;

  private constructor(certificates: Certificates, tls: { readonly cert: string; readonly key: string }) {
    this.#certificates = certificates;
    this.#tls = tls;
    this.#directory = mkdtempSync(path.join(tmpdir(), 'sluice-doors-'));
  }

  static async create(): Promise<RealDoors> {
    const certificates = await Certificates.create();
    return new RealDoors(certificates, await certificates.issue('server'));
  }

  make(name: RealDoorName, onError?: OnError): RealDoor {
    const tls = this.#tls;
    const ca = readFileSync(this.#certificates.ca);
    const host = '127.0.0.1';
    switch (name) {
      case 'tcp':
        return {
          transport: new TcpTransport({ url: 'mqtt://127.0.0.1:0', onError }),
          dial: ({ port }) => socketClient(connectTcp({ port, host, noDelay: true }), 'connect'),
        };
      case 'tls':
        return {
          transport: new TlsTransport({ url: 'mqtts://127.0.0.1:0', tls, onError }),
          dial: ({ port }) => socketClient(connectTls({ port, host, ca }).setNoDelay(), 'secureConnect'),
        };
      case 'unix': {
        const file = path.join(this.#directory, 'door.sock');
        return {
          transport: new UnixTransport({ url: `unix://${file}`, onError }),
          dial: () => socketClient(connectTcp(file), 'connect'),
        };
      }
      case 'ws':
        return {
          transport: new WebSocketTransport({ url: 'ws://127.0.0.1:0/mqtt', onError }),
          dial: ({ url }) => webSocketClient(new WebSocket(url, ['mqtt'])),
        };
      case 'wss':
        return {
          transport: new WebSocketTransport({ url: 'wss://127.0.0.1:0/mqtt', tls, onError }),
          dial: ({ url }) => webSocketClient(new WebSocket(url, ['mqtt'], { ca })),
        };
      case 'wt':
        return {
          transport: new WebTransportTransport({ url: 'wt://127.0.0.1:0/mqtt', tls, onError }),
          dial: ({ url }) => webTransportClient(url, tls.cert),
        };
      case 'quic':
        return {
          transport: new QuicTransport({ url: 'quic://127.0.0.1:0', tls, onError }),
          dial: ({ port }) => QuicClient.dial(port, { ca: this.#certificates.ca, handshakeMs: 10_000 }),
        };
    }
  }

  remove(): void {
    this.#certificates.remove();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
