import type { Broker } from './broker.ts';

const LOAD_WINDOWS: readonly [name: string, minutes: number][] = [
  ['1min', 1],
  ['5min', 5],
  ['15min', 15],
];

type MemoryUsage = Pick<NodeJS.MemoryUsage, 'heapUsed' | 'external' | 'rss'>;

/** Statistics as retained messages under `$SYS/broker/`, with Mosquitto's names where it has them. */
export class SysTopics {
  readonly #broker: Broker;
  readonly #startedAtMs: number;
  readonly #last = new Map<string, string>();
  readonly #loads = new Map<string, Load>();
  #memory: MemoryUsage = { heapUsed: 0, external: 0, rss: 0 };

  constructor(broker: Broker) {
    this.#broker = broker;
    this.#startedAtMs = broker.clock.now();
  }

  /** Publishes what changed since the last time. */
  publish(): void {
    const now = this.#broker.clock.now();
    this.#put('version', this.#broker.settings.version);
    this.#put('uptime', `${Math.floor((now - this.#startedAtMs) / 1000)} seconds`);
    const values = this.#values();
    for (const [name, value] of Object.entries(values)) this.#put(name, String(value));
    const rates: [string, number][] = [
      ['messages/received', values['messages/received']],
      ['messages/sent', values['messages/sent']],
      ['publish/received', values['publish/messages/received']],
      ['publish/sent', values['publish/messages/sent']],
      ['publish/dropped', values['publish/messages/dropped']],
      ['bytes/received', values['bytes/received']],
      ['bytes/sent', values['bytes/sent']],
      ['connections', this.#broker.statistics.connectionsOpened],
    ];
    for (const [name, total] of rates) this.#putLoad(name, total, now);
  }

  #values() {
    const { statistics: counters, sessions, router, flusher, store, overload } = this.#broker;
    const { heapUsed, external, rss } = this.#measureMemory();
    return {
      'clients/total': sessions.size,
      'clients/connected': counters.connected,
      'clients/active': counters.connected,
      'clients/disconnected': sessions.size - counters.connected,
      'clients/inactive': sessions.size - counters.connected,
      'clients/maximum': counters.connectedMax,
      'clients/expired': counters.sessionsExpired,
      'messages/received': counters.messagesReceived,
      'messages/sent': counters.messagesSent,
      'messages/stored': counters.queuedMessages + counters.heldMessages + router.retained.count,
      'store/messages/count': counters.queuedMessages + counters.heldMessages + router.retained.count,
      'store/messages/bytes': counters.queuedBytes + counters.heldBytes + router.retained.bytes,
      'store/full': store.full ? 1 : 0,
      'held/messages/count': counters.heldMessages,
      'held/messages/bytes': counters.heldBytes,
      'publish/messages/refused': counters.publishRefused,
      'publish/messages/received': counters.publishReceived,
      'publish/messages/sent': counters.publishSent,
      'publish/messages/dropped': counters.publishDropped,
      'publish/messages/denied': counters.publishDenied,
      'publish/messages/too_large': counters.publishTooLarge,
      'publish/bytes/received': counters.publishBytesReceived,
      'publish/bytes/sent': counters.publishBytesSent,
      'bytes/received': counters.bytesReceived,
      'bytes/sent': flusher.bytesWritten,
      'retained messages/count': router.retained.count,
      'retained messages/bytes': router.retained.bytes,
      'retained messages/refused': counters.retainedRefused,
      'subscriptions/count': counters.subscriptions,
      'shared_subscriptions/count': counters.sharedSubscriptions,
      'connections/opened': counters.connectionsOpened,
      'connections/refused': counters.connectionsRefused,
      'data_streams/current': counters.dataStreams,
      'data_streams/opened': counters.dataStreamsOpened,
      'data_streams/refused': counters.dataStreamsRefused,
      'data_streams/failed': counters.dataStreamsFailed,
      'strangers/current': counters.strangers,
      'strangers/turned_away': counters.strangersTurnedAway,
      'strangers/evicted': counters.strangersEvicted,
      protocol_errors: counters.protocolErrors,
      'clients/held_back': counters.clientsHeldBack,
      'clients/over_rate': counters.clientsOverRate,
      'clients/stalled': counters.readersStalled,
      'overload/step': overload.step,
      'overload/steps': counters.overloadSteps,
      'overload/refused': counters.overloadRefused,
      'overload/disconnected': counters.overloadDisconnected,
      'heap/current': heapUsed + external,
      'memory/resident': rss,
    };
  }

  /** The last values where there are none: Linux tells them in a file, and descriptors may have run out. */
  #measureMemory(): MemoryUsage {
    try {
      this.#memory = process.memoryUsage();
    } catch (error) {
      this.#broker.log.warn('sys.memory_unknown', { error: String(error) });
    }
    return this.#memory;
  }

  #put(name: string, value: string): void {
    if (this.#last.get(name) === value) return;
    this.#last.set(name, value);
    this.#broker.publishSys(`$SYS/broker/${name}`, value);
  }

  #putLoad(name: string, total: number, nowMs: number): void {
    let load = this.#loads.get(name);
    if (load === undefined) {
      load = new Load(total, nowMs);
      this.#loads.set(name, load);
      return;
    }
    const averages = load.update(total, nowMs);
    for (const [index, [window]] of LOAD_WINDOWS.entries())
      this.#put(`load/${name}/${window}`, averages[index].toFixed(2));
  }
}

/** Moving averages of a counter's growth a minute, as a Unix load average is made. */
class Load {
  #total: number;
  #atMs: number;
  readonly #averages = LOAD_WINDOWS.map(() => 0);

  constructor(total: number, nowMs: number) {
    this.#total = total;
    this.#atMs = nowMs;
  }

  update(total: number, nowMs: number): readonly number[] {
    const minutes = Math.max(nowMs - this.#atMs, 1) / 60_000;
    const rate = (total - this.#total) / minutes;
    LOAD_WINDOWS.forEach(([, window], index) => {
      const decay = Math.exp(-minutes / window);
      this.#averages[index] = rate + decay * (this.#averages[index] - rate);
    });
    this.#total = total;
    this.#atMs = nowMs;
    return this.#averages;
  }
}
