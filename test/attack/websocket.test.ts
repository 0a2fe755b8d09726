/** What only the WebSocket doors can be sent: headers, frames, fragments and compression. */
import assert from 'node:assert/strict';
import { encodePacket } from '../../src/codec/encode.ts';
import { connect } from '../support/packets.ts';
import { dial, Opcode, type RawSocket, upgradeRequest, WebSocketPeer } from './harness/sockets.ts';
import { attackBroker } from './harness/target.ts';

const DOORS = ['ws', 'wss'] as const;
const DOOR_URLS = ['mqtt://127.0.0.1:0', 'ws://127.0.0.1:0/mqtt', 'wss://127.0.0.1:0/mqtt'];
const DEFLATE =
  'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_no_context_takeover\r\n';

interface Bomb {
  readonly name: string;
  /** More header lines of the upgrade. */
  readonly headers?: string;
  throwAt(peer: WebSocketPeer): Promise<void> | void;
  /** The close codes that fit. */
  readonly codes: readonly number[];
}

const CONNECT = encodePacket(connect({ clientId: 'ws' }), 5);

/** Sends pieces until they are no longer taken, and lets the other side have its turn between them. */
async function pour(peer: WebSocketPeer, pieces: number, piece: (at: number) => void): Promise<void> {
  for (let at = 0; at < pieces && !peer.raw.closed && peer.closeCode === 0; at++) {
    piece(at);
    if (at % 64 === 63) await new Promise((resolve) => setImmediate(resolve));
  }
}

const BOMBS: readonly Bomb[] = [
  {
    name: 'a compressed frame, although permessage-deflate was offered',
    headers: DEFLATE,
    throwAt: (peer) => peer.send(Opcode.BINARY, Buffer.alloc(1_000, 0xaa), { rsv1: true }),
    codes: [1002],
  },
  {
    name: 'tiny fragments of a message without end',
    throwAt: (peer) =>
      pour(peer, 200_000, (at) =>
        peer.send(at === 0 ? Opcode.BINARY : Opcode.CONTINUATION, CONNECT.subarray(at % 8, (at % 8) + 1), {
          fin: false,
        }),
      ),
    codes: [1008, 1009],
  },
  {
    name: 'empty fragments of a message without end',
    throwAt: (peer) =>
      pour(peer, 200_000, (at) =>
        peer.send(at === 0 ? Opcode.BINARY : Opcode.CONTINUATION, Buffer.alloc(0), { fin: false }),
      ),
    codes: [1008, 1009],
  },
  {
    name: 'large fragments of a message without end',
    throwAt: (peer) =>
      pour(peer, 1_000, (at) =>
        peer.send(at === 0 ? Opcode.BINARY : Opcode.CONTINUATION, Buffer.alloc(16_384, 0x10), { fin: false }),
      ),
    codes: [1008, 1009],
  },
  {
    name: 'a continuation of nothing',
    throwAt: (peer) => peer.send(Opcode.CONTINUATION, CONNECT),
    codes: [1002],
  },
  {
    name: 'a frame that announces 2^40 bytes',
    throwAt: (peer) => peer.send(Opcode.BINARY, CONNECT, { announced: 2 ** 40 }),
    codes: [1009],
  },
  {
    name: 'a frame that announces 256 MB',
    throwAt: (peer) => peer.send(Opcode.BINARY, CONNECT, { announced: 2 ** 28 }),
    codes: [1009],
  },
  { name: 'a text frame', throwAt: (peer) => peer.send(Opcode.TEXT, CONNECT), codes: [1003, 1007] },
  {
    name: 'a frame without a mask',
    throwAt: (peer) => peer.raw.write(Buffer.concat([Buffer.from([0x82, CONNECT.length]), CONNECT])),
    codes: [1002],
  },
  {
    name: 'a flood of pings',
    throwAt: (peer) => pour(peer, 100_000, () => peer.send(Opcode.PING, Buffer.alloc(125, 0x70))),
    codes: [1008],
  },
  {
    name: 'a flood of pongs',
    throwAt: (peer) => pour(peer, 100_000, () => peer.send(Opcode.PONG, Buffer.alloc(0))),
    codes: [1008],
  },
  {
    name: 'a ping of 60 KB',
    throwAt: (peer) => peer.send(Opcode.PING, Buffer.alloc(60_000)),
    codes: [1002],
  },
];

for (const door of DOORS) {
  attackBroker(
    `frames that no client of MQTT sends end their ${door} connections`,
    { doors: DOOR_URLS },
    async (target) => {
      const told: string[] = [];
      await target.canary.singDuring(BOMBS.length, async (step) => {
        const bomb = BOMBS[step]!;
        const peer = await WebSocketPeer.open(await dial(target.broker, door, 1 + step), bomb.headers);
        assert.match(peer.answer, /^HTTP\/1\.1 101 /, bomb.name);
        assert.doesNotMatch(peer.answer, /extensions/i, bomb.name);
        await bomb.throwAt(peer);
        await peer.raw.until(() => peer.closeCode !== 0, bomb.name);
        // A reset may overtake the close frame when more was on its way.
        if (peer.closeCode !== 0)
          assert.ok(bomb.codes.includes(peer.closeCode), `${bomb.name}: ${peer.closeCode}`);
        told.push(`${peer.closeCode || 'reset'}`);
        await target.assertGrownBy(8 << 20, bomb.name);
        peer.raw.socket.destroy();
      });
      target.tell(`close codes ${told.join(' ')}`);
    },
  );
}

attackBroker(
  'fragments without end on a hundred connections cost at most a packet each',
  { doors: DOOR_URLS },
  async (target) => {
    const peers: WebSocketPeer[] = [];
    await target.canary.singDuring(100, async (step) => {
      const peer = await WebSocketPeer.open(await dial(target.broker, 'ws', 1 + step));
      for (let count = 0; count < 15; count++)
        peer.send(count === 0 ? Opcode.BINARY : Opcode.CONTINUATION, Buffer.alloc(65_000, 0x10), {
          fin: false,
        });
      peers.push(peer);
    });
    await target.canary.singDuring(20, () => {});
    const growth = await target.assertGrownBy(
      100 * (65_536 + 65_536) + (8 << 20),
      'a hundred messages without end of strangers',
    );
    target.tell(`${Math.round(growth / 100 / 1_024)} KB for each stranger with a message without end`);
    for (const { raw } of peers) raw.socket.destroy();
  },
);

const LINE = `X-Filler: ${'x'.repeat(1_000)}\r\n`;
/** What is sent instead of an upgrade, and the status it may be answered with. */
const REQUESTS: readonly {
  readonly name: string;
  readonly text: string;
  readonly statuses: readonly number[];
}[] = [
  { name: 'a megabyte of headers', text: upgradeRequest(LINE.repeat(1_000)), statuses: [400, 413, 431] },
  {
    name: 'one header of 100 KB',
    text: upgradeRequest(`X-Filler: ${'x'.repeat(100_000)}\r\n`),
    statuses: [400, 413, 431],
  },
  {
    name: 'ten thousand headers',
    text: upgradeRequest('a: b\r\n'.repeat(10_000)),
    statuses: [400, 413, 431],
  },
  {
    name: 'a URL of 100 KB',
    text: `GET /${'x'.repeat(100_000)} HTTP/1.1\r\n\r\n`,
    statuses: [400, 414, 431],
  },
  {
    name: 'a body of a gigabyte',
    text: `POST /mqtt HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n${'x'.repeat(200_000)}`,
    statuses: [400, 404, 405, 413, 426],
  },
  {
    name: 'chunks',
    text: `POST /mqtt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(20_000)}`,
    statuses: [400, 404, 405, 413, 426],
  },
  {
    name: 'a thousand requests in one write',
    text: 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1_000),
    statuses: [400, 404, 426],
  },
  {
    name: 'protocols that make a slow pattern',
    text: upgradeRequest().replace('Protocol: mqtt', `Protocol: ${' ,'.repeat(5_000)}x`),
    statuses: [400],
  },
  {
    name: 'a version of its own',
    text: upgradeRequest().replace('Version: 13', 'Version: 8'),
    statuses: [400, 426],
  },
  {
    name: '__proto__ for a header',
    text: upgradeRequest('__proto__: x\r\nconstructor: y\r\n').replace('/mqtt', '/__proto__'),
    statuses: [404],
  },
  { name: 'no HTTP at all', text: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc', statuses: [400] },
];

async function answerTo(socket: RawSocket, text: string): Promise<string> {
  socket.write(text);
  await socket.until(() => socket.received.includes('\r\n\r\n'), 'an answer');
  return socket.received.toString('latin1');
}

attackBroker(
  'floods of headers and requests that are no upgrade are refused and closed',
  { doors: DOOR_URLS },
  async (target) => {
    for (const door of DOORS) {
      for (const [number, { name, text, statuses }] of REQUESTS.entries()) {
        const sockets = await Promise.all(
          Array.from({ length: 10 }, (_, n) => dial(target.broker, door, 1 + number * 10 + n)),
        );
        let answers: string[] = [];
        await target.canary.singDuring(1, async () => {
          answers = await Promise.all(sockets.map((socket) => answerTo(socket, text)));
        });
        for (const answer of answers) {
          // Cut off before the answer was read: also an answer.
          if (answer === '') continue;
          const status = Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
          assert.ok(statuses.includes(status), `${name}: ${answer.slice(0, 100)}`);
          assert.doesNotMatch(answer, /node|sluice|\bws\b|at .*\.[jt]s/i, name);
        }
        await Promise.all(sockets.map((socket) => socket.over()));
      }
    }
    await target.assertGrownBy(16 << 20, 'requests that are no upgrade');
  },
);
