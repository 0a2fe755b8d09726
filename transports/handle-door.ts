/** Accepts connections as libuv's handles, and makes each a wire (docs/decisions/0009-lent-reads.md). */
import type { Server, Socket } from 'node:net';
import type { PeerInfo, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { type Arrival, type Arrivals, EVICTED } from './arrival.ts';
import { HandleStage, HandleWire, type StreamHandle } from './handle-wire.ts';
import type { OnError } from './listen-url.ts';
import { Introduction } from './proxy/proxy-header.ts';
import { plainAddress, type SocketServer, TCP_KEEP_ALIVE_MS } from './socket-server.ts';
import { SocketWire } from './socket-wire.ts';

/** What a door makes wires with. */
export interface WireMaker {
  readonly sockets: SocketServer;
  readonly arrivals: Arrivals;
  readonly accept: (wire: Wire) => WireEvents;
  readonly onError: OnError | undefined;
  /** A unix socket has neither address nor port. */
  peer(address: string, port: number): PeerInfo;
}

/** The part of libuv's handles used here that only TCP has. */
interface TcpOptions {
  setNoDelay?(on: boolean): number;
  setKeepAlive?(on: boolean, seconds: number): number;
  getpeername?(into: { address?: string; port?: number }): number;
}
type ClientHandle = StreamHandle & TcpOptions;
interface ServerHandle extends TcpOptions {
  onconnection?(status: number, client: ClientHandle | undefined): void;
}

/**
 * Makes a wire of every connection that a listening `server` accepts. What `node:net` builds around a handle is half of
 * what a connection costs, and a good part of a small write; so the handles are taken before it does. A Node that keeps
 * them elsewhere goes the ordinary way.
 */
export function acceptWires(server: Server, maker: WireMaker): void {
  const handle = (server as unknown as { _handle?: ServerHandle })._handle;
  const stage = HandleStage.open(maker.onError, (wire) => maker.sockets.release(wire));
  const ordinary = handle?.onconnection;
  if (handle === undefined || ordinary === undefined || stage === null) {
    server.on('connection', (socket: Socket) => admitSocket(socket, maker));
    return;
  }
  const { arrivals } = maker;
  const accept = arrivals.needsHeader
    ? (wire: Wire) => new Introduction(wire as HandleWire, arrivals, maker.accept)
    : maker.accept;
  // Linux gives these to every socket that is accepted, which spares five system calls a connect.
  const inherited = process.platform === 'linux';
  if (inherited) setOptions(handle);
  handle.onconnection = (status, client) => {
    if (status !== 0 || client === undefined) {
      ordinary.call(handle, status, client);
      return;
    }
    const peer = peerOf(client, maker);
    let wire: HandleWire | undefined;
    const visit = arrivals.knock(peer.address, () => wire?.abort(EVICTED));
    if (visit === null) {
      turnAway(client);
      return;
    }
    if (!inherited) setOptions(client);
    wire = HandleWire.open(client, peer, stage, accept, visit);
    maker.sockets.keep(wire);
  };
}

function setOptions(handle: TcpOptions): void {
  handle.setNoDelay?.(true);
  handle.setKeepAlive?.(true, TCP_KEEP_ALIVE_MS / 1000);
}

function peerOf(client: TcpOptions, maker: WireMaker): PeerInfo {
  const name: { address?: string; port?: number } = {};
  client.getpeername?.(name);
  return maker.peer(plainAddress(name.address), name.port ?? 0);
}

/** Closes so that nothing of it is left, not even in the kernel. */
function turnAway(client: ClientHandle): void {
  if (client.reset === undefined) client.close(nothing);
  else client.reset(nothing);
}

function nothing(): void {}

function admitSocket(socket: Socket, maker: WireMaker): void {
  const { address } = maker.peer(plainAddress(socket.remoteAddress), 0);
  maker.arrivals.admit(socket, address, (arrival) => openSocket(socket, arrival, maker));
}

function openSocket(socket: Socket, arrival: Arrival, maker: WireMaker): void {
  maker.sockets.hold(socket);
  const { door, secure } = maker.peer('', 0);
  SocketWire.open(socket, arrival.peer(door, secure), maker.accept, maker.onError, arrival);
}
