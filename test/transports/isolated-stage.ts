/** Plays on a door whose engine has a process of its own, and writes processes that misbehave. */
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Address, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { type IsolatedOptions, IsolatedTransport } from '../../transports/isolated.ts';
import { RecordingDoorkeeper } from '../contract/doorkeeper.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import type { Certificates } from './certificates.ts';
import { QuicClient } from './quic-client.ts';
import { openSession } from './webtransport-client.ts';

/** A log that tests wait for. */
export class WatchedLog extends RecordedLog {
  #check = (): void => {};

  /** Resolves when there are so many lines of this event. */
  until(event: string, lines = 1): Promise<void> {
    return new Promise((resolve) => {
      this.#check = () => {
        if (this.of(event).length >= lines) resolve();
      };
      this.#check();
    });
  }

  override info(event: string, fields?: object): void {
    super.info(event, fields);
    this.#check();
  }

  override error(event: string, fields?: object): void {
    super.error(event, fields);
    this.#check();
  }
}

/** How a wire ended: `closed` resolves with what the core heard. */
export interface EchoWire {
  readonly wire: Wire;
  readonly closed: Promise<Error | undefined>;
}

/** A door that echoes. */
export class EchoStage {
  readonly log = new WatchedLog();
  readonly keeper = new RecordingDoorkeeper();
  readonly wires: EchoWire[] = [];
  readonly #clients: (() => void)[] = [];
  readonly door: IsolatedTransport;
  readonly #certificates: Certificates;
  readonly #cert: string;
  address: Address = { url: '', port: 0 };

  constructor(certificates: Certificates, options: IsolatedOptions) {
    this.#certificates = certificates;
    this.#cert = options.tls.cert;
    this.door = new IsolatedTransport({
      engine: 'rwebtransport',
      log: this.log,
      doorkeeper: this.keeper,
      onError: ({ message }) => this.log.info('connection.failed', { problem: message }),
      ...options,
    });
  }

  async listen(): Promise<this> {
    this.address = await this.door.listen((wire): WireEvents => {
      let heard: (error: Error | undefined) => void = () => {};
      const closed = new Promise<Error | undefined>((resolve) => {
        heard = resolve;
      });
      this.wires.push({ wire, closed });
      return {
        data: (chunk) => void wire.write(Buffer.from(chunk)),
        drain() {},
        closed: (error) => heard(error),
      };
    });
    return this;
  }

  async close(): Promise<void> {
    // Those whose engine died have not heard of it, and would wait.
    for (const leave of this.#clients) leave();
    await this.door.close(0);
  }

  /** A client hears its own words once. */
  async echo(): Promise<void> {
    const { url, port } = this.address;
    const hello = Buffer.from('hello');
    if (url.startsWith('quic:')) {
      const client = await QuicClient.dial(port, { ca: this.#certificates.ca, handshakeMs: 5_000 });
      this.#clients.push(() => client.abort());
      const heard = new Promise<void>((resolve) => client.onData(() => resolve()));
      client.write(hello);
      await heard;
      return;
    }
    const session = await openSession(url, this.#cert);
    this.#clients.push(() => session.close());
    const { readable, writable } = await session.createBidirectionalStream();
    await writable.getWriter().write(hello);
    await readable.getReader().read();
  }
}

const ROOT = path.join(import.meta.dirname, '..', '..');
const LINK = pathToFileURL(path.join(ROOT, 'transports', 'isolated', 'link.ts')).href;
const BUILT = path.join(ROOT, 'dist', 'transports', 'isolated', 'main.js');

/** The process as it is built, which starts in a third of the time; undefined: there is no build. */
export const BUILT_ENTRY: URL | undefined = existsSync(BUILT) ? pathToFileURL(BUILT) : undefined;

/** Writes a process that stands in for an engine's: `start` is its code, run when it is told which door to open, with `link` and `FRAME`. */
export function writeEntry(directory: string, name: string, start: string, imports = ''): URL {
  const file = path.join(directory, `${name}.mjs`);
  const text = `${imports}
import { Socket } from 'node:net';
import { FRAME, Link } from ${JSON.stringify(LINK)};
const socket = new Socket({ fd: 3, readable: true, writable: true });
const link = new Link(socket, {
  data() {},
  frame(type) { if (type === FRAME.start) { ${start} } else if (type === FRAME.close) process.exit(); },
  drained() {},
  gone() { process.exit(); },
});
`;
  writeFileSync(file, text);
  return pathToFileURL(file);
}
