/** MQTT.js in Node over all four doors and all three versions, against the broker as users run it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';

const PASSWORD = 'pässword with a space';
const DOORS = ['mqtt', 'mqtts', 'ws', 'wss'] as const;
const VERSIONS = [
  { name: 'MQTT 3.1', protocolVersion: 3, protocolId: 'MQIsdp' },
  { name: 'MQTT 3.1.1', protocolVersion: 4, protocolId: 'MQTT' },
  { name: 'MQTT 5', protocolVersion: 5, protocolId: 'MQTT' },
] as const;

interface Message {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly retain: boolean;
}

/** Collects what a client receives; `until(n)` resolves to the first n messages. */
function inbox(client: MqttClient): { until(count: number): Promise<Message[]> } {
  const messages: Message[] = [];
  let notify = (): void => {};
  client.on('message', (topic, payload, packet) => {
    messages.push({ topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain });
    notify();
  });
  const until = (count: number): Promise<Message[]> =>
    new Promise((resolve) => {
      notify = () => {
        if (messages.length >= count) resolve(messages.slice(0, count));
      };
      notify();
    });
  return { until };
}

describe('MQTT.js in Node', () => {
  let broker: ChildBroker;
  let serial = 0;
  before(async () => {
    broker = await startChildBroker({
      doors: ['mqtt://127.0.0.1:0', 'mqtts://127.0.0.1:0', 'ws://127.0.0.1:0/mqtt', 'wss://127.0.0.1:0/mqtt'],
      users: { alice: PASSWORD },
      acl: 'user alice\nallow readwrite js/#\n',
    });
  });
  after(() => broker?.stop());

  function optionsFor(version: (typeof VERSIONS)[number], more: IClientOptions): IClientOptions {
    serial += 1;
    return {
      protocolVersion: version.protocolVersion,
      protocolId: version.protocolId,
      clientId: `js-${serial}`,
      username: 'alice',
      password: PASSWORD,
      ca: readFileSync(broker.caFile),
      reconnectPeriod: 0,
      ...more,
    };
  }

  for (const door of DOORS) {
    for (const version of VERSIONS) {
      const connect = (more: IClientOptions = {}): Promise<MqttClient> => {
        return mqtt.connectAsync(broker.url(door), optionsFor(version, more), false);
      };
      const where = `${version.name} over ${door}`;
      const topicOf = (name: string): string => `js/${door}/${version.protocolVersion}/${name}`;

      test(`${where}: QoS 0, 1 and 2 arrive in order and unharmed`, async () => {
        const client = await connect();
        const topic = topicOf('live');
        await client.subscribeAsync(topic, { qos: 2 });
        const received = inbox(client);
        const large = 'x'.repeat(200_000);
        await client.publishAsync(topic, 'zero', { qos: 0 });
        await client.publishAsync(topic, large, { qos: 1 });
        await client.publishAsync(topic, 'two', { qos: 2 });
        const messages = await received.until(3);
        assert.deepEqual(
          messages.map((message) => [message.qos, message.payload]),
          [
            [0, 'zero'],
            [1, large],
            [2, 'two'],
          ],
        );
        await client.endAsync();
      });

      test(`${where}: a retained message is there for a later subscriber`, async () => {
        const client = await connect();
        const topic = topicOf('retained');
        await client.publishAsync(topic, 'kept', { qos: 1, retain: true });
        const received = inbox(client);
        await client.subscribeAsync(topicOf('+'), { qos: 1 });
        const [message] = await received.until(1);
        assert.deepEqual(message, { topic, payload: 'kept', qos: 1, retain: true });
        await client.publishAsync(topic, '', { qos: 1, retain: true });
        await client.endAsync();
      });

      test(`${where}: the will of a connection that breaks is published`, async () => {
        const topic = topicOf('will');
        const observer = await connect();
        await observer.subscribeAsync(topic, { qos: 1 });
        const received = inbox(observer);
        const unlucky = await connect({
          will: { topic, payload: Buffer.from('gone'), qos: 1, retain: false },
        });
        unlucky.on('error', () => {});
        unlucky.stream.destroy();
        const [message] = await received.until(1);
        assert.equal(message.payload, 'gone');
        await observer.endAsync();
      });

      test(`${where}: a session is resumed, and what came meanwhile is delivered`, async () => {
        const topic = topicOf('session');
        const kept: IClientOptions = { clean: false, clientId: `kept-${door}-${version.protocolVersion}` };
        if (version.protocolVersion === 5) kept.properties = { sessionExpiryInterval: 60 };
        const first = await connect(kept);
        await first.subscribeAsync(topic, { qos: 2 });
        await first.endAsync();
        const publisher = await connect();
        await publisher.publishAsync(topic, 'one', { qos: 1 });
        await publisher.publishAsync(topic, 'two', { qos: 2 });
        const again = mqtt.connect(broker.url(door), { ...optionsFor(version, kept), resubscribe: false });
        const received = inbox(again);
        const present = new Promise((resolve) =>
          again.once('connect', (packet) => resolve(packet.sessionPresent)),
        );
        const messages = await received.until(2);
        assert.deepEqual(
          messages.map((message) => message.payload),
          ['one', 'two'],
        );
        // MQTT 3.1 has no session present flag: the byte is reserved there.
        assert.equal(await present, version.protocolVersion !== 3);
        await Promise.all([again.endAsync(), publisher.endAsync()]);
      });
    }

    test(`over ${door} a wrong password is refused`, async () => {
      const options = optionsFor(VERSIONS[2], { password: `${PASSWORD}x` });
      await assert.rejects(mqtt.connectAsync(broker.url(door), options, false), { code: 134 });
    });
  }
});
