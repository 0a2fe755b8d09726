/** A folder for a durable store, and what tests ask of one. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { SystemClock } from '../../cli/system-clock.ts';
import { SqliteStore, type SqliteStoreOptions } from '../../persistence/sqlite/store.ts';
import type { StoredDelivery, StoredMessage, StoredState, StoreEvents } from '../../src/interfaces/store.ts';

/** Events of a store, written down; a wait ends with the next one. */
export class Heard implements StoreEvents {
  durables = 0;
  fulls = 0;
  readonly failures: Error[] = [];
  #wake: (() => void) | null = null;

  durable(): void {
    this.durables++;
    this.#wake?.();
  }
  full(): void {
    this.fulls++;
    this.#wake?.();
  }
  failed(error: Error): void {
    this.failures.push(error);
    this.#wake?.();
  }

  /** Resolves when `isTrue`, which is asked at every event. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

export interface OpenStore {
  readonly store: SqliteStore;
  readonly state: StoredState;
  readonly heard: Heard;
}

/** A folder that does not exist yet, for stores one after the other. Stores left open are closed with it. */
export class StoreFolder {
  readonly #parent = mkdtempSync(path.join(tmpdir(), 'sluice-store-'));
  readonly dir = path.join(this.#parent, 'data');
  readonly #open = new Set<SqliteStore>();

  store(options: Partial<SqliteStoreOptions> = {}): SqliteStore {
    return new SqliteStore({ dir: this.dir, clock: new SystemClock(), ...options });
  }

  async open(options: Partial<SqliteStoreOptions> = {}): Promise<OpenStore> {
    const store = this.store(options);
    const heard = new Heard();
    const state = await store.open(heard);
    this.#open.add(store);
    return { store, state, heard };
  }

  /** What SQL says of the database; nothing may have it open. */
  query(sql: string): Record<string, unknown>[] {
    const db = new DatabaseSync(path.join(this.dir, 'sluice.db'));
    try {
      return db
        .prepare(sql)
        .all()
        .map((row) => ({ ...row }));
    } finally {
      db.close();
    }
  }

  /** The one number that a query gives. */
  count(sql: string): number {
    return Number(Object.values(this.query(sql)[0])[0]);
  }

  async remove(): Promise<void> {
    for (const store of this.#open) await store.close().catch(() => assert.ok(store));
    rmSync(this.#parent, { recursive: true });
  }
}

export function storedMessage(topic: string, change: Partial<StoredMessage> = {}): StoredMessage {
  return {
    topic,
    payload: Buffer.from(`payload of ${topic}`),
    qos: 1,
    retain: false,
    properties: Buffer.alloc(0),
    expiresAtMs: 0,
    publisherId: 'publisher',
    storeHandle: 0,
    ...change,
  };
}

export function storedDelivery(
  position: number,
  message: StoredMessage,
  change: Partial<StoredDelivery> = {},
): StoredDelivery {
  const base = { qos: 1, retain: false, identifiers: null, sharedFilter: null } as const;
  return { position, message, ...base, packetId: 0, released: false, ...change };
}

/** The operation that begins a session. */
export function beginSession(clientId: string) {
  const session = { clientId, owner: null, expirySeconds: 60, disconnectedAtMs: null, will: null };
  return { kind: 'session', session } as const;
}
