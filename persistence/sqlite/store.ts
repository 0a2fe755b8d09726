/** The durable store: encodes operations here, has them written by a thread of its own, and keeps the watermark. */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Clock } from '../../src/interfaces/clock.ts';
import type {
  PageRequest,
  Store,
  StoredDelivery,
  StoredMessage,
  StoredSession,
  StoredState,
  StoreEvents,
  StoreOperation,
} from '../../src/interfaces/store.ts';
import { Batch, DeliveryIndex, type SpareBuffers } from './batch.ts';
import { checkStore, requireSound } from './check.ts';
import { prepareFolder } from './folder.ts';
import { type Clocks, clocksNow, isSet } from './lasting-time.ts';
import { type Loaded, loadStore } from './load.ts';
import { decodePage, type Page } from './page.ts';
import { type StoreFiles, storeFiles } from './schema.ts';
import { isTight, roomOf } from './space.ts';
import type { Answer, Order } from './worker.ts';
import type { WriterSettings } from './writer.ts';

/**
 * When `durable` moves: once it is on the disk and would survive a power cut; once it is committed and would survive the end of the
 * process; or with `append` itself.
 */
export type Acknowledge = 'durable' | 'committed' | 'received';

export interface SqliteStoreOptions {
  /** Folder of the store; made when missing, but not the folders above it. */
  readonly dir: string;
  readonly clock: Clock;
  /** `durable` without it. */
  readonly acknowledge?: Acknowledge;
  /** Free space below which `full` is true, in bytes; 0: only when the disk is full. */
  readonly diskFreeBytesMin?: number;
  /** Called while the store is checked at open, with the part that is done, 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

/** What was written since the store was opened. */
export interface StoreStatistics {
  /** Transactions that changed something. */
  commits: number;
  /** Operations whose batch has been committed. */
  operations: number;
  /** Bytes of these batches. */
  bytes: number;
}

/** One is being written while the next waits, so that the thread never does. */
const BATCHES_OUT_MAX = 2;
/** A batch of this size is handed over even so: offsets in it are 32-bit. */
const BATCH_BYTES_MAX = 268_435_456;
/** What may wait although it counts as durable, when that is with `append` itself: beyond it publishers have to wait for the disk. */
const RECEIVED_BYTES_MAX = 67_108_864;

const CLOCKS_CHECK_MS = 10_000;

interface PageWaiting {
  resolve(page: StoredDelivery[]): void;
  reject(error: Error): void;
}

export class SqliteStore implements Store {
  readonly statistics: StoreStatistics = { commits: 0, operations: 0, bytes: 0 };
  readonly #options: Required<SqliteStoreOptions>;
  readonly #files: StoreFiles;
  readonly #countsReceived: boolean;
  #events: StoreEvents = { durable() {}, full() {}, failed() {} };
  /** Lasting time, which expiries are written in, minus `Clock.now`. */
  #offsetMs = 0;
  /** As they were handed over last. */
  #clocks: Clocks = { lastingMs: 0, wallMs: 0 };
  #stopClock: () => void = () => {};
  #worker: Worker | null = null;
  #loaded: Loaded | null = null;
  #failure: Error | null = null;
  #isClosing = false;
  #closing: Promise<void> | null = null;
  #closed: { resolve(isComplete: boolean): void; reject(error: Error): void } | null = null;

  #appended = 0;
  #durable = 0;
  /** Operations that count as durable although they are not. */
  #received = 0;
  #full = false;
  #sessionIds = new Map<string, number>();
  #lastSession = 0;
  #lastHandle = 0;
  readonly #index = new DeliveryIndex();
  #batch = new Batch(1, this.#index);
  readonly #spare: SpareBuffers[] = [];
  #batchesOut = 0;
  #isTurnScheduled = false;
  #lastPage = 0;
  readonly #pages = new Map<number, PageWaiting>();
  // The session of the last operation: in a burst it is that of the next as well.
  #recentClientId = '';
  #recentSession = 0;

  constructor(options: SqliteStoreOptions) {
    this.#options = { acknowledge: 'durable', diskFreeBytesMin: 0, onProgress() {}, ...options };
    this.#files = storeFiles(options.dir);
    this.#countsReceived = options.acknowledge === 'received';
  }

  get appended(): number {
    return this.#appended;
  }

  get durable(): number {
    return Math.max(this.#durable, this.#received);
  }

  get full(): boolean {
    return this.#full;
  }

  async open(events: StoreEvents): Promise<StoredState> {
    const { dir, clock, acknowledge, diskFreeBytesMin, onProgress } = this.#options;
    this.#events = events;
    prepareFolder(dir);
    requireSound(dir, await checkStore(dir, { onProgress }));
    const loaded = loadStore(this.#files, clock);
    this.#offsetMs = loaded.offsetMs;
    this.#clocks = clocksNow(this.#offsetMs, clock);
    this.#stopClock = clock.every(CLOCKS_CHECK_MS, () => this.#checkClocks());
    this.#full = isTight(roomOf(this.#files, 0, 0), diskFreeBytesMin, false);
    this.#sessionIds = loaded.sessionIds;
    this.#lastSession = loaded.lastSession;
    this.#lastHandle = loaded.lastHandle;
    this.#batch = new Batch(loaded.lastHandle + 1, this.#index);
    this.#loaded = loaded;
    const isSynced = acknowledge === 'durable';
    this.#start({ files: this.#files, isSynced, diskFreeBytesMin, isFull: this.#full });
    this.#scheduleTurn();
    return loaded.state;
  }

  append(operation: StoreOperation): void {
    this.#appended++;
    if (this.#failure !== null) return;
    if (this.#countsReceived && this.#batch.size < RECEIVED_BYTES_MAX) this.#received = this.#appended;
    if (!this.#isTurnScheduled) this.#scheduleTurn();
    switch (operation.kind) {
      case 'enqueue': {
        const session = this.#sessionOf(operation.clientId);
        if (session === 0) return;
        const { delivery } = operation;
        this.#batch.enqueue(session, delivery, this.#handleOf(delivery.message));
        return;
      }
      case 'retain':
        if (operation.replaced !== null) this.#unretain(operation.replaced);
        this.#batch.retain(this.#handleOf(operation.message));
        return;
      case 'unretain':
        this.#unretain(operation.message);
        return;
      case 'session':
        this.#putSession(operation.session);
        return;
      default:
        this.#appendToSession(operation);
    }
  }

  page({ clientId, after, messagesMax, bytesMax }: PageRequest): Promise<StoredDelivery[]> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const session = this.#sessionOf(clientId);
    if (session === 0) return Promise.resolve([]);
    this.#lastPage = (this.#lastPage + 1) & 0x7fff_ffff;
    const request = this.#lastPage;
    this.#batch.page(session, after, messagesMax, bytesMax, request);
    if (!this.#isTurnScheduled) this.#scheduleTurn();
    return new Promise((resolve, reject) => this.#pages.set(request, { resolve, reject }));
  }

  /** Rejects when something could not be made durable, because the store has failed or its disk is full. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const worker = this.#worker;
    if (worker === null) return;
    this.#isClosing = true;
    this.#stopClock();
    let isComplete = true;
    try {
      if (this.#failure !== null) throw this.#failure;
      worker.ref();
      const closed = new Promise<boolean>((resolve, reject) => {
        this.#closed = { resolve, reject };
      });
      this.#finishLoading();
      this.#handOver();
      this.#tell({ kind: 'close' });
      isComplete = await closed;
    } finally {
      await worker.terminate();
    }
    if (isComplete) return;
    const lost = this.#appended - this.#durable;
    throw new Error(`${this.#files.database}: the disk is full, and ${lost} changes are not on it`);
  }

  #appendToSession(
    operation: Exclude<StoreOperation, { kind: 'session' | 'enqueue' | 'retain' | 'unretain' }>,
  ): void {
    const session = this.#sessionOf(operation.clientId);
    if (session === 0) return;
    const batch = this.#batch;
    switch (operation.kind) {
      case 'sent':
      case 'released':
        batch.update(session, operation.delivery);
        return;
      case 'done':
        batch.done(session, operation.delivery.position, operation.delivery.message.storeHandle);
        return;
      case 'inbound':
      case 'inbound-done':
        batch.inbound(session, operation.packetId, operation.kind === 'inbound-done');
        return;
      case 'subscribe':
        batch.subscribe(session, operation.subscription);
        return;
      case 'unsubscribe':
        batch.unsubscribe(session, operation.filter);
        return;
      case 'session-end':
        this.#sessionIds.delete(operation.clientId);
        this.#recentSession = 0;
        batch.sessionEnd(session);
    }
  }

  #unretain({ storeHandle }: StoredMessage): void {
    if (storeHandle > 0) this.#batch.unretain(storeHandle);
  }

  #putSession(stored: StoredSession): void {
    let session = this.#sessionOf(stored.clientId);
    const isNew = session === 0;
    if (isNew) {
      session = ++this.#lastSession;
      this.#sessionIds.set(stored.clientId, session);
    }
    this.#batch.session(session, stored, isNew, this.#offsetMs);
  }

  /** Number of the client's session; 0: there is none. */
  #sessionOf(clientId: string): number {
    if (this.#recentSession !== 0 && clientId === this.#recentClientId) return this.#recentSession;
    const session = this.#sessionIds.get(clientId) ?? 0;
    this.#recentClientId = clientId;
    this.#recentSession = session;
    return session;
  }

  /** The name of a message, whose body is in the open batch then. A name that was not given here is not one. */
  #handleOf(message: StoredMessage): number {
    const known = message.storeHandle;
    const isNew = known === 0 || known > this.#lastHandle;
    const handle = isNew ? ++this.#lastHandle : known;
    if (isNew) message.storeHandle = handle;
    this.#batch.body(handle, message, isNew, this.#offsetMs);
    return handle;
  }

  /** A wall clock that is set while nothing is written must not look like time away at the next start. */
  #checkClocks(): void {
    if (this.#failure !== null || !isSet(clocksNow(this.#offsetMs, this.#options.clock), this.#clocks))
      return;
    this.#batch.time();
    if (!this.#isTurnScheduled) this.#scheduleTurn();
  }

  #scheduleTurn(): void {
    this.#isTurnScheduled = true;
    setImmediate(() => this.#endTurn());
  }

  /** The end of a turn of the event loop: what was appended in it goes over together, or waits together for the next time. */
  #endTurn(): void {
    this.#isTurnScheduled = false;
    if (this.#failure !== null || this.#isClosing) return;
    const batch = this.#batch;
    const isFree = this.#batchesOut < BATCHES_OUT_MAX;
    // A page is not kept waiting: when the disk is full, no batch comes back.
    if (isFree || batch.pages > 0 || batch.size > BATCH_BYTES_MAX) this.#handOver();
  }

  #handOver(): void {
    this.#finishLoading();
    const batch = this.#batch;
    if (batch.count === 0) {
      this.#skipNothing();
      return;
    }
    this.#clocks = clocksNow(this.#offsetMs, this.#options.clock);
    const handed = batch.handOver(this.#appended, this.#clocks);
    this.#batch = new Batch(this.#lastHandle + 1, this.#index, this.#spare.pop());
    this.#batchesOut++;
    this.#worker?.ref();
    this.#tell({ kind: 'batch', batch: handed });
  }

  /** Operations that left nothing to write are as durable as those before them. */
  #skipNothing(): void {
    if (this.#batchesOut > 0 || this.#durable === this.#appended) return;
    this.#durable = this.#appended;
    this.#events.durable();
  }

  /** The thread can have the database once nobody reads it here. */
  #finishLoading(): void {
    const loaded = this.#loaded;
    if (loaded === null) return;
    this.#loaded = null;
    loaded.finish();
    this.#tell({ kind: 'open', expected: loaded.counts });
  }

  #tell(order: Order): void {
    this.#worker?.postMessage(order, order.kind === 'batch' ? [order.batch.records, order.batch.bytes] : []);
  }

  #start(settings: WriterSettings): void {
    // The compiler rewrites imports, not URLs: take the extension that this file itself has.
    const entry = new URL(`./worker${extname(import.meta.url)}`, import.meta.url);
    const worker = new Worker(entry, { execArgv: [], workerData: settings });
    // Only what is being written holds the process.
    worker.unref();
    worker.on('message', (answer: Answer) => this.#hear(answer));
    worker.on('error', (error) => this.#fail(`its thread broke: ${(error as Error).message}`));
    worker.on('exit', () => {
      if (!this.#isClosing || this.#closed !== null) this.#fail('its thread ended');
    });
    this.#worker = worker;
  }

  #hear(answer: Answer): void {
    switch (answer.kind) {
      case 'committed':
        this.#committed(answer);
        return;
      case 'spare':
        this.#batchIsBack(answer.spare);
        return;
      case 'page':
        this.#turnPage(answer.page);
        return;
      case 'full':
        this.#full = answer.full;
        this.#events.full();
        return;
      case 'failed':
        this.#fail(answer.problem);
        return;
      case 'closed':
        this.#closed?.resolve(answer.isComplete);
        this.#closed = null;
    }
  }

  #batchIsBack(spare: SpareBuffers): void {
    this.#batchesOut--;
    if (this.#spare.length < BATCHES_OUT_MAX) this.#spare.push(spare);
    const isIdle = this.#batchesOut === 0;
    if (isIdle && !this.#isClosing) this.#worker?.unref();
    const isLeft = this.#batch.count > 0 || (isIdle && this.#durable !== this.#appended);
    if (isLeft && !this.#isTurnScheduled) this.#scheduleTurn();
  }

  #committed({ upTo, bytes, isWritten }: Extract<Answer, { kind: 'committed' }>): void {
    this.statistics.operations += upTo - this.#durable;
    this.statistics.bytes += bytes;
    if (isWritten) this.statistics.commits++;
    this.#durable = upTo;
    if (upTo > this.#received) this.#events.durable();
  }

  #turnPage(page: Page): void {
    const waiting = this.#pages.get(page.request);
    this.#pages.delete(page.request);
    waiting?.resolve(decodePage(page, this.#offsetMs));
  }

  #fail(problem: string): void {
    if (this.#failure !== null) return;
    const failure = new Error(`${this.#files.database}: ${problem}`);
    this.#failure = failure;
    this.#batch = new Batch(this.#lastHandle + 1, this.#index);
    for (const { reject } of this.#pages.values()) reject(failure);
    this.#pages.clear();
    if (this.#closed !== null) this.#closed.reject(failure);
    else this.#events.failed(failure);
  }
}
