/** The adapter in Node, with the WebTransport client of `rwebtransport`: which transport it takes, and what it says of the others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { type AddressInfo, createConnection, createServer, type Server } from 'node:net';
import path from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connectAsync, type IClientOptions, MqttClient } from 'mqtt';
import { WebTransport } from 'rwebtransport';
import WebSocket from 'ws';
import { connect, TransportError, type TransportOptions } from '../../clients/webtransport/index.ts';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { UdpRelay } from '../support/udp-relay.ts';
import { skipUnless } from '../tools/needs.ts';
import { certificateHash } from '../transports/webtransport-client.ts';

const DOORS = ['wt://127.0.0.1:0/mqtt', 'ws://127.0.0.1:0/mqtt', 'wss://127.0.0.1:0/mqtt'];
const BUILT = path.join(import.meta.dirname, '../../dist/clients/webtransport/index.js');
const PASSWORD = 'gräte';
const LOGIN = { username: 'fish', password: PASSWORD };
const USERS = { users: { fish: PASSWORD }, allowAnonymous: true };
const LARGE_BYTES = 900_000;
/** Where nobody answers, waiting is all that the test does. */
const SHORT_MS = 300;
const POLL_MS = 10;
const LATE_MS = 100;

const httpsOf = (broker: ChildBroker): string => broker.url('wt').replace('wt:', 'https:');
const hashOf = ({ directory }: ChildBroker): Buffer =>
  certificateHash(path.join(directory, 'certs', 'webtransport.pem'));

/** Resolves when it holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await setTimeout(POLL_MS);
}

/** Resolves when it has connected the next time. */
function connected(client: MqttClient): Promise<unknown> {
  return new Promise((resolve) => client.once('connect', resolve));
}

/** A TCP port in front of another one, behind which everything that a client sends arrives late. */
async function slowPort(port: number): Promise<Server> {
  const server = createServer((client) => {
    const upstream = createConnection(port, '127.0.0.1', () => upstream.pipe(client));
    client.on('data', (bytes: Buffer) => void setTimeout(LATE_MS).then(() => upstream.write(bytes)));
    for (const socket of [client, upstream]) socket.on('error', () => {});
    client.on('close', () => upstream.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** What a test that fails leaves behind. */
const opened: MqttClient[] = [];

/** A client, what carried it so far, and its errors. */
function open(transport: TransportOptions, options: IClientOptions = {}) {
  const seen: { kinds: string[]; reasons: string[]; errors: Error[] } = {
    kinds: [],
    reasons: [],
    errors: [],
  };
  const given = { protocolVersion: 5, reconnectPeriod: 50 } as const;
  const client = connect(
    MqttClient,
    {
      onTransport: (kind, reason) => {
        seen.kinds.push(kind);
        seen.reasons.push(reason?.message ?? '');
      },
      ...transport,
    },
    { ...given, ...options },
  );
  opened.push(client);
  client.on('error', (error) => void seen.errors.push(error));
  return { client, seen };
}

/** Why it does not take WebTransport, and what it says of that. */
const REASONS: readonly {
  name: string;
  more: (broker: ChildBroker) => Partial<TransportOptions>;
  reason: RegExp;
}[] = [
  {
    name: 'there is no class for WebTransport',
    more: () => ({ WebTransport: undefined as never }),
    reason: /no WebTransport here\..* hand in a class/,
  },
  {
    name: 'the certificate has another hash',
    more: () => ({ certificateHashes: [Buffer.alloc(32)] }),
    reason: /^WebTransport to https:\/\/127\.0\.0\.1:\d+\/mqtt: .* the certificate trusted/,
  },
  {
    name: 'the hash is no hash',
    more: () => ({ certificateHashes: ['c2hvcnQ='] }),
    reason: /an entry of 5 bytes \(expected the 32 bytes of a SHA-256, in base64 44 characters\)/,
  },
  {
    name: 'the hash is not base64',
    more: () => ({ certificateHashes: ['AB:CD'] }),
    reason: /an entry that is not base64: "AB:CD"/,
  },
  {
    name: 'the hash cannot be had',
    more: () => ({ certificateHashes: () => Promise.reject(new Error('the server is away')) }),
    reason: /the server is away/,
  },
  {
    name: 'the hash does not come in time',
    more: () => ({ certificateHashes: () => new Promise(() => {}), timeoutMs: SHORT_MS }),
    reason: /no answer within 300 ms/,
  },
  {
    name: 'the session ends before an answer comes, here because of its path',
    more: (broker) => ({ url: `${httpsOf(broker)}-elsewhere` }),
    reason: /^WebTransport to https:.*-elsewhere: .*(before an answer came|ended at once|UDP port open)/,
  },
];
describe('MQTT.js in Node by the WebTransport adapter', { timeout: 120_000 }, () => {
  let broker: ChildBroker;
  /** Where WebTransport is, and what to trust. */
  let there: TransportOptions;
  before(async () => {
    broker = await startChildBroker({ doors: DOORS, ...USERS });
    there = { url: httpsOf(broker), WebTransport, certificateHashes: [hashOf(broker)] };
  });
  afterEach(() => Promise.all(opened.splice(0).map((client) => client.endAsync(true))));
  after(() => broker?.stop());

  test('QoS 0, 1 and 2 and a large message go out and come back, and it ends in order', async () => {
    const { client, seen } = open(there, LOGIN);
    await connected(client);
    const got: string[] = [];
    client.on('message', (topic, payload, { qos }) => void got.push(`${topic} ${qos} ${payload.length}`));
    await client.subscribeAsync('a/#', { qos: 2 });
    for (const qos of [0, 1, 2] as const) await client.publishAsync(`a/${qos}`, 'x', { qos });
    await client.publishAsync('a/large', Buffer.alloc(LARGE_BYTES), { qos: 1 });
    await until(() => got.length === 4);
    assert.deepEqual(got, ['a/0 0 1', 'a/1 1 1', 'a/2 2 1', `a/large 1 ${LARGE_BYTES}`]);
    await client.endAsync();
    assert.deepEqual([seen.kinds, seen.errors], [['webtransport'], []]);
  });

  test('the package exports it as it is built', {
    skip: skipUnless(existsSync(BUILT), 'nothing is built: npm run build'),
  }, async () => {
    const name = 'sluice-mqtt/webtransport';
    assert.equal(fileURLToPath(import.meta.resolve(name)), BUILT);
    assert.equal(typeof (await import(name)).connect, 'function');
  });

  test('a wrong password reaches the page as MQTT.js tells it, and is no reason to fall back', async () => {
    const { client, seen } = open(
      { ...there, fallbackUrl: broker.url('ws') },
      { ...LOGIN, password: 'wrong', reconnectOnConnackError: true },
    );
    await until(() => seen.errors.length === 2);
    assert.match(seen.errors[1].message, /Not authorized|Bad user ?name/i);
    assert.deepEqual(new Set(seen.kinds), new Set(['webtransport']));
    await client.endAsync(true);
  });

  test('the hash may be a text, and its function is asked at every attempt', async () => {
    let asked = 0;
    const certificateHashes = async () => {
      asked++;
      return [hashOf(broker).toString('base64')];
    };
    const { client, seen } = open({ ...there, certificateHashes });
    await connected(client);
    client.stream.destroy();
    await connected(client);
    assert.deepEqual([asked, seen.kinds], [2, ['webtransport', 'webtransport']]);
    await client.endAsync();
  });

  for (const { name, more, reason } of REASONS) {
    test(`it falls back when ${name}, and says so`, async () => {
      const options = { ...there, fallbackUrl: broker.url('ws'), ...more(broker) };
      const { client, seen } = open(options);
      await until(() => seen.kinds.length > 0);
      assert.equal(seen.kinds[0], 'websocket');
      assert.match(seen.reasons[0], reason);
      await client.endAsync();
    });
  }

  test('the fall-back may be wss with a class of its own, and carries large messages too', async () => {
    const ca = readFileSync(broker.caFile);
    class TrustingWebSocket extends WebSocket {
      constructor(url: string, protocols?: string | string[]) {
        super(url, protocols, { ca });
      }
    }
    const fallback = { fallbackUrl: broker.url('wss'), WebSocket: TrustingWebSocket };
    const { client, seen } = open({ url: 'https://127.0.0.1:1/mqtt', ...fallback });
    await connected(client);
    await client.subscribeAsync('b', { qos: 1 });
    const heard = new Promise<Buffer>((resolve) =>
      client.once('message', (_topic, payload) => resolve(payload)),
    );
    await client.publishAsync('b', Buffer.alloc(LARGE_BYTES), { qos: 1 });
    assert.equal((await heard).length, LARGE_BYTES);
    assert.deepEqual(seen.kinds, ['websocket']);
    await client.endAsync();
  });

  test('when nothing comes up its error names both, and it connects when the broker is there', async () => {
    const first = await startChildBroker({ doors: DOORS, ...USERS });
    const [wt, ws] = [first.url('wt'), first.url('ws')];
    await first.stop();
    let certificateHashes: Buffer[] = [Buffer.alloc(32)];
    const { client, seen } = open({
      url: wt.replace('wt:', 'https:'),
      fallbackUrl: ws,
      WebTransport,
      certificateHashes: () => certificateHashes,
      timeoutMs: SHORT_MS,
      retryAfterMs: SHORT_MS,
    });
    await until(() => seen.errors.length > 0);
    assert.ok(seen.errors[0] instanceof TransportError);
    assert.match(seen.errors[0].message, /^WebSocket to ws:.* Before that: WebTransport to https:/);
    const second = await startChildBroker({ doors: [wt, ws], ...USERS });
    certificateHashes = [hashOf(second)];
    await until(() => seen.kinds.at(-1) === 'webtransport');
    await client.endAsync();
    await second.stop();
  });

  test("with the browser's own class an outage is not met with a handshake for each attempt", async (t) => {
    let asked = 0;
    const certificateHashes = () => {
      asked++;
      return [Buffer.alloc(32)];
    };
    // A browser is a place that has the class; what it is slowed down by is that of Chromium alone.
    t.after(() => Reflect.deleteProperty(globalThis, 'WebTransport'));
    Object.assign(globalThis, { WebTransport });
    const nowhere = { url: 'https://127.0.0.1:1/mqtt', fallbackUrl: 'ws://127.0.0.1:1/mqtt' };
    const { seen } = open({ ...nowhere, certificateHashes, timeoutMs: SHORT_MS }, { reconnectPeriod: 10 });
    await until(() => seen.errors.length >= 10);
    assert.ok(asked <= 5, `${asked} handshakes for ${seen.errors.length} attempts`);
    const alone = open({ url: nowhere.url, certificateHashes, timeoutMs: SHORT_MS }, { connectTimeout: 100 });
    asked = 0;
    await until(() => alone.seen.errors.length >= 10);
    assert.ok(asked <= 5, `${asked} handshakes for ${alone.seen.errors.length} attempts`);
  });

  test('it falls back when a session comes up and no answer does', async () => {
    const relay = await new UdpRelay(broker.port('wt')).open();
    // The network that lets the handshake through and nothing more.
    class Mute extends WebTransport {
      override async createBidirectionalStream() {
        const stream = await super.createBidirectionalStream();
        await relay.close();
        return stream;
      }
    }
    const url = `https://127.0.0.1:${relay.port}/mqtt`;
    const options = { ...there, url, WebTransport: Mute, fallbackUrl: broker.url('ws') };
    const { client, seen } = open(options, { connectTimeout: 2_000 });
    await until(() => seen.kinds.length > 0);
    assert.deepEqual(seen.kinds, ['websocket']);
    assert.match(seen.reasons[0], /it ended before an answer came/);
    await client.endAsync();
  });

  test('it falls back when UDP dies under a connection', async () => {
    const relay = await new UdpRelay(broker.port('wt')).open();
    const url = `https://127.0.0.1:${relay.port}/mqtt`;
    const { client, seen } = open({ ...there, url, fallbackUrl: broker.url('ws') }, { keepalive: 1 });
    await connected(client);
    await relay.close();
    await until(() => seen.kinds.length === 2);
    assert.deepEqual(seen.kinds, ['webtransport', 'websocket']);
    await client.endAsync();
  });

  test('it stays on the fall-back with moveBack off, and takes WebTransport when it connects again', async () => {
    const relay = await new UdpRelay(broker.port('wt')).open();
    const url = `https://127.0.0.1:${relay.port}/mqtt`;
    await relay.close();
    const times = { timeoutMs: 1_000, retryAfterMs: 1, retryAfterMaxMs: 1 };
    const { client, seen } = open({
      ...there,
      url,
      fallbackUrl: broker.url('ws'),
      moveBack: false,
      ...times,
    });
    await connected(client);
    await relay.open();
    for (let n = 0; n < 10; n++) await client.publishAsync('c', 'still here', { qos: 1 });
    assert.deepEqual(seen.kinds, ['websocket']);
    while (seen.kinds.at(-1) !== 'webtransport') {
      client.stream.destroy();
      await connected(client);
    }
    await client.endAsync();
    await relay.close();
  });

  test('it leaves WebTransport alone for longer after each failure, up to a bound', async () => {
    let asked = 0;
    const certificateHashes = () => {
      asked++;
      return [Buffer.alloc(32)];
    };
    const options = { ...there, certificateHashes, fallbackUrl: broker.url('ws') };
    const { client, seen } = open({ ...options, retryAfterMs: 60_000 });
    for (let n = 0; n < 4; n++) {
      await connected(client);
      client.stream.destroy();
    }
    assert.equal(asked, 1);
    assert.deepEqual(seen.kinds, Array(4).fill('websocket'));
    await client.endAsync(true);
    const other = open({ ...options, retryAfterMs: 1, retryAfterMaxMs: 1 });
    await until(() => asked >= 6);
    assert.deepEqual(other.seen.kinds, ['websocket'], 'it looks without giving up what it has');
    await other.client.endAsync();
  });

  test('after moving from a slow fall-back its subscriptions are there, and its will is not published', async () => {
    const relay = await new UdpRelay(broker.port('wt')).open();
    const url = `https://127.0.0.1:${relay.port}/mqtt`;
    await relay.close();
    const watcher = await connectAsync(broker.url('ws'));
    const willed: string[] = [];
    watcher.on('message', (_topic, payload) => void willed.push(payload.toString()));
    await watcher.subscribeAsync('will');
    const will = { topic: 'will', payload: Buffer.from('gone'), qos: 0, retain: false } as const;
    const times = { timeoutMs: 1_000, retryAfterMs: SHORT_MS, retryAfterMaxMs: SHORT_MS };
    const slow = await slowPort(broker.port('ws'));
    const fallbackUrl = `ws://127.0.0.1:${(slow.address() as AddressInfo).port}/mqtt`;
    const { client, seen } = open({ ...there, url, fallbackUrl, ...times }, { will });
    await connected(client);
    await client.subscribeAsync('d', { qos: 1 });
    await relay.open();
    await until(() => seen.kinds.length === 2);
    const heard = new Promise<Buffer>((resolve) =>
      client.once('message', (_topic, payload) => resolve(payload)),
    );
    await until(() => client.connected);
    await client.publishAsync('d', 'moved', { qos: 1 });
    assert.equal((await heard).toString(), 'moved');
    await watcher.publishAsync('will', 'nothing came before this', { qos: 1 });
    await until(() => willed.length > 0);
    assert.deepEqual(willed, ['nothing came before this']);
    await Promise.all([client.endAsync(), watcher.endAsync()]);
    await relay.close();
    slow.close();
  });
});

describe('options of the WebTransport adapter', () => {
  const url = 'https://broker.example.com:8443/mqtt';
  const fallbackUrl = 'wss://broker.example.com:8084/mqtt';
  const wrong: [string, TransportOptions, RegExp][] = [
    ['a url of another scheme', { url: 'wt://x/mqtt', WebTransport }, /url "wt:\/\/x\/mqtt" is no https:/],
    ['a url that is none', { url: 'x', WebTransport }, /Write it like https:\/\/broker\.example\.com:8443/],
    ['a fallbackUrl of another scheme', { url, fallbackUrl: url, WebTransport }, /is no wss: or ws: address/],
    ['no class and no fallbackUrl', { url }, /Hand in a class \(WebTransport\), or give a fallbackUrl/],
    ['a time that is none', { url, fallbackUrl, timeoutMs: 0 }, /timeoutMs is 0\. Write a whole number/],
    ['a time that timers cannot keep', { url, fallbackUrl, retryAfterMs: 2 ** 31 }, /1 to 2147483647/],
  ];
  for (const [name, options, message] of wrong) {
    test(`${name} is refused before anything is tried`, () => {
      assert.throws(() => connect(MqttClient, options, {}), { name: 'TypeError', message });
    });
  }
});
