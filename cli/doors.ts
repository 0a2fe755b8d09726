/** From the listeners of a configuration to transports: the one place that knows every kind of door. */
import type { ListenerConfig } from '../config/types.ts';
import type { Transport } from '../src/interfaces/transport.ts';
import { DEFAULT_LIMITS, type Limits } from '../src/limits.ts';
import type { OnError } from '../transports/listen-url.ts';
import { TcpTransport } from '../transports/tcp.ts';
import { TlsTransport } from '../transports/tls.ts';
import { UnixTransport } from '../transports/unix.ts';
import { WebSocketTransport } from '../transports/websocket.ts';

const FIXED_HEADER_BYTES_MAX = 5;

export interface Door {
  readonly listener: ListenerConfig;
  readonly transport: Transport;
  /** Reads certificate and key again; throws ConfigError and changes nothing when they cannot be used. */
  readonly reload: (() => void) | null;
}

/** A door that is not open yet. Throws ConfigError when its settings cannot be used. */
export function createDoor(listener: ListenerConfig, limits: Limits, onError: OnError): Door {
  const { url, scheme, tls } = listener;
  switch (scheme) {
    case 'mqtt':
      return { listener, transport: new TcpTransport({ url, onError }), reload: null };
    case 'mqtts': {
      const transport = new TlsTransport({ url, tls: tls!, onError });
      return { listener, transport, reload: () => transport.reload() };
    }
    case 'unix': {
      const transport = new UnixTransport({ url, mode: listener.mode, onError });
      return { listener, transport, reload: null };
    }
    case 'ws':
    case 'wss': {
      const packetBytesMax = listener.limits.packetBytesMax ?? limits.packetBytesMax;
      // A message may hold many packets, so a low packet limit must not make the message limit low.
      const frameBytesMax = Math.max(packetBytesMax, DEFAULT_LIMITS.packetBytesMax) + FIXED_HEADER_BYTES_MAX;
      const transport = new WebSocketTransport({
        url,
        tls,
        origins: listener.origins,
        frameBytesMax,
        onError,
      });
      return { listener, transport, reload: tls === undefined ? null : () => transport.reload() };
    }
  }
}

/** The line that says what is behind an open door. */
export function describeDoor(listener: ListenerConfig, url: string, devAuthority: string | null): string {
  const { tls } = listener;
  if (tls === undefined) return url;
  const clients = tls.requestCert ? ', client certificates' : '';
  const trust = devAuthority === null ? '' : `, development certificate: trust ${devAuthority}`;
  return `${url} (${tls.minVersion} or later${clients}${trust})`;
}
