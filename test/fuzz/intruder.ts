/** A fuzz client: packets of one version, valid at first, then damaged, cut, repeated, left out, split and broken off. */
import { encodePacket } from '../../src/codec/encode.ts';
import type { Packet, ProtocolVersion } from '../../src/codec/packets.ts';
import { type Random, randomPacket } from '../codec/random-packets.ts';
import type { Vector } from '../codec/vectors.ts';
import type { RawClient } from '../contract/transport.ts';
import { connect } from '../support/packets.ts';

const PACKETS_MAX = 24;
const CLIENT_IDS = 12;
/** Session expiry and will delay stay below this, so that a moved clock ends everything. */
export const EXPIRY_MAX_SECONDS = 3_600;

/** What one connection is going to send: chunks as they are written, and how it ends. */
export interface Script {
  readonly version: ProtocolVersion;
  readonly chunks: readonly Buffer[];
  readonly ending: 'end' | 'abort' | 'stay';
  /** Stops reading after that many chunks; -1: never. */
  readonly deafAfter: number;
}

/** What a client may go on sending all day: PUBLISH, acknowledgements, SUBSCRIBE, UNSUBSCRIBE, PINGREQ. */
const HARMLESS: readonly number[] = [3, 4, 5, 6, 7, 8, 10, 12];

export function makeScript(random: Random, vectors: readonly Vector[]): Script {
  const version = random.pick([3, 4, 5] as const);
  // Half of the clients mean no harm, so that they live long enough to have sessions, queues and exchanges.
  const rough = random.chance(2);
  const mine = vectors.filter(({ version: of, sender, bytes, packet }) => {
    if (of !== version || sender === 'server') return false;
    return rough || (packet !== undefined && HARMLESS.includes(bytes[0]! >> 4));
  });
  const packets: Buffer[] = rough && random.chance(20) ? [] : [openingPacket(random, version)];
  for (let count = random.below(PACKETS_MAX); count > 0; count--) {
    const packet = random.chance(3) ? random.pick(mine).bytes : fitting(random, version, rough);
    if (random.chance(12)) continue;
    packets.push(rough && random.chance(6) ? damaged(random, packet) : packet);
    if (random.chance(10)) packets.push(packet);
  }
  const bytes = Buffer.concat(packets);
  return {
    version,
    chunks: split(random, random.chance(5) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes),
    ending: random.pick(['end', 'abort', 'stay'] as const),
    deafAfter: random.chance(8) ? random.below(5) : -1,
  };
}

/** A CONNECT that is let in, mostly: few client ids, so that clients take each other over. */
function openingPacket(random: Random, version: ProtocolVersion): Buffer {
  const properties =
    version === 5
      ? {
          sessionExpiryInterval: random.pick([0, 1, 60, EXPIRY_MAX_SECONDS]),
          receiveMaximum: random.pick([1, 2, 65_535]),
          topicAliasMaximum: random.pick([0, 1, 100]),
          ...(random.chance(4) && { maximumPacketSize: random.pick([20, 100, 1_000]) }),
        }
      : {};
  const packet = connect({
    version,
    clientId: `fuzz-${random.below(CLIENT_IDS)}`,
    cleanStart: random.chance(3),
    keepAliveSeconds: random.pick([0, 1, 60]),
    properties,
    ...(random.chance(3) && { will: randomWill(random, version) }),
  });
  return random.chance(15) ? damaged(random, encodePacket(packet, version)) : encodePacket(packet, version);
}

function randomWill(
  random: Random,
  version: ProtocolVersion,
): { topic: string; qos: 0 | 1 | 2; retain: boolean } {
  const properties = version === 5 ? { willDelayInterval: random.below(30), messageExpiryInterval: 60 } : {};
  return {
    topic: random.pick(['a', 'a/b', 'will']),
    qos: random.pick([0, 1, 2] as const),
    retain: random.chance(2),
    ...(version === 5 && { properties }),
  };
}

/** A random packet, with topics that meet those of the other clients. */
function fitting(random: Random, version: ProtocolVersion, rough: boolean): Buffer {
  let packet: Packet = randomPacket(random, version);
  while (!rough && !HARMLESS.includes(packet.type)) packet = randomPacket(random, version);
  if (packet.type === 1) Object.assign(packet, { username: null, password: null });
  if (packet.type === 3) {
    // An alias that was not granted ends the connection.
    if (!rough) packet.properties.topicAlias &&= 1 + (packet.properties.topicAlias % 32);
    if (!rough) packet.topic ||= 'a';
    packet.packetId = packet.qos === 0 ? 0 : 1 + random.below(40);
    if (packet.topic !== '' && random.chance(2)) packet.topic = random.pick(['a', 'a/b', 'a/b/c', 'will']);
    if (random.chance(20)) packet.payload = Buffer.alloc(random.below(70_000), 0x78);
  }
  if (packet.type === 8 && random.chance(2)) {
    const filter = random.pick(['a', 'a/#', '+/b', 'will', '$share/g/a/#', '$share/h/a']);
    // No Local is not allowed on a shared subscription.
    for (const request of packet.subscriptions) Object.assign(request, { filter, noLocal: false });
  }
  if (packet.type >= 4 && packet.type <= 7 && 'packetId' in packet) packet.packetId = 1 + random.below(40);
  return encodePacket(packet, version);
}

/** Flips bits, tells a wrong length, cuts or lengthens. */
function damaged(random: Random, packet: Buffer): Buffer {
  const bytes = Buffer.from(packet);
  const at = random.below(bytes.length);
  switch (random.below(5)) {
    case 0:
      bytes[at]! ^= 1 << random.below(8);
      return bytes;
    case 1:
      bytes[1] = random.pick([0, 1, bytes[1]! - 1, bytes[1]! + 1, 0x7f, 0x80, 0xff]) & 255;
      return bytes;
    case 2:
      return bytes.subarray(0, at);
    case 3:
      return Buffer.concat([bytes, random.bytes(6)]);
    default:
      bytes[at] = random.pick([0, 1, 0x23, 0x7f, 0x80, 0xc0, 0xed, 0xff]);
      return bytes;
  }
}

function split(random: Random, bytes: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  const whole = random.chance(3);
  for (let at = 0; at < bytes.length; ) {
    const length = whole ? bytes.length : 1 + random.below(random.pick([3, 40, 2_000]));
    chunks.push(bytes.subarray(at, at + length));
    at += length;
  }
  return chunks;
}

/** Plays a script on a connection; `turn` lets the broker work between two chunks. Answers whether to keep it open. */
export async function play(script: Script, client: RawClient, turn: () => Promise<void>): Promise<boolean> {
  client.onData(() => {});
  for (const [index, chunk] of script.chunks.entries()) {
    if (index === script.deafAfter) client.pause();
    client.write(chunk);
    if (index % 4 === 3) await turn();
  }
  await turn();
  if (script.ending === 'stay') return true;
  client.resume();
  if (script.ending === 'end') client.end();
  else client.abort();
  return false;
}
