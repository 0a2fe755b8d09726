/** A client that was there before the attack and must notice nothing of it. */
import assert from 'node:assert/strict';
import { PacketType } from '../../../src/codec/packets.ts';
import type { DoorClient } from '../../bad-input/door-client.ts';
import { puback, publish } from '../../support/packets.ts';

const TOPIC = 'canary/song';

export class Canary {
  readonly #client: DoorClient;
  /** Round trips so far. */
  songs = 0;
  /** Milliseconds that the slowest of them took: for the report, never a condition. */
  slowestMs = 0;

  private constructor(client: DoorClient) {
    this.#client = client;
  }

  /** @param client one that was let in */
  static async create(client: DoorClient): Promise<Canary> {
    await client.subscribe(TOPIC, 1);
    return new Canary(client);
  }

  /** Publishes at QoS 1 and receives that message and its acknowledgement, and nothing else. */
  async sing(): Promise<void> {
    const startedAt = performance.now();
    const payload = `song ${this.songs}`;
    const packetId = 1 + (this.songs % 65_535);
    this.#client.send(publish(TOPIC, payload, { qos: 1, packetId }));
    let [acknowledged, received] = [false, false];
    while (!acknowledged || !received) {
      const packet = await this.#client.next();
      assert.ok(packet !== null, 'the canary was disconnected');
      if (packet.type === PacketType.PUBACK) {
        assert.deepEqual([packet.packetId, packet.reasonCode], [packetId, 0]);
        acknowledged = true;
      } else {
        assert.equal(packet.type, PacketType.PUBLISH, `the canary got ${JSON.stringify(packet)}`);
        assert.equal(Buffer.from(packet.payload).toString(), payload);
        this.#client.send(puback(packet.packetId));
        received = true;
      }
    }
    this.songs++;
    this.slowestMs = Math.max(this.slowestMs, performance.now() - startedAt);
  }

  /** Attacks step by step, and needs a round trip done beside each. */
  async singDuring(steps: number, attack: (step: number) => Promise<void> | void): Promise<void> {
    for (let step = 0; step < steps; step++) {
      const [song, blow] = await Promise.allSettled([this.sing(), attack(step)]);
      // The first to be known: a canary that fell silent matters more than an attack that failed.
      if (song.status === 'rejected') throw song.reason;
      if (blow.status === 'rejected') throw blow.reason;
    }
  }
}
