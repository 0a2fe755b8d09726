/**
 * What a process of its own costs an engine: two brokers side by side, one with `isolate: false`, in turns; every figure beside its ratio.
 * `npm run bench:engines -- [rounds] [quic|wt|mqtts …]`. Runs `dist/` where it is there.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { encodePacket } from '../src/codec/encode.ts';
import type { RawClient } from '../test/contract/transport.ts';
import { type ChildBroker, startChildBroker } from '../test/support/child-broker.ts';
import { connect, publish, subscribe } from '../test/support/packets.ts';
import { QuicClient } from '../test/transports/quic-client.ts';
import { socketClient } from '../test/transports/socket-client.ts';
import { webTransportClient } from '../test/transports/webtransport-client.ts';

type Scheme = 'quic' | 'wt' | 'mqtts';

const SMALL = { payloadBytes: 64, messages: 200_000, inFlightMax: 2_000, writeMessages: 50 };
const LARGE = { payloadBytes: 100_000, messages: 500, inFlightMax: 8, writeMessages: 1 };
const ROUND_TRIPS = 3_000;
const CLIENTS = 100;
const CLIENT_MESSAGES = 100;
const IDLE_CONNECTIONS = 1_000;
const TICK_MS = 10;
const VERSION = 5;

const dialers: Record<Scheme, (broker: ChildBroker) => Promise<RawClient>> = {
  quic: (broker) => QuicClient.dial(broker.port('quic'), { handshakeMs: 10_000 }),
  wt: (broker) =>
    webTransportClient(broker.url('wt'), path.join(broker.directory, 'certs', 'webtransport.pem')),
  mqtts: (broker) => {
    const ca = readFileSync(broker.caFile);
    return socketClient(tlsConnect({ host: '127.0.0.1', port: broker.port('mqtts'), ca }), 'secureConnect');
  },
};

/** A broker, and the process of its engine where that has one. */
class Side {
  readonly broker: ChildBroker;
  readonly scheme: Scheme;
  readonly engine: number | undefined;

  constructor(broker: ChildBroker, scheme: Scheme) {
    this.broker = broker;
    this.scheme = scheme;
    const pid = /"pid":(\d+)[^\n]*door\.engine_process/.exec(broker.output())?.[1];
    this.engine = pid === undefined ? undefined : Number(pid);
  }

  static async start(scheme: Scheme, isolate: boolean): Promise<Side> {
    const broker = await startChildBroker({
      doors: [`${scheme}://127.0.0.1:0`],
      listener: { isolate, ...(scheme === 'wt' ? { engine: 'rwebtransport' } : {}) },
      config: {
        log: { file: '', pretty: 'never' },
        strangers: { perAddressMax: 0, perPrefixMax: 0, connectsPerSecondPerAddressMax: 0 },
      },
    });
    return new Side(broker, scheme);
  }

  /** CPU time of broker and engine so far, in milliseconds. */
  cpuMs(): number[] {
    return [this.broker.pid, this.engine].map((pid) => {
      if (pid === undefined) return 0;
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
      return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    });
  }

  /** Memory that broker and engine share with nobody, in megabytes. */
  memoryMb(): number[] {
    return [this.broker.pid, this.engine].map((pid) => {
      if (pid === undefined) return 0;
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      return Number(/^Pss:\s+(\d+)/m.exec(text)![1]) / 1_024;
    });
  }

  async dial(clientId: string): Promise<Client> {
    const { broker, scheme } = this;
    const client = new Client(await dialers[scheme](broker));
    await client.ask(encodePacket(connect({ clientId }), VERSION));
    return client;
  }
}

/** Counts bytes that come back. */
class Client {
  readonly raw: RawClient;
  receivedBytes = 0;
  onReceived = (): void => {};

  constructor(raw: RawClient) {
    this.raw = raw;
    raw.onData((chunk) => {
      this.receivedBytes += chunk.length;
      this.onReceived();
    });
  }

  /** Resolves with the first bytes of the answer. */
  ask(bytes: Uint8Array): Promise<void> {
    this.raw.write(bytes);
    return new Promise((resolve) => {
      this.onReceived = resolve;
    });
  }
}

/** Publishes with QoS 0 to itself, with a bounded number under way. Seconds that it took. */
async function flood(
  side: Side,
  { payloadBytes, messages, inFlightMax, writeMessages }: typeof SMALL,
): Promise<number> {
  const client = await side.dial('flood');
  await client.ask(encodePacket(subscribe(1, ['t']), VERSION));
  const message = encodePacket(publish('t', Buffer.alloc(payloadBytes, 'x')), VERSION);
  const burst = Buffer.concat(Array.from({ length: writeMessages }, () => message));
  client.receivedBytes = 0;
  const startedAt = performance.now();
  await new Promise<void>((resolve) => {
    let sent = 0;
    const go = (): void => {
      const received = Math.floor(client.receivedBytes / message.length);
      if (received >= messages) resolve();
      while (sent < messages && sent - received + writeMessages <= inFlightMax) {
        sent += writeMessages;
        client.raw.write(burst);
      }
    };
    client.onReceived = go;
    go();
  });
  client.raw.end();
  return (performance.now() - startedAt) / 1_000;
}

/** QoS 1, one at a time. Milliseconds from PUBLISH to PUBACK: the median and the 99th percentile. */
async function roundTrips(side: Side): Promise<[number, number]> {
  const client = await side.dial('latency');
  const message = encodePacket(publish('t', 'x'.repeat(64), { qos: 1, packetId: 1 }), VERSION);
  const times: number[] = [];
  for (let n = 0; n < ROUND_TRIPS; n++) {
    const startedAt = performance.now();
    await client.ask(message);
    times.push(performance.now() - startedAt);
  }
  client.raw.end();
  times.sort((a, b) => a - b);
  return [times[ROUND_TRIPS / 2], times[Math.floor(ROUND_TRIPS * 0.99)]];
}

/** Many clients with one QoS 1 message under way each. Seconds that it took. */
async function crowd(side: Side): Promise<number> {
  const clients: Client[] = [];
  for (let n = 0; n < CLIENTS; n++) clients.push(await side.dial(`crowd${n}`));
  const message = encodePacket(publish('t', 'x'.repeat(64), { qos: 1, packetId: 1 }), VERSION);
  const startedAt = performance.now();
  const run = async (client: Client): Promise<void> => {
    for (let n = 0; n < CLIENT_MESSAGES; n++) await client.ask(message);
  };
  await Promise.all(clients.map(run));
  const seconds = (performance.now() - startedAt) / 1_000;
  for (const { raw } of clients) raw.end();
  return seconds;
}

/** What was measured, by name: for each of the two sides one number a round. */
class Figures {
  readonly #numbers = new Map<string, [number[], number[]]>();

  add(name: string, side: number, value: number): void {
    const both = this.#numbers.get(name) ?? [[], []];
    this.#numbers.set(name, both);
    both[side].push(value);
  }

  print(): void {
    for (const [name, [inBroker, isolated]] of this.#numbers) {
      const ratios = isolated.map((value, round) => value / inBroker[round]).sort((a, b) => a - b);
      const ratio = `${median(ratios).toFixed(2)} (${ratios[0].toFixed(2)} to ${ratios[ratios.length - 1].toFixed(2)})`;
      process.stdout.write(
        `| ${name} | ${show(median(inBroker))} | ${show(median(isolated))} | ${ratio} |\n`,
      );
    }
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function show(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

async function measure(side: Side, which: number, figures: Figures): Promise<void> {
  const withCpu = async (name: string, messages: number, run: () => Promise<number>): Promise<number> => {
    const before = side.cpuMs();
    const seconds = await run();
    const [broker, engine] = side.cpuMs().map((ms, n) => (ms - before[n]) * (1_000 / messages));
    figures.add(`${name}: CPU of broker and engine, µs a message`, which, broker + engine);
    figures.add(`${name}: CPU of the broker alone, µs a message`, which, broker);
    return seconds;
  };
  const small = await withCpu('QoS 0, 64 bytes', SMALL.messages, () => flood(side, SMALL));
  figures.add('QoS 0, 64 bytes, there and back: messages/s', which, SMALL.messages / small);
  const large = await withCpu('QoS 0, 100 kB', LARGE.messages, () => flood(side, LARGE));
  figures.add(
    'QoS 0, 100 kB, there and back: MB/s each way',
    which,
    (LARGE.messages * LARGE.payloadBytes) / 1e6 / large,
  );
  const [middle, late] = await roundTrips(side);
  figures.add('QoS 1, PUBLISH to PUBACK: ms, median', which, middle);
  figures.add('QoS 1, PUBLISH to PUBACK: ms, 99 %', which, late);
  const many = CLIENTS * CLIENT_MESSAGES;
  const seconds = await withCpu(`${CLIENTS} clients, QoS 1`, many, () => crowd(side));
  figures.add(`${CLIENTS} clients, QoS 1, one under way each: messages/s`, which, many / seconds);
}

/** Memory before and with connections that do nothing. */
async function idle(side: Side, name: string): Promise<void> {
  const tell = (what: string): void => {
    const [broker, engine] = side.memoryMb();
    process.stdout.write(
      `${name}, ${what}: broker ${broker.toFixed(0)} MB, engine ${engine.toFixed(0)} MB\n`,
    );
  };
  tell('no connection');
  const clients: Client[] = [];
  for (let n = 0; n < IDLE_CONNECTIONS; n++) clients.push(await side.dial(`idle${n}`));
  tell(`${IDLE_CONNECTIONS} connections`);
  for (const { raw } of clients) raw.end();
}

const [roundsText = '5', ...wanted] = process.argv.slice(2);
for (const scheme of (wanted.length === 0 ? ['quic', 'wt'] : wanted) as Scheme[]) {
  const sides = [await Side.start(scheme, false), await Side.start(scheme, true)];
  const figures = new Figures();
  for (const [n, side] of sides.entries())
    await idle(side, `${scheme}, ${n === 0 ? 'in the broker' : 'isolated'}`);
  for (let round = 0; round < Number(roundsText); round++) {
    for (const n of round % 2 === 0 ? [0, 1] : [1, 0]) await measure(sides[n], n, figures);
  }
  process.stdout.write(`| ${scheme} | in the broker | isolated | ratio |\n|---|---|---|---|\n`);
  figures.print();
  for (const { broker } of sides) await broker.stop();
}
process.exit();
