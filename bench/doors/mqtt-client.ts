/** An MQTT connection of the load client, over whatever door. */
import type { ByteStream, Connection, Dial } from './dial.ts';
import { connectPacket, DISCONNECT, PacketScanner, pubackPacket, subscribePacket } from './packets.ts';
import type { Target } from './task.ts';

/** What a load does with what arrives. */
export interface ClientEvents {
  published?(stampMs: number): void;
  acknowledged?(packetId: number): void;
  /** Everything of a chunk has been raised: the time to write. */
  chunk?(): void;
}

export class MqttClient {
  /** The first carries CONNECT; further ones only where they were asked for. */
  readonly streams: ByteStream[];
  readonly #connection: Connection;
  readonly #events: ClientEvents;
  /** What waits for CONNACK or SUBACK. Which is whose does not matter: any refusal is the end. */
  readonly #waiting: ((returnCode: number) => void)[];
  #isClosing: boolean;

  private constructor(connection: Connection, events: ClientEvents) {
    this.#connection = connection;
    this.#events = events;
    this.#waiting = [];
    this.#isClosing = false;
    this.streams = [];
    this.#listen(connection.control);
  }

  /** Resolves when CONNACK is there and `streams` more streams are open. Rejects when the broker refuses, or the connection ends. */
  static async open(
    dial: Dial,
    clientId: string,
    target: Target,
    events: ClientEvents,
    streams = 0,
  ): Promise<MqttClient> {
    const client = new MqttClient(await dial(), events);
    await client.#ask(connectPacket(clientId, target.user, target.password), client.streams[0]);
    for (let index = 0; index < streams; index += 1) client.#listen(await client.#connection.openStream());
    return client;
  }

  /** Rejects when the connection ends without having been closed here. */
  failed(): Promise<never> {
    return this.#connection.ended.then((why) => {
      if (this.#isClosing) return new Promise(() => {});
      throw new Error(why);
    });
  }

  /** The SUBSCRIBE goes over this stream, and so do its messages. */
  async subscribe(filter: string, qos: 0 | 1, stream = this.streams[0]): Promise<void> {
    await this.#ask(subscribePacket(1, filter, qos), stream);
  }

  close(): void {
    this.#isClosing = true;
    this.streams[0].write(DISCONNECT);
    this.#connection.close();
  }

  async #ask(packet: Buffer, stream: ByteStream): Promise<void> {
    const answer = new Promise<number>((resolve) => {
      this.#waiting.push(resolve);
    });
    stream.write(packet);
    const returnCode = await Promise.race([answer, this.failed()]);
    if (returnCode > 2) throw new Error(`the broker refused with code ${returnCode}`);
  }

  #listen(stream: ByteStream): void {
    let acknowledgements: Buffer[] = [];
    const scanner = new PacketScanner({
      published: (stampMs, packetId) => {
        if (packetId !== 0) acknowledgements.push(pubackPacket(packetId));
        this.#events.published?.(stampMs);
      },
      acknowledged: (packetId) => this.#events.acknowledged?.(packetId),
      answered: (returnCode) => this.#waiting.shift()?.(returnCode),
    });
    this.streams.push(stream);
    stream.onData((chunk) => {
      scanner.push(chunk);
      if (acknowledgements.length > 0) {
        stream.write(Buffer.concat(acknowledgements));
        acknowledgements = [];
      }
      this.#events.chunk?.();
    });
  }
}
