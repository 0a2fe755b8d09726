/** What a publish costs when many subscriptions exist that it does not match. */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { PASSWORD, type RunningBroker, startBroker, USER } from './brokers.ts';

export interface PublishCost {
  readonly subscriptions: number;
  /** Broker CPU per QoS 1 publish, in microseconds. */
  readonly cpuUsPerPublish: number;
  readonly rssMb: number;
}

const COUNTS = [1_000, 1_000_000] as const;
const FILTERS_PER_CLIENT = 100_000;
const FILTERS_PER_PACKET = 1_000;
/** Topics that one after the other are published to, so that no broker can answer from memory of the last one. */
const TOPICS = 5_000;
const PUBLISHES = 200_000;
const WARM_UP_PUBLISHES = 100_000;
const PUBLISHES_UNDER_WAY = 100;
/** Linux counts CPU time in hundredths of a second. */
const TICKS_PER_SECOND = 100;

/** Runs Sluice alone, once for each number of subscriptions. */
export async function measureSubscriptions(): Promise<PublishCost[]> {
  const results: PublishCost[] = [];
  for (const subscriptions of COUNTS) {
    const limits = { subscriptionsPerClientMax: FILTERS_PER_CLIENT };
    const broker = await startBroker('sluice', { open: false, config: { limits } });
    try {
      results.push(await measure(broker, subscriptions));
    } finally {
      await broker.stop();
    }
  }
  return results;
}

async function measure(broker: RunningBroker, subscriptions: number): Promise<PublishCost> {
  const subscribers: RawClient[] = [];
  for (let first = 0; first < subscriptions; first += FILTERS_PER_CLIENT) {
    const client = await RawClient.open(broker.port, `subscriber-${first}`);
    const count = Math.min(FILTERS_PER_CLIENT, subscriptions - first);
    for (let at = first; at < first + count; at += FILTERS_PER_PACKET) {
      await client.subscribe(Array.from({ length: FILTERS_PER_PACKET }, (_, index) => filterOf(at + index)));
    }
    subscribers.push(client);
  }
  const publisher = await RawClient.open(broker.port, 'publisher');
  await publisher.publishMany(WARM_UP_PUBLISHES);
  const before = cpuSeconds(broker.pid);
  await publisher.publishMany(PUBLISHES);
  const cpuUsPerPublish = ((cpuSeconds(broker.pid) - before) * 1e6) / PUBLISHES;
  for (const client of [...subscribers, publisher]) client.close();
  return { subscriptions, cpuUsPerPublish, rssMb: rssMb(broker.pid) };
}

/** Half of the filters share all but their last level with a topic that is published; a tenth ends in a wildcard. */
function filterOf(index: number): string {
  const site = `bench/site/${index % TOPICS}`;
  if (index % 10 === 0) return `${site}/other/${index}/#`;
  return index % 2 === 0 ? `${site}/device/${index}` : `bench/fleet/${index}/+/state`;
}

function topicOf(index: number): string {
  return `bench/site/${index % TOPICS}/device/data`;
}

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function rssMb(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * (4096 / 1_048_576);
}

/** Just enough of an MQTT 3.1.1 client: a library's own work would hide what is measured. */
class RawClient {
  readonly #socket: Socket;
  #rest: Buffer = Buffer.alloc(0);
  #acknowledged = 0;
  #wanted = 0;
  #resolve: () => void = () => {};
  #reject: (error: Error) => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('error', (error) => this.#reject(error));
    socket.on('close', () => this.#reject(new Error('the broker closed the connection')));
  }

  static async open(port: number, clientId: string): Promise<RawClient> {
    const client = new RawClient(connect({ host: '127.0.0.1', port }));
    const head = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0xc2, 0, 0]);
    await client.#exchange([frame(0x10, head, text(clientId), text(USER), text(PASSWORD))], 1);
    return client;
  }

  subscribe(filters: readonly string[]): Promise<void> {
    const entries = filters.flatMap((filter) => [text(filter), Buffer.from([0])]);
    return this.#exchange([frame(0x82, Buffer.from([0, 1]), ...entries)], 1);
  }

  async publishMany(count: number): Promise<void> {
    for (let sent = 0; sent < count; sent += PUBLISHES_UNDER_WAY) {
      const frames = Array.from({ length: PUBLISHES_UNDER_WAY }, (_, index) => {
        const packetId = Buffer.from([0, index + 1]);
        return frame(0x32, text(topicOf(sent + index)), packetId, Buffer.alloc(64));
      });
      await this.#exchange(frames, PUBLISHES_UNDER_WAY);
    }
  }

  close(): void {
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
  }

  /** Sends, and resolves when that many packets have come back. */
  #exchange(frames: readonly Buffer[], answers: number): Promise<void> {
    this.#acknowledged = 0;
    this.#wanted = answers;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#socket.write(Buffer.concat(frames));
    });
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let offset = 0;
    for (let end = endOfPacket(bytes, offset); end !== -1; end = endOfPacket(bytes, offset)) {
      if (bytes[offset] === 0x20 && bytes[offset + 3] !== 0) this.#reject(new Error('login refused'));
      if (bytes[offset] === 0x90 && bytes[end - 1] >= 0x80) this.#reject(new Error('subscription refused'));
      offset = end;
      this.#acknowledged += 1;
    }
    this.#rest = bytes.subarray(offset);
    if (this.#acknowledged >= this.#wanted) this.#resolve();
  }
}

/** Where the packet that begins at `offset` ends; -1 when it is not all there. */
function endOfPacket(bytes: Buffer, offset: number): number {
  let length = 0;
  for (let index = 0; index < 4 && offset + 1 + index < bytes.length; index += 1) {
    const byte = bytes[offset + 1 + index];
    length += (byte & 127) * 128 ** index;
    if (byte < 128) {
      const end = offset + 2 + index + length;
      return end <= bytes.length ? end : -1;
    }
  }
  return -1;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

function frame(header: number, ...parts: readonly Buffer[]): Buffer {
  let rest = parts.reduce((sum, part) => sum + part.length, 0);
  const head = [header];
  do {
    head.push(rest > 127 ? (rest & 127) | 128 : rest);
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from(head), ...parts]);
}
