/** MQTT.js over WebTransport in a page in headless Chromium, by the adapter as it is built, against the broker as users run it. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import type { Page } from 'playwright-core';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { PageStage, runInPage } from '../support/page-stage.ts';
import { UdpRelay } from '../support/udp-relay.ts';
import { needs, skipUnless } from '../tools/needs.ts';
import { certificateHash } from '../transports/webtransport-client.ts';

const BUILT = path.join(import.meta.dirname, '../../dist/clients/webtransport');
const PASSWORD = 'dash board';
const LOGIN = { username: 'dash', password: PASSWORD };
const USERS = { users: { dash: PASSWORD }, acl: 'user dash\nallow readwrite page/#\n' };
/** Between looks at what another program has done. */
const POLL_MS = 20;
const LARGE_BYTES = 900_000;
const COUNT = 10_000;
const WINDOW = 200;
const RECEIVE_MAXIMUM = 20;

/** Makes the adapter, and what the tests below share, globals of the page; the hash is asked for at every attempt. */
const HTML = `<script type="module">
import { connect } from '/webtransport/index.js';
globalThis.openClient = (transport, options) => {
  const transports = [];
  const client = connect(mqtt.MqttClient, {
    certificateHashes: async () => [await (await fetch('/certificate-hash', { cache: 'no-store' })).text()],
    onTransport: (kind, reason) => transports.push({ kind, reason: reason?.message }),
    ...transport,
  }, { protocolVersion: 5, reconnectPeriod: 50, ...options });
  return { client, transports };
};
globalThis.connected = (client) => new Promise((resolve, reject) => {
  client.once('connect', resolve);
  client.once('error', reject);
});
</script>`;

/** Runs in the page: subscribes, publishes to itself at every QoS, and a large message. */
const ROUND_TRIP = `async ({ transport, options, largeBytes }) => {
  const { client, transports } = openClient(transport, { ...options, reconnectPeriod: 0 });
  await connected(client);
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
  return { got, transports };
}`;

/** Runs in the page: answers each message at QoS 1, and ends when all are answered and acknowledged. */
const ANSWER = `async ({ transport, options, count }) => {
  const { client, transports } = openClient(transport, options);
  let connects = 0;
  client.on('connect', () => connects++);
  const heard = [];
  const acknowledged = new Promise((resolve, reject) => {
    let left = count;
    client.on('message', (topic, payload) => {
      heard.push(payload.toString());
      client.publish('page/up', payload, { qos: 1 }, (error) => {
        if (error) reject(error);
        if (--left === 0) resolve();
      });
    });
  });
  await connected(client);
  await client.subscribeAsync('page/down', { qos: 1 });
  client.publish('page/up', 'ready', { qos: 1 });
  await acknowledged;
  await client.endAsync();
  return { heard, connects, transports };
}`;

/** Runs in the page: a client that stays, and says what it hears, until \`stop\` comes. */
const LISTEN = `({ transport, options }) => {
  const { client, transports } = openClient(transport, options);
  globalThis.page = { client, transports, heard: [], errors: [], connects: [] };
  client.on('message', (topic, payload) => page.heard.push(payload.toString()));
  client.on('error', (error) => page.errors.push(error.message));
  client.on('connect', ({ sessionPresent }) => page.connects.push(sessionPresent));
  return connected(client).then(() => client.subscribeAsync('page/down', { qos: 1 })).then(() => {});
}`;

/**
 * Runs in the page: how a session that the page asks for ends. The engine ends the connection right behind the session, and Chromium may
 * tell the page of that alone.
 */
const REFUSED = `async ({ url }) => {
  const hash = await (await fetch('/certificate-hash')).text();
  const value = Uint8Array.from(atob(hash), (c) => c.charCodeAt(0));
  const session = new WebTransport(url, { serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
  await session.ready;
  return session.closed.then(({ closeCode }) => closeCode, () => 'lost');
}`;

/** Runs in the page, without a library: subscribes and publishes on a data stream, then says on another what must not be said there. */
const DATA_STREAMS = `async ({ url, options }) => {
  const hash = await (await fetch('/certificate-hash')).text();
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

interface Heard {
  readonly heard: string[];
  readonly errors: string[];
  readonly connects: boolean[];
  readonly transports: { kind: string; reason?: string }[];
}

/** What a page with LISTEN has seen so far, once it fits. */
async function until(page: Page, fits: (seen: Heard) => boolean): Promise<Heard> {
  for (;;) {
    const { heard, errors, connects, transports } = await page.evaluate<Heard>('({ ...page, client: null })');
    const seen = { heard, errors, connects, transports };
    if (fits(seen)) return seen;
    await setTimeout(POLL_MS);
  }
}

const httpsOf = (broker: ChildBroker): string => broker.url('wt').replace('wt:', 'https:');
const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n));

const hashOf = ({ directory }: ChildBroker): string =>
  certificateHash(path.join(directory, 'certs', 'webtransport.pem')).toString('base64');

describe('MQTT.js over WebTransport in a page in Chromium', {
  skip: needs('chromium') || skipUnless(existsSync(BUILT), 'nothing is built: npm run build'),
}, () => {
  let broker: ChildBroker;
  /** What the page's server tells. */
  let hash: string;
  let stage: PageStage;

  before(async () => {
    broker = await startChildBroker({
      doors: ['mqtt://127.0.0.1:0', 'wt://127.0.0.1:0/mqtt', 'wss://127.0.0.1:0/mqtt'],
      config: { log: { level: 'info', file: '', pretty: 'never' } },
      ...USERS,
    });
    hash = hashOf(broker);
    const files: Record<string, () => string> = { '/certificate-hash': () => hash };
    for (const name of readdirSync(BUILT).filter((file) => file.endsWith('.js')))
      files[`/webtransport/${name}`] = () => readFileSync(path.join(BUILT, name), 'utf8');
    const trusted = [path.join(broker.directory, 'certs', 'server.pem')];
    stage = await PageStage.open({ html: HTML, files, trusted });
  });
  after(async () => {
    await stage?.close();
    await broker?.stop();
  });

  for (const protocolVersion of [4, 5]) {
    test(`version ${protocolVersion}: QoS 0, 1, 2 and a large message go out and come back, and it ends in order`, async () => {
      const page = await stage.page();
      const clientId = `round-trip-${protocolVersion}`;
      const result = await runInPage<Heard & { got: string[] }>(page, ROUND_TRIP, {
        transport: { url: httpsOf(broker) },
        options: { protocolVersion, clientId, ...LOGIN },
        largeBytes: LARGE_BYTES,
      });
      const small = [0, 1, 2].map((qos) => `page/${qos} ${qos} grüße ${qos}`);
      assert.deepEqual(result.got, [...small, `page/large 1 ${LARGE_BYTES}`]);
      assert.deepEqual(
        result.transports.map(({ kind }) => kind),
        ['webtransport'],
      );
      const gone = new RegExp(
        `"event":"client.disconnected".*"${clientId}"|"${clientId}".*client.disconnected`,
      );
      while (!gone.test(broker.output())) await setTimeout(POLL_MS);
      await page.close();
    });
  }

  test(`${COUNT} messages of QoS 1 go each way, in order and none lost`, { timeout: 60_000 }, async () => {
    const page = await stage.page();
    const client = await connectAsync(broker.url('mqtt'), { protocolVersion: 5, ...LOGIN });
    const heard: string[] = [];
    let next = 0;
    const all = new Promise<void>((resolve) => {
      client.on('message', (_topic, payload) => {
        heard.push(payload.toString());
        // At most a window of them waits for its answer, so that no queue overflows.
        while (next < COUNT && next + 1 - heard.length < WINDOW)
          client.publish('page/down', String(next++), { qos: 1 });
        if (heard.length === COUNT + 1) resolve();
      });
    });
    await client.subscribeAsync('page/up', { qos: 1 });
    const answering = runInPage<Heard & { connects: number }>(page, ANSWER, {
      transport: { url: httpsOf(broker) },
      options: { ...LOGIN, properties: { receiveMaximum: RECEIVE_MAXIMUM } },
      count: COUNT,
    });
    await all;
    const answered = await answering;
    assert.deepEqual(heard, ['ready', ...numbers(COUNT)]);
    assert.deepEqual(answered.heard, numbers(COUNT));
    assert.equal(answered.connects, 1);
    assert.equal(answered.transports[0].kind, 'webtransport');
    await client.endAsync();
    await page.close();
  });

  test('a page uses data streams beside its control stream, and loses the one that it misuses', async () => {
    const page = await stage.page();
    const publish = `300d${Buffer.from('\0\x09page/datahi').toString('hex')}`;
    const expected = ['20020000', '9003000101', publish, '50020002', '70020002', 'stream 130', 'd000'];
    assert.deepEqual(await runInPage(page, DATA_STREAMS, { url: httpsOf(broker), options: LOGIN }), expected);
    await page.close();
  });

  test('a wrong password is refused', async () => {
    const page = await stage.page();
    const options = { username: 'dash', password: 'wrong' };
    const attempt = runInPage(page, ROUND_TRIP, { transport: { url: httpsOf(broker) }, options });
    await assert.rejects(attempt, /Not authorized|Bad user ?name or password/i);
    await page.close();
  });

  test('a page of another host, and another path, are refused', { timeout: 20_000 }, async () => {
    const page = await stage.page('localhost');
    const url = httpsOf(broker);
    assert.ok([403, 'lost'].includes(await runInPage<number | string>(page, REFUSED, { url })));
    await page.close();
    const other = await stage.page();
    const wrongPath = await runInPage<number | string>(other, REFUSED, { url: `${url}x` });
    assert.ok([404, 'lost'].includes(wrongPath));
    await other.close();
    for (const line of [
      /refused with 403 \(path \/mqtt, origin http:\/\/localhost/,
      /refused with 404 \(path \/mqttx/,
    ]) {
      while (!line.test(broker.output())) await setTimeout(POLL_MS);
    }
  });

  test('it comes back by itself when the broker does, with a new certificate on the same port', {
    timeout: 60_000,
  }, async () => {
    const first = await startChildBroker({ doors: ['wt://127.0.0.1:0/mqtt'], ...USERS });
    hash = hashOf(first);
    const page = await stage.page();
    const url = httpsOf(first);
    await runInPage(page, LISTEN, { transport: { url }, options: { ...LOGIN } });
    await page.evaluate(`page.client.publishAsync('page/down', 'before', { qos: 1 })`);
    await until(page, ({ heard }) => heard.length === 1);
    await first.stop();
    const second = await startChildBroker({ doors: [first.url('wt')], ...USERS });
    try {
      hash = hashOf(second);
      await until(page, ({ connects }) => connects.length === 2);
      await page.evaluate(`page.client.publishAsync('page/down', 'after', { qos: 1 })`);
      const seen = await until(page, ({ heard }) => heard.length === 2);
      assert.deepEqual(seen.heard, ['before', 'after']);
      assert.ok(seen.transports.every(({ kind }) => kind === 'webtransport'));
      await page.evaluate('page.client.endAsync()');
      await page.close();
    } finally {
      hash = hashOf(broker);
      await second.stop();
    }
  });

  test('it falls back to wss while UDP is closed, and moves over without loss when it opens', {
    timeout: 60_000,
  }, async (t) => {
    const relay = await new UdpRelay(broker.port('wt')).open();
    await relay.close();
    t.after(() => relay.close());
    const page = await stage.page();
    t.after(() => page.close());
    const transport = {
      url: `https://127.0.0.1:${relay.port}/mqtt`,
      fallbackUrl: broker.url('wss'),
      // A closed port answers at once; an open one may take its time on a busy machine.
      timeoutMs: 10_000,
      retryAfterMs: 1_000,
      retryAfterMaxMs: 1_000,
    };
    const will = { topic: 'page/up', payload: 'the will', qos: 1, retain: false };
    const properties = { sessionExpiryInterval: 60 };
    const options = { ...LOGIN, clientId: 'mover', clean: false, properties, will };
    await runInPage(page, LISTEN, { transport, options });
    const before = await until(page, ({ transports }) => transports.length > 0);
    assert.equal(before.transports[0].kind, 'websocket');
    assert.match(before.transports[0].reason!, /^WebTransport to https:.*UDP port open/);

    const client = await connectAsync(broker.url('mqtt'), { protocolVersion: 5, ...LOGIN });
    t.after(() => client.endAsync());
    const up: string[] = [];
    client.on('message', (_topic, payload) => void up.push(payload.toString()));
    await client.subscribeAsync('page/up', { qos: 1 });
    // Both publish without a break while it moves: the page at QoS 0, what it hears is QoS 1.
    await page.evaluate(`(() => {
      let n = 0;
      page.timer = setInterval(() => page.client.publish('page/up', String(n++)), 1);
      page.stop = () => { clearInterval(page.timer); return n; };
    })()`);
    await relay.open();
    let sent = 0;
    let isOver = false;
    const moved = until(page, ({ transports }) => transports.at(-1)!.kind === 'webtransport').then(() => {
      isOver = true;
    });
    while (!isOver) await client.publishAsync('page/down', String(sent++), { qos: 1 });
    await moved;
    const seen = await until(page, ({ heard }) => new Set(heard).size === sent);
    assert.deepEqual([...new Set(seen.heard)], numbers(sent));
    assert.deepEqual(seen.connects, [false, true]);
    const published = await page.evaluate<number>('page.stop()');
    await page.evaluate('page.client.endAsync()');
    while (up.length < published) await setTimeout(POLL_MS);
    // MQTT.js itself lets what is published between CONNACK and its event `connect` overtake what it kept meanwhile.
    const inOrder = up.toSorted((a, b) => Number(a) - Number(b));
    assert.deepEqual(inOrder, numbers(published));
  });
});
