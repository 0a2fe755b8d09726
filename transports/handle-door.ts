/** Accepts connections as libuv's handles, and makes each a wire (docs/decisions/0009-lent-reads.md). */
import type { Server, Socket } from 'node:net';
import type { PeerInfo, Wire, WireEvents } from '../src/interfaces/transport.ts';
import { HandleStage, HandleWire, type StreamHandle } from './handle-wire.ts';
import type { OnError } from './listen-url.ts';
import { plainAddress, type SocketServer, TCP_KEEP_ALIVE_MS } from './socket-server.ts';
import { SocketWire } from './socket-wire.ts';

/** What a door makes wires with. */
export interface WireMaker {
  readonly sockets: SocketServer;
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
    server.on('connection', (socket: Socket) => openSocket(socket, maker));
    return;
  }
  // Linux gives these to every socket that is accepted, which spares five system calls a connect.
  const inherited = process.platform === 'linux';
  if (inherited) setOptions(handle);
  handle.onconnection = (status, client) => {
    if (status !== 0 || client === undefined) {
      ordinary.call(handle, status, client);
      return;
    }
    if (!inherited) setOptions(client);
    maker.sockets.keep(HandleWire.open(client, peerOf(client, maker), stage, maker.accept));
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

function openSocket(socket: Socket, maker: WireMaker): void {
  maker.sockets.hold(socket);
  const peer = maker.peer(plainAddress(socket.remoteAddress), socket.remotePort ?? 0);
  SocketWire.open(socket, peer, maker.accept, maker.onError);
}
