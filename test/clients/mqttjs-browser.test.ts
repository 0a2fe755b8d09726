/** MQTT.js in a page in headless Chromium over ws and wss: what a dashboard does. */
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Browser, chromium, type Page } from 'playwright-core';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { pathOf } from '../tools/apt.ts';
import { needs } from '../tools/needs.ts';

const BUNDLE = path.join(import.meta.dirname, '../../node_modules/mqtt/dist/mqtt.min.js');
const PAGE = '<!doctype html><meta charset="utf-8"><title>dashboard</title><script src="/mqtt.js"></script>';
const PASSWORD = 'dash board';
const CHROMIUM_ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const VERSIONS = [
  { name: 'MQTT 3.1', protocolVersion: 3, protocolId: 'MQIsdp' },
  { name: 'MQTT 3.1.1', protocolVersion: 4, protocolId: 'MQTT' },
  { name: 'MQTT 5', protocolVersion: 5, protocolId: 'MQTT' },
] as const;

/** Serves the page and MQTT.js's own bundle on a free port. */
function servePage(): Promise<Server> {
  const bundle = readFileSync(BUNDLE);
  const server = createServer((request, response) => {
    const isBundle = request.url === '/mqtt.js';
    response.setHeader(
      'content-type',
      isBundle ? 'text/javascript; charset=utf-8' : 'text/html; charset=utf-8',
    );
    response.end(isBundle ? bundle : PAGE);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/** The pin by which Chromium trusts this one key and no other. */
function pinOf(certificateFile: string): string {
  const key = new X509Certificate(readFileSync(certificateFile)).publicKey;
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64');
}

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
  let server: Server;
  let browser: Browser;
  let pagePort: number;

  before(async () => {
    broker = await startChildBroker({
      doors: ['ws://127.0.0.1:0/mqtt', 'wss://127.0.0.1:0/mqtt'],
      users: { dash: PASSWORD },
      acl: 'user dash\nallow readwrite page/#\n',
    });
    server = await servePage();
    pagePort = (server.address() as AddressInfo).port;
    const pin = pinOf(path.join(broker.directory, 'certs', 'server.pem'));
    browser = await chromium.launch({
      executablePath: pathOf('chromium')!,
      args: [...CHROMIUM_ARGS, `--ignore-certificate-errors-spki-list=${pin}`],
    });
  });
  after(async () => {
    await browser?.close();
    server?.close();
    await broker?.stop();
  });

  /** A page of its own on this host name, with what Chromium says on its console. */
  async function open(host: string): Promise<{ page: Page; says: string[] }> {
    const page = await browser.newPage();
    const says: string[] = [];
    page.on('console', (message) => says.push(message.text()));
    await page.goto(`http://${host}:${pagePort}/`);
    return { page, says };
  }

  for (const door of ['ws', 'wss'] as const) {
    for (const { name, protocolVersion, protocolId } of VERSIONS) {
      test(`${name} over ${door}: QoS 0, 1 and 2 go out and come back`, async () => {
        const { page } = await open('127.0.0.1');
        const options = { protocolVersion, protocolId, username: 'dash', password: PASSWORD };
        const got = await page.evaluate(
          `(${ROUND_TRIP})(${JSON.stringify({ url: broker.url(door), options })})`,
        );
        assert.deepEqual(
          got,
          [0, 1, 2].map((qos) => `page/${qos} ${qos} grüße ${qos}`),
        );
        await page.close();
      });
    }

    test(`over ${door} a wrong password is refused`, async () => {
      const { page } = await open('127.0.0.1');
      const options = { username: 'dash', password: 'wrong' };
      const attempt = page.evaluate(`(${ROUND_TRIP})(${JSON.stringify({ url: broker.url(door), options })})`);
      await assert.rejects(attempt, /Not authorized|Bad username or password/);
      await page.close();
    });

    test(`over ${door} a page of another host is refused with 403`, async () => {
      const { page, says } = await open('localhost');
      const outcome = await page.evaluate(
        `(${TRY_TO_CONNECT})(${JSON.stringify({ url: broker.url(door) })})`,
      );
      assert.equal(outcome, 'error');
      assert.match(says.join('\n'), /403/);
      await page.close();
    });
  }
});
