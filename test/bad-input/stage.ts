/** A broker with real doors, a clock that only tests move, a log that remembers, and a client that must notice nothing. */
import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { MemoryStore } from '../../persistence/memory.ts';
import { Broker, type DoorOptions } from '../../src/broker/broker.ts';
import type { BrokerSettings } from '../../src/broker/settings.ts';
import type { ProtocolVersion } from '../../src/codec/packets.ts';
import type { Authenticator, Authorizer } from '../../src/interfaces/auth.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { Address } from '../../src/interfaces/transport.ts';
import type { Limits } from '../../src/limits.ts';
import { MemoryTransport } from '../../transports/memory.ts';
import { TcpTransport } from '../../transports/tcp.ts';
import { WebSocketTransport } from '../../transports/websocket.ts';
import type { RawClient } from '../contract/transport.ts';
import { refuse } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type ConnectOptions, publish, pubrel } from '../support/packets.ts';
import type { RealDoor, RealDoors } from '../support/real-doors.ts';
import { settle } from '../support/test-client.ts';
import { socketClient } from '../transports/socket-client.ts';
import { webSocketClient } from '../transports/websocket-client.ts';
import { DoorClient } from './door-client.ts';

/** Only a broker that hangs makes a test wait that long. */
const PATIENCE_MS = 20_000;

/** Doors with an engine that is not Node's; they open only where asked for. */
export type EngineDoorName = 'wt' | 'quic';
export type DoorName = 'memory' | 'tcp' | 'ws' | EngineDoorName;
export const REAL_DOORS = ['tcp', 'ws'] as const;
export const VERSIONS = [3, 4, 5] as const;

export interface StageOptions {
  readonly limits?: Partial<Limits>;
  readonly authenticator?: Authenticator;
  readonly authorizer?: Authorizer;
  readonly settings?: Partial<BrokerSettings>;
  /** Doors to be opened besides. */
  readonly engines?: readonly EngineDoorName[];
  /** Rules of the doors, other than the bystander's. */
  readonly door?: DoorOptions;
}

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly event: string;
  readonly fields: Record<string, unknown>;
}

/** Keeps what the broker says. */
export class LogDouble implements Log {
  lines: LogLine[] = [];

  debug(event: string, fields?: object): void {
    this.#keep('debug', event, fields);
  }

  info(event: string, fields?: object): void {
    this.#keep('info', event, fields);
  }

  warn(event: string, fields?: object): void {
    this.#keep('warn', event, fields);
  }

  error(event: string, fields?: object): void {
    this.#keep('error', event, fields);
  }

  /** The lines of one event. */
  of(event: string): LogLine[] {
    return this.lines.filter((line) => line.event === event);
  }

  #keep(level: LogLine['level'], event: string, fields: object = {}): void {
    this.lines.push({ level, event, fields: { ...fields } });
  }
}

const EVERYBODY: Authenticator = { authenticate: ({ username }) => ({ ok: true, username }) };

export class Stage {
  readonly clock = new FakeClock();
  readonly log = new LogDouble();
  readonly broker: Broker;
  /** Errors that reached a door from the core: there must be none. */
  readonly doorErrors: Error[] = [];
  readonly #memory: MemoryTransport;
  readonly #tcp: TcpTransport;
  readonly #ws: WebSocketTransport;
  readonly #door: DoorOptions;
  readonly #engines: readonly EngineDoorName[];
  readonly #opened = new Map<EngineDoorName, { readonly door: RealDoor; readonly address: Address }>();
  #doors: RealDoors | undefined;
  #tcpAddress!: Address;
  #wsAddress!: Address;

  constructor(options: StageOptions = {}) {
    this.#door = options.door ?? {};
    this.#engines = options.engines ?? [];
    const onError = (error: Error): void => void this.doorErrors.push(error);
    this.#memory = new MemoryTransport({ onError });
    this.#tcp = new TcpTransport({ url: 'mqtt://127.0.0.1:0' });
    this.#ws = new WebSocketTransport({ url: 'ws://127.0.0.1:0/mqtt' });
    this.broker = new Broker({
      authenticator: options.authenticator ?? EVERYBODY,
      authorizer: options.authorizer ?? refuse(),
      store: new MemoryStore(),
      clock: this.clock,
      log: this.log,
      limits: options.limits ?? {},
      settings: { sysIntervalSeconds: 0, ...options.settings },
    });
  }

  async open(): Promise<void> {
    const { broker } = this;
    await broker.start();
    const memory = broker.door('memory://local');
    const tcp = broker.door('mqtt://127.0.0.1', this.#door);
    const ws = broker.door('ws://127.0.0.1', this.#door);
    await this.#memory.listen((wire) => broker.accept(wire, memory));
    this.#tcpAddress = await this.#tcp.listen((wire) => broker.accept(wire, tcp));
    this.#wsAddress = await this.#ws.listen((wire) => broker.accept(wire, ws));
    if (this.#engines.length > 0) await this.#openEngines();
  }

  async #openEngines(): Promise<void> {
    // Only here: not every machine has them.
    const { RealDoors } = await import('../support/real-doors.ts');
    const doors = await RealDoors.create();
    this.#doors = doors;
    for (const name of this.#engines) {
      // That a handshake fails is told as well, and no defect.
      const door = doors.make(name);
      const rules = this.broker.door(`${name}://127.0.0.1`, this.#door);
      const address = await door.transport.listen((wire) => this.broker.accept(wire, rules));
      this.#opened.set(name, { door, address });
    }
  }

  async close(): Promise<void> {
    await this.broker.close();
    const engines = [...this.#opened.values()].map(({ door }) => door.transport);
    await Promise.all([this.#memory, this.#tcp, this.#ws, ...engines].map((transport) => transport.close(0)));
    this.#doors?.remove();
  }

  port(door: EngineDoorName): number {
    return this.#opened.get(door)!.address.port;
  }

  get webSocketUrl(): string {
    return this.#wsAddress.url;
  }

  /** A connection on which nothing was sent yet. */
  async dialRaw(door: DoorName): Promise<RawClient> {
    const { statistics } = this.broker;
    const before = statistics.connectionsOpened;
    const client = await this.#open(door);
    // A stream of QUIC is not seen before its first byte.
    if (door === 'quic') return client;
    await this.until(() => statistics.connectionsOpened > before, 'the broker has the connection');
    return client;
  }

  async #open(door: DoorName): Promise<RawClient> {
    if (door === 'memory') return this.#memory.connect();
    if (door === 'wt' || door === 'quic') {
      const opened = this.#opened.get(door)!;
      return await opened.door.dial(opened.address);
    }
    if (door === 'ws') return await webSocketClient(new WebSocket(this.#wsAddress.url, ['mqtt']));
    return await socketClient(
      connectTcp({ port: this.#tcpAddress.port, host: '127.0.0.1', noDelay: true }),
      'connect',
    );
  }

  async dial(door: DoorName, version: ProtocolVersion = 5): Promise<DoorClient> {
    return new DoorClient(await this.dialRaw(door), version);
  }

  /** A client that was let in. */
  async connect(options: ConnectOptions = {}, door: DoorName = 'tcp'): Promise<DoorClient> {
    return await (await this.dial(door, options.version ?? 5)).connect(options);
  }

  async advanceSeconds(seconds: number): Promise<void> {
    this.clock.advance(seconds * 1000);
    await settle();
  }

  /** Lets the event loop turn until the broker is as it should be. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (!condition()) {
      if (performance.now() > end) assert.fail(`${what}: this does not come to be`);
      await settle();
    }
  }

  /** Waits until the broker has this many connections. */
  async connectionsLeft(count: number): Promise<void> {
    await this.until(() => this.broker.connections.size === count, `${count} connections`);
  }

  /** What the broker did not expect. */
  assertNoDefect(): void {
    assert.deepEqual(this.log.of('client.internal_error'), []);
    assert.deepEqual(this.log.of('auth.error'), []);
    assert.deepEqual(this.doorErrors, []);
  }
}

/** The bystander publishes to itself, at QoS 2 all the way, and gets that and nothing else. */
export async function exchange(client: DoorClient, payload: string): Promise<void> {
  client.send(publish('bystander', payload, { qos: 2, packetId: 7 }));
  let received = '';
  for (let steps = 0; steps < 4; steps++) {
    const packet = await client.next();
    assert.ok(packet !== null, 'the bystander was disconnected');
    if (packet.type === 5) client.send(pubrel(packet.packetId));
    else if (packet.type === 3) {
      received = Buffer.from(packet.payload).toString();
      client.send(Buffer.from([0x50, 2, packet.packetId >> 8, packet.packetId & 255]));
    } else if (packet.type === 6)
      client.send(Buffer.from([0x70, 2, packet.packetId >> 8, packet.packetId & 255]));
    else assert.equal(packet.type, 7, `the bystander got ${JSON.stringify(packet)}`);
  }
  assert.equal(received, payload);
}

/** A test of bad input: a client that was there before it must be able to go on as if nothing had happened. */
export function badInput(name: string, options: StageOptions, run: (stage: Stage) => Promise<void>): void {
  test(name, async (t) => {
    const stage = new Stage(options);
    await stage.open();
    t.after(() => stage.close());
    const bystander = await stage.connect({ clientId: 'bystander' }, 'memory');
    await bystander.subscribe('bystander', 2);
    await run(stage);
    await exchange(bystander, 'still here');
    await bystander.expectQuiet();
    stage.assertNoDefect();
  });
}
