/** Builds the broker from its parts. */
import type { Bans } from '../auth/bans/bans.ts';
import type { Config, ListenerConfig, PersistenceConfig } from '../config/types.ts';
import { MemoryStore } from '../persistence/memory.ts';
import { SqliteStore } from '../persistence/sqlite/store.ts';
import { Broker } from '../src/broker/broker.ts';
import { ReasonCode } from '../src/codec/reason-codes.ts';
import type { Connection } from '../src/connection/connection.ts';
import type { Door } from '../src/connection/door.ts';
import { SharedDoorkeeper } from '../src/gate/doorkeeper.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { Store } from '../src/interfaces/store.ts';
import type { Wire, WireEvents } from '../src/interfaces/transport.ts';
import type { Access } from './access.ts';
import { memoryMaxBytesOf, ProcessLoad } from './process-load.ts';
import { readVersion } from './version.ts';

/** What the doors and the signals need of the broker. */
export interface Core {
  accept(wire: Wire, listener: ListenerConfig): WireEvents;
  /** Of all doors. */
  readonly doorkeeper: SharedDoorkeeper;
  close(): Promise<void>;
}

export interface CoreParts {
  readonly log: Log;
  readonly clock: Clock;
  readonly access: Access;
  /** The store can no longer keep its promise: the process has to end. */
  readonly onStoreFailed: (error: Error) => void;
  /** Called while the store is read at start, with the part that is done, 0 to 1. */
  readonly onStoreProgress: (fraction: number) => void;
}

/** Starts a broker on its store. */
export async function openCore(config: Config, parts: CoreParts): Promise<Core> {
  const { log, clock, access, onStoreFailed } = parts;
  const store = makeStore(config.persistence, parts);
  const memoryMaxBytes = memoryMaxBytesOf(config.memoryMaxBytes);
  const load = new ProcessLoad(memoryMaxBytes);
  const broker = new Broker({
    overload: { source: load, memoryMaxBytes, ...config.overload },
    authenticator: access.authenticator,
    authorizer: access.authorizer,
    store,
    clock,
    log,
    onStoreFailed,
    limits: config.limits,
    settings: {
      payloadFormatCheck: config.payloadFormatCheck,
      queueQos0: config.queueQos0,
      queueWhenFull: config.queueWhenFull,
      hold: config.hold,
      deniedPublish: config.deniedPublish,
      responseInformation: config.responseInformation,
      sysIntervalSeconds: config.sys.intervalSeconds,
      version: `sluice version ${readVersion()}`,
    },
  });
  await broker.start();
  access.bans.onReplaced(() => disconnectBanned(broker, access.bans));
  access.onRevoked(() => disconnectRevoked(broker));
  const { statistics } = broker;
  const doorkeeper = new SharedDoorkeeper({ limits: config.strangers, clock, log, statistics });
  const doors = new Map<ListenerConfig, Door>();
  const doorOf = (listener: ListenerConfig): Door => {
    let door = doors.get(listener);
    if (door === undefined) {
      const { connectionsMax = 0, ...limits } = listener.limits;
      door = broker.door(listener.url, { versions: listener.versions, connectionsMax, limits });
      doors.set(listener, door);
    }
    return door;
  };
  return {
    accept: (wire, listener) => broker.accept(wire, doorOf(listener)),
    doorkeeper,
    close: async () => {
      doorkeeper.close();
      await broker.close();
      load.close();
      if (store instanceof SqliteStore) log.info('store.closed', { ...store.statistics });
    },
  };
}

/** Those who are banned now and are still here: told 0x98 in MQTT 5, closed in 3.x. */
function disconnectBanned(broker: Broker, bans: Bans): void {
  const isBanned = ({ clientId, username, wire }: Connection): boolean =>
    bans.covers({ clientId, username, address: wire.peer.address });
  const clients = broker.disconnectWhere(isBanned, ReasonCode.ADMINISTRATIVE_ACTION);
  if (clients > 0) broker.log.info('bans.disconnected', { clients });
}

/** Those whose user is gone, or has another password: told 0x87 in MQTT 5, closed in 3.x. */
function disconnectRevoked(broker: Broker): void {
  const isRevoked = ({ credential }: Connection): boolean => credential?.isRevoked === true;
  const clients = broker.disconnectWhere(isRevoked, ReasonCode.NOT_AUTHORIZED);
  if (clients > 0) broker.log.info('logins.revoked', { clients });
}

function makeStore(persistence: PersistenceConfig, { clock, onStoreProgress }: CoreParts): Store {
  const { enabled, dir, acknowledge, diskFreeBytesMin } = persistence;
  if (!enabled) return new MemoryStore();
  return new SqliteStore({ dir, clock, acknowledge, diskFreeBytesMin, onProgress: onStoreProgress });
}
