/** A client that opens, stalls, ends and breaks data streams at random, and comes back now and then: nothing is lost, and QoS 2 comes once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Packet, PacketType, type QoS } from '../../src/codec/packets.ts';
import { Random } from '../codec/random-packets.ts';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { puback, pubcomp, pubrec } from '../support/packets.ts';
import { RecordedLog } from '../support/recorded-log.ts';
import { settle, type TestClient } from '../support/test-client.ts';

const SEEDS = [11, 12, 13, 14, 15, 16];
const STEPS = 200;
/** From here on the client does not come back, so that nothing is sent again but for streams that end. */
const LAST_RECONNECT_STEP = 50;
const WINDOW = 3;
const TOPICS = ['t/0', 't/1', 't/2'];
const STREAMS_MAX = 4;

/** A client as the specification wants it: it keeps the identifiers of QoS 2 messages until PUBREL, and answers where it was asked. */
class Wanderer {
  readonly got = new Map<string, number>();
  readonly #broker: TestBroker;
  readonly #random: Random;
  readonly #version: 4 | 5;
  readonly #unreleased = new Set<number>();
  #control!: TestClient;
  #streams: TestClient[] = [];
  /** Answers that it takes its time for. */
  #owed: { to: TestClient; answer: Packet }[] = [];

  constructor(broker: TestBroker, random: Random, version: 4 | 5) {
    this.#broker = broker;
    this.#random = random;
    this.#version = version;
  }

  async connect(): Promise<void> {
    const version = this.#version;
    const properties = version === 5 ? { sessionExpiryInterval: 1_000, receiveMaximum: WINDOW } : {};
    const options = { clientId: 'wanderer', cleanStart: false, version, properties };
    this.#control = await this.#broker.connect(options);
    this.#streams = [];
    this.#owed = [];
  }

  /** Begins with all subscriptions on the control stream. */
  async begin(): Promise<void> {
    await this.connect();
    await this.#control.subscribe(TOPICS.map((filter) => ({ filter, qos: 2 })));
  }

  async step(mayReconnect: boolean): Promise<void> {
    const random = this.#random;
    const stream = this.#streams.length === 0 ? null : random.pick(this.#streams);
    switch (random.below(10)) {
      case 0:
      case 1:
        if (this.#streams.length < STREAMS_MAX) this.#streams.push(this.#control.openStream());
        break;
      case 2:
        if (stream !== null) this.#leave(stream, () => stream.endStream());
        break;
      case 3:
        if (stream !== null) this.#leave(stream, () => stream.breakOff());
        break;
      case 4:
      case 5:
        stream?.stall();
        break;
      case 6:
        stream?.read();
        break;
      case 7:
      case 8:
        if (stream !== null) {
          stream.read();
          await this.#listen(stream);
          await stream.subscribe(random.pick(TOPICS), 2);
        }
        break;
      default:
        if (mayReconnect && random.chance(6)) {
          await this.#control.drop();
          await this.connect();
        }
    }
    await this.listen(random.chance(2));
  }

  /** Takes what has come, and answers all of it, or some. */
  async listen(answersAll: boolean): Promise<void> {
    for (const stream of [this.#control, ...this.#streams]) await this.#listen(stream);
    const now = this.#owed.filter(() => answersAll || this.#random.chance(2));
    this.#owed = this.#owed.filter((each) => !now.includes(each));
    for (const { to, answer } of now) if (!to.closed) to.send(answer);
    await settle();
  }

  /** Until nothing comes any more. */
  async finish(): Promise<void> {
    for (const stream of this.#streams) stream.read();
    for (let quiet = 0; quiet < 3; ) {
      const before = [...this.got.values()].reduce((sum, count) => sum + count, 0);
      await this.listen(true);
      quiet = before === [...this.got.values()].reduce((sum, count) => sum + count, 0) ? quiet + 1 : 0;
    }
  }

  #leave(stream: TestClient, how: () => void): void {
    how();
    this.#streams = this.#streams.filter((each) => each !== stream);
    this.#owed = this.#owed.filter(({ to }) => to !== stream);
  }

  async #listen(stream: TestClient): Promise<void> {
    for (const packet of await stream.rest()) this.#take(stream, packet);
  }

  #take(to: TestClient, packet: Packet): void {
    if (packet.type === PacketType.PUBREL) {
      this.#unreleased.delete(packet.packetId);
      this.#owed.push({ to, answer: pubcomp(packet.packetId) });
      return;
    }
    assert.ok(packet.type === PacketType.PUBLISH, `packet type ${packet.type}`);
    const { packetId, qos } = packet;
    const text = Buffer.from(packet.payload).toString();
    if (qos < 2 || !this.#unreleased.has(packetId)) this.got.set(text, (this.got.get(text) ?? 0) + 1);
    if (qos === 1) this.#owed.push({ to, answer: puback(packetId) });
    if (qos < 2) return;
    this.#unreleased.add(packetId);
    this.#owed.push({ to, answer: pubrec(packetId) });
  }
}

for (const seed of SEEDS)
  test(`nothing is lost with streams that come and go, and QoS 2 comes once, with seed ${seed}`, async (t) => {
    const log = new RecordedLog();
    const broker = await startBroker(t, { log, limits: { sessionExpiryMaxSeconds: 1_000 } });
    const random = new Random(seed);
    const sender = await broker.connect();
    const client = new Wanderer(broker, random, seed % 2 === 0 ? 4 : 5);
    await client.begin();
    const sent = new Map<string, QoS>();
    for (let step = 0; step < STEPS; step++) {
      for (let count = random.below(4); count > 0; count--) {
        const qos = random.below(3) as QoS;
        const text = `${sent.size}`;
        sent.set(text, qos);
        await sender.publish(random.pick(TOPICS), text, { qos });
      }
      await client.step(step < LAST_RECONNECT_STEP);
    }
    await client.finish();
    // The window is whole again.
    for (let count = 0; count < WINDOW + 1; count++) {
      sent.set(`${sent.size}`, 1);
      await sender.publish(TOPICS[0], `${sent.size - 1}`, { qos: 1 });
    }
    await client.finish();
    const lost = [...sent].filter(([text, qos]) => qos > 0 && !client.got.has(text));
    assert.deepEqual(lost, [], 'lost');
    const twice = [...sent].filter(([text, qos]) => qos === 2 && client.got.get(text)! > 1);
    assert.deepEqual(twice, [], 'twice');
    assert.equal(log.of('client.internal_error').length, 0);
    assert.equal(broker.broker.statistics.queuedMessages, 0);
  });
