/** MQTT.js in a page in headless Chromium over ws and wss: what a dashboard does. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { PageStage, runInPage } from '../support/page-stage.ts';
import { needs } from '../tools/needs.ts';

const PASSWORD = 'dash board';
const VERSIONS = [
  { name: 'MQTT 3.1', protocolVersion: 3, protocolId: 'MQIsdp' },
  { name: 'MQTT 3.1.1', protocolVersion: 4, protocolId: 'MQTT' },
  { name: 'MQTT 5', protocolVersion: 5, protocolId: 'MQTT' },
] as const;

/**
 * Runs in the page: subscribes, publishes to itself at every QoS and returns what came back. A text, because it is
 * evaluated in another program, where the page's `mqtt` is a global.
 */
const ROUND_TRIP = `async ({ url, options }) => {
  const client = await mqtt.connectAsync(url, { ...options, reconnectPeriod: 0 }, false);
  await client.subscribeAsync('page/#', { qos: 2 });
  const got = [];
  const all = new Promise((resolve) => {
    client.on('message', (topic, payload, packet) => {
      got.push(topic + ' ' + packet.qos + ' ' + payload.toString());
      if (got.length === 3) resolve();
    });
  });
  for (const qos of [0, 1, 2]) await client.publishAsync('page/' + qos, 'grüße ' + qos, { qos });
  await all;
  await client.endAsync();
  return got;
}`;

/** Runs in the page: resolves to how the attempt to connect ended. */
const TRY_TO_CONNECT = `({ url }) => new Promise((resolve) => {
  const socket = new WebSocket(url, 'mqtt');
  socket.onopen = () => resolve('open');
  socket.onerror = () => resolve('error');
})`;

describe('MQTT.js in a page in Chromium', { skip: needs('chromium') }, () => {
  let broker: ChildBroker;
  let stage: PageStage;

  before(async () => {
    broker = await startChildBroker({
      doors: ['ws://127.0.0.1:0/mqtt', 'wss://127.0.0.1:0/mqtt'],
      users: { dash: PASSWORD },
      acl: 'user dash\nallow readwrite page/#\n',
    });
    stage = await PageStage.open({ trusted: [path.join(broker.directory, 'certs', 'server.pem')] });
  });
  after(async () => {
    await stage?.close();
    await broker?.stop();
  });

  for (const door of ['ws', 'wss'] as const) {
    for (const { name, protocolVersion, protocolId } of VERSIONS) {
      test(`${name} over ${door}: QoS 0, 1 and 2 go out and come back`, async () => {
        const page = await stage.page();
        const options = { protocolVersion, protocolId, username: 'dash', password: PASSWORD };
        const got = await runInPage(page, ROUND_TRIP, { url: broker.url(door), options });
        assert.deepEqual(
          got,
          [0, 1, 2].map((qos) => `page/${qos} ${qos} grüße ${qos}`),
        );
        await page.close();
      });
    }

    test(`over ${door} a wrong password is refused`, async () => {
      const page = await stage.page();
      const options = { username: 'dash', password: 'wrong' };
      const attempt = runInPage(page, ROUND_TRIP, { url: broker.url(door), options });
      await assert.rejects(attempt, /Not authorized|Bad username or password/);
      await page.close();
    });

    test(`over ${door} a page of another host is refused with 403`, async () => {
      const page = await stage.page('localhost');
      const says: string[] = [];
      page.on('console', (message) => says.push(message.text()));
      const outcome = await runInPage(page, TRY_TO_CONNECT, { url: broker.url(door) });
      assert.equal(outcome, 'error');
      assert.match(says.join('\n'), /403/);
      await page.close();
    });
  }
});
