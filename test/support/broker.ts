/** A whole broker in this process: memory transport, memory store, a clock that only tests move. */
import type { TestContext } from 'node:test';
import { MemoryStore } from '../../persistence/memory.ts';
import { Broker } from '../../src/broker/broker.ts';
import type { OverloadOptions } from '../../src/broker/overload.ts';
import type { BrokerSettings } from '../../src/broker/settings.ts';
import type { ProtocolVersion } from '../../src/codec/packets.ts';
import type { Authenticator, Authorizer } from '../../src/interfaces/auth.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { Store } from '../../src/interfaces/store.ts';
import type { Wire, WireEvents } from '../../src/interfaces/transport.ts';
import type { Limits } from '../../src/limits.ts';
import { MemoryTransport } from '../../transports/memory.ts';
import { FakeClock } from './fake-clock.ts';
import type { ConnectOptions } from './packets.ts';
import type { SocketLinks } from './socket-links.ts';
import { settle, TestClient } from './test-client.ts';

export interface BrokerOptions {
  limits?: Partial<Limits>;
  store?: Store;
  authenticator?: Authenticator;
  authorizer?: Authorizer;
  log?: Log;
  settings?: Partial<BrokerSettings>;
  overload?: OverloadOptions;
}

const EVERYBODY: Authenticator = { authenticate: ({ username }) => ({ ok: true, username }) };
const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Over what the clients of brokers made from now on come. Without links: through memory. */
const over: { links: SocketLinks | undefined } = { links: undefined };

/** Has all brokers of this process play over a real door; see test/spec/wires. */
export function playOver(links: SocketLinks): void {
  over.links = links;
}

export class TestBroker {
  readonly clock: FakeClock = new FakeClock();
  readonly store: Store;
  readonly broker: Broker;
  /** What the broker said of its store. */
  readonly storeFailures: string[] = [];
  readonly #transport: MemoryTransport = new MemoryTransport();
  readonly #links: SocketLinks | undefined = over.links;
  #clients = 0;

  constructor(options: BrokerOptions) {
    this.store = options.store ?? new MemoryStore();
    this.broker = new Broker({
      authenticator: options.authenticator ?? EVERYBODY,
      authorizer: options.authorizer ?? refuse(),
      store: this.store,
      clock: this.clock,
      log: options.log ?? SILENT,
      onStoreFailed: (error) => this.storeFailures.push(error.message),
      limits: options.limits ?? {},
      ...(options.overload === undefined ? {} : { overload: options.overload }),
      settings: { sysIntervalSeconds: 0, ...options.settings },
    });
  }

  async start(): Promise<void> {
    await this.broker.start();
    const door = this.broker.door('memory://local');
    const accept = (wire: Wire): WireEvents => this.broker.accept(wire, door);
    await (this.#links?.open(accept) ?? this.#transport.listen(accept));
  }

  async stop(): Promise<void> {
    await this.broker.close();
    await (this.#links?.clear() ?? this.#transport.close(0));
  }

  /** A connection on which nothing was sent yet. */
  client(version: ProtocolVersion = 5): TestClient {
    return new TestClient(this.#links?.connect() ?? this.#transport.connect(), version);
  }

  /** A client that was let in; its client id is a new one unless told. */
  async connect(options: ConnectOptions = {}): Promise<TestClient> {
    this.#clients++;
    return await this.client(options.version ?? 5).connect({
      clientId: `client-${this.#clients}`,
      ...options,
    });
  }

  /** Lets time pass, and the broker do what is due. */
  async advanceSeconds(seconds: number): Promise<void> {
    await this.#links?.settled();
    this.clock.advance(seconds * 1000);
    await (this.#links?.settled() ?? settle());
  }
}

/** A broker for one test; it is gone when the test is over. */
export async function startBroker(t: TestContext, options: BrokerOptions = {}): Promise<TestBroker> {
  const broker = new TestBroker(options);
  await broker.start();
  t.after(() => broker.stop());
  return broker;
}

/** An authorizer that refuses these actions on these topics or filters, written `action topic`. */
export function refuse(...refused: string[]): Authorizer {
  return { generation: 0, may: (_identity, action, topic) => !refused.includes(`${action} ${topic}`) };
}
