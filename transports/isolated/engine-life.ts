/** One life of an engine's process, as the broker sees it: its visits and its wires, until both are over. */
import type { Visit } from '../../src/interfaces/doorkeeper.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { PeerInfo, Wire, WireEvents } from '../../src/interfaces/transport.ts';
import { type Arrivals, EVICTED, HeardVisit } from '../arrival.ts';
import type { OnError } from '../listen-url.ts';
import { type EngineEnd, EngineProcess, type EngineProcessOptions } from './engine-process.ts';
import { IsolatedWire, type WireHost } from './isolated-wire.ts';
import { FRAME, type Link } from './link.ts';
import {
  type BoundMessage,
  type EngineSpec,
  errorOf,
  type LogMessage,
  type OpenMessage,
  readJson,
  type ToldError,
} from './messages.ts';

/** More than any engine holds, and a bound for what a process that has lost its mind can claim. */
const VISITS_MAX = 65_536;
/** Longest IP address with a zone, in bytes. */
const ADDRESS_BYTES_MAX = 64;

/** Somebody at the door. */
interface Caller {
  readonly address: string;
  /** Null: the doorkeeper has turned him away. */
  visit: Visit | null;
  wire: IsolatedWire | null;
  isGone: boolean;
}

export interface EngineLifeOptions
  extends Pick<EngineProcessOptions, 'memoryMaxBytes' | 'heapMegabytesMax' | 'times' | 'entry'> {
  readonly spec: EngineSpec;
  /** The listener's URL as configured. */
  readonly door: string;
  readonly arrivals: Arrivals;
  readonly accept: (wire: Wire) => WireEvents;
  readonly onError: OnError | undefined;
  readonly log: Log | undefined;
  /** It listens. */
  readonly onBound: (bound: BoundMessage) => void;
  /** It cannot listen, and ends. */
  readonly onFailed: (error: Error) => void;
  /** It is gone. `wires`: how many were open. */
  readonly onGone: (end: EngineEnd, wires: number) => void;
}

export class EngineLife implements WireHost {
  readonly link: Link;
  readonly onError: OnError | undefined;
  readonly #options: EngineLifeOptions;
  readonly #process: EngineProcess;
  readonly #callers = new Map<number, Caller>();
  readonly #wires = new Map<number, IsolatedWire>();
  readonly #blocked = new Set<IsolatedWire>();
  #isClosing = false;

  constructor(options: EngineLifeOptions) {
    const { memoryMaxBytes, heapMegabytesMax, times, entry, spec } = options;
    this.#options = options;
    this.onError = options.onError;
    this.#process = new EngineProcess({
      events: {
        data: (stream, bytes) => this.#wires.get(stream)?.data(bytes),
        frame: (type, id, payload) => this.#frame(type, id, payload),
        drained: () => this.#drained(),
      },
      memoryMaxBytes,
      heapMegabytesMax,
      times,
      entry,
      onGone: (end) => this.#gone(end),
    });
    this.link = this.#process.link;
    this.link.json(FRAME.start, 0, spec);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get memoryBytes(): number {
    return this.#process.memoryBytes;
  }

  /** Connections: streams that are further ones of another do not count. */
  get wires(): number {
    let wires = 0;
    for (const { visit } of this.#wires.values()) if (visit !== undefined) wires++;
    return wires;
  }

  awaitRoom(wire: IsolatedWire): void {
    this.#blocked.add(wire);
  }

  forget(wire: IsolatedWire): void {
    this.#wires.delete(wire.id);
    this.#blocked.delete(wire);
  }

  violated(problem: string): void {
    this.#process.kill(problem);
  }

  reload(): void {
    this.link.frame(FRAME.reload);
  }

  /** Has it stop accepting, give open streams `graceMs` to end, and end itself. */
  close(graceMs: number): void {
    this.#isClosing = true;
    const payload = Buffer.alloc(8);
    payload.writeDoubleLE(graceMs);
    this.link.frame(FRAME.close, 0, payload);
  }

  kill(why?: string): void {
    this.#process.kill(why);
  }

  /** What it sends is looked at as what a stranger sends: who broke in there must not get further by what he says. */
  #frame(type: number, id: number, payload: Buffer): void {
    try {
      this.#take(type, id, payload);
    } catch (error) {
      this.violated(`it sent what cannot be read (${(error as Error).message})`);
    }
  }

  #take(type: number, id: number, payload: Buffer): void {
    switch (type) {
      case FRAME.credit:
        this.#wires.get(id)?.credited(payload.readUInt32LE());
        break;
      case FRAME.knock:
        this.#knock(id, payload.toString('latin1', 0, ADDRESS_BYTES_MAX));
        break;
      case FRAME.left:
        this.#left(id);
        break;
      case FRAME.open:
        this.#open(id, readJson<OpenMessage>(payload));
        break;
      case FRAME.closed:
        this.#wires.get(id)?.closed(payload.length === 0 ? undefined : errorOf(readJson<ToldError>(payload)));
        break;
      case FRAME.bound:
        this.#process.watch();
        this.#options.onBound(readJson<BoundMessage>(payload));
        break;
      case FRAME.failed:
        this.#options.onFailed(errorOf(readJson<ToldError>(payload)));
        break;
      case FRAME.fault: {
        const told = readJson<ToldError>(payload);
        this.onError?.(errorOf(told), told.address);
        break;
      }
      case FRAME.log:
        this.#tell(readJson<LogMessage>(payload));
        break;
      default:
        throw new Error(`type ${type}`);
    }
  }

  #knock(id: number, address: string): void {
    if (this.#callers.size >= VISITS_MAX) throw new Error(`more than ${VISITS_MAX} visits`);
    if (this.#callers.has(id)) throw new Error('a visit twice');
    const caller: Caller = { address, visit: null, wire: null, isGone: false };
    caller.visit = this.#options.arrivals.knock(address, () => this.#evict(id, caller));
    this.#callers.set(id, caller);
    this.link.frame(caller.visit === null ? FRAME.evict : FRAME.admit, id);
  }

  #evict(id: number, caller: Caller): void {
    if (caller.isGone) return;
    if (caller.wire === null) this.link.frame(FRAME.evict, id);
    else caller.wire.abort(EVICTED);
  }

  #left(id: number): void {
    const caller = this.#callers.get(id);
    if (caller === undefined) return;
    this.#callers.delete(id);
    caller.isGone = true;
    caller.visit?.left();
  }

  #open(id: number, { visit: visitId, parent, port, username, origin }: OpenMessage): void {
    if (this.#wires.has(id)) throw new Error('a stream twice');
    if (parent !== undefined) {
      const first = this.#wires.get(parent);
      if (first === undefined) this.link.frame(FRAME.abort, id, Buffer.of(0));
      else first.openFurther(id, (wire) => this.#wires.set(id, wire));
      return;
    }
    const caller = this.#callers.get(visitId);
    if (caller === undefined || caller.visit === null) {
      // Turned away, and the answer is under way.
      this.link.frame(FRAME.abort, id, Buffer.of(1));
      return;
    }
    if (caller.wire !== null) throw new Error('a stream twice');
    const { door, accept } = this.#options;
    const peer: PeerInfo = {
      door,
      address: caller.address,
      port: Number(port),
      secure: true,
      ...(username === undefined ? {} : { username: String(username) }),
      ...(origin === undefined ? {} : { origin: String(origin) }),
    };
    const visit = new HeardVisit(caller.visit, () => this.link.frame(FRAME.loggedIn, visitId));
    const wire = IsolatedWire.open(this, id, peer, visit, (opened) => {
      // Before the core has it: it may end at once what it is given.
      this.#wires.set(id, opened as IsolatedWire);
      caller.wire = opened as IsolatedWire;
      return accept(opened);
    });
    caller.wire = wire;
  }

  #tell({ level, event, fields }: LogMessage): void {
    const { log, door } = this.#options;
    const known = (['debug', 'info', 'warn', 'error'] as const).find((each) => each === level);
    if (known !== undefined) log?.[known](String(event), { ...fields, door });
  }

  #drained(): void {
    const blocked = [...this.#blocked];
    this.#blocked.clear();
    for (const wire of blocked) wire.drained();
  }

  #gone(end: EngineEnd): void {
    const { wires } = this;
    const { door } = this.#options;
    const error = this.#isClosing ? undefined : new Error(`the engine of ${door} ${howItEnded(end)}`);
    for (const wire of [...this.#wires.values()]) wire.lost(error);
    for (const id of [...this.#callers.keys()]) this.#left(id);
    this.#options.onGone(end, wires);
  }
}

/** In words, to go behind what ended. */
export function howItEnded({ exitCode, signal, why }: EngineEnd): string {
  if (exitCode === null && signal === null) return `could not be started (${why})`;
  if (why !== undefined) return `was killed: ${why}`;
  return signal === null ? `ended with exit code ${exitCode}` : `died of ${signal}`;
}
