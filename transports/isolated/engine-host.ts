/** The engine's side of the link: opens the door in this process, and hands all that it hears to the broker. */
import type { Socket } from 'node:net';
import type { Clock } from '../../src/interfaces/clock.ts';
import type { Doorkeeper, Visit } from '../../src/interfaces/doorkeeper.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { Transport, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { HeardVisit } from '../arrival.ts';
import { becomeUser } from './become-user.ts';
import { openEngineDoor } from './engine-door.ts';
import { HostedStream, type StreamHost } from './hosted-stream.ts';
import { FRAME, Link, type LinkEvents } from './link.ts';
import { type EngineSpec, type LogMessage, type OpenMessage, readJson, tellError } from './messages.ts';

/** Knocks that the broker has not answered. Who comes then is turned away: nothing holds a flood back but this process. */
const UNANSWERED_MAX = 512;

/** Of one address in one second; beyond, its packets are dropped here, unread and unanswered, as the broker's doorkeeper would have it. */
const REFUSALS_MAX = 8;
const REFUSALS_MS = 1_000;
/** Addresses with refusals in one second; others are asked about each time. */
const REFUSED_ADDRESSES_MAX = 10_000;

/** The real time, as in the broker. */
const CLOCK: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  every(intervalMs, task) {
    const timer = setInterval(task, intervalMs);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** One who has knocked, until he is gone. */
class HostedVisit implements Visit {
  readonly id: number;
  readonly address: string;
  readonly evict: () => void;
  isAnswered = false;
  /** What the door made of it, which hears of the login. */
  worn: Visit | undefined;
  readonly #left: (visit: HostedVisit) => void;

  constructor(id: number, address: string, evict: () => void, left: (visit: HostedVisit) => void) {
    this.id = id;
    this.address = address;
    this.evict = evict;
    this.#left = left;
  }

  moved(): boolean {
    return true;
  }

  /** The broker's own visit hears of it. */
  loggedIn(): void {}

  left(): void {
    this.#left(this);
  }
}

/** Lives as long as its process. */
export class EngineHost implements LinkEvents, StreamHost, Doorkeeper {
  readonly link: Link;
  readonly #exit: () => void;
  readonly #log: Log;
  readonly #streams = new Map<number, HostedStream>();
  readonly #visits = new Map<number, HostedVisit>();
  readonly #blocked = new Set<HostedStream>();
  /** How often the broker has refused an address lately. */
  readonly #refusals = new Map<string, number>();
  #lastId = 0;
  #unanswered = 0;
  #door: (Transport & { reload(): void }) | undefined;

  /** @param exit ends the process */
  constructor(socket: Socket, exit: () => void) {
    this.#exit = exit;
    this.#log = {
      debug: (event, fields) => this.#tell('debug', event, fields),
      info: (event, fields) => this.#tell('info', event, fields),
      warn: (event, fields) => this.#tell('warn', event, fields),
      error: (event, fields) => this.#tell('error', event, fields),
    };
    this.link = new Link(socket, this);
    CLOCK.every(REFUSALS_MS, () => this.#refusals.clear());
  }

  data(stream: number, bytes: Buffer): void {
    this.#streams.get(stream)?.write(bytes);
  }

  frame(type: number, id: number, payload: Buffer): void {
    switch (type) {
      case FRAME.start:
        void this.#start(readJson<EngineSpec>(payload));
        break;
      case FRAME.ping:
        this.#pong();
        break;
      case FRAME.credit:
        this.#streams.get(id)?.credited(payload.readUInt32LE());
        break;
      case FRAME.admit:
        this.#answered(id);
        break;
      case FRAME.evict:
        this.#evict(id);
        break;
      case FRAME.loggedIn:
        this.#visits.get(id)?.worn?.loggedIn();
        break;
      case FRAME.end:
        this.#streams.get(id)?.end(payload[0]);
        break;
      case FRAME.abort:
        this.#streams.get(id)?.abort(payload[0] === 1);
        break;
      case FRAME.reload:
        this.#reload();
        break;
      case FRAME.close:
        void this.#close(payload.readDoubleLE());
        break;
      default:
        throw new Error(`the broker sent a frame of the unknown type ${type}`);
    }
  }

  drained(): void {
    const blocked = [...this.#blocked];
    this.#blocked.clear();
    for (const stream of blocked) stream.drained();
  }

  /** The broker has gone: nothing here is of use to anybody. */
  gone(): void {
    this.#exit();
  }

  awaitRoom(stream: HostedStream): void {
    this.#blocked.add(stream);
  }

  forget(stream: HostedStream): void {
    this.#streams.delete(stream.id);
    this.#blocked.delete(stream);
  }

  /**
   * Lets everybody in and asks the broker in the same moment; whom it does not want is evicted when the answer is here, long before the client's.
   * So a refusal costs an answer to a first packet, in this process, and the budget for strangers is the broker's, one for all doors. An
   * address that is refused again and again is not asked about for the rest of the second.
   */
  knock(_door: string, address: string, evict: () => void): Visit | null {
    if (this.#unanswered >= UNANSWERED_MAX || this.#refusals.get(address) === REFUSALS_MAX) return null;
    this.#unanswered++;
    const visit = new HostedVisit(++this.#lastId, address, evict, () => {
      this.#answered(visit.id);
      this.#visits.delete(visit.id);
      this.link.frame(FRAME.left, visit.id);
    });
    this.#visits.set(visit.id, visit);
    this.link.frame(FRAME.knock, visit.id, Buffer.from(address));
    return visit;
  }

  #answered(id: number): HostedVisit | undefined {
    const visit = this.#visits.get(id);
    if (visit !== undefined && !visit.isAnswered) {
      visit.isAnswered = true;
      this.#unanswered--;
    }
    return visit;
  }

  /** Whom the broker does not want, or no longer. */
  #evict(id: number): void {
    const wasAdmitted = this.#visits.get(id)?.isAnswered === true;
    const visit = this.#answered(id);
    if (visit === undefined) return;
    const { address } = visit;
    const refusals = this.#refusals.get(address) ?? 0;
    const isKnown = refusals > 0 || this.#refusals.size < REFUSED_ADDRESSES_MAX;
    if (!wasAdmitted && isKnown) this.#refusals.set(address, Math.min(refusals + 1, REFUSALS_MAX));
    visit.evict();
  }

  async #start(spec: EngineSpec): Promise<void> {
    process.title = `sluice ${spec.url}`;
    try {
      const door = openEngineDoor(spec, {
        doorkeeper: this,
        log: this.#log,
        clock: CLOCK,
        onError: (error, address) => {
          if (!this.link.isFull) this.link.json(FRAME.fault, 0, tellError(error, address));
        },
      });
      const { port } = await door.listen((wire) => this.#accept(wire));
      if (spec.ids !== null) becomeUser(spec.ids);
      this.#door = door;
      this.link.json(FRAME.bound, 0, { port, certificateHash: door.certificateHash });
    } catch (error) {
      this.link.json(FRAME.failed, 0, tellError(error as Error));
      this.link.end();
    }
  }

  further(parent: number, wire: Wire): HostedStream {
    const stream = this.#add(wire, true);
    const open: OpenMessage = { visit: 0, parent, port: wire.peer.port };
    this.link.json(FRAME.open, stream.id, open);
    return stream;
  }

  #add(wire: Wire, isFurther: boolean): HostedStream {
    const stream = new HostedStream(this, ++this.#lastId, wire, isFurther);
    this.#streams.set(stream.id, stream);
    return stream;
  }

  #accept(wire: Wire): WireEvents {
    const stream = this.#add(wire, false);
    const { visit, peer } = wire;
    const hosted = visit instanceof HeardVisit ? visit.inner : visit;
    const isKnown = hosted instanceof HostedVisit;
    if (isKnown) hosted.worn = visit;
    const open: OpenMessage = {
      visit: isKnown ? hosted.id : 0,
      port: peer.port,
      username: peer.username,
      origin: peer.origin,
    };
    this.link.json(FRAME.open, stream.id, open);
    return stream;
  }

  #tell(level: LogMessage['level'], event: string, fields?: object): void {
    if (!this.link.isFull) this.link.json(FRAME.log, 0, { level, event, fields } satisfies LogMessage);
  }

  /** Answers what memory this process takes, in bytes. */
  #pong(): void {
    const payload = Buffer.alloc(8);
    payload.writeDoubleLE(process.memoryUsage.rss());
    this.link.frame(FRAME.pong, 0, payload);
  }

  #reload(): void {
    try {
      this.#door?.reload();
    } catch (error) {
      this.#tell('error', 'tls.refused', { problem: (error as Error).message });
    }
  }

  async #close(graceMs: number): Promise<void> {
    try {
      await this.#door?.close(graceMs);
    } catch (error) {
      this.link.json(FRAME.fault, 0, tellError(error as Error));
    }
    this.link.end();
  }
}
