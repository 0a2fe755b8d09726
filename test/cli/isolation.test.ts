/** A broker whose native engine dies, and an engine whose broker dies. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import mqtt from 'mqtt';
import { loadConfig } from '../../config/load.ts';
import { encodePacket } from '../../src/codec/encode.ts';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { connect, publish } from '../support/packets.ts';
import { QuicClient } from '../transports/quic-client.ts';

const QUIC = 'quic://127.0.0.1:0';
const LOG = { level: 'info', file: '', pretty: 'never' };
const VERSION = 5;
const RETRY_MS = 20;
const root = mkdtempSync(join(tmpdir(), 'sluice-isolation-'));
after(() => rmSync(root, { recursive: true }));

/** Process ids of the engines that the broker has told of, the newest last. */
function enginesOf(broker: ChildBroker): number[] {
  const lines = broker.output().split('\n');
  return lines
    .filter((line) => /"door\.engine_(process|back)"/.test(line))
    .map((line) => Number(/"pid":(\d+)/.exec(line)![1]));
}

/** A QUIC client whose CONNECT was accepted; tries again while nobody answers. */
async function joinByQuic(broker: ChildBroker, will?: string): Promise<QuicClient> {
  for (;;) {
    try {
      const client = await QuicClient.dial(broker.port('quic'), { ca: broker.caFile });
      const answered = new Promise<Buffer>((resolve) => client.onData(resolve));
      const options = will === undefined ? {} : { will: { topic: will, payload: 'gone' } };
      client.write(encodePacket(connect({ clientId: 'by-quic', ...options }), VERSION));
      const answer = await Promise.race([answered, client.ended]);
      if (Buffer.isBuffer(answer)) return client;
    } catch {
      // The engine is on its way.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function topicOfNext(client: mqtt.MqttClient): Promise<string> {
  return new Promise((resolve) => client.once('message', resolve));
}

describe('an engine in a process of its own', () => {
  test('takes nobody along when it dies: wills are sent, TCP clients notice nothing, its own come back', {
    timeout: 60_000,
  }, async () => {
    const broker = await startChildBroker({ doors: ['mqtt://127.0.0.1:0', QUIC], config: { log: LOG } });
    try {
      const watcher = await mqtt.connectAsync(broker.url('mqtt'), { reconnectPeriod: 0 });
      let closes = 0;
      watcher.on('close', () => closes++);
      await watcher.subscribeAsync(['wills', 'news']);
      const first = await joinByQuic(broker, 'wills');
      const will = topicOfNext(watcher);
      process.kill(enginesOf(broker)[0], 'SIGSEGV');
      assert.equal(await will, 'wills');
      first.abort();
      const client = await joinByQuic(broker);
      const news = topicOfNext(watcher);
      client.write(encodePacket(publish('news', 'hello'), VERSION));
      assert.equal(await news, 'news');
      assert.equal(closes, 0);
      assert.match(broker.output(), /"door\.engine_crashed"/);
      assert.match(broker.output(), /"signal":"SIGSEGV"/);
      assert.equal(new Set(enginesOf(broker)).size, 2);
      client.end();
      await watcher.endAsync();
      assert.equal(await broker.stop(), 0);
    } finally {
      await broker.stop();
    }
  });

  test('may be all that there is: the broker waits for the next', { timeout: 60_000 }, async () => {
    const config = { log: LOG, persistence: { enabled: false } };
    const broker = await startChildBroker({ doors: [QUIC], config });
    try {
      for (let deaths = 1; deaths <= 3; deaths++) {
        process.kill(enginesOf(broker).at(-1)!, 'SIGKILL');
        while (enginesOf(broker).length <= deaths) {
          process.kill(broker.pid, 0);
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        }
      }
      (await joinByQuic(broker)).end();
      assert.equal(await broker.stop(), 0);
    } finally {
      await broker.stop();
    }
  });

  test('ends by itself when the broker dies', { timeout: 60_000 }, async () => {
    const broker = await startChildBroker({ doors: [QUIC], config: { log: LOG } });
    const port = broker.port('quic');
    assert.equal(enginesOf(broker).length, 1);
    process.kill(broker.pid, 'SIGKILL');
    // Its port is free again: a process that nobody waits for stays in the table for a while.
    for (let isFree = false; !isFree; ) {
      const socket = createSocket('udp4').bind(port, '127.0.0.1');
      isFree = await once(socket, 'listening').then(
        () => true,
        () => false,
      );
      socket.close();
      if (!isFree) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    await broker.stop();
  });

  test('stays until the broker has said goodbye, whatever signals come to all processes', {
    timeout: 60_000,
  }, async () => {
    const broker = await startChildBroker({ doors: [QUIC], config: { log: LOG } });
    const client = await joinByQuic(broker);
    const heard: Buffer[] = [];
    client.onData((chunk) => heard.push(chunk));
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(enginesOf(broker)[0], signal);
    const stopping = broker.stop();
    await client.ended;
    // DISCONNECT, Server shutting down.
    assert.equal(Buffer.concat(heard).subarray(0, 3).toString('hex'), 'e0018b');
    assert.equal(await stopping, 0);
  });

  test('is not there where a listener says isolate: false', { timeout: 60_000 }, async () => {
    const broker = await startChildBroker({
      doors: [QUIC],
      listener: { isolate: false },
      config: { log: LOG },
    });
    try {
      (await joinByQuic(broker)).end();
      assert.deepEqual(enginesOf(broker), []);
    } finally {
      await broker.stop();
    }
  });
});

test('isolate and its memory are options of doors with TLS alone, and one is nothing without the other', () => {
  const read = (text: string) => {
    const file = join(root, 's.yaml');
    writeFileSync(file, `auth: { allowAnonymous: true }\nlisteners:\n  - { ${text} }\n`);
    return loadConfig({ file, env: {}, flags: {} }).listeners[0];
  };
  const tls = 'tls: { cert: a, key: b }';
  assert.equal(read(`url: "quic://0.0.0.0", ${tls}`).isolate, undefined);
  const { isolate, engineMemoryMaxBytes } = read(
    `url: "wt://0.0.0.0", isolate: true, engineMemoryMaxBytes: 268435456, ${tls}`,
  );
  assert.deepEqual([isolate, engineMemoryMaxBytes], [true, 268_435_456]);
  assert.throws(() => read('url: "mqtt://0.0.0.0", isolate: true'), /isolate: has no meaning for mqtt/);
  assert.throws(
    () => read(`url: "quic://0.0.0.0", isolate: false, engineMemoryMaxBytes: 268435456, ${tls}`),
    /engineMemoryMaxBytes: has no meaning without isolate/,
  );
  assert.equal(read(`url: "mqtts://0.0.0.0", isolate: true, ${tls}`).isolate, true);
  assert.throws(
    () => read(`url: "mqtts://0.0.0.0", engineMemoryMaxBytes: 268435456, ${tls}`),
    /engineMemoryMaxBytes: has no meaning without isolate/,
  );
  assert.throws(
    () =>
      read(
        `url: "mqtts://0.0.0.0", isolate: true, proxyProtocol: true, trustedProxies: ["10.0.0.1"], ${tls}`,
      ),
    /isolate: cannot be had with proxyProtocol/,
  );
  assert.equal(read(`url: "wss://0.0.0.0", isolate: true, ${tls}`).isolate, true);
  assert.throws(
    () => read(`url: "wss://0.0.0.0", isolate: true, trustedProxies: ["10.0.0.1"], ${tls}`),
    /isolate: cannot be had with trustedProxies/,
  );
});
