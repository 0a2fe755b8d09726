import { connect, type Socket } from 'node:net';
import { PASSWORD, USER } from './brokers.ts';

const PUBLISHES_UNDER_WAY = 100;

/** Just enough of an MQTT 3.1.1 client: a library's own work would hide what is measured. */
export class RawClient {
  readonly #socket: Socket;
  #rest: Buffer = Buffer.alloc(0);
  #acknowledged = 0;
  readonly #answers: Buffer[] = [];
  #wanted = 0;
  #messages = 0;
  #wantedMessages = Number.POSITIVE_INFINITY;
  #resolve: () => void = () => {};
  #reject: (error: Error) => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('error', (error) => this.#reject(error));
    socket.on('close', () => this.#reject(new Error('the broker closed the connection')));
  }

  /** `kept`: with a session that outlives the connection. */
  static async open(port: number, clientId: string, kept = false): Promise<RawClient> {
    const client = new RawClient(connect({ host: '127.0.0.1', port }));
    const head = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, kept ? 0xc0 : 0xc2, 0, 0]);
    await client.#exchange([frame(0x10, head, text(clientId), text(USER), text(PASSWORD))], 1);
    return client;
  }

  subscribe(filters: readonly string[], qos = 0): Promise<void> {
    const entries = filters.flatMap((filter) => [text(filter), Buffer.from([qos])]);
    return this.#exchange([frame(0x82, Buffer.from([0, 1]), ...entries)], 1);
  }

  /** Publishes 64-byte payloads at QoS 1 to `topicOf(0)` and so on, and waits for their acknowledgements. */
  async publishMany(count: number, topicOf: (index: number) => string): Promise<void> {
    for (let sent = 0; sent < count; sent += PUBLISHES_UNDER_WAY) {
      const frames = Array.from({ length: PUBLISHES_UNDER_WAY }, (_, index) => {
        const packetId = Buffer.from([0, index + 1]);
        return frame(0x32, text(topicOf(sent + index)), packetId, Buffer.alloc(64));
      });
      await this.#exchange(frames, PUBLISHES_UNDER_WAY);
    }
  }

  /** Waits until that many QoS 1 messages have come since `open`; each is acknowledged. */
  async receive(count: number): Promise<void> {
    this.#wanted = Number.POSITIVE_INFINITY;
    this.#wantedMessages = count;
    if (this.#messages >= count) return;
    await new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
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

  #acknowledge(bytes: Buffer, offset: number): void {
    const topic = offset + headerLength(bytes, offset);
    const packetId = topic + 2 + bytes.readUInt16BE(topic);
    this.#answers.push(Buffer.from([0x40, 2, bytes[packetId], bytes[packetId + 1]]));
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let offset = 0;
    for (let end = endOfPacket(bytes, offset); end !== -1; end = endOfPacket(bytes, offset)) {
      if (bytes[offset] === 0x20 && bytes[offset + 3] !== 0) this.#reject(new Error('login refused'));
      if (bytes[offset] === 0x90 && bytes[end - 1] >= 0x80) this.#reject(new Error('subscription refused'));
      if (bytes[offset] >> 4 === 3) this.#acknowledge(bytes, offset);
      const start = offset;
      offset = end;
      if (bytes[start] >> 4 === 3) this.#messages += 1;
      else this.#acknowledged += 1;
    }
    this.#rest = bytes.subarray(offset);
    if (this.#answers.length > 0) this.#socket.write(Buffer.concat(this.#answers.splice(0)));
    if (this.#acknowledged >= this.#wanted || this.#messages >= this.#wantedMessages) this.#resolve();
  }
}

/** Bytes of the fixed header that begins at `offset`. */
function headerLength(bytes: Buffer, offset: number): number {
  let length = 2;
  while (bytes[offset + length - 1] > 127) length += 1;
  return length;
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
