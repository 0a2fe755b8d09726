/** The broker's core in this process, on a store that crashes: no sockets, no files, and a seed repeats every step. */
import { Broker } from '../../../src/broker/broker.ts';
import type { StoreOperation } from '../../../src/interfaces/store.ts';
import { MemoryTransport } from '../../../transports/memory.ts';
import type { Random } from '../../codec/random-packets.ts';
import { refuse } from '../../support/broker.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { CrashingStore, type Weather } from './crashing-store.ts';
import type { History } from './history.ts';
import { type Link, memoryLink } from './link.ts';
import type { Stage } from './stage.ts';

/** Turns of the event loop without any event after which none will come; more than the slowest batch takes. */
const QUIET_TURNS = 60;
const CALM: Weather = { delayTurnsMax: 1, failsAfterBatches: null, fullBatches: null };

export class CoreStage implements Stage {
  stopped = true;
  readonly #history: History;
  readonly #random: Random;
  readonly #weather: (random: Random) => Weather;
  readonly #clock = new FakeClock();
  #operations: readonly StoreOperation[] = [];
  #store: CrashingStore | null = null;
  #broker: Broker | null = null;
  #transport = new MemoryTransport();
  #links: Link[] = [];

  constructor(history: History, random: Random, weather: (random: Random) => Weather) {
    this.#history = history;
    this.#random = random;
    this.#weather = weather;
  }

  async start(calm: boolean): Promise<void> {
    const weather = calm ? CALM : this.#weather(this.#random);
    this.#store = new CrashingStore(this.#random, weather, this.#operations);
    this.#clock.advance(1_000);
    const broker = new Broker({
      authenticator: { authenticate: ({ username }) => ({ ok: true, username }) },
      authorizer: refuse(),
      store: this.#store,
      clock: this.#clock,
      log: { debug() {}, info() {}, warn() {}, error: (event, fields) => this.#defect(event, fields) },
      limits: { queueMessagesMax: 1_000_000, queueBytesMax: 1_000_000_000 },
      settings: { sysIntervalSeconds: 0 },
    });
    await broker.start();
    const door = broker.door('memory://local');
    this.#transport = new MemoryTransport();
    await this.#transport.listen((wire) => broker.accept(wire, door));
    this.#broker = broker;
    this.stopped = false;
  }

  async interruptStart(): Promise<void> {}

  async dial(): Promise<Link> {
    if (this.stopped) throw new Error('the broker has gone');
    const link = memoryLink(this.#transport.connect());
    this.#links.push(link);
    return link;
  }

  kill(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.#operations = this.#store!.crash();
    for (const link of this.#links.splice(0)) link.abort();
  }

  async gone(): Promise<void> {
    await this.#broker?.close();
    await this.#transport.close(0);
    this.#broker = null;
  }

  async quiet(): Promise<void> {
    let seen = this.#history.length;
    for (let turns = 0; turns < QUIET_TURNS; turns++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#history.length > seen) turns = 0;
      seen = this.#history.length;
    }
  }

  async close(): Promise<void> {
    this.kill();
    await this.gone();
  }

  /** What the broker logs as an error and the weather does not explain. */
  #defect(event: string, fields: object | undefined): void {
    if (event === 'store.full' || event === 'store.failed') return;
    this.#history.add({
      kind: 'broken',
      client: '',
      what: `the broker logs ${event} ${JSON.stringify(fields)}`,
    });
  }
}
