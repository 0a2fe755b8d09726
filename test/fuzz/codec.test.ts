/**
 * Random and damaged packets: what we encode we read back, and whatever comes in, only ProtocolError is thrown.
 * FUZZ_SECONDS=60 runs longer than the fixed number of rounds; FUZZ_SEED=n begins elsewhere.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decodePacket } from '../../src/codec/decode.ts';
import { encodePacket } from '../../src/codec/encode.ts';
import type { Packet, ProtocolVersion } from '../../src/codec/packets.ts';
import { ProtocolError } from '../../src/errors.ts';
import { Random, randomPacket } from '../codec/random-packets.ts';
import { bodyStart, comparable, decodeFrame, readVectors } from '../codec/vectors.ts';

const SEED = Number(process.env.FUZZ_SEED ?? 20_240_607);
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 0);
const ROUNDS = 20_000;
const VERSIONS: readonly ProtocolVersion[] = [3, 4, 5];
const SENDERS = ['client', 'server', undefined] as const;

describe(`codec fuzzing with seed ${SEED}`, () => {
  test('every valid random packet is read back as it was written', () => {
    const random = new Random(SEED);
    rounds(() => {
      const version = random.pick(VERSIONS);
      const packet = randomPacket(random, version);
      const bytes = encodePacket(packet, version);
      assert.deepEqual(decodeFrame(bytes, version), comparable(packet), bytes.toString('hex'));
    });
  });

  test('damaged packets throw nothing but ProtocolError, and what is accepted can be written and read again', () => {
    const random = new Random(SEED + 1);
    const seeds = readVectors().map((vector) => vector.bytes);
    let accepted = 0;
    rounds(() => {
      const version = random.pick(VERSIONS);
      const seed = random.chance(2)
        ? random.pick(seeds)
        : encodePacket(randomPacket(random, version), version);
      if (survives(damage(random, seed), version, random.pick(SENDERS))) accepted++;
    });
    assert.ok(accepted > 0, 'no damaged packet was accepted, so half of the property went untested');
  });

  test('bytes of pure chance throw nothing but ProtocolError', () => {
    const random = new Random(SEED + 2);
    rounds(() => {
      const body = Buffer.from(random.bytes(40));
      const first = random.below(256);
      survives(
        Buffer.concat([Buffer.from([first, body.length]), body]),
        random.pick(VERSIONS),
        random.pick(SENDERS),
      );
    });
  });
});

/** Runs `round` for the fixed count, or for a third of FUZZ_SECONDS when that is set. */
function rounds(round: () => void): void {
  const until = performance.now() + (SECONDS * 1000) / 3;
  for (let count = 0; count < ROUNDS || (SECONDS > 0 && performance.now() < until); count++) round();
}

/** Decodes; true when accepted. What is accepted must come back the same after another trip. */
function survives(bytes: Buffer, version: ProtocolVersion, sender: 'client' | 'server' | undefined): boolean {
  const label = `${bytes.toString('hex')} in version ${version} from ${sender}`;
  let packet: Packet;
  try {
    packet = comparable(decodePacket(bytes, bytes[0]!, bodyStart(bytes), bytes.length, version, sender));
  } catch (error) {
    assert.ok(error instanceof ProtocolError, `${label}: ${error instanceof Error ? error.stack : error}`);
    return false;
  }
  const again = encodePacket(packet, version);
  assert.deepEqual(withDupAsWritten(decodeFrame(again, version, sender)), withDupAsWritten(packet), label);
  return true;
}

/** DUP at QoS 0, which only MQTT 3.1 lets in, is not written again. */
function withDupAsWritten(packet: Packet): Packet {
  return packet.type === 3 && packet.qos === 0 ? { ...packet, dup: false } : packet;
}

/** One to four changes to the body or the first byte; the Remaining Length is left as a frame's reader would see it. */
function damage(random: Random, seed: Buffer): Buffer {
  const start = bodyStart(seed);
  let first = seed[0]!;
  let body: Buffer = Buffer.from(seed.subarray(start));
  for (let count = 1 + random.below(4); count > 0; count--) {
    const at = random.below(body.length + 1);
    const how = random.below(6);
    if (how === 0) first ^= 1 << random.below(8);
    else if (how === 1 && at < body.length) body[at]! ^= 1 << random.below(8);
    else if (how === 2 && at < body.length) body[at] = random.pick([0, 1, 0x7f, 0x80, 0xc0, 0xed, 0xff]);
    else if (how === 3) body = body.subarray(0, at);
    else if (how === 4) body = Buffer.concat([body.subarray(0, at), random.bytes(4), body.subarray(at)]);
    else
      body = Buffer.concat([
        body.subarray(0, at),
        body.subarray(Math.min(body.length, at + 1 + random.below(4))),
      ]);
  }
  const header =
    body.length < 128 ? [first, body.length] : [first, (body.length & 127) | 128, body.length >> 7];
  return Buffer.concat([Buffer.from(header), body]);
}
