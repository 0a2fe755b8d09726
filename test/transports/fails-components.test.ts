/**
 * The engine `@fails-components/webtransport`, over its HTTP/2 server: the native part is not to be had everywhere, and all that is JavaScript
 * is the same above both. The HTTP/2 server itself is no door of Sluice (docs/decisions/0021-fails-components.md).
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { after, describe, it } from 'node:test';
import { Http2Server } from '@fails-components/webtransport';
import { DoorUnavailable } from '../../src/errors.ts';
import type { Address, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { loadEngine, missingEngine, type ServeOptions } from '../../transports/webtransport/engine.ts';
import { engineOver, nativePart, type ServerClass } from '../../transports/webtransport/fails-components.ts';
import { WebTransportTransport } from '../../transports/webtransport.ts';
import { transportContract } from '../contract/transport.ts';
import type { OpenDoor } from '../contract/transport-stage.ts';
import { Certificates } from './certificates.ts';
import { openTcpSession, tcpSessionClient } from './fails-components-client.ts';
import { StreamClient } from './webtransport-client.ts';

const url = 'wt://127.0.0.1:0/mqtt';
const TIMEOUT = { timeout: 15_000 };
const certificates = await Certificates.create();
const tls = await certificates.issue('server');
after(() => certificates.remove());

type Arrival = Parameters<Http2Server['onHttpWTSessionVisitor']>[0];
interface Writer {
  writeCapsule(capsule: { payload: Uint8Array | undefined }): unknown;
}

/** HTTP/2 keeps a buffer after the write of it has resolved; the native part copies it before. */
class TcpServer extends Http2Server {
  override onHttpWTSessionVisitor(arrival: Arrival): void {
    const { capsParser } = arrival.session as unknown as { capsParser: Writer };
    const write = capsParser.writeCapsule.bind(capsParser);
    capsParser.writeCapsule = (capsule) =>
      write({ ...capsule, payload: capsule.payload && Uint8Array.from(capsule.payload) });
    super.onHttpWTSessionVisitor(arrival);
  }
}

const engine = engineOver(TcpServer as unknown as ServerClass);
const load = async () => engine;

const openDoor: OpenDoor = (onError, doorkeeper) => ({
  // The package's client sends a host name where an origin belongs.
  transport: new WebTransportTransport({ url, tls, load, origins: ['*'], onError, doorkeeper }),
  secure: true,
  abortIsError: true,
  dial: (address) => tcpSessionClient(address.url, tls.cert),
});
// All streams of a session share one of HTTP/2.
transportContract('fails-components', openDoor, 'together');

const idle: WireEvents = { data() {}, drain() {}, closed() {} };

async function withDoor(
  origins: readonly string[] | undefined,
  accept: (wire: Wire) => WireEvents,
  use: (address: Address) => Promise<void>,
): Promise<void> {
  const door = new WebTransportTransport({ url, tls, load, origins });
  const address = await door.listen(accept);
  try {
    await use(address);
  } finally {
    await door.close(0);
  }
}

/** The answer to an extended CONNECT with these headers. */
async function statusOf(port: number, headers: Record<string, string>): Promise<number> {
  const client = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  try {
    await once(client, 'remoteSettings');
    const request = client.request({ ':method': 'CONNECT', ':protocol': 'webtransport', ...headers });
    const [answer] = await once(request, 'response');
    request.on('error', () => {});
    return Number(answer[':status']);
  } finally {
    client.destroy();
  }
}

const echo = (wire: Wire): WireEvents => ({ ...idle, data: (chunk) => void wire.write(Buffer.from(chunk)) });

/** Serves once, as the door would, with what a test wants different. */
function serving(Server: unknown, options: Partial<ServeOptions> = {}) {
  return engineOver(Server as ServerClass).serve({
    host: '127.0.0.1',
    port: 0,
    path: '/mqtt',
    cert: tls.cert,
    key: tls.key,
    protocols: ['mqtt'],
    judge: () => 200,
    session: () => {},
    failed: () => {},
    ...options,
  });
}

describe('the engine fails-components', () => {
  it('refuses a wrong path and a foreign origin in the HTTP answer', TIMEOUT, async () => {
    await withDoor(undefined, echo, async ({ port }) => {
      const here = `https://127.0.0.1:${port}`;
      assert.equal(await statusOf(port, { ':path': '/mqtt', origin: here }), 200);
      assert.equal(await statusOf(port, { ':path': '/mqtt?token=1' }), 200);
      for (const path of ['/', '/mqttx', '/mqtt/', '/constructor', '/__proto__']) {
        assert.equal(await statusOf(port, { ':path': path }), 404, path);
      }
      for (const origin of ['https://evil.example', 'null', '127.0.0.1']) {
        assert.equal(await statusOf(port, { ':path': '/mqtt', origin }), 403, origin);
      }
    });
  });

  it('chooses mqtt among the protocols offered, and takes a client that offers others', TIMEOUT, async () => {
    await withDoor(['*'], echo, async ({ url }) => {
      for (const [protocols, chosen] of [
        [['mqtt'], 'mqtt'],
        [['chat', 'mqtt'], 'mqtt'],
        [['chat'], ''],
        [[], ''],
      ] as const) {
        const session = await openTcpSession(url, tls.cert, { protocols: [...protocols] });
        assert.equal(session.protocol, chosen);
        session.close();
      }
    });
  });

  it('leaves with the client what a paused core has not taken', TIMEOUT, async () => {
    const parts = 24;
    const part = Buffer.alloc(1_048_576, 1);
    const wires: Wire[] = [];
    let heardBytes = 0;
    const accept = (wire: Wire): WireEvents => {
      wires.push(wire);
      if (wires.length > 1) return echo(wire);
      return {
        ...idle,
        data: (chunk) => {
          heardBytes += chunk.length;
          wire.pause();
        },
      };
    };
    await withDoor(['*'], accept, async ({ url }) => {
      const flooding = await tcpSessionClient(url, tls.cert);
      for (let n = 0; n < parts; n++) flooding.write(part);
      const other = await tcpSessionClient(url, tls.cert);
      let answered = () => {};
      other.onData(() => answered());
      let unsentBytes = flooding.unsentBytes;
      for (let still = 0; still < 100; still++) {
        await new Promise<void>((resolve) => {
          answered = resolve;
          other.write(Buffer.from('x'));
        });
        if (flooding.unsentBytes !== unsentBytes) still = 0;
        unsentBytes = flooding.unsentBytes;
      }
      assert.ok(heardBytes > 0);
      assert.ok(unsentBytes > part.length * (parts - 8), `${unsentBytes} bytes are still with the client`);
    });
  });

  it('gives its answer before the question returns', TIMEOUT, async (t) => {
    const finished: boolean[] = [];
    class Watched extends TcpServer {
      override onSessionRequest(request: Parameters<Http2Server['onSessionRequest']>[0]): void {
        const half = this.transportInt as { finishSessionRequest(answer: unknown): void };
        const finish = half.finishSessionRequest.bind(half);
        let done = false;
        half.finishSessionRequest = (answer) => {
          done = true;
          finish(answer);
        };
        super.onSessionRequest(request);
        finished.push(done);
      }
    }
    const server = await serving(Watched);
    t.after(() => server.close());
    assert.equal(await statusOf(server.port, { ':path': '/mqtt' }), 200);
    assert.deepEqual(finished, [true]);
  });

  it('survives a client that is gone before it was there', TIMEOUT, async (t) => {
    let arrivals = 0;
    let there = 0;
    class Hasty extends TcpServer {
      override onHttpWTSessionVisitor(arrival: Arrival): void {
        super.onHttpWTSessionVisitor(arrival);
        arrivals++;
        const { jsobj } = arrival.session as unknown as { jsobj: { onClose(end: object): void } };
        if (arrivals === 1) jsobj.onClose({ errorcode: 0, error: '' });
      }
    }
    const server = await serving(Hasty, { session: () => void there++ });
    t.after(() => server.close());
    for (let n = 0; n < 2; n++) await statusOf(server.port, { ':path': '/mqtt' });
    assert.deepEqual([arrivals, there], [2, 1]);
  });

  it('says why it cannot begin', TIMEOUT, async () => {
    const { key } = await certificates.issue('other');
    await assert.rejects(serving(TcpServer, { key }), /key values mismatch/);
    const first = await serving(TcpServer);
    await assert.rejects(serving(TcpServer, { port: first.port }), { code: 'EADDRINUSE' });
    await first.close();
  });

  it('tells the client the reason code, and the core how the client went', TIMEOUT, async () => {
    const ends: (Error | undefined)[] = [];
    const wires: Wire[] = [];
    const changes: (() => void)[] = [];
    const accept = (wire: Wire): WireEvents => {
      wires.push(wire);
      return {
        ...echo(wire),
        closed: (error) => {
          ends.push(error);
          changes.shift()?.();
        },
      };
    };
    await withDoor(['*'], accept, async ({ url }) => {
      const session = await openTcpSession(url, tls.cert);
      const client = await new StreamClient(session).open();
      client.write(Buffer.from('x'));
      await new Promise<void>((resolve) => client.onData(() => resolve()));
      wires[0].end(0x8e);
      assert.equal(((await session.closed) as { closeCode: number }).closeCode, 0x8e);
      for (const closeCode of [0, 7]) {
        const next = await openTcpSession(url, tls.cert);
        const stream = await new StreamClient(next).open();
        stream.write(Buffer.from('x'));
        await new Promise<void>((resolve) => stream.onData(() => resolve()));
        const gone = new Promise<void>((resolve) => changes.push(resolve));
        next.close({ closeCode });
        await gone;
      }
    });
    assert.deepEqual(
      ends.map((error) => error?.message),
      [undefined, undefined, 'the client closed the session with code 7'],
    );
  });
});

describe('the choice of an engine', () => {
  const native = { skip: nativePart() === 'there' ? 'the native part is there' : false };

  it('falls to rwebtransport where the native part is missing', native, async () => {
    assert.equal((await loadEngine(url, 'auto')).name, 'rwebtransport');
    assert.equal(missingEngine(), null);
  });

  it('says how to get the native part to whoever insists on it', native, async () => {
    await assert.rejects(loadEngine(url, 'fails-components'), (error: Error) => {
      assert.ok(error instanceof DoorUnavailable);
      assert.match(error.message, /its native part is not (built|installed)/);
      assert.match(error.message, /npm explore @fails-components\S+quiche -- npm run install/);
      return true;
    });
    assert.match(missingEngine('fails-components') ?? '', /native part/);
  });
});
