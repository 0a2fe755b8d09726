/** Two clients that talk on a topic of their own while others misbehave. They must lose nothing, see nothing else and stay. */
import assert from 'node:assert/strict';
import { PacketType, type PublishPacket, type QoS } from '../../src/codec/packets.ts';
import type { DoorClient } from '../bad-input/door-client.ts';
import type { DoorName, Stage } from '../bad-input/stage.ts';
import { puback, pubcomp, publish, pubrec, pubrel } from '../support/packets.ts';

/** No vector and no random topic gets here, and random filters that do select it only read. */
const TOPIC = 'canary/topic/of/its/own';
const BATCH = 9;

export class Canary {
  readonly #publisher: DoorClient;
  readonly #subscriber: DoorClient;
  #next = 0;

  private constructor(publisher: DoorClient, subscriber: DoorClient) {
    this.#publisher = publisher;
    this.#subscriber = subscriber;
  }

  static async create(stage: Stage, name: string, door: DoorName, version: 3 | 4 | 5): Promise<Canary> {
    const publisher = await stage.connect(
      { clientId: `canary-${name}-p`, version, username: 'canary' },
      door,
    );
    const subscriber = await stage.connect(
      { clientId: `canary-${name}-s`, version, username: 'canary' },
      door,
    );
    const canary = new Canary(publisher, subscriber);
    await subscriber.subscribe(canary.#topic(name), 2);
    canary.#name = name;
    return canary;
  }

  #name = '';

  #topic(name: string): string {
    return `${TOPIC}/${name}`;
  }

  /** Publishes a batch at every QoS and checks that all of it, and only it, arrives in order. */
  async sing(): Promise<void> {
    const first = this.#next;
    this.#next += BATCH;
    const sent = Array.from({ length: BATCH }, (_, index) => this.#message(first + index));
    this.#publisher.send(...sent);
    await Promise.all([this.#finishPublishing(sent), this.#receive(sent)]);
  }

  #message(number: number): PublishPacket {
    const qos = (number % 3) as QoS;
    const payload = `${number}:${'tweet'.repeat(number % 40)}`;
    return publish(this.#topic(this.#name), payload, {
      qos,
      packetId: qos === 0 ? 0 : 1 + (number % 60_000),
    });
  }

  async #finishPublishing(sent: readonly PublishPacket[]): Promise<void> {
    const open = new Set(sent.filter(({ qos }) => qos > 0).map(({ packetId }) => packetId));
    while (open.size > 0) {
      const packet = await this.#publisher.next();
      assert.ok(packet !== null, 'the canary that publishes was disconnected');
      if (packet.type === PacketType.PUBREC) this.#publisher.send(pubrel(packet.packetId));
      else {
        assert.ok(packet.type === PacketType.PUBACK || packet.type === PacketType.PUBCOMP, what(packet));
        assert.ok(open.delete(packet.packetId), `an acknowledgement too many: ${what(packet)}`);
      }
    }
  }

  /** QoS 0 may overtake nothing here: all are delivered at once, in the order they came. */
  async #receive(sent: readonly PublishPacket[]): Promise<void> {
    let received = 0;
    let open = sent.filter(({ qos }) => qos === 2).length;
    while (received < sent.length || open > 0) {
      const packet = await this.#subscriber.next();
      assert.ok(packet !== null, 'the canary that listens was disconnected');
      if (packet.type === PacketType.PUBREL) {
        this.#subscriber.send(pubcomp(packet.packetId));
        open--;
        continue;
      }
      assert.ok(packet.type === PacketType.PUBLISH && received < sent.length, what(packet));
      const expected = sent[received++]!;
      assert.equal(Buffer.from(packet.payload).toString(), expected.payload.toString(), 'content or order');
      assert.deepEqual([packet.qos, packet.dup, packet.topic], [expected.qos, false, expected.topic]);
      if (packet.qos === 1) this.#subscriber.send(puback(packet.packetId));
      if (packet.qos === 2) this.#subscriber.send(pubrec(packet.packetId));
    }
  }

  /** Nothing came that was not asked for. */
  async rest(): Promise<void> {
    await this.#publisher.expectQuiet();
    await this.#subscriber.expectQuiet();
  }
}

function what(packet: unknown): string {
  return `the canary got ${JSON.stringify(packet)}`;
}
