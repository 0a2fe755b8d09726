/** MQTT.js in a page in headless Chromium over WebTransport: its bytes go through one stream of a session, trusted by the hash. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import { type Browser, chromium, type Page } from 'playwright-core';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { pathOf } from '../tools/apt.ts';
import { needs } from '../tools/needs.ts';
import { certificateHash } from '../transports/webtransport-client.ts';

const BUNDLE = path.join(import.meta.dirname, '../../node_modules/mqtt/dist/mqtt.min.js');
const PASSWORD = 'dash board';
/** Between looks at what the broker has printed. */
const POLL_MS = 20;
const LARGE_BYTES = 900_000;
const CHROMIUM_ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Runs in the page: what MQTT.js takes for a WebSocket, over the one stream of a session. */
const SOCKET = `
function wtSocket(url, hash, ended) {
  const socket = new EventTarget();
  Object.assign(socket, { readyState: 0, bufferedAmount: 0, binaryType: 'arraybuffer' });
  const tell = (name, more) => socket.dispatchEvent(Object.assign(new Event(name), more));
  const value = Uint8Array.from(atob(hash), (c) => c.charCodeAt(0));
  let writer;
  const run = async () => {
    const session = new WebTransport(url, { serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
    session.closed.then(ended, ended);
    await session.ready;
    const stream = await session.createBidirectionalStream();
    writer = stream.writable.getWriter();
    socket.readyState = 1;
    tell('open');
    const reader = stream.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      tell('message', { data: value.slice().buffer });
    }
    await writer.close().catch(() => {});
    await session.closed;
  };
  run().catch((error) => tell('error', { error, message: String(error) })).finally(() => {
    socket.readyState = 3;
    tell('close');
  });
  socket.send = (data) => {
    const bytes = new Uint8Array(data);
    socket.bufferedAmount += bytes.length;
    writer.write(bytes).catch(() => {}).then(() => { socket.bufferedAmount -= bytes.length; });
  };
  socket.close = () => { writer?.close().catch(() => {}); };
  return socket;
}
function connectOver(url, hash, options, ended = () => {}) {
  const createWebsocket = () => wtSocket(url, hash, ended);
  return mqtt.connectAsync('ws://wt/', { ...options, reconnectPeriod: 0, createWebsocket }, false);
}`;
const PAGE =
  '<!doctype html><meta charset="utf-8"><title>dashboard</title><script src="/mqtt.js"></script>' +
  `<script>${SOCKET}</script>`;

/** Runs in the page: subscribes, publishes to itself at every QoS, and a large message. */
const ROUND_TRIP = `async ({ url, hash, options, largeBytes }) => {
  const ended = Promise.withResolvers();
  const client = await connectOver(url, hash, options, ended.resolve);
  await client.subscribeAsync('page/#', { qos: 2 });
  const got = [];
  const all = new Promise((resolve) => {
    client.on('message', (topic, payload, packet) => {
      got.push(topic + ' ' + packet.qos + ' ' + (payload.length > 100 ? payload.length : payload.toString()));
      if (got.length === 4) resolve();
    });
  });
  for (const qos of [0, 1, 2]) await client.publishAsync('page/' + qos, 'grüße ' + qos, { qos });
  await client.publishAsync('page/large', 'x'.repeat(largeBytes), { qos: 1 });
  await all;
  await client.endAsync();
  await ended.promise;
  return got;
}`;

/** Runs in the page: answers each message on the topic behind it, at QoS 1, until it hears "stop". */
const ANSWER = `async ({ url, hash, options }) => {
  const client = await connectOver(url, hash, options);
  const stopped = new Promise((resolve) => {
    client.on('message', (topic, payload) => {
      if (payload.toString() === 'stop') resolve();
      else client.publish('page/answer', payload, { qos: 1 });
    });
  });
  await client.subscribeAsync('page/ask', { qos: 1 });
  await client.publishAsync('page/answer', 'ready', { qos: 1 });
  await stopped;
  await client.endAsync();
}`;

/**
 * Runs in the page: how a session that the page asks for ends. The engine ends the connection right behind the session, and Chromium may
 * tell the page of that alone.
 */
const REFUSED = `async ({ url, hash }) => {
  const value = Uint8Array.from(atob(hash), (c) => c.charCodeAt(0));
  const session = new WebTransport(url, { serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
  await session.ready;
  return session.closed.then(({ closeCode }) => closeCode, () => 'lost');
}`;

/** Runs in the page, without a library: subscribes and publishes on a data stream, then says on another what must not be said there. */
const DATA_STREAMS = `async ({ url, hash, options }) => {
  const value = Uint8Array.from(atob(hash), (c) => c.charCodeAt(0));
  const session = new WebTransport(url, { serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
  await session.ready;
  const text = (string) => [0, string.length, ...new TextEncoder().encode(string)];
  const open = async () => {
    const { readable, writable } = await session.createBidirectionalStream();
    const [reader, writer] = [readable.getReader(), writable.getWriter()];
    const say = (first, ...body) => writer.write(new Uint8Array([first, body.length, ...body]));
    const hear = async (length) => {
      const heard = [];
      while (heard.length < length) {
        const { value } = await reader.read();
        heard.push(...value);
      }
      return heard.map((byte) => byte.toString(16).padStart(2, '0')).join('');
    };
    return { say, hear };
  };
  const control = await open();
  const login = [...text('streams'), ...text(options.username), ...text(options.password)];
  await control.say(0x10, ...text('MQTT'), 4, 0xc2, 0, 60, ...login);
  const heard = [await control.hear(4)];
  const data = await open();
  await data.say(0x82, 0, 1, ...text('page/data'), 1);
  heard.push(await data.hear(5));
  await control.say(0x30, ...text('page/data'), 0x68, 0x69);
  heard.push(await data.hear(15));
  await data.say(0x34, ...text('page/other'), 0, 2, 0x68, 0x69);
  heard.push(await data.hear(4));
  await data.say(0x62, 0, 2);
  heard.push(await data.hear(4));
  const bad = await open();
  await bad.say(0xc0);
  heard.push(await bad.hear(1).catch((error) => error.source + ' ' + error.streamErrorCode));
  await control.say(0xc0);
  heard.push(await control.hear(2));
  session.close();
  return heard;
}`;

describe('MQTT.js over WebTransport in a page in Chromium', { skip: needs('chromium') }, () => {
  let broker: ChildBroker;
  let server: Server;
  let browser: Browser;
  let url: string;
  let hash: string;

  before(async () => {
    broker = await startChildBroker({
      doors: ['mqtt://127.0.0.1:0', 'wt://127.0.0.1:0/mqtt'],
      users: { dash: PASSWORD },
      acl: 'user dash\nallow readwrite page/#\n',
      config: { log: { level: 'info', file: '', pretty: 'never' } },
    });
    url = broker.url('wt').replace('wt:', 'https:');
    hash = certificateHash(path.join(broker.directory, 'certs', 'webtransport.pem')).toString('base64');
    const bundle = readFileSync(BUNDLE);
    server = createServer((request, response) => {
      const isBundle = request.url === '/mqtt.js';
      response.setHeader('content-type', `text/${isBundle ? 'javascript' : 'html'}; charset=utf-8`);
      response.end(isBundle ? bundle : PAGE);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    // Without playwright's own flags: they may come to hold --disable-quic.
    browser = await chromium.launch({
      executablePath: pathOf('chromium')!,
      args: CHROMIUM_ARGS,
      ignoreDefaultArgs: ['--disable-quic'],
    });
  });
  after(async () => {
    await browser?.close();
    server?.close();
    await broker?.stop();
  });

  async function open(host = '127.0.0.1'): Promise<Page> {
    const page = await browser.newPage();
    await page.goto(`http://${host}:${(server.address() as AddressInfo).port}/`);
    return page;
  }

  function run<T>(page: Page, code: string, more: object = {}): Promise<T> {
    const options = { protocolVersion: 5, username: 'dash', password: PASSWORD };
    const given = JSON.stringify({ url, hash, options, largeBytes: LARGE_BYTES, ...more });
    return page.evaluate(`(${code})(${given})`);
  }

  for (const protocolVersion of [4, 5]) {
    test(`version ${protocolVersion}: QoS 0, 1, 2 and a large message go out and come back, and it ends in order`, async () => {
      const page = await open();
      const options = { protocolVersion, username: 'dash', password: PASSWORD };
      const got = await run(page, ROUND_TRIP, { options });
      const small = [0, 1, 2].map((qos) => `page/${qos} ${qos} grüße ${qos}`);
      assert.deepEqual(got, [...small, `page/large 1 ${LARGE_BYTES}`]);
      await page.close();
    });
  }

  test('a client over TCP and the page send each other a thousand messages of QoS 1', async () => {
    const page = await open();
    const client = await connectAsync(broker.url('mqtt'), { username: 'dash', password: PASSWORD });
    const heard: string[] = [];
    const count = 1_000;
    const all = new Promise<void>((resolve) => {
      client.on('message', (_topic, payload) => {
        heard.push(payload.toString());
        if (heard.length === 1)
          for (let n = 0; n < count; n++) client.publish('page/ask', String(n), { qos: 1 });
        if (heard.length === count + 1) resolve();
      });
    });
    await client.subscribeAsync('page/answer', { qos: 1 });
    const answering = run(page, ANSWER);
    await all;
    assert.deepEqual(heard, ['ready', ...Array.from({ length: count }, (_, n) => String(n))]);
    await client.publishAsync('page/ask', 'stop', { qos: 1 });
    await answering;
    await client.endAsync();
    await page.close();
  });

  test('a page uses data streams beside its control stream, and loses the one that it misuses', async () => {
    const page = await open();
    const options = { username: 'dash', password: PASSWORD };
    const publish = `300d${Buffer.from('\0\x09page/datahi').toString('hex')}`;
    const expected = ['20020000', '9003000101', publish, '50020002', '70020002', 'stream 130', 'd000'];
    assert.deepEqual(await run(page, DATA_STREAMS, { options }), expected);
    await page.close();
  });

  test('a wrong password is refused', async () => {
    const page = await open();
    const options = { protocolVersion: 5, username: 'dash', password: 'wrong' };
    await assert.rejects(run(page, ROUND_TRIP, { options }), /Not authorized|Bad user ?name or password/i);
    await page.close();
  });

  test('a page of another host, and another path, are refused', { timeout: 20_000 }, async () => {
    const page = await open('localhost');
    assert.ok([403, 'lost'].includes(await run<number | string>(page, REFUSED)));
    await page.close();
    const other = await open();
    const wrongPath = await run<number | string>(other, REFUSED, { url: `${url}x` });
    assert.ok([404, 'lost'].includes(wrongPath));
    await other.close();
    for (const line of [
      /refused with 403 \(path \/mqtt, origin http:\/\/localhost/,
      /refused with 404 \(path \/mqttx/,
    ]) {
      while (!line.test(broker.output())) await setTimeout(POLL_MS);
    }
  });
});
