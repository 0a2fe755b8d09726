import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { after, afterEach, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { WebSocket } from 'ws';
import type { Transport, Wire } from '../../src/interfaces/transport.ts';
import type { ArrivalOptions } from '../../transports/arrival.ts';
import type { OnError } from '../../transports/listen-url.ts';
import { TcpTransport } from '../../transports/tcp.ts';
import { TlsTransport } from '../../transports/tls.ts';
import { WebSocketTransport } from '../../transports/websocket.ts';
import { type RawClient, Stage } from '../contract/transport-stage.ts';
import { Certificates } from './certificates.ts';
import { PlainTcpTransport } from './plain-tcp.ts';
import { V1_HEADER, V2_HEADER, v2Header } from './proxy-headers.ts';
import { socketClient } from './socket-client.ts';
import { webSocketClient } from './websocket-client.ts';

const TIMEOUT = { timeout: 15_000 };
const certificates = await Certificates.create();
const tls = await certificates.issue('server');
const ca = readFileSync(certificates.ca);
after(() => certificates.remove());

type Options = ArrivalOptions & { readonly onError: OnError };

interface Kind {
  readonly name: string;
  make(options: Options): Transport;
  /** Speaks the door's protocol over a connection that somebody else has opened. */
  speak(socket: Socket): Promise<RawClient>;
}

const secure = (socket: Socket) => connectTls({ socket, ca, host: '127.0.0.1' });
const KINDS: readonly Kind[] = [
  {
    name: 'tcp',
    make: (options) => new TcpTransport({ url: 'mqtt://127.0.0.1:0', ...options }),
    speak: (socket) => socketClient(socket, 'connect'),
  },
  {
    name: 'tcp without handles',
    make: (options) => new PlainTcpTransport({ url: 'mqtt://127.0.0.1:0', ...options }),
    speak: (socket) => socketClient(socket, 'connect'),
  },
  {
    name: 'tls',
    make: (options) => new TlsTransport({ url: 'mqtts://127.0.0.1:0', tls, ...options }),
    speak: (socket) => socketClient(secure(socket), 'secureConnect'),
  },
  {
    name: 'websocket',
    make: (options) => new WebSocketTransport({ url: 'ws://127.0.0.1:0', ...options }),
    speak: (socket) =>
      webSocketClient(new WebSocket('ws://127.0.0.1/mqtt', ['mqtt'], { createConnection: () => socket })),
  },
  {
    name: 'websocket over TLS',
    make: (options) => new WebSocketTransport({ url: 'wss://127.0.0.1:0', tls, ...options }),
    speak: (socket) => {
      const createConnection = () => secure(socket);
      return webSocketClient(new WebSocket('wss://127.0.0.1/mqtt', ['mqtt'], { createConnection }));
    },
  },
];

const LOOPBACK = ['127.0.0.0/8'];
let stage: Stage;

/** Opens a door; `stage.dial` first sends `header`. */
async function open(kind: Kind, options: ArrivalOptions, header: Buffer = Buffer.alloc(0)): Promise<void> {
  stage = new Stage((onError, doorkeeper) => ({
    transport: kind.make({ doorkeeper, onError, ...options }),
    secure: false,
    abortIsError: false,
    dial: ({ port }) => {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      if (header.length > 0) socket.write(header);
      return kind.speak(socket);
    },
  }));
  await stage.listen();
}

/** A reset is an end like any other. */
function gone(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

/** A connection that says nothing but `bytes`; resolves with what came back when it is closed. */
async function sayRaw(bytes: Buffer): Promise<string> {
  const socket = connect(stage.address.port, '127.0.0.1');
  socket.on('error', () => {});
  if (bytes.length > 0) socket.write(bytes);
  const heard: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => heard.push(chunk));
  await gone(socket);
  return Buffer.concat(heard).toString();
}

afterEach(async () => {
  await stage.door.transport.close(0);
  await stage.until(() => stage.keeper.visits.every((visit) => visit.lefts === 1));
});

for (const kind of KINDS) {
  describe(`behind a proxy, ${kind.name}`, () => {
    const proxied = { proxyProtocol: true, trustedProxies: LOOPBACK };

    for (const [version, header] of [
      [1, V1_HEADER],
      [2, V2_HEADER],
    ] as const) {
      it(
        `tells whom version ${version} of the header names, and carries what follows it`,
        TIMEOUT,
        async () => {
          await open(kind, proxied, header);
          const { peer, core } = await stage.connect();
          const { address, port, proxy } = core.wire.peer;
          assert.deepEqual(
            { address, port, proxy },
            { address: '192.0.2.1', port: 4711, proxy: '127.0.0.1' },
          );
          const [visit] = stage.keeper.visits;
          assert.equal(visit.address, '', 'the proxy itself is not counted');
          assert.deepEqual(visit.moves, ['192.0.2.1']);
          assert.equal(core.wire.visit, visit);
          const sent = Buffer.alloc(300_000, 'abcdefg');
          peer.raw.write(sent);
          await stage.until(() => core.receivedBytes >= sent.length);
          assert.ok(core.received.equals(sent));
          core.wire.write(sent);
          await stage.until(() => peer.receivedBytes >= sent.length);
          peer.raw.end();
          await stage.until(() => core.closes === 1);
        },
      );
    }

    it('takes a header that comes a byte at a time', TIMEOUT, async () => {
      await open(kind, proxied);
      const socket = connect(stage.address.port, '127.0.0.1');
      socket.setNoDelay(true);
      await once(socket, 'connect');
      for (const byte of V2_HEADER) {
        socket.write(Buffer.of(byte));
        await new Promise(setImmediate);
      }
      const client = kind.speak(socket);
      // For doors without a handshake: a socket that is connected says so no more.
      socket.emit('connect');
      await client;
      await stage.until(() => stage.cores.length === 1);
      assert.equal(stage.cores[0].wire.peer.address, '192.0.2.1');
      assert.equal(stage.cores[0].receivedBytes, 0);
      socket.destroy();
    });

    it('counts the proxy by its own address when it comes by itself', TIMEOUT, async () => {
      await open(kind, proxied, v2Header(0x20, 0, Buffer.alloc(0)));
      const { core } = await stage.connect();
      assert.equal(core.wire.peer.address, '127.0.0.1');
      assert.equal(core.wire.peer.proxy, undefined);
      assert.deepEqual(stage.keeper.visits[0].moves, ['127.0.0.1']);
    });

    it('refuses without a byte who is no trusted proxy, header or not', TIMEOUT, async () => {
      await open(kind, { proxyProtocol: true, trustedProxies: ['198.51.100.0/24'] });
      assert.equal(await sayRaw(V2_HEADER), '');
      assert.equal(await sayRaw(Buffer.from('GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n')), '');
      assert.equal(stage.cores.length, 0);
      assert.equal(stage.keeper.visits.length, 0);
      assert.match(stage.errors[0].message, /trustedProxies/);
    });

    it(
      'refuses without a byte a trusted proxy that sends no header, a wrong one, or half of one',
      TIMEOUT,
      async () => {
        await open(kind, { ...proxied, proxyHeaderTimeoutMs: 50 });
        for (const bytes of ['\x10\x0c\x00\x04MQTT', 'PROXY TCP4 nobody\r\n', 'PROXY TCP4 192.0', '']) {
          assert.equal(await sayRaw(Buffer.from(bytes, 'latin1')), '', bytes);
        }
        assert.equal(stage.cores.length, 0);
        assert.deepEqual(
          stage.errors.map(
            ({ message }) => /begin with a header|cannot be read|within 50 ms/.exec(message)?.[0],
          ),
          ['begin with a header', 'cannot be read', 'within 50 ms', 'within 50 ms'],
        );
      },
    );

    it('forgets a proxy that leaves before its header', TIMEOUT, async () => {
      await open(kind, proxied);
      const socket = connect(stage.address.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.end('PROXY ');
      await gone(socket.resume());
      await stage.until(() => stage.keeper.visits[0]?.lefts === 1);
      assert.equal(stage.cores.length, 0);
    });

    it('turns away whom the doorkeeper does not want when the proxy has named him', TIMEOUT, async () => {
      await open(kind, proxied, V1_HEADER);
      stage.keeper.admits = (address) => address !== '192.0.2.1';
      await stage.dialRefused();
      await stage.until(() => stage.keeper.visits[0]?.lefts === 1);
      assert.equal(stage.cores.length, 0);
      assert.deepEqual(stage.errors, []);
    });

    it('lets the doorkeeper evict a proxy that has not sent its header', TIMEOUT, async () => {
      await open(kind, proxied);
      const closed = sayRaw(Buffer.from('PROXY '));
      await stage.until(() => stage.keeper.visits.length === 1);
      stage.keeper.visits[0].evict();
      assert.equal(await closed, '');
      assert.deepEqual(stage.errors, []);
    });

    it('is not to be had without trusted proxies', async () => {
      await open(kind, {});
      assert.throws(() => kind.make({ proxyProtocol: true, onError() {} }), /trustedProxies is missing/);
    });
  });

  describe(`before anything is read, ${kind.name}`, () => {
    it('turns away without a byte', TIMEOUT, async () => {
      await open(kind, {});
      stage.keeper.admits = () => false;
      assert.equal(await sayRaw(Buffer.from('GET / HTTP/1.1\r\n\r\n')), '');
      assert.equal(stage.keeper.turnedAway, 1);
      assert.deepEqual(stage.errors, []);
    });

    it('evicts a silent socket', TIMEOUT, async () => {
      await open(kind, {});
      const closed = sayRaw(Buffer.alloc(0));
      await stage.until(() => stage.keeper.visits.length === 1);
      stage.keeper.visits[0].evict();
      assert.equal(await closed, '');
      assert.deepEqual(stage.errors, []);
    });
  });
}

describe('trusted proxies', () => {
  it('are refused where they could not say whom they bring', async () => {
    const options = { trustedProxies: LOOPBACK, onError() {} };
    for (const kind of [KINDS[0], KINDS[2]]) {
      assert.throws(() => kind.make(options), /trustedProxies: nothing is read of them here/);
    }
    await open(KINDS[3], { trustedProxies: LOOPBACK });
  });
});

describe('a handshake that is not finished', () => {
  for (const [kind, hello] of [
    [KINDS[2], Buffer.from('1603010200', 'hex')],
    [KINDS[4], Buffer.from('1603010200', 'hex')],
    [KINDS[3], Buffer.from('GET /mqtt HTTP/1.1\r\nHost: ')],
  ] as const) {
    it(`is aborted when its visitor is evicted, ${kind.name}`, TIMEOUT, async () => {
      await open(kind, {});
      const closed = sayRaw(hello);
      await stage.until(() => stage.keeper.visits.length === 1);
      // Another connection's round trip: what was sent before has been read.
      await stage.connect();
      stage.keeper.visits[0].evict();
      assert.equal(await closed, '');
      assert.equal(stage.keeper.visits[1].lefts, 0);
      assert.deepEqual(stage.errors, []);
    });
  }
});

/** Opens a ws door for `url` and tells whom the core sees for a client with these headers; null: refused. */
async function seenAs(
  options: ArrivalOptions,
  headers: Record<string, string | string[]>,
  proxyHeader?: Buffer,
): Promise<Pick<Wire['peer'], 'address' | 'proxy'> | null> {
  const kind: Kind = {
    ...KINDS[3],
    speak: (socket) => {
      const createConnection = () => socket;
      return webSocketClient(
        new WebSocket('ws://127.0.0.1/mqtt', ['mqtt'], {
          headers: headers as Record<string, string>,
          createConnection,
        }),
      );
    },
  };
  await open(kind, options, proxyHeader);
  if ((await stage.dialRefused()) === undefined) {
    assert.equal(stage.cores.length, 0);
    return null;
  }
  await stage.until(() => stage.cores.length === 1);
  const { address, proxy } = stage.cores[0].wire.peer;
  return proxy === undefined ? { address } : { address, proxy };
}

describe('X-Forwarded-For', () => {
  const trusted = { trustedProxies: ['127.0.0.1', '10.0.0.0/8'] };

  it('is believed of a trusted proxy: the rightmost address that is no proxy', TIMEOUT, async () => {
    const headers = { 'X-Forwarded-For': '203.0.113.5, 192.0.2.1, 10.1.1.1' };
    assert.deepEqual(await seenAs(trusted, headers), { address: '192.0.2.1', proxy: '127.0.0.1' });
    const [visit] = stage.keeper.visits;
    assert.equal(visit.address, '');
    assert.deepEqual(visit.moves, ['192.0.2.1']);
  });

  it('is one list when it comes in several lines', TIMEOUT, async () => {
    const headers = { 'X-Forwarded-For': ['203.0.113.5', '192.0.2.1'] };
    assert.deepEqual(await seenAs(trusted, headers), { address: '192.0.2.1', proxy: '127.0.0.1' });
  });

  it('is not believed of anybody else', TIMEOUT, async () => {
    for (const trustedProxies of [undefined, ['10.0.0.0/8']]) {
      const headers = { 'X-Forwarded-For': '192.0.2.1' };
      assert.deepEqual(await seenAs({ trustedProxies }, headers), { address: '127.0.0.1' });
      assert.deepEqual(stage.keeper.visits[0].moves, []);
      await stage.door.transport.close(0);
    }
  });

  it('need not be there: then the proxy comes by itself', TIMEOUT, async () => {
    assert.deepEqual(await seenAs(trusted, {}), { address: '127.0.0.1' });
    assert.deepEqual(stage.keeper.visits[0].moves, ['127.0.0.1']);
  });

  it('is refused when a trusted proxy wrote what is no address', TIMEOUT, async () => {
    assert.equal(await seenAs(trusted, { 'X-Forwarded-For': '192.0.2.1, unknown' }), null);
    assert.match(stage.errors[0].message, /X-Forwarded-For/);
  });

  it('is looked at behind a PROXY header only when that names a trusted proxy', TIMEOUT, async () => {
    const headers = { 'X-Forwarded-For': '203.0.113.5' };
    const options = { proxyProtocol: true, trustedProxies: ['127.0.0.1', '192.0.2.1'] };
    assert.deepEqual(await seenAs(options, headers, V1_HEADER), {
      address: '203.0.113.5',
      proxy: '192.0.2.1',
    });
    await stage.door.transport.close(0);
    const stranger = { proxyProtocol: true, trustedProxies: ['127.0.0.1'] };
    assert.deepEqual(await seenAs(stranger, headers, V1_HEADER), {
      address: '192.0.2.1',
      proxy: '127.0.0.1',
    });
  });

  it('does not get lost among more headers than are read', TIMEOUT, async () => {
    const many = Object.fromEntries(Array.from({ length: 110 }, (_, n) => [`X-${n}`, 'x']));
    assert.equal(await seenAs(trusted, { ...many, 'X-Forwarded-For': '192.0.2.1' }), null);
  });
});

describe('what HTTP a stranger may speak', () => {
  const ask = async (...lines: string[]): Promise<string> => {
    const answer = await sayRaw(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`));
    assert.ok(!/node|ws|\bat \//i.test(answer.replace('websocket', '')), answer);
    return answer.split('\r\n')[0];
  };

  it('is not repeated with its query, where pages put tokens', TIMEOUT, async () => {
    await open(KINDS[3], {});
    const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
    const first = 'GET /elsewhere?token=secret HTTP/1.1';
    assert.equal(await ask(first, 'Host: x', ...upgrade), 'HTTP/1.1 404 Not Found');
    assert.match(stage.errors[0].message, /path \/elsewhere,/);
    assert.doesNotMatch(stage.errors[0].message, /secret/);
  });

  it('is one request without a body, after which the connection is closed', TIMEOUT, async () => {
    await open(KINDS[3], {});
    const host = 'Host: 127.0.0.1';
    assert.equal(
      await ask('GET /mqtt HTTP/1.1', host, 'Connection: keep-alive'),
      'HTTP/1.1 426 Upgrade Required',
    );
    assert.equal(await ask('GET / HTTP/1.1', host), 'HTTP/1.1 404 Not Found');
    assert.equal(
      await ask('POST /mqtt HTTP/1.1', host, 'Content-Length: 10'),
      'HTTP/1.1 413 Payload Too Large',
    );
    const chunked = 'Transfer-Encoding: chunked';
    assert.equal(await ask('POST /mqtt HTTP/1.1', host, chunked), 'HTTP/1.1 413 Payload Too Large');
    const waiting = 'Expect: 100-continue';
    assert.equal(
      await ask('PUT /mqtt HTTP/1.1', host, 'Content-Length: 10', waiting),
      'HTTP/1.1 413 Payload Too Large',
    );
    assert.equal(await ask('GET /mqtt HTTP/1.1', host, 'Expect: a miracle'), 'HTTP/1.1 426 Upgrade Required');
    const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
    const key = ['Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', 'Sec-WebSocket-Protocol: mqtt'];
    assert.equal(
      await ask('GET /mqtt HTTP/1.1', host, ...upgrade, ...key, 'Content-Length: 10'),
      'HTTP/1.1 413 Content Too Large',
    );
    await stage.until(() => stage.keeper.visits.every((visit) => visit.lefts === 1));
    assert.equal(stage.cores.length, 0);
  });

  it("is still a stranger's until the upgrade, and after it until the login", TIMEOUT, async () => {
    await open(KINDS[3], {});
    const { core } = await stage.connect();
    assert.equal(stage.keeper.visits[0].logins, 0);
    core.wire.visit?.loggedIn();
    assert.equal(stage.keeper.visits[0].logins, 1);
  });
});
