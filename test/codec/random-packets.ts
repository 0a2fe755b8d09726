/** Seeded random packets, valid for their version: food for the round-trip property and seeds for the fuzzer. */
import type {
  Packet,
  Properties,
  ProtocolVersion,
  SubscriptionRequest,
  Will,
} from '../../src/codec/packets.ts';
import {
  PROPERTIES,
  PropertyKind,
  type PropertyPlace,
  type PropertySpec,
} from '../../src/codec/properties.ts';
import { REASON_CODES } from '../../src/codec/reason-codes.ts';

/** A small generator of 32-bit numbers (xorshift), so that a failure can be run again from its seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  /** A whole number from 0 to `below` - 1. */
  below(below: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % below;
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  bytes(max: number): Uint8Array {
    return Uint8Array.from({ length: this.below(max + 1) }, () => this.below(256));
  }

  text(max: number): string {
    const alphabet = ['a', 'Z', '0', ' ', '$', 'é', '漢', '\u{1f680}', '\ufeff', '\u0001'];
    return Array.from({ length: this.below(max + 1) }, () => this.pick(alphabet)).join('');
  }

  topic(): string {
    return Array.from({ length: 1 + this.below(4) }, () => this.text(4)).join('/') || 't';
  }

  filter(): string {
    const levels = Array.from({ length: 1 + this.below(4) }, () => (this.chance(3) ? '+' : this.text(4)));
    if (this.chance(3)) levels.push('#');
    return levels.join('/') || '#';
  }
}

/** Properties that may stand in `where`, in a random order; none in 3.x. */
function randomProperties(random: Random, where: PropertyPlace, version: ProtocolVersion): Properties {
  if (version !== 5 || random.chance(3)) return {};
  const fields: Record<string, unknown> = {};
  const allowed = PROPERTIES.filter((spec) => spec !== undefined && (spec.places & (1 << where)) !== 0);
  for (let count = random.below(6); count > 0; count--) {
    const spec = random.pick(allowed)!;
    fields[spec.name] = randomValue(random, spec, (spec.repeats & (1 << where)) !== 0);
  }
  const properties = fields as Properties;
  if (properties.authenticationData !== undefined) properties.authenticationMethod ??= 'method';
  return properties;
}

function randomValue(random: Random, spec: PropertySpec, repeats: boolean): unknown {
  if (spec.name === 'responseTopic') return random.topic();
  if (spec.kind === PropertyKind.STRING) return random.text(12);
  if (spec.kind === PropertyKind.BINARY) return random.bytes(12);
  const count = repeats ? 1 + random.below(3) : 1;
  if (spec.kind === PropertyKind.PAIR) {
    return Array.from({ length: count }, () => [random.text(6), random.text(6)]);
  }
  if (spec.kind === PropertyKind.VARINT)
    return Array.from({ length: count }, () => randomNumber(random, spec));
  return randomNumber(random, spec);
}

function randomNumber(random: Random, spec: PropertySpec): number {
  const some = spec.min + random.below(spec.max - spec.min + 1);
  return random.pick([spec.min, spec.max, some]);
}

function randomReason(random: Random, type: number): number {
  const codes = [...REASON_CODES].filter(
    ([, info]) => ((info.fromClient | info.fromServer) & (1 << type)) !== 0,
  );
  return random.pick(codes)[0];
}

function randomWill(random: Random, version: ProtocolVersion): Will {
  return {
    topic: random.topic(),
    payload: random.bytes(20),
    qos: random.pick([0, 1, 2]),
    retain: random.chance(2),
    properties: randomProperties(random, 0, version),
  };
}

function randomConnect(random: Random, version: ProtocolVersion): Packet {
  const username = random.chance(2) ? random.text(8) : null;
  const mayHavePassword = version === 5 || username !== null;
  return {
    type: 1,
    protocolVersion: version,
    cleanStart: random.chance(2),
    keepAliveSeconds: random.below(65_536),
    clientId: random.text(20),
    will: random.chance(2) ? randomWill(random, version) : null,
    username,
    password: mayHavePassword && random.chance(2) ? random.bytes(8) : null,
    properties: randomProperties(random, 1, version),
  };
}

function randomPublish(random: Random, version: ProtocolVersion): Packet {
  const qos = random.pick([0, 1, 2] as const);
  const properties = randomProperties(random, 3, version);
  const topic = properties.topicAlias !== undefined && random.chance(2) ? '' : random.topic();
  return {
    type: 3,
    dup: qos > 0 && random.chance(2),
    qos,
    retain: random.chance(2),
    topic,
    packetId: qos > 0 ? 1 + random.below(65_535) : 0,
    properties,
    payload: random.bytes(300),
  };
}

function randomRequest(random: Random, version: ProtocolVersion): SubscriptionRequest {
  const v5 = version === 5;
  return {
    filter: random.filter(),
    qos: random.pick([0, 1, 2]),
    noLocal: v5 && random.chance(2),
    retainAsPublished: v5 && random.chance(2),
    retainHandling: v5 ? random.pick([0, 1, 2]) : 0,
  };
}

function randomList<T>(random: Random, make: () => T): T[] {
  return Array.from({ length: 1 + random.below(5) }, make);
}

/** A random packet of a random type that `version` has. */
export function randomPacket(random: Random, version: ProtocolVersion): Packet {
  const type = 1 + random.below(version === 5 ? 15 : 14);
  const packetId = 1 + random.below(65_535);
  const reason = (): number => (version === 5 ? randomReason(random, type) : 0);
  switch (type) {
    case 1:
      return randomConnect(random, version);
    case 2: {
      const reasonCode = version === 5 ? reason() : random.below(6);
      const sessionPresent = reasonCode === 0 && version !== 3 && random.chance(2);
      return { type, sessionPresent, reasonCode, properties: randomProperties(random, type, version) };
    }
    case 3:
      return randomPublish(random, version);
    case 8: {
      const subscriptions = randomList(random, () => randomRequest(random, version));
      return { type, packetId, properties: randomProperties(random, type, version), subscriptions };
    }
    case 10: {
      const filters = randomList(random, () => random.filter());
      return { type, packetId, properties: randomProperties(random, type, version), filters };
    }
    case 12:
    case 13:
      return { type };
    default:
      return randomReport(random, type as 4 | 5 | 6 | 7 | 9 | 11 | 14 | 15, packetId, version);
  }
}

/** The packets that are not much more than reason codes. */
function randomReport(
  random: Random,
  type: 4 | 5 | 6 | 7 | 9 | 11 | 14 | 15,
  packetId: number,
  version: ProtocolVersion,
): Packet {
  const properties = randomProperties(random, type, version);
  const reason = (): number => (version === 5 ? randomReason(random, type) : 0);
  if (type === 9) return { type, packetId, properties, reasonCodes: randomList(random, reason) };
  if (type === 11)
    return { type, packetId, properties, reasonCodes: version === 5 ? randomList(random, reason) : [] };
  if (type === 14) return { type, reasonCode: reason(), properties };
  if (type !== 15) return { type, packetId, reasonCode: reason(), properties };
  const reasonCode = reason();
  const isBare = reasonCode === 0 && Object.keys(properties).length === 0;
  return { type, reasonCode, properties: isBare ? {} : { ...properties, authenticationMethod: 'method' } };
}
