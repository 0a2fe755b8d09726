/** From the listeners of a configuration to transports: the one place that knows every kind of door. */
import type { ListenerConfig } from '../config/types.ts';
import type { SharedDoorkeeper } from '../src/gate/doorkeeper.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Doorkeeper } from '../src/interfaces/doorkeeper.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { Transport } from '../src/interfaces/transport.ts';
import { DEFAULT_LIMITS, type Limits, UNAUTHENTICATED_BYTES_MAX } from '../src/limits.ts';
import { openEngineDoor } from '../transports/isolated/engine-door.ts';
import type { Ids } from '../transports/isolated/messages.ts';
import { IsolatedTransport } from '../transports/isolated.ts';
import type { OnError } from '../transports/listen-url.ts';
import { Networks } from '../transports/networks.ts';
import { TcpTransport } from '../transports/tcp.ts';
import { TlsTransport } from '../transports/tls.ts';
import { UnixTransport } from '../transports/unix.ts';
import { WebSocketTransport } from '../transports/websocket.ts';

const FIXED_HEADER_BYTES_MAX = 5;

/** What every door tells and asks. */
export interface DoorContext {
  readonly doorkeeper: SharedDoorkeeper;
  readonly log: Log;
  readonly clock: Clock;
  /** Whether an address is banned at every door. */
  readonly isBanned: (address: string) => boolean;
  /** Whom a process becomes that is started while the broker is root; null: nobody else. */
  readonly ids: Ids | null;
}

export interface Door {
  readonly listener: ListenerConfig;
  readonly transport: Transport;
  /** Reads certificate and key again; throws ConfigError and changes nothing when they cannot be used. */
  readonly reload: (() => void) | null;
  /** SHA-256 of the certificate in Base64, where clients may trust it by that. */
  readonly certificateHash?: () => string;
}

/** A door that is not open yet. Throws ConfigError when its settings cannot be used. */
export function createDoor(
  listener: ListenerConfig,
  limits: Limits,
  onError: OnError,
  { log, clock, doorkeeper: everywhere, isBanned, ids }: DoorContext,
): Door {
  const { url, scheme, tls, trustedProxies, proxyProtocol } = listener;
  const doorkeeper = doorkeeperFor(listener, everywhere, isBanned);
  const arrival = { doorkeeper, trustedProxies, proxyProtocol };
  switch (scheme) {
    case 'mqtt':
      return { listener, transport: new TcpTransport({ url, onError, ...arrival }), reload: null };
    case 'mqtts': {
      const transport = listener.isolate
        ? new IsolatedTransport({
            ...{ url, tls: tls!, doorkeeper, onError, log, ids },
            memoryMaxBytes: listener.engineMemoryMaxBytes,
          })
        : new TlsTransport({ url, tls: tls!, onError, log, clock, ...arrival });
      return { listener, transport, reload: () => transport.reload() };
    }
    case 'unix': {
      const transport = new UnixTransport({ url, mode: listener.mode, doorkeeper, onError });
      return { listener, transport, reload: null };
    }
    case 'ws':
    case 'wss': {
      const packetBytesMax = listener.limits.packetBytesMax ?? limits.packetBytesMax;
      // A message may hold many packets, so a low packet limit must not make the message limit low.
      const frameBytesMax = Math.max(packetBytesMax, DEFAULT_LIMITS.packetBytesMax) + FIXED_HEADER_BYTES_MAX;
      const strangerBytesMax = limits.connectPacketBytesMax + UNAUTHENTICATED_BYTES_MAX;
      const options = { url, origins: listener.origins, frameBytesMax, strangerBytesMax, onError, log };
      const transport = listener.isolate
        ? new IsolatedTransport({
            ...{ ...options, tls: tls!, doorkeeper, ids },
            memoryMaxBytes: listener.engineMemoryMaxBytes,
          })
        : new WebSocketTransport({ ...options, tls, clock, ...arrival });
      return { listener, transport, reload: tls === undefined ? null : () => transport.reload() };
    }
    case 'quic':
    case 'wt': {
      const { origins, engine, isolate = true, engineMemoryMaxBytes: memoryMaxBytes } = listener;
      const dataStreamsMax = listener.limits.dataStreamsMax ?? limits.dataStreamsMax;
      const options = { url, tls: tls!, origins, engine, dataStreamsMax, doorkeeper, onError, log, clock };
      const transport = isolate
        ? new IsolatedTransport({ ...options, ids, memoryMaxBytes })
        : openEngineDoor(options, options);
      const reload = () => transport.reload();
      const door = { listener, transport, reload };
      return scheme === 'quic' ? door : { ...door, certificateHash: () => transport.certificateHash ?? '' };
    }
  }
}

/** The doorkeeper of all doors, who looks at the bans, and at the lists of this one. */
function doorkeeperFor(
  { url, allow, deny }: ListenerConfig,
  everywhere: SharedDoorkeeper,
  isBanned: (address: string) => boolean,
): Doorkeeper {
  if (allow === undefined && deny === undefined) return everywhere.behind((address) => !isBanned(address));
  const allowed = allow === undefined ? null : new Networks(`${url} allow`, allow);
  const denied = new Networks(`${url} deny`, deny ?? []);
  return everywhere.behind(
    (address) =>
      !isBanned(address) && !denied.includes(address) && (allowed === null || allowed.includes(address)),
  );
}

/** The line that says what is behind an open door. */
export function describeDoor(
  { listener: { scheme, tls }, certificateHash }: Pick<Door, 'listener' | 'certificateHash'>,
  url: string,
  devAuthority: string | null,
): string {
  if (tls === undefined) return url;
  if (certificateHash !== undefined) return `${url} (HTTP/3; certificate SHA-256 ${certificateHash()})`;
  const asked = tls.requestCert === 'none' ? '' : `, client certificates ${tls.requestCert}`;
  const clients = tls.useCertAsUsername === false ? asked : `${asked} (user name: ${tls.useCertAsUsername})`;
  const trust = devAuthority === null ? '' : `, development certificate: trust ${devAuthority}`;
  const version = scheme === 'quic' ? 'TLSv1.3' : `${tls.minVersion} or later`;
  return `${url} (${version}${clients}${trust})`;
}
