/**
 * What anybody can send to a UDP port, with any sender's address in it: nothing is kept of it, and no more is answered than was sent.
 * ATTACK_SEED=n begins elsewhere.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { Random } from '../codec/random-packets.ts';
import { UDP_DOORS, type UdpDoorName } from './harness/doors.ts';
import { cryptoFrame, initialKeys, initialPacket, readRetry, varint } from './harness/quic-packets.ts';
import { address } from './harness/sockets.ts';
import { attackBroker, type Target } from './harness/target.ts';

const SEED = Number(process.env.ATTACK_SEED ?? 20_240_607);
const DOOR_URLS = ['mqtt://127.0.0.1:0', 'wt://127.0.0.1:0/mqtt', 'quic://127.0.0.1:0'];
const DATAGRAMS = 6_000;
const AT_ONCE = 100;
const SENDERS = 40;
/** With a proper address and token, and frames of chance in them. */
const HANDSHAKES = 150;
const HOST = '127.0.0.1';

/** The head of a packet with a long header; what stands behind the ids is up to the type. */
function longHead(random: Random, type: number, version: number, token?: Uint8Array): Buffer {
  const dcid = random.bytes(20);
  const scid = random.bytes(20);
  const head = Buffer.alloc(5);
  head[0] = 0xc0 | (type << 4) | random.below(16);
  head.writeUInt32BE(version, 1);
  const parts = [head, [dcid.length], dcid, [scid.length], scid].map((part) => Buffer.from(part));
  if (token !== undefined) parts.push(varint(token.length), Buffer.from(token));
  return Buffer.concat(parts);
}

function padded(random: Random, head: Buffer): Buffer {
  return Buffer.concat([
    head,
    Buffer.from([0x44, 0xd0]),
    Buffer.from(random.bytes(1_400)),
    Buffer.alloc(1_300),
  ]).subarray(0, 1_350);
}

const KINDS: readonly ((random: Random) => Uint8Array)[] = [
  (random): Buffer => Buffer.from(random.bytes(1_400)),
  // A short head, as of a connection that there is not.
  (random) => Buffer.concat([Buffer.from([0x40 | random.below(64)]), Buffer.from(random.bytes(60))]),
  // First packets without a token.
  (random) => padded(random, longHead(random, 0, 1, Buffer.alloc(0))),
  (random) => padded(random, longHead(random, 0, 1, Buffer.alloc(0))),
  // With one that nobody gave out.
  (random) => padded(random, longHead(random, 0, 1, Buffer.from(random.bytes(200)))),
  (random) =>
    padded(
      random,
      longHead(random, 0, 1, Buffer.concat([Buffer.from('rwt1'), Buffer.from(random.bytes(60))])),
    ),
  // Of versions that there are not, 0-RTT, handshakes and Retries of nobody.
  (random) =>
    padded(random, longHead(random, random.below(4), random.pick([0, 2, 0xff00_001d, 0x1a2a_3a4a]))),
  (random) => padded(random, longHead(random, 1 + random.below(3), 1)),
  (random) => {
    const whole = longHead(random, 0, 1, Buffer.alloc(100));
    return whole.subarray(0, random.below(whole.length));
  },
];

async function bound(host: string): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(0, host);
  await once(socket, 'listening');
  return socket;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function strangersAreGone(target: Target): Promise<void> {
  await target.until(() => target.system('strangers/current') === '0', 'no stranger is left');
}

attackBroker(
  `${DATAGRAMS} datagrams of garbage, first packets of false senders, and ${HANDSHAKES} handshakes of chance, leave nothing behind at the doors over UDP`,
  { doors: DOOR_URLS },
  async (target) => {
    for (const [index, door] of UDP_DOORS.entries()) {
      const random = new Random(SEED);
      const port = target.broker.port(door);
      const senders = await Promise.all(Array.from({ length: SENDERS }, (_, at) => bound(address(1 + at))));
      let [sentBytes, heardBytes, heard] = [0, 0, 0];
      for (const socket of senders) {
        socket.on('message', ({ length }) => {
          heardBytes += length;
          heard++;
        });
      }
      await target.canary.singDuring(DATAGRAMS / AT_ONCE, async () => {
        for (let count = 0; count < AT_ONCE; count++) {
          const datagram = random.pick(KINDS)(random);
          sentBytes += datagram.length;
          random.pick(senders).send(datagram, port, HOST);
          if (count % 20 === 19) await turn();
        }
      });
      await target.assertGrownBy(8 << 20, 'garbage');
      await strangersAreGone(target);
      const known = 2 + index;
      assert.equal(target.log('client.connected').length, known, 'nobody came in');
      assert.ok(heard > 0, 'nobody was asked to show that his address is his own');
      assert.ok(heardBytes < sentBytes / 4, `${heardBytes} bytes came back for ${sentBytes}`);
      target.tell(
        `${door}: ${heard} answers with ${((100 * heardBytes) / sentBytes).toFixed(1)} % of the bytes`,
      );
      for (const socket of senders) socket.close();
      await target.canary.singDuring(HANDSHAKES / 10, async (step) => {
        const batch = Array.from({ length: 10 }, (_, at) =>
          shakeHands(target, door, 100 + step * 10 + at, random),
        );
        await Promise.all(batch);
      });
      // The door is open to whoever speaks QUIC.
      const late = await target.connect({ clientId: 'late' }, door, 77);
      await late.expectQuiet();
      late.raw.end();
      await strangersAreGone(target);
    }
  },
);

/** Proves its address, then sends what no TLS begins with, a few packets of it. */
async function shakeHands(target: Target, door: UdpDoorName, from: number, random: Random): Promise<void> {
  const port = target.broker.port(door);
  const socket = await bound(address(from));
  const [first, scid] = [randomBytes(8), randomBytes(8)];
  const answered = once(socket, 'message');
  const frames = cryptoFrame(0, randomBytes(100));
  socket.send(initialPacket({ dcid: first, scid, number: 0, frames, keys: initialKeys(first) }), port, HOST);
  const retry = readRetry(((await answered) as [Buffer])[0]);
  assert.ok(retry !== null, 'the answer to a first packet is a Retry');
  const { token } = retry;
  const dcid = Buffer.from(retry.scid);
  const keys = initialKeys(dcid);
  for (let number = 0; number < 6; number++) {
    const offset = random.chance(2) ? 0 : random.below(1 << 20);
    const noise = random.chance(2)
      ? cryptoFrame(offset, random.bytes(900))
      : Buffer.concat([Buffer.from([random.below(0x32)]), Buffer.from(random.bytes(900))]);
    socket.send(initialPacket({ dcid, scid, token, number, frames: noise, keys }), port, HOST);
  }
  await turn();
  socket.close();
}
