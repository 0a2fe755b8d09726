/** A UDP port in front of another one, which can be closed and opened again while both ends live: a network that lets UDP through, or does not. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

const HOST = '127.0.0.1';
/** Below what the system gives away by itself: while the relay is closed nobody else must get its port. */
const PORT_MIN = 20_000;
const PORTS = 12_000;
/** Each relay gets a port of its own, also while another is closed. */
let next = process.pid;

async function isFree(port: number): Promise<boolean> {
  const socket = createSocket('udp4');
  const bound = once(socket, 'listening');
  socket.bind(port, HOST);
  try {
    await bound;
    return true;
  } catch {
    return false;
  } finally {
    socket.close();
  }
}

export class UdpRelay {
  readonly #targetPort: number;
  readonly #upstreams = new Map<number, Socket>();
  #front: Socket | null = null;
  #port = 0;

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
  }

  /** The same again after `close` and `open`. */
  get port(): number {
    return this.#port;
  }

  async open(): Promise<this> {
    while (this.#port === 0) {
      const port = PORT_MIN + (next++ % PORTS);
      if (await isFree(port)) this.#port = port;
    }
    const front = createSocket('udp4');
    this.#front = front;
    front.on('message', (bytes, { port }) => this.#upstream(front, port).send(bytes, this.#targetPort, HOST));
    front.bind(this.#port, HOST);
    await once(front, 'listening');
    return this;
  }

  /** What is under way is lost, and the port is free. */
  async close(): Promise<void> {
    const front = this.#front;
    if (front === null) return;
    this.#front = null;
    for (const upstream of this.#upstreams.values()) upstream.close();
    this.#upstreams.clear();
    const closed = once(front, 'close');
    front.close();
    await closed;
  }

  /** Each client has a port of its own towards the target, as behind a NAT. */
  #upstream(front: Socket, clientPort: number): Socket {
    let upstream = this.#upstreams.get(clientPort);
    if (upstream === undefined) {
      upstream = createSocket('udp4');
      upstream.on('message', (bytes) => {
        if (this.#front === front) front.send(bytes, clientPort, HOST);
      });
      // The target may be gone: then this is a network that answers nothing.
      upstream.on('error', () => {});
      this.#upstreams.set(clientPort, upstream);
    }
    return upstream;
  }
}
