/** Opens a connection to each kind of door: the same to the load client, which knows only streams of bytes. */
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { WebTransport, type WebTransportBidirectionalStream } from 'rwebtransport';
import { WebSocket } from 'ws';
import { QuicDialler } from './quic-dial.ts';
import type { Target } from './task.ts';

/** The development certificate is for this name. */
const SERVER_NAME = 'localhost';

export interface ByteStream {
  /** What is written must not be changed afterwards. */
  write(bytes: Uint8Array): void;
  /** One listener; a chunk is the listener's until it returns. */
  onData(listener: (chunk: Buffer) => void): void;
}

/** What is ready for CONNECT. */
export interface Connection {
  readonly control: ByteStream;
  /** Resolves, with the reason, when it is over. */
  readonly ended: Promise<string>;
  /** Another stream of the same connection. Rejects where the door has only one. */
  openStream(): Promise<ByteStream>;
  /** Lets what was written go first. */
  close(): void;
}

export type Dial = () => Promise<Connection>;

/** Prepares what connections to this door share, and answers how to open one: cold, with nothing remembered of an earlier one. */
export function diallerFor(target: Target): Dial {
  const { door, host, port } = target;
  const secure = { servername: SERVER_NAME, ca: readFileSync(target.caFile) };
  if (door === 'tcp') return () => dialSocket(net.connect({ host, port }), 'connect');
  if (door === 'tls') return () => dialSocket(tls.connect({ host, port, ...secure }), 'secureConnect');
  if (door === 'ws') return () => dialWebSocket(new WebSocket(`ws://${host}:${port}/mqtt`, 'mqtt', PLAIN));
  if (door === 'wss')
    return () => dialWebSocket(new WebSocket(`wss://${host}:${port}/mqtt`, 'mqtt', { ...PLAIN, ...secure }));
  if (door === 'quic') {
    const dialler = new QuicDialler(target);
    return () => dialler.dial();
  }
  const value = createHash('sha256')
    .update(new X509Certificate(readFileSync(target.certificateFile)).raw)
    .digest();
  const options = { serverCertificateHashes: [{ algorithm: 'sha-256', value }], protocols: ['mqtt'] };
  return () => dialWebTransport(new WebTransport(`https://${host}:${port}/mqtt`, options));
}

const PLAIN = { perMessageDeflate: false };

async function dialSocket(socket: net.Socket, ready: 'connect' | 'secureConnect'): Promise<Connection> {
  socket.setNoDelay(true);
  const ended = endOf(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once(ready, resolve);
    ended.then((why) => reject(new Error(why)));
  });
  return {
    control: {
      write: (bytes) => void socket.write(bytes),
      onData: (listener) => void socket.on('data', listener),
    },
    ended,
    openStream: onlyOne,
    close: () => void socket.end(),
  };
}

async function dialWebSocket(socket: WebSocket): Promise<Connection> {
  const ended = endOf(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    ended.then((why) => reject(new Error(why)));
  });
  return {
    control: {
      write: (bytes) => socket.send(bytes),
      onData: (listener) => void socket.on('message', listener),
    },
    ended,
    openStream: onlyOne,
    close: () => socket.close(1000),
  };
}

async function dialWebTransport(session: WebTransport): Promise<Connection> {
  const ended = session.closed.then(
    ({ closeCode }) => `the session ended with code ${closeCode}`,
    (error: Error) => error.message,
  );
  await session.ready;
  return {
    control: byteStream(await session.createBidirectionalStream()),
    ended,
    openStream: async () => byteStream(await session.createBidirectionalStream()),
    close: () => session.close(),
  };
}

function byteStream({ readable, writable }: WebTransportBidirectionalStream): ByteStream {
  const writer = writable.getWriter();
  writer.closed.catch(() => {});
  return {
    write: (bytes) => void writer.write(bytes).catch(() => {}),
    onData: (listener) => void read(readable.getReader(), listener),
  };
}

async function read(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  listener: (chunk: Buffer) => void,
): Promise<void> {
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      listener(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    }
  } catch {
    // The session is over, and says why.
  }
}

function endOf(socket: net.Socket | WebSocket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('error', (error: Error) => resolve(error.message));
    socket.once('close', () => resolve('the broker closed the connection'));
  });
}

function onlyOne(): Promise<ByteStream> {
  return Promise.reject(new Error('this door has one stream to a connection'));
}
