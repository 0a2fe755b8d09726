/** The broker as users run it, in a process of its own, with what it takes to attack it and to see what that cost. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { PacketType, type ProtocolVersion } from '../../../src/codec/packets.ts';
import { DoorClient } from '../../bad-input/door-client.ts';
import { type ChildBroker, type ChildBrokerOptions, startChildBroker } from '../../support/child-broker.ts';
import type { ConnectOptions } from '../../support/packets.ts';
import { Canary } from './canary.ts';
import { type DoorName, dialMqtt } from './doors.ts';
import { megabytes, tell } from './figures.ts';
import { dial, type RawSocket, type SocketDoorName } from './sockets.ts';

const METER = './heap-meter.ts';
const SYSTEM = '$SYS/broker/';
/** Only a broker that hangs makes a test wait that long. */
const PATIENCE_MS = 60_000;
const POLL_MS = 50;
/** What the heap may have grown by when the attack is over: what V8 learned meanwhile, and caches with bounds of their own. */
const HEAP_LEFT_BYTES_MAX = 24 << 20;
/** Of `$SYS`: what must be as it was before, once the attackers have left. */
const BASELINE = [
  'clients/total',
  'clients/connected',
  'strangers/current',
  'subscriptions/count',
  'shared_subscriptions/count',
];

export interface Memory {
  /** V8's heap and the buffers that hang on it, after a collection. */
  readonly heapBytes: number;
  /** With the processes of its engines. */
  readonly residentBytes: number;
}

export interface TargetOptions extends Omit<ChildBrokerOptions, 'nodeFlags'> {
  /** How the canary logs in. */
  readonly canary?: ConnectOptions;
  /** True where every connection has to begin with a PROXY header. */
  readonly proxied?: boolean;
  /** True where attackers leave sessions behind that are to outlive them. */
  readonly leavesState?: boolean;
}

export interface LogLine {
  readonly level: string | number;
  readonly event: string;
  readonly [field: string]: unknown;
}

export class Target {
  readonly broker: ChildBroker;
  canary!: Canary;
  readonly #isProxied: boolean;
  readonly #tell: (figure: string) => void;
  readonly #system = new Map<string, string>();
  #peak: Memory = { heapBytes: 0, residentBytes: 0 };
  #before: Memory = { heapBytes: 0, residentBytes: 0 };
  #baseline: readonly (string | undefined)[] = [];
  #stopped: Promise<number | null> | null = null;

  private constructor(broker: ChildBroker, isProxied: boolean, tell: (figure: string) => void) {
    this.broker = broker;
    this.#isProxied = isProxied;
    this.#tell = tell;
  }

  static async start(options: TargetOptions, tell: (figure: string) => void): Promise<Target> {
    const { canary, proxied = false, leavesState, config, ...rest } = options;
    const broker = await startChildBroker({
      ...rest,
      nodeFlags: ['--expose-gc', '--import', path.join(import.meta.dirname, METER)],
      config: {
        sys: { intervalSeconds: 1 },
        persistence: { enabled: false },
        ...config,
        log: { level: 'info', file: '' },
      },
    });
    const target = new Target(broker, proxied, tell);
    target.canary = await Canary.create(await target.connect({ clientId: 'canary', ...canary }, 'tcp', 0));
    await target.#watchSystem(canary);
    await target.canary.sing();
    // The first collection leaves what only its finalizers let go.
    await target.memory();
    target.#before = await target.memory();
    target.#peak = target.#before;
    target.#baseline = target.#figures();
    return target;
  }

  /** The stream below a door. */
  dial(door: SocketDoorName, from?: number): Promise<RawSocket> {
    return dial(this.broker, door, from);
  }

  /** A connection on which no MQTT was spoken yet. */
  async client(door: DoorName = 'tcp', version: ProtocolVersion = 5, from?: number): Promise<DoorClient> {
    return new DoorClient(await dialMqtt(this.broker, door, from, this.#isProxied), version);
  }

  /** A client that was let in. */
  async connect(options: ConnectOptions = {}, door: DoorName = 'tcp', from?: number): Promise<DoorClient> {
    return await (await this.client(door, options.version ?? 5, from)).connect(options);
  }

  /** What the broker holds now, after a collection. */
  async memory(): Promise<Memory> {
    const told = this.broker.output().length;
    process.kill(this.broker.pid, 'SIGUSR2');
    const answer = /^memory (\d+) (\d+)$/m;
    await this.until(() => answer.test(this.broker.output().slice(told)), 'the broker tells its memory');
    const [, heap, resident] = answer.exec(this.broker.output().slice(told))!;
    const memory = {
      heapBytes: Number(heap),
      residentBytes: Number(resident) + enginesResidentBytes(this.broker.pid),
    };
    this.#peak = {
      heapBytes: Math.max(this.#peak.heapBytes, memory.heapBytes),
      residentBytes: Math.max(this.#peak.residentBytes, memory.residentBytes),
    };
    return memory;
  }

  /** Bytes by which the heap has grown since before the attack, which must not be more than `bytesMax`. */
  async assertGrownBy(bytesMax: number, what: string): Promise<number> {
    const { heapBytes } = await this.memory();
    const growth = heapBytes - this.#before.heapBytes;
    assert.ok(
      growth <= bytesMax,
      `${what}: the heap has grown by ${growth} bytes, ${bytesMax} are the bound`,
    );
    return growth;
  }

  /** The newest value of a topic below `$SYS/broker/`. */
  system(name: string): string | undefined {
    return this.#system.get(name);
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (!condition()) {
      if (performance.now() > end) assert.fail(`${what}: this does not come to be`);
      await wait(POLL_MS);
    }
  }

  /** Lines of the broker's log, all or those of one event. */
  log(event?: string): LogLine[] {
    const lines = this.broker
      .output()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine);
    return event === undefined ? lines : lines.filter((line) => line.event === event);
  }

  /** A line for the report. */
  tell(figure: string): void {
    this.#tell(figure);
  }

  /** The attackers are gone: everything is as before, nothing was logged that should not be, and the broker ends in order. */
  async assertUnharmed(leavesState: boolean): Promise<void> {
    await this.canary.sing();
    if (!leavesState) {
      const back = (): boolean => this.#figures().join() === this.#baseline.join();
      await this.until(
        back,
        `statistics as before (${this.#baseline.join()}), now ${this.#figures().join()}`,
      );
    }
    const growth = await this.assertGrownBy(leavesState ? Infinity : HEAP_LEFT_BYTES_MAX, 'when all is over');
    this.tell(
      `heap ${megabytes(this.#peak.heapBytes - this.#before.heapBytes)} at most, ` +
        `${megabytes(growth)} afterwards, resident ${megabytes(this.#peak.residentBytes - this.#before.residentBytes)}; ` +
        `${this.canary.songs} round trips beside it, the slowest ${Math.round(this.canary.slowestMs)} ms`,
    );
    assert.equal(await this.stop(), 0, this.broker.output());
    const errors = this.log().filter(({ level }) => level === 'error' || level === 50);
    assert.deepEqual(errors, [], 'lines of level error');
  }

  stop(): Promise<number | null> {
    this.#stopped ??= this.broker.stop();
    return this.#stopped;
  }

  #figures(): (string | undefined)[] {
    return BASELINE.map((name) => this.#system.get(name));
  }

  async #watchSystem(login: ConnectOptions = {}): Promise<void> {
    const watcher = await this.connect({ ...login, clientId: 'watcher' }, 'tcp', 0);
    await watcher.subscribe('$SYS/#', 0);
    const read = async (): Promise<void> => {
      for (let packet = await watcher.next(); packet !== null; packet = await watcher.next()) {
        if (packet.type !== PacketType.PUBLISH) continue;
        this.#system.set(packet.topic.slice(SYSTEM.length), Buffer.from(packet.payload).toString());
      }
    };
    // It ends with the connection; that the broker falls silent is the canary's business.
    void read().catch(() => {});
    // Two clients, two subscriptions: what is reported must have seen them.
    const all = (): boolean =>
      this.system('clients/connected') === '2' && this.system('subscriptions/count') === '2';
    await this.until(all, 'the first report');
  }
}

/**
 * An attack on a broker of its own: `run` attacks, and has to leave nobody behind. Before it a canary has logged in;
 * after it everything must be as it was.
 */
export function attackBroker(
  name: string,
  options: TargetOptions,
  run: (target: Target) => Promise<void>,
): void {
  test(name, async (t) => {
    const target = await Target.start(options, (figure) => tell(t, figure));
    t.after(() => target.stop());
    await run(target);
    await target.assertUnharmed(options.leavesState ?? false);
  });
}

/** Resident memory of the processes that the broker started; 0 where there is no /proc. */
function enginesResidentBytes(pid: number): number {
  let bytes = 0;
  for (const file of globSync(`/proc/${pid}/task/*/children`)) {
    for (const child of readFileSync(file, 'utf8').split(' ').filter(Boolean)) {
      const pages = readFileSync(`/proc/${child}/statm`, 'utf8').split(' ')[1];
      bytes += Number(pages) * 4_096;
    }
  }
  return bytes;
}
