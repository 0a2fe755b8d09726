/**
 * Connections over a real door that behave, for a test, as those in memory do: what clients send reaches the core in the order in which
 * the test sent it, and one can wait until nothing is under way. Both ends are in this process, so that is known and not guessed: bytes
 * are counted where they are written and where they come out.
 */
import assert from 'node:assert/strict';
import type { Address, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import type { RawClient } from '../contract/transport.ts';
import type { RealDoor } from './real-doors.ts';
import type { ClientEnd, ClientEnding } from './test-client.ts';

/** Only a door that loses something makes a test wait that long. */
const PATIENCE_MS = 10_000;
/** Turns of the event loop in which a core at work moves something. */
const QUIET_TURNS = 6;

/** What the core was told and did with one wire. */
interface CoreSide {
  receivedBytes: number;
  writtenBytes: number;
  isPaused: boolean;
  /** It has ended or aborted the wire. */
  howEnded: 'end' | 'abort' | undefined;
  isClosed: boolean;
}

export class SocketLinks {
  readonly #door: RealDoor;
  readonly #links: Link[] = [];
  #accept: ((wire: Wire) => WireEvents) | undefined;
  #address: Address | undefined;
  /** What the test has done and the door has not carried over yet. */
  #underWay: Promise<void> = Promise.resolve();
  #steps = 0;
  #stepsDone = 0;
  /** Whoever comes in next is this one's. */
  #arriving: Link | undefined;
  #events = 0;

  constructor(door: RealDoor) {
    this.#door = door;
  }

  /** Opens the door the first time; from now on its wires go to `accept`. */
  async open(accept: (wire: Wire) => WireEvents): Promise<void> {
    this.#accept = accept;
    this.#address ??= await this.#door.transport.listen((wire) => this.#enter(wire));
  }

  connect(): ClientEnd {
    const link = new Link(this);
    this.#links.push(link);
    this.step(async () => {
      this.#arriving = link;
      link.opened(await this.#door.dial(this.#address!));
    });
    return link;
  }

  /** Does this when all before it has arrived. */
  step(act: () => Promise<void> | void, isDone: () => boolean = () => true): void {
    this.#steps++;
    this.#underWay = this.#underWay.then(async () => {
      try {
        await act();
        await until(isDone, 'what a client did reaches the core');
      } finally {
        this.#stepsDone = Math.min(this.#steps, this.#stepsDone + 1);
      }
    });
    // Whoever waits hears of it.
    this.#underWay.catch(() => {});
  }

  happened(): void {
    this.#events++;
  }

  /** Resolves when nothing is under way, in the door or in the core. */
  async settled(): Promise<void> {
    for (;;) {
      await this.#underWay;
      await until(() => this.#links.every((link) => link.isAtRest), 'all bytes arrive');
      const before = this.#events + this.#steps;
      for (let turn = 0; turn < QUIET_TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
      const isQuiet = before === this.#events + this.#steps && this.#steps === this.#stepsDone;
      if (isQuiet && this.#links.every((link) => link.isAtRest)) return;
    }
  }

  /** Breaks all connections off, and waits until the core has heard of it. */
  async clear(): Promise<void> {
    this.#forget();
    for (const link of this.#links) link.abort();
    try {
      await this.settled();
    } finally {
      this.#forget();
      this.#links.length = 0;
    }
  }

  /** What failed has failed a test, and is not to fail the next. */
  #forget(): void {
    this.#underWay = this.#underWay.catch(() => {});
    this.#stepsDone = this.#steps;
  }

  async close(): Promise<void> {
    await this.#door.transport.close(0);
  }

  #enter(wire: Wire): WireEvents {
    const link = this.#arriving;
    assert.ok(link !== undefined && link.core === undefined, 'nobody is dialling');
    const core: CoreSide = {
      receivedBytes: 0,
      writtenBytes: 0,
      isPaused: false,
      howEnded: undefined,
      isClosed: false,
    };
    link.core = core;
    const events = this.#accept!(this.#watched(wire, core));
    return {
      data: (chunk) => {
        core.receivedBytes += chunk.length;
        this.happened();
        events.data(chunk);
      },
      drain: () => {
        this.happened();
        events.drain();
      },
      closed: (error) => {
        core.isClosed = true;
        this.happened();
        events.closed(error);
      },
    };
  }

  #watched(wire: Wire, core: CoreSide): Wire {
    const { peer, visit } = wire;
    const ended = (how: 'end' | 'abort'): void => {
      core.howEnded ??= how;
      this.happened();
    };
    return {
      peer,
      ...(visit === undefined ? {} : { visit }),
      write: (bytes) => {
        core.writtenBytes += bytes.length;
        this.happened();
        return wire.write(bytes);
      },
      pause: () => {
        core.isPaused = true;
        wire.pause();
      },
      resume: () => {
        core.isPaused = false;
        this.happened();
        wire.resume();
      },
      end: (reasonCode) => {
        ended('end');
        wire.end(reasonCode);
      },
      abort: (error) => {
        ended('abort');
        wire.abort(error);
      },
    };
  }
}

/** The client's end of one connection. */
class Link implements ClientEnd {
  core: CoreSide | undefined = undefined;
  readonly #links: SocketLinks;
  #raw: RawClient | undefined;
  #received: Buffer[] = [];
  #sentBytes = 0;
  #receivedBytes = 0;
  #isPaused = false;
  #isClosed = false;
  #left: 'end' | 'abort' | undefined;

  constructor(links: SocketLinks) {
    this.#links = links;
  }

  opened(raw: RawClient): void {
    this.#raw = raw;
    raw.onData((chunk) => {
      this.#receivedBytes += chunk.length;
      this.#received.push(Buffer.from(chunk));
      this.#links.happened();
    });
    raw.onClosed(() => {
      this.#isClosed = true;
      this.#links.happened();
    });
  }

  get closed(): ClientEnding | undefined {
    if (!this.#isClosed) return undefined;
    const how = this.core?.howEnded;
    return how === undefined ? { by: 'client', how: this.#left ?? 'abort' } : { by: 'core', how };
  }

  get unsentBytes(): number {
    return this.#sentBytes - (this.core?.receivedBytes ?? 0);
  }

  get isAtRest(): boolean {
    if (this.#raw === undefined) return false;
    if (this.#left !== undefined || this.core?.howEnded !== undefined || this.core?.isClosed === true) {
      return this.#isClosed && this.core?.isClosed !== false;
    }
    if (this.#isClosed) return this.core?.isClosed !== false;
    return this.#isTaken && (this.#isPaused || this.#receivedBytes === (this.core?.writtenBytes ?? 0));
  }

  write(bytes: Uint8Array): void {
    const copy = Buffer.from(bytes);
    this.#links.step(
      () => {
        if (this.#isOver) return;
        this.#sentBytes += copy.length;
        this.#raw!.write(copy);
      },
      () => this.#isOver || this.#isTaken,
    );
  }

  take(): Buffer {
    return Buffer.concat(this.#received.splice(0));
  }

  pause(): void {
    this.#links.step(() => {
      this.#isPaused = true;
      this.#raw!.pause();
    });
  }

  resume(): void {
    this.#links.step(() => {
      this.#isPaused = false;
      this.#raw!.resume();
    });
  }

  takeOneWrite(): void {
    this.resume();
    this.pause();
  }

  end(): void {
    this.#leave('end');
  }

  abort(): void {
    this.#leave('abort');
  }

  settled(): Promise<void> {
    return this.#links.settled();
  }

  get #isOver(): boolean {
    return this.#isClosed || this.#left !== undefined;
  }

  /** The core has what was sent, or does not want it. */
  get #isTaken(): boolean {
    const { core } = this;
    if (core === undefined) return this.#sentBytes === 0;
    const isDeaf = core.isPaused || core.isClosed || core.howEnded !== undefined;
    return isDeaf || core.receivedBytes === this.#sentBytes;
  }

  #leave(how: 'end' | 'abort'): void {
    this.#links.step(
      () => {
        if (this.#isOver) return;
        this.#left = how;
        this.#raw![how]();
      },
      () => this.core === undefined || this.core.isClosed || this.core.isPaused,
    );
  }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!condition()) {
    if (performance.now() > end) assert.fail(`${what}: this does not come to be`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
