/** One budget for strangers, the same at every door: how many may stand there at once, from one host, from one prefix, and how fast they come. */
import type { Clock } from '../interfaces/clock.ts';
import type { Doorkeeper, Visit } from '../interfaces/doorkeeper.ts';
import type { Log } from '../interfaces/log.ts';
import type { StrangerLimits } from '../limits.ts';
import type { Statistics } from '../statistics.ts';
import { Chain, type Link } from './chain.ts';
import { sourceOf } from './source.ts';
import { Tallies, type Tally } from './tallies.ts';
import { TurnedAwayLog } from './turned-away-log.ts';

export interface DoorkeeperOptions {
  readonly limits: StrangerLimits;
  readonly clock: Clock;
  readonly log: Log;
  readonly statistics: Pick<Statistics, 'strangers' | 'strangersTurnedAway' | 'strangersEvicted'>;
}

/** Whether a door lets this address in at all. */
export type Admits = (address: string) => boolean;

/** Why somebody was turned away; `evicted`: he was in, and had to make room. */
export type TurnedAwayReason =
  | 'denied'
  | 'connects-per-second'
  | 'connections-per-address'
  | 'strangers-per-address'
  | 'strangers-per-prefix'
  | 'evicted';

const SECOND_MS = 1_000;
/** Of so many that came first, the one from the most crowded prefix makes room: a flood evicts its own, while it has few prefixes. */
const EVICTION_CANDIDATES_MAX = 32;

const everybody: Admits = () => true;

/**
 * The doorkeeper of all doors of a process. When the room for strangers is full, the newest gets in and one of the oldest has to go,
 * so that silent sockets, however many, keep nobody out for longer than it takes to fill the room once.
 */
export class SharedDoorkeeper implements Doorkeeper {
  readonly #limits: StrangerLimits;
  readonly #clock: Clock;
  readonly #log: TurnedAwayLog;
  readonly #statistics: DoorkeeperOptions['statistics'];
  readonly #hosts: Tallies;
  readonly #prefixes: Tallies;
  readonly #strangers = new Chain<Caller>();
  readonly #stop: () => void;

  constructor(options: DoorkeeperOptions) {
    const { limits, clock, log, statistics } = options;
    this.#limits = limits;
    this.#clock = clock;
    this.#log = new TurnedAwayLog(log);
    this.#statistics = statistics;
    this.#hosts = new Tallies(limits.connectsPerSecondPerAddressMax, limits.connectBurstPerAddressMax);
    this.#prefixes = new Tallies(0, 0);
    this.#stop = clock.every(SECOND_MS, () => {
      this.#hosts.sweep(clock.now());
      this.#log.sumUp();
    });
  }

  /** Hosts and prefixes that are remembered. */
  get tallies(): number {
    return this.#hosts.size + this.#prefixes.size;
  }

  knock(door: string, address: string, evict: () => void): Visit | null {
    return this.#knock(door, address, evict, everybody);
  }

  /** The same doorkeeper, with the same budget, at a door that does not let everybody in. */
  behind(admits: Admits): Doorkeeper {
    return { knock: (door, address, evict) => this.#knock(door, address, evict, admits) };
  }

  /** Stops sweeping, and tells what is left to tell. */
  close(): void {
    this.#stop();
    this.#log.sumUp();
  }

  #knock(door: string, address: string, evict: () => void, admits: Admits): Visit | null {
    const caller = new Caller(this, door, evict, admits);
    if (!this.place(caller, address)) return null;
    if (this.#strangers.size >= this.#limits.totalMax) this.#makeRoom();
    this.#strangers.push(caller);
    this.#statistics.strangers = this.#strangers.size;
    return caller;
  }

  /** Counts a caller where he comes from. False: he has to go, and was counted nowhere. */
  place(caller: Caller, address: string): boolean {
    caller.address = address;
    // An address that is not known yet is judged when the proxy has told it.
    if (address !== '' && !caller.admits(address)) return this.#turnAway(caller, 'denied');
    const source = sourceOf(address);
    if (source === null) return true;
    const now = this.#clock.now();
    const host = this.#hosts.of(source.host, now);
    const prefix = this.#prefixes.of(source.prefix, now);
    const reason = this.#objection(host, prefix, now);
    if (reason !== null) {
      this.#hosts.release(host, now);
      this.#prefixes.release(prefix, now);
      return this.#turnAway(caller, reason);
    }
    caller.host = host;
    caller.prefix = prefix;
    for (const tally of [host, prefix]) {
      tally.sockets++;
      tally.strangers++;
    }
    return true;
  }

  #objection(host: Tally, prefix: Tally, now: number): TurnedAwayReason | null {
    const {
      connectsPerSecondPerAddressMax: perSecond,
      connectBurstPerAddressMax: burst,
      connectionsPerAddressMax,
      perAddressMax,
      perPrefixMax,
    } = this.#limits;
    if (perSecond > 0 && !host.take(perSecond, burst, now)) return 'connects-per-second';
    if (connectionsPerAddressMax > 0 && host.sockets >= connectionsPerAddressMax) {
      return 'connections-per-address';
    }
    if (perAddressMax > 0 && host.strangers >= perAddressMax) return 'strangers-per-address';
    if (perPrefixMax > 0 && prefix.strangers >= perPrefixMax) return 'strangers-per-prefix';
    return null;
  }

  #turnAway(caller: Caller, reason: TurnedAwayReason): false {
    this.#statistics.strangersTurnedAway++;
    this.#log.tell(caller.door, caller.address, reason);
    return false;
  }

  #makeRoom(): void {
    const oldest = this.#strangers.first!;
    let victim = oldest;
    let candidate = this.#strangers.after(oldest);
    for (let seen = 1; candidate !== null && seen < EVICTION_CANDIDATES_MAX; seen++) {
      if (candidate.crowd > victim.crowd) victim = candidate;
      candidate = this.#strangers.after(candidate);
    }
    const { evict } = victim;
    this.strangerGone(victim);
    this.#statistics.strangersEvicted++;
    this.#log.tell(victim.door, victim.address, 'evicted' satisfies TurnedAwayReason);
    evict?.();
  }

  /** He is no stranger any more: logged in, evicted, or gone. */
  strangerGone(caller: Caller): void {
    if (!caller.isStranger) return;
    caller.isStranger = false;
    caller.evict = null;
    this.#strangers.remove(caller);
    this.#statistics.strangers = this.#strangers.size;
    this.#uncountStranger(caller);
  }

  loggedIn(caller: Caller): void {
    this.strangerGone(caller);
    // Nobody asks for the number of all sockets: then nothing is kept for those who are in.
    if (this.#limits.connectionsPerAddressMax === 0) this.unplace(caller);
  }

  /** He comes from elsewhere, or is gone. */
  unplace(caller: Caller): void {
    const { host, prefix } = caller;
    if (host === null || prefix === null) return;
    if (caller.isStranger) this.#uncountStranger(caller);
    caller.host = null;
    caller.prefix = null;
    host.sockets--;
    prefix.sockets--;
    const now = this.#clock.now();
    this.#hosts.release(host, now);
    this.#prefixes.release(prefix, now);
  }

  #uncountStranger({ host, prefix }: Caller): void {
    if (host !== null) host.strangers--;
    if (prefix !== null) prefix.strangers--;
  }
}

/** One who was let in. */
class Caller implements Visit, Link {
  readonly #keeper: SharedDoorkeeper;
  readonly door: string;
  readonly admits: Admits;
  evict: (() => void) | null;
  address = '';
  isStranger = true;
  #isGone = false;
  /** Null: not counted by address. */
  host: Tally | null = null;
  prefix: Tally | null = null;
  previous: Link | null = null;
  next: Link | null = null;

  constructor(keeper: SharedDoorkeeper, door: string, evict: () => void, admits: Admits) {
    this.#keeper = keeper;
    this.door = door;
    this.evict = evict;
    this.admits = admits;
  }

  /** Strangers where he comes from. */
  get crowd(): number {
    return this.prefix === null ? 0 : this.prefix.strangers;
  }

  moved(address: string): boolean {
    if (this.#isGone || !this.isStranger) return false;
    this.#keeper.unplace(this);
    return this.#keeper.place(this, address);
  }

  loggedIn(): void {
    if (!this.#isGone) this.#keeper.loggedIn(this);
  }

  left(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#keeper.strangerGone(this);
    this.#keeper.unplace(this);
  }
}
