import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { after, describe, it } from 'node:test';
import { type ClientOptions, WebSocket } from 'ws';
import type { Address, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { type WebSocketOptions, WebSocketTransport } from '../../transports/websocket.ts';
import { transportContract } from '../contract/transport.ts';
import { Certificates } from './certificates.ts';
import { webSocketClient } from './websocket-client.ts';

const url = 'ws://127.0.0.1:0/mqtt';
const certificates = await Certificates.create();
const tls = await certificates.issue('server');
const ca = readFileSync(certificates.ca);
after(() => certificates.remove());

transportContract('websocket', (onError, doorkeeper) => ({
  transport: new WebSocketTransport({ url, onError, doorkeeper }),
  secure: false,
  abortIsError: false,
  dial: (address) => webSocketClient(new WebSocket(address.url, ['mqtt'])),
}));

transportContract('websocket over TLS', (onError, doorkeeper) => ({
  transport: new WebSocketTransport({ url: 'wss://127.0.0.1:0', tls, onError, doorkeeper }),
  secure: true,
  abortIsError: false,
  dial: (address) => webSocketClient(new WebSocket(address.url, ['mqtt'], { ca })),
}));

const idle: WireEvents = { data() {}, drain() {}, closed() {} };

/** Runs `use` against a listening door, and closes it. */
async function withDoor<T>(
  options: Partial<WebSocketOptions>,
  accept: (wire: Wire) => WireEvents,
  use: (address: Address) => Promise<T>,
): Promise<T> {
  const transport = new WebSocketTransport({ url, ...options });
  const address = await transport.listen(accept);
  try {
    return await use(address);
  } finally {
    await transport.close(0);
  }
}

/** Tries to connect: the status of the refusal, or the chosen subprotocol. */
async function knock(
  address: string,
  protocols: string[],
  options: ClientOptions = {},
): Promise<number | string> {
  const ws = new WebSocket(address, protocols, options);
  ws.on('error', () => {});
  return new Promise((resolve) => {
    ws.once('open', () => {
      ws.terminate();
      resolve(ws.protocol);
    });
    ws.once('unexpected-response', (_request, response: IncomingMessage) => {
      response.resume();
      ws.terminate();
      resolve(response.statusCode ?? 0);
    });
  });
}

/** The close code a client gets after `act`, and the error the core hears. */
async function closeCode(act: (ws: WebSocket) => void, onWire = (_wire: Wire): void => {}) {
  let error: Error | undefined;
  const accept = (wire: Wire): WireEvents => {
    setImmediate(onWire, wire);
    return { ...idle, closed: (reason) => (error = reason) };
  };
  const code = await withDoor({}, accept, async (address) => {
    const ws = new WebSocket(address.url, ['mqtt']);
    ws.on('error', () => {});
    ws.on('open', () => act(ws));
    return (await once(ws, 'close'))[0] as number;
  });
  return { code, error };
}

describe('the WebSocket door', () => {
  it('[MQTT-6.0.0-3] [MQTT-6.0.0-4] chooses mqtt anywhere in the list, else mqttv3.1, else refuses', async () => {
    await withDoor(
      {},
      () => idle,
      async ({ url }) => {
        assert.equal(await knock(url, ['mqtt']), 'mqtt');
        assert.equal(await knock(url, ['chat', 'mqttv3.1', 'mqtt']), 'mqtt');
        assert.equal(await knock(url, ['chat', 'mqttv3.1']), 'mqttv3.1');
        assert.equal(await knock(url, ['chat']), 400);
        assert.equal(await knock(url, []), 400);
      },
    );
  });

  it('serves one exact path', async () => {
    await withDoor(
      {},
      () => idle,
      async ({ url }) => {
        assert.equal(await knock(`${url}?token=1`, ['mqtt']), 'mqtt');
        for (const wrong of ['x', '/', '/..']) assert.equal(await knock(url + wrong, ['mqtt']), 404);
      },
    );
  });

  it('answers a plain GET with 426, elsewhere with 404, and says nothing of itself', async () => {
    await withDoor(
      {},
      () => idle,
      async ({ port }) => {
        for (const [path, status] of [
          ['/mqtt', 426],
          ['/', 404],
        ] as const) {
          const [response] = (await once(get({ port, path, host: '127.0.0.1' }), 'response')) as [
            IncomingMessage,
          ];
          assert.equal(response.statusCode, status);
          assert.equal(response.headers.server, undefined);
          assert.equal(response.headers['x-powered-by'], undefined);
          assert.equal((await response.toArray()).length, 0);
        }
      },
    );
  });

  it('takes version 13 only: an older one carries its origin elsewhere', async () => {
    await withDoor(
      {},
      () => idle,
      async ({ url }) => {
        assert.equal(await knock(url, ['mqtt'], { protocolVersion: 8, origin: 'https://evil.example' }), 426);
      },
    );
  });

  it('by default lets in pages of the same host name on any port, and clients without an origin', async () => {
    await withDoor(
      {},
      () => idle,
      async ({ url }) => {
        assert.equal(await knock(url, ['mqtt'], { origin: 'http://127.0.0.1:3000' }), 'mqtt');
        assert.equal(await knock(url, ['mqtt'], { origin: 'https://127.0.0.1' }), 'mqtt');
        for (const origin of [
          'https://evil.example',
          'http://127.0.0.1.evil.example',
          'null',
          'http://127.0.0.1@x',
        ]) {
          assert.equal(await knock(url, ['mqtt'], { origin }), 403, origin);
        }
      },
    );
  });

  it('compares listed origins by scheme, host and port', async () => {
    await withDoor(
      { origins: ['https://dash.example.com'] },
      () => idle,
      async ({ url }) => {
        assert.equal(await knock(url, ['mqtt'], { origin: 'https://dash.example.com:443' }), 'mqtt');
        assert.equal(await knock(url, ['mqtt'], { origin: 'https://DASH.example.com' }), 'mqtt');
        for (const origin of [
          'http://dash.example.com',
          'https://dash.example.com:8443',
          'https://dash.example.com.evil.example',
          'https://evil.example/https://dash.example.com',
          'http://127.0.0.1',
        ]) {
          assert.equal(await knock(url, ['mqtt'], { origin }), 403, origin);
        }
      },
    );
    await withDoor(
      { origins: ['*'] },
      () => idle,
      async ({ url }) => {
        assert.equal(await knock(url, ['mqtt'], { origin: 'https://anywhere.example' }), 'mqtt');
      },
    );
  });

  it('[MQTT-6.0.0-1] closes the connection on a text frame', async () => {
    const { code, error } = await closeCode((ws) => ws.send('text'));
    assert.equal(code, 1003);
    assert.match(error?.message ?? '', /text frame/);
  });

  it('[MQTT-6.0.0-2] takes a message in fragments as one stream', async () => {
    const heard: Buffer[] = [];
    let done: () => void = () => {};
    const all = new Promise<void>((resolve) => {
      done = resolve;
    });
    const data = (chunk: Buffer) => {
      heard.push(chunk);
      if (Buffer.concat(heard).length === 6) done();
    };
    await withDoor(
      {},
      () => ({ ...idle, data }),
      async ({ url }) => {
        const ws = new WebSocket(url, ['mqtt']);
        await once(ws, 'open');
        ws.send(Buffer.from('ab'), { fin: false });
        ws.send(Buffer.alloc(0), { fin: false });
        ws.send(Buffer.from('cd'), { fin: true });
        ws.send(Buffer.from('ef'));
        await all;
      },
    );
    assert.equal(Buffer.concat(heard).toString(), 'abcdef');
  });

  it('closes on a message above its bound with 1009', async () => {
    const { code, error } = await closeCode((ws) => ws.send(Buffer.alloc(1_048_576 + 6)));
    assert.equal(code, 1009);
    assert.ok(error instanceof RangeError);
  });

  it('closes on a flood of pongs nobody asked for', async () => {
    const { code, error } = await closeCode((ws) => {
      for (let n = 0; n < 101; n++) ws.pong();
    });
    assert.equal(code, 1008);
    assert.match(error?.message ?? '', /pings/);
  });

  for (const [reasonCode, expected] of [
    [undefined, 1000],
    [0x00, 1000],
    [0x8b, 1001],
    [0x82, 1008],
    [0x95, 1009],
  ] as const) {
    it(`ends with ${expected} for the reason ${reasonCode}`, async () => {
      const { code, error } = await closeCode(
        () => {},
        (wire) => wire.end(reasonCode),
      );
      assert.equal(code, expected);
      assert.equal(error, undefined);
    });
  }

  it('survives a client that speaks no HTTP, or headers without end', async () => {
    await withDoor(
      {},
      () => idle,
      async ({ port, url }) => {
        for (const bytes of ['\x10\x0c\x00\x04MQTT', `GET /mqtt HTTP/1.1\r\nX: ${'x'.repeat(40_000)}`]) {
          const socket = connect(port, '127.0.0.1');
          socket.on('error', () => {});
          socket.write(bytes);
          await once(socket.resume(), 'close');
        }
        assert.equal(await knock(url, ['mqtt']), 'mqtt');
      },
    );
  });

  it('refuses options that cannot be meant', () => {
    assert.throws(() => new WebSocketTransport({ url: 'wss://127.0.0.1' }), /tls.*missing/);
    assert.throws(() => new WebSocketTransport({ url, tls }), /tls.*does not encrypt/);
    for (const origin of ['dash.example.com', 'https://dash.example.com/app', 'https://']) {
      assert.throws(() => new WebSocketTransport({ url, origins: [origin] }), /origins.*is not an origin/);
    }
  });
});
