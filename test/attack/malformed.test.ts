/**
 * A hundred thousand malformed inputs, most of them against the core in this process, the rest through every real door: each
 * costs its sender the connection, and nobody else anything. ATTACK_SEED=n begins elsewhere.
 */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { decodePacket } from '../../src/codec/decode.ts';
import { encodePacket } from '../../src/codec/encode.ts';
import { PacketType, type ProtocolVersion } from '../../src/codec/packets.ts';
import { ProtocolError } from '../../src/errors.ts';
import { Random, randomPacket } from '../codec/random-packets.ts';
import { bodyStart, readVectors } from '../codec/vectors.ts';
import type { RawClient } from '../contract/transport.ts';
import { connect } from '../support/packets.ts';
import { settle } from '../support/test-client.ts';
import { attackCore } from './harness/core.ts';
import { DOOR_URLS, DOORS, type DoorName, dialMqtt } from './harness/doors.ts';
import { attackBroker, type Target } from './harness/target.ts';

const SEED = Number(process.env.ATTACK_SEED ?? 20_240_607);
const IN_PROCESS_INPUTS = 96_000;
/** TLS and the upgrade cost more than what is attacked behind them. */
const DOOR_INPUTS: Readonly<Record<DoorName, number>> = {
  tcp: 2_000,
  tls: 600,
  ws: 800,
  wss: 600,
  wt: 300,
  quic: 300,
};
/** ATTACK_INPUTS=100000 sends that many through each door. */
const INPUTS = Number(process.env.ATTACK_INPUTS ?? 0);
const AT_ONCE = 100;
const VERSIONS: readonly ProtocolVersion[] = [3, 4, 5];

/** One packet that no client may send, and whether a proper CONNECT goes before it. */
interface Input {
  readonly version: ProtocolVersion;
  readonly bytes: Buffer;
  readonly loggedIn: boolean;
}

class Inputs {
  readonly #random: Random;
  readonly #refused = readVectors().filter(
    ({ packet, sender }) => packet === undefined && sender !== 'server',
  );

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  next(): Input {
    const random = this.#random;
    if (random.chance(4)) {
      const { version, bytes } = random.pick(this.#refused);
      return { version, bytes, loggedIn: bytes[0]! >> 4 !== PacketType.CONNECT };
    }
    for (;;) {
      const version = random.pick(VERSIONS);
      const bytes = damaged(random, encodePacket(randomPacket(random, version), version));
      if (isMalformed(bytes, version)) return { version, bytes, loggedIn: random.chance(2) };
    }
  }
}

/** Whether the codec refuses it. What it accepts is no malformed input, however little sense it makes. */
function isMalformed(bytes: Buffer, version: ProtocolVersion): boolean {
  try {
    decodePacket(bytes, bytes[0]!, bodyStart(bytes), bytes.length, version, 'client');
    return false;
  } catch (error) {
    assert.ok(error instanceof ProtocolError, `${bytes.toString('hex')}: ${error}`);
    return true;
  }
}

/** Changes the first byte or the body; the frame stays whole, so that it is read to its end. */
function damaged(random: Random, packet: Buffer): Buffer {
  let first = packet[0]!;
  let body: Buffer = Buffer.from(packet.subarray(bodyStart(packet)));
  const at = random.below(body.length + 1);
  const how = random.below(5);
  if (how === 0) first ^= 1 << random.below(8);
  else if (how === 1 && at < body.length) body[at]! ^= 1 << random.below(8);
  else if (how === 2 && at < body.length) body[at] = random.pick([0, 1, 0x7f, 0x80, 0xc0, 0xed, 0xff]);
  else if (how === 3) body = body.subarray(0, at);
  else body = Buffer.concat([body.subarray(0, at), random.bytes(4), body.subarray(at)]);
  const length = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  return Buffer.concat([Buffer.from([first, ...length]), body]);
}

/** Sends one input; the broker must close. */
function attack(client: RawClient, input: Input, clientId: string): void {
  const { version, bytes, loggedIn } = input;
  const opening = loggedIn ? [encodePacket(connect({ version, clientId }), version)] : [];
  client.write(Buffer.concat([...opening, bytes]));
}

describe(`malformed packets with seed ${SEED}`, () => {
  attackCore(
    `${IN_PROCESS_INPUTS} of them against the core end ${IN_PROCESS_INPUTS} connections`,
    {},
    async (target) => {
      const { stage } = target;
      const inputs = new Inputs(SEED);
      const { statistics } = stage.broker;
      const opened = statistics.connectionsOpened;
      await target.canary.singDuring(IN_PROCESS_INPUTS / AT_ONCE, async () => {
        const closed: boolean[] = [];
        const sent: Input[] = [];
        for (let count = 0; count < AT_ONCE; count++) {
          const client = await stage.dialRaw('memory');
          const input = inputs.next();
          sent.push(input);
          client.onData(() => {});
          client.onClosed(() => {
            closed[count] = true;
          });
          attack(client, input, `m-${count}`);
        }
        await settle();
        for (const [count, input] of sent.entries())
          assert.ok(
            closed[count],
            `still open after ${input.bytes.toString('hex')} in version ${input.version}`,
          );
        stage.log.lines = stage.log.lines.filter(({ level }) => level === 'error');
      });
      assert.equal(statistics.connectionsOpened - opened, IN_PROCESS_INPUTS);
    },
  );

  for (const door of DOORS) {
    const count = INPUTS || DOOR_INPUTS[door];
    attackBroker(
      `${count} of them through the ${door} door end ${count} connections`,
      {
        doors: DOOR_URLS,
      },
      async (target) => {
        const inputs = new Inputs(SEED + DOORS.indexOf(door) + 1);
        await target.canary.singDuring(count / AT_ONCE, async (step) => {
          const attackers = Array.from({ length: AT_ONCE }, (_, index) =>
            throughDoor(target, door, inputs.next(), step * AT_ONCE + index),
          );
          await Promise.all(attackers);
        });
      },
    );
  }
});

/** One address each, so that what is met is the codec and not the bound on one address. */
async function throughDoor(target: Target, door: DoorName, input: Input, number: number): Promise<void> {
  const client = await dialMqtt(target.broker, door, 1 + number);
  const over = new Promise<void>((resolve) => client.onClosed(resolve));
  client.onData(() => {});
  attack(client, input, `m-${number}`);
  await over;
}
