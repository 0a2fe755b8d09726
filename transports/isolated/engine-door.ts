/** Which door stands behind which URL: the same in a process of its own and in the broker's. */
import type { Transport } from '../../src/interfaces/transport.ts';
import { QuicTransport, type QuicTransportOptions } from '../quic.ts';
import { TlsTransport } from '../tls.ts';
import { WebSocketTransport } from '../websocket.ts';
import { WebTransportTransport } from '../webtransport.ts';
import type { EngineSpec } from './messages.ts';

/** A door that can be in a process of its own. */
export interface EngineDoor extends Transport {
  /** Reads the files again; throws ConfigError and changes nothing when they cannot be used. */
  reload(): void;
  /** SHA-256 of the certificate in Base64, where clients may trust it by that. */
  readonly certificateHash?: string;
}

/**
 * A door that is not open yet; its engine has not been loaded.
 * @throws ConfigError when its settings cannot be used
 */
export function openEngineDoor(
  spec: Omit<EngineSpec, 'ids'>,
  parts: Pick<QuicTransportOptions, 'doorkeeper' | 'onError' | 'log' | 'clock'>,
): EngineDoor {
  const { url, tls, origins, engine, streamTimeoutMs, dataStreamsMax, frameBytesMax, strangerBytesMax } =
    spec;
  switch (url.slice(0, url.indexOf(':'))) {
    case 'mqtts':
      return new TlsTransport({ url, tls, ...parts });
    case 'wss':
      return new WebSocketTransport({ url, tls, origins, frameBytesMax, strangerBytesMax, ...parts });
    case 'quic':
      return new QuicTransport({ url, tls, dataStreamsMax, ...parts });
    default:
      return new WebTransportTransport({ url, tls, origins, engine, streamTimeoutMs, ...parts });
  }
}
