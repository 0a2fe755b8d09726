/**
 * The engines beneath WebTransport and QUIC among clients that break every rule of HTTP/3 and of QUIC itself: whoever speaks properly is
 * served all the while, and nothing is left. FUZZ_SECONDS=60 runs a quarter of that long at each door; FUZZ_SEED=n begins elsewhere.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encodePacket } from '../../src/codec/encode.ts';
import { CONTROL, field, frame, Http3Peer, request, STREAM_HEAD } from '../attack/harness/http3-peer.ts';
import { cryptoFrame, varint } from '../attack/harness/quic-packets.ts';
import { QuicPeer } from '../attack/harness/quic-peer.ts';
import { type EngineDoorName, Stage } from '../bad-input/stage.ts';
import { Random } from '../codec/random-packets.ts';
import { connect } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';

const SEED = Number(process.env.FUZZ_SEED ?? 20_240_607);
const SECONDS = process.env.FUZZ_SECONDS === undefined ? 2 : Number(process.env.FUZZ_SECONDS) / 4;
const ROUNDS_MIN = 4;
const CLIENTS = 8;
const STEPS_MAX = 20;
/** Frames of QUIC that are known (RFC 9000, 19, and datagrams), and some that are not. */
const FRAME_TYPES_END = 0x34;

const CONNECT = encodePacket(connect({ clientId: 'fuzz' }), 5);
/** Of HTTP/3, WebTransport and MQTT: what is to be repeated, mixed, cut and bent. */
const PIECES: readonly Buffer[] = [
  CONTROL,
  request(),
  request('/elsewhere'),
  request('/mqtt', field('origin', 'https://evil.example'), field('wt-available-protocols', '"mqtt", "x"')),
  request('/mqtt', ...Array.from({ length: 300 }, (_, at) => field(`x-${at}`, 'y'.repeat(100)))),
  STREAM_HEAD,
  CONNECT,
  // CLOSE_WEBTRANSPORT_SESSION, DRAIN, and one that is cut.
  frame(0, Buffer.concat([varint(0x2843), varint(9), Buffer.from([0, 0, 0, 7]), Buffer.from('hello')])),
  frame(0, Buffer.concat([varint(0x78ae), varint(0)])),
  frame(0, Buffer.concat([varint(0x2843), varint(2), Buffer.from([0, 0])])),
  // A frame of a megabyte, GOAWAY, MAX_PUSH_ID, a grease frame, SETTINGS twice.
  Buffer.concat([varint(4), varint(1 << 20)]),
  frame(7, varint(0)),
  frame(0x0d, varint(2 ** 40)),
  frame(0x21, Buffer.alloc(50)),
  frame(4, Buffer.concat([varint(0x33), varint(2 ** 50)])),
  // Types of unidirectional streams: QPACK's, WebTransport's, a push.
  varint(2),
  varint(3),
  Buffer.concat([varint(0x54), varint(0)]),
  Buffer.concat([varint(0x54), varint(4_444)]),
  varint(1),
];

function bent(random: Random, piece: Buffer): Buffer {
  const bytes = Buffer.from(piece);
  if (random.chance(2)) return bytes;
  const at = random.below(bytes.length);
  if (random.chance(2)) return bytes.subarray(0, at);
  bytes[at] = random.pick([0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff, bytes[at]! ^ (1 << random.below(8))]);
  return bytes;
}

/** Streams, resets and datagrams as the engine lets them through. */
async function playStreams(random: Random, quic: QuicPeer): Promise<void> {
  for (let steps = random.below(STEPS_MAX); steps > 0 && !quic.isOver; steps--) {
    // Mostly the first ones of each kind, which mean something.
    const stream = random.chance(4) ? random.below(200) & ~1 : random.pick([0, 2, 4, 6, 10, 8, 14]);
    const what = random.below(10);
    if (what < 7) quic.send(stream, bent(random, random.pick(PIECES)), random.chance(6));
    else if (what === 7) quic.reset(stream, random.below(1_000));
    else if (what === 8) quic.datagram(random.bytes(1_000));
    else await settle();
  }
}

/** Frames of QUIC that no engine would write. */
async function playFrames(random: Random, quic: QuicPeer): Promise<void> {
  for (let steps = 1 + random.below(STEPS_MAX); steps > 0 && !quic.isOver; steps--) {
    const type = random.below(FRAME_TYPES_END);
    const numbers = Array.from({ length: random.below(8) }, () =>
      varint(random.pick([0, 1, 2, 4, 16, 63, 1_000, 2 ** 20, 2 ** 40, 2 ** 52])),
    );
    const made = Buffer.concat([varint(type), ...numbers, Buffer.from(random.bytes(60))]);
    quic.inject(random.chance(5) ? cryptoFrame(random.below(5_000), random.bytes(500)) : made);
    if (random.chance(4)) await settle();
  }
  quic.vanish();
}

async function intrude(random: Random, stage: Stage, door: EngineDoorName): Promise<void> {
  const wild = random.chance(2);
  const port = stage.port(door);
  // So that those who fall silent are forgotten while the test looks on.
  const options = {
    logsKeys: wild,
    configure: (config: { setMaxIdleTimeout(ms: number): void }) => config.setMaxIdleTimeout(400),
  };
  const open = async (): Promise<QuicPeer> => {
    if (door === 'quic') return await QuicPeer.open(port, options);
    return (await (random.chance(2) ? Http3Peer.session(port, options) : Http3Peer.open(port, options))).quic;
  };
  const quic = await open();
  await playStreams(random, quic);
  if (wild && !quic.isOver) await playFrames(random, quic);
  else if (random.chance(2)) quic.close(random.below(300));
  else quic.vanish();
}

describe(`engines with seed ${SEED}`, () => {
  for (const door of ['wt', 'quic'] as const) {
    test(`whatever the ${door} engine is sent, it serves others and forgets the sender`, async (t) => {
      const stage = new Stage({ engines: [door] });
      await stage.open();
      t.after(() => stage.close());
      const canary = await stage.connect({ clientId: 'canary' }, door);
      const until = performance.now() + SECONDS * 1_000;
      let rounds = 0;
      for (; rounds < ROUNDS_MIN || performance.now() < until; rounds++) {
        const random = new Random(SEED + rounds);
        try {
          await Promise.all(Array.from({ length: CLIENTS }, () => intrude(random, stage, door)));
          await canary.expectQuiet();
          const late = await stage.connect({ clientId: 'late' }, door);
          await late.expectQuiet();
          late.raw.end();
        } catch (cause) {
          throw new Error(`again with FUZZ_SEED=${SEED + rounds}`, { cause });
        }
      }
      await stage.connectionsLeft(1);
      await canary.expectQuiet();
      stage.assertNoDefect();
      assert.equal(stage.broker.sessions.size, 1);
      t.diagnostic(`${rounds * CLIENTS} connections`);
      canary.raw.end();
    });
  }
});
