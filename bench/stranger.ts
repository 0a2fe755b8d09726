/**
 * One attack from outside, as a process of its own: `stranger.ts KIND HOST PORT CONNECTS_PER_SECOND`. Comes from thousands of loopback addresses, so
 * that no bound for one address stops it, until it is killed. Prints how many connections it has opened when its input ends.
 */
import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';

export const KINDS = ['silent', 'slow', 'hello', 'guess', 'garbage'] as const;
export type Kind = (typeof KINDS)[number];

const TICK_MS = 1;
/** What one process holds at once; the oldest goes when there is one more. */
const OPEN_MAX = 20_000;
const SLOW_BYTE_MS = 1_000;

/** CONNECT of MQTT 3.1.1 with a user and a password that is wrong. */
function guess(number: number): Buffer {
  const fields = [`guess-${number}`, 'bench', `wrong ${number}`].map((text) =>
    Buffer.concat([Buffer.from([0, text.length]), Buffer.from(text)]),
  );
  const body = Buffer.concat([Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0xc2, 0, 60]), ...fields]);
  return Buffer.concat([Buffer.from([0x10, body.length]), body]);
}

/** The first flight of a TLS handshake: the broker answers it with a key and a signature, and hears no more. */
function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const line = new Duplex({ read() {}, write: (chunk: Buffer) => resolve(chunk) });
    tlsConnect({ socket: line, servername: 'localhost' }).on('error', () => {});
  });
}

function slowly(socket: Socket, bytes: Buffer): void {
  let sent = 0;
  const timer = setInterval(() => void socket.write(bytes.subarray(sent, ++sent)), SLOW_BYTE_MS);
  socket.once('close', () => clearInterval(timer));
}

async function main(kind: Kind, host: string, port: number, perSecond: number): Promise<void> {
  const hello = await clientHello();
  const open = new Set<Socket>();
  let opened = 0;
  const begin = {
    silent: (_socket: Socket): void => {},
    slow: (socket: Socket): void => slowly(socket, guess(opened)),
    hello: (socket: Socket): void => void socket.write(hello),
    guess: (socket: Socket): void => void socket.write(guess(opened)),
    garbage: (socket: Socket): void =>
      void socket.write(Buffer.from([0x10, 0xff, 0xff, 0xff, opened & 0xff])),
  }[kind];
  const startedAt = performance.now();
  setInterval(() => {
    const due = ((performance.now() - startedAt) / 1_000) * perSecond;
    for (; opened < due; opened++) {
      const localAddress = `127.${1 + (opened % 199)}.${(opened >>> 3) % 251}.${1 + ((opened * 7) % 251)}`;
      const socket = connect({ host, port, localAddress });
      socket.once('connect', () => begin(socket));
      socket.on('error', () => {}).resume();
      socket.once('close', () => open.delete(socket));
      open.add(socket);
      if (open.size > OPEN_MAX) open.values().next().value?.destroy();
    }
  }, TICK_MS);
  process.stdin.resume().once('end', () => {
    process.stdout.write(`${opened}\n`, () => process.exit(0));
  });
}

if (import.meta.main) {
  const [kind, host, port, perSecond] = process.argv.slice(2);
  await main(kind as Kind, host, Number(port), Number(perSecond));
}
