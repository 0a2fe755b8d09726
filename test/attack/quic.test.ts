/** What only the doors over UDP can be sent: handshakes that are never whole, streams and datagrams nobody asked for, and ends without end. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { hashArgon2id } from '../../auth/passwords/argon2id.ts';
import { DoorClient } from '../bad-input/door-client.ts';
import { connect } from '../support/packets.ts';
import { UDP_DOORS, type UdpDoorName } from './harness/doors.ts';
import { CONTROL_STREAM, Http3Peer, STREAM_HEAD } from './harness/http3-peer.ts';
import { cryptoFrame, initialKeys, initialPacket, readRetry, varint } from './harness/quic-packets.ts';
import { QuicPeer, type QuicPeerOptions } from './harness/quic-peer.ts';
import { address } from './harness/sockets.ts';
import { attackBroker, type Target } from './harness/target.ts';

const DOOR_URLS = ['mqtt://127.0.0.1:0', 'wt://127.0.0.1:0/mqtt', 'quic://127.0.0.1:0'];
const HOST = '127.0.0.1';
/** Of CRYPTO frames, the first byte missing: 3 MB. */
const FLOOD_PACKETS = 3_000;
const FLOOD_BYTES = 1_000;
const AT_ONCE = 20;
const SILENT = 400;
const STRANGERS_MAX = 100;
const STREAMS = 600;
const COMERS = 200;
const GUESSES = 100;
const PASSWORD = 'sings';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Beside the canary's songs. */
async function flood(target: Target, count: number, send: (at: number) => void): Promise<void> {
  await target.canary.singDuring(count / AT_ONCE, async (step) => {
    for (let at = 0; at < AT_ONCE; at++) send(step * AT_ONCE + at);
    await turn();
  });
}

/** A socket whose address the door knows to be its own, and what it takes to write first packets from there. */
async function known(
  port: number,
): Promise<{ socket: Socket; packet(number: number, frames: Uint8Array): Buffer }> {
  const socket = createSocket('udp4');
  socket.bind(0, HOST);
  await once(socket, 'listening');
  const [first, scid] = [randomBytes(8), randomBytes(8)];
  const answered = once(socket, 'message');
  const hello = cryptoFrame(0, randomBytes(100));
  socket.send(
    initialPacket({ dcid: first, scid, number: 0, frames: hello, keys: initialKeys(first) }),
    port,
    HOST,
  );
  const retry = readRetry(((await answered) as [Buffer])[0]);
  assert.ok(retry !== null);
  const dcid = Buffer.from(retry.scid);
  const token = Buffer.from(retry.token);
  const keys = initialKeys(dcid);
  return { socket, packet: (number, frames) => initialPacket({ dcid, scid, token, number, frames, keys }) };
}

const nth = (at: number): Buffer => cryptoFrame(1 + at * (FLOOD_BYTES + 1), Buffer.alloc(FLOOD_BYTES, 1));

/** How many the door has had enough of. */
const given = (target: Target): number => target.broker.output().split('bytes came, and no login').length - 1;

attackBroker(
  'messages of TLS in pieces that never join, in a handshake or behind it, end a stranger at the quic door at 128 KB',
  { doors: DOOR_URLS },
  async (target) => {
    const port = target.broker.port('quic');
    const before = await target.memory();
    const { socket, packet } = await known(port);
    await flood(target, FLOOD_PACKETS, (at) => socket.send(packet(at, nth(at)), port, HOST));
    await target.until(() => given(target) === 1, 'the door gives up the handshake');
    socket.close();
    const peer = await QuicPeer.open(port, { logsKeys: true });
    await flood(target, FLOOD_PACKETS, (at) => peer.inject(nth(at + 1_000)));
    await target.until(() => given(target) === 2, 'the door gives up the connection');
    peer.vanish();
    const { residentBytes } = await target.memory();
    const megabytes = (residentBytes - before.residentBytes) / 1_048_576;
    target.tell(`resident ${megabytes.toFixed(1)} MB after 3 MB of each`);
  },
);

/** Frames that a server has to remember or answer, a packet full of each (RFC 9000, 19). */
const BURDENS: Readonly<Record<string, (at: number) => Uint8Array>> = {
  'new connection ids': (at) =>
    Buffer.concat([varint(0x18), varint(at), varint(at), Buffer.from([16]), randomBytes(32)]),
  'path challenges': () => Buffer.concat([varint(0x1a), randomBytes(8)]),
  'ends of streams that there are not': (at) =>
    Buffer.concat([varint(0x05), varint(4 * (at % 1_000)), varint(1)]),
  'retirements of connection ids': (at) => Buffer.concat([varint(0x19), varint(at)]),
  'acknowledgements of packets nobody sent': (at) =>
    Buffer.concat([varint(0x02), varint(1_000_000 + at), varint(0), varint(0), varint(1_000)]),
};

attackBroker(
  'frames that cost the engine something, by the thousand, cost nobody else anything at the doors over UDP',
  { doors: DOOR_URLS },
  async (target) => {
    for (const door of UDP_DOORS) {
      for (const [what, frame] of Object.entries(BURDENS)) {
        const peer = await stranger(target, door, { logsKeys: true });
        await flood(target, 200, (step) => {
          const frames = Array.from({ length: 20 }, (_, at) => frame(2 + step * 20 + at));
          peer.inject(Buffer.concat(frames));
        });
        await target.assertGrownBy(16 << 20, what);
        // CONNECTION_CLOSE
        peer.inject(Buffer.from([0x1d, 0, 0]));
        peer.vanish();
        const next = await target.connect({ clientId: 'next' }, door, 90);
        await next.expectQuiet();
        next.raw.end();
      }
    }
  },
);

attackBroker(
  `${SILENT} connections without a word take the places of strangers at the doors over UDP, and of nobody else`,
  { doors: DOOR_URLS, config: { strangers: { totalMax: STRANGERS_MAX } } },
  async (target) => {
    for (const door of UDP_DOORS) {
      const peers: QuicPeer[] = [];
      const before = await target.memory();
      await target.canary.singDuring(SILENT / AT_ONCE, async (step) => {
        const batch = Array.from({ length: AT_ONCE }, (_, at) => {
          const host = address(1_000 + step * AT_ONCE + at);
          return door === 'quic'
            ? QuicPeer.open(target.broker.port(door), { host })
            : Http3Peer.session(target.broker.port(door), { host }).then(({ quic }) => quic);
        });
        peers.push(...(await Promise.all(batch)));
      });
      const open = (): number => peers.filter(({ isOver }) => !isOver).length;
      await target.until(() => open() <= STRANGERS_MAX, `at most ${STRANGERS_MAX} of ${open()} are open`);
      assert.ok(open() > STRANGERS_MAX / 2, `only ${open()} are open`);
      const { residentBytes } = await target.memory();
      const each = (residentBytes - before.residentBytes) / 1_024 / open();
      target.tell(`${door}: ${Math.round(each)} KB of the process for each of ${open()} silent connections`);
      const late = await target.connect({ clientId: 'late' }, door, 500_000);
      await late.expectQuiet();
      late.raw.end();
      for (const peer of peers) peer.close();
    }
  },
);

attackBroker(
  'thousands of streams, datagrams and resets beside its own end or harm a client of a door over UDP alone',
  { doors: DOOR_URLS },
  async (target) => {
    for (const door of UDP_DOORS) {
      const peer = await stranger(target, door);
      const client = await new DoorClient(mqttOf(door, peer), 5).connect({ clientId: 'many' });
      const [firstBidi, firstUni] = door === 'quic' ? [4, 2] : [8, 14];
      const head = door === 'quic' ? Buffer.from('x') : STREAM_HEAD;
      await flood(target, STREAMS, (at) => {
        if (peer.isOver) return;
        peer.send(firstBidi + 4 * at, Buffer.concat([head, Buffer.alloc(at % 300)]), at % 2 === 0);
        peer.send(firstUni + 4 * at, Buffer.from([0x40, 0x54, 0, 1]));
        peer.datagram(Buffer.alloc(at % 1_000));
        if (at % 3 === 0) peer.reset(firstBidi + 4 * at, 1);
      });
      if (door === 'wt') await client.over();
      else await client.expectQuiet();
      await target.assertGrownBy(16 << 20, 'streams and datagrams');
      peer.close();
    }
  },
);

attackBroker(
  `${COMERS} that come to each door over UDP and break off at every stage, with a word or without, are forgotten`,
  { doors: DOOR_URLS },
  async (target) => {
    for (const door of UDP_DOORS) {
      const port = target.broker.port(door);
      await target.canary.singDuring(COMERS / AT_ONCE, async (step) => {
        const batch = Array.from({ length: AT_ONCE }, async (_, at) => {
          const host = address(2_000 + step * AT_ONCE + at);
          const protocol = door === 'quic' ? 'mqtt' : 'h3';
          const peer = await (at % 4 === 0 ? QuicPeer.start : QuicPeer.open)(port, { host, protocol });
          if (at % 4 === 2) peer.send(0, randomBytes(50));
          if (at % 4 === 3) peer.send(CONTROL_STREAM, randomBytes(50));
          if (at % 8 < 4) peer.close(at);
          else peer.reset(0, at);
          // Without a word is for the deadlines, which have a test of their own; a few may.
          if (step === 0 && at < 4) peer.vanish();
          else peer.close(0);
        });
        await Promise.all(batch);
      });
      const late = await target.connect({ clientId: 'late' }, door, 500_000);
      await late.expectQuiet();
      late.raw.end();
    }
  },
);

attackBroker(
  `${GUESSES} guesses from one address through each door over UDP are throttled as through any other`,
  {
    doors: DOOR_URLS,
    passwordLines: [`canary:${await hashArgon2id(Buffer.from(PASSWORD))}`],
    canary: { username: 'canary', password: PASSWORD },
  },
  async (target) => {
    for (const [index, door] of UDP_DOORS.entries()) {
      const heard = new Map<number, number>();
      await target.canary.singDuring(GUESSES / AT_ONCE, async () => {
        const guesses = Array.from({ length: AT_ONCE }, async () => {
          const client = await target.client(door, 5, 3_000 + index);
          client.send(connect({ clientId: 'guess', username: 'canary', password: 'a guess' }));
          const { reasonCode } = await client.expect('CONNACK');
          heard.set(reasonCode, (heard.get(reasonCode) ?? 0) + 1);
          client.raw.abort();
        });
        await Promise.all(guesses);
      });
      assert.equal(heard.has(0), false, 'a guess got in');
      assert.ok((heard.get(0x9f) ?? 0) > GUESSES / 2, `heard ${JSON.stringify([...heard])}`);
      target.tell(`${door} heard ${[...heard].map(([code, count]) => `${count} × 0x${code.toString(16)}`)}`);
    }
  },
);

async function stranger(target: Target, door: UdpDoorName, options: QuicPeerOptions = {}): Promise<QuicPeer> {
  const port = target.broker.port(door);
  return door === 'quic' ? await QuicPeer.open(port, options) : (await Http3Peer.session(port, options)).quic;
}

function mqttOf(door: UdpDoorName, peer: QuicPeer): ReturnType<QuicPeer['stream']> {
  return door === 'quic' ? peer.stream(0) : peer.stream(4, STREAM_HEAD);
}
