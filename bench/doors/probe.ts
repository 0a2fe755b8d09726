/**
 * Measures the link itself, with UDP datagrams: `node probe.ts echo HOST PORT` sends back what comes, `node probe.ts ask HOST PORT COUNT`
 * asks so often and prints a Probed as JSON.
 */
import { createSocket } from 'node:dgram';
import { Samples } from './samples.ts';

const DATAGRAM_BYTES = 200;
const PER_MILLISECOND = 4;
/** Of a client that is late: the link's queue is not to overflow. */
const BURST_MAX = 8;
const LAST_MS = 300;

export interface Probed {
  readonly sent: number;
  /** Of those sent, how many the other end has seen. */
  readonly arrived: number;
  /** Of those, how many answers came. */
  readonly answered: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

function echo(host: string, port: number): void {
  const socket = createSocket('udp4');
  let arrived = 0;
  socket.on('message', (datagram, from) => {
    arrived += 1;
    datagram.writeUInt32LE(arrived, 8);
    socket.send(datagram, from.port, from.address);
  });
  socket.bind(port, host, () => process.stdout.write('ready\n'));
}

/** The answers count what has arrived at the other end. The last of them may be lost: then as many more are wanting as were lost at the end. */
async function ask(host: string, port: number, count: number): Promise<Probed> {
  const socket = createSocket('udp4');
  const samples = new Samples();
  let arrived = 0;
  let answered = 0;
  socket.on('message', (datagram) => {
    samples.add(performance.now() - datagram.readDoubleLE(0));
    arrived = Math.max(arrived, datagram.readUInt32LE(8));
    answered += 1;
  });
  await new Promise<void>((resolve) => void socket.connect(port, host, resolve));
  let sent = 0;
  let lastAt = performance.now();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const now = performance.now();
      const due = Math.min(BURST_MAX, Math.ceil((now - lastAt) * PER_MILLISECOND), count - sent);
      lastAt = now;
      for (const last = sent + due; sent < last; sent += 1) {
        const datagram = Buffer.alloc(DATAGRAM_BYTES);
        datagram.writeDoubleLE(performance.now());
        socket.send(datagram);
      }
      if (sent < count) return;
      clearInterval(timer);
      setTimeout(resolve, LAST_MS);
    }, 1);
  });
  socket.close();
  const [p50Ms, p99Ms] = samples.percentiles(0.5, 0.99);
  return { sent, arrived, answered, p50Ms, p99Ms };
}

const [what, host, port, count] = process.argv.slice(2);
if (what === 'echo') echo(host, Number(port));
else process.stdout.write(`${JSON.stringify(await ask(host, Number(port), Number(count)))}\n`);
