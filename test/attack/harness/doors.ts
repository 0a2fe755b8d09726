/** All doors, opened up to where MQTT begins, from any address of the loopback network. */
import type { RawClient } from '../../contract/transport.ts';
import type { ChildBroker } from '../../support/child-broker.ts';
import { Http3Peer } from './http3-peer.ts';
import { QuicPeer } from './quic-peer.ts';
import { address, dial, proxyHeader, SOCKET_DOORS, type SocketDoorName, WebSocketPeer } from './sockets.ts';

/** Those over UDP, with an engine that is not Node's. */
export type UdpDoorName = 'wt' | 'quic';
export type DoorName = SocketDoorName | UdpDoorName;
export const UDP_DOORS: readonly UdpDoorName[] = ['wt', 'quic'];
export const DOORS: readonly DoorName[] = [...SOCKET_DOORS, ...UDP_DOORS];
export const DOOR_URLS: readonly string[] = [
  'mqtt://127.0.0.1:0',
  'mqtts://127.0.0.1:0',
  'ws://127.0.0.1:0/mqtt',
  'wss://127.0.0.1:0/mqtt',
  'wt://127.0.0.1:0/mqtt',
  'quic://127.0.0.1:0',
];

/** Opens a door up to where MQTT begins; its client is closed already when the broker did not want it. */
export async function dialMqtt(
  broker: ChildBroker,
  door: DoorName,
  from = 1,
  isProxied = false,
): Promise<RawClient> {
  const host = address(from);
  if (door === 'quic') return (await QuicPeer.open(broker.port('quic'), { host })).stream(0);
  if (door === 'wt') return (await Http3Peer.session(broker.port('wt'), { host })).stream();
  const raw = await dial(broker, door, from);
  // A network of tests (RFC 2544): that of loopback is nobody's.
  if (isProxied) raw.write(proxyHeader(host.replace('127.', '198.').replace('.0.0.1', '.18.0.1')));
  if (door === 'tcp' || door === 'tls') return raw.client();
  return (await WebSocketPeer.open(raw)).client();
}
