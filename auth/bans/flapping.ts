/** Notices clients that come and go without end, and keeps them out for a while. */
import { hash, randomBytes } from 'node:crypto';
import type { Clock } from '../../src/interfaces/clock.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { FlappingLimits } from '../../src/limits.ts';
import { originOf } from '../networks.ts';
import type { BanSubject } from './ban-list.ts';

/** Clients remembered: 1.3 MB, whatever their names are. Only a login that succeeded makes one. */
const CLIENTS_MAX = 65_536;
/** A client has its place in one row of so many; the one of them that was first seen longest ago makes room. */
const ROW_CLIENTS = 8;
/** Clients that are kept out at a time. */
const BANNED_MAX = 10_000;

/**
 * Counts logins that succeeded by user, client id and address together, so that nobody can get another's client banned by
 * using its name. Numbers in arrays, not objects: a fleet of a hundred thousand logs in at once. What it bans it keeps in
 * memory: a restart forgives.
 */
export class FlappingWatch {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #limits: FlappingLimits;
  readonly #rows: number;
  /** Part of a digest with a secret in it, so that nobody can choose names that share it. */
  readonly #secret = randomBytes(16).toString('latin1');
  readonly #bannedUntilMs = new Map<string, number>();
  // Of the client in each place: 48 more bits of its digest, when its window began (monotonic milliseconds), and its logins since.
  readonly #digests: Float64Array;
  readonly #startedMs: Float64Array;
  readonly #connects: Uint32Array;

  constructor(clock: Clock, log: Log, limits: FlappingLimits, clientsMax = CLIENTS_MAX) {
    this.#clock = clock;
    this.#log = log;
    this.#limits = limits;
    this.#rows = Math.ceil(clientsMax / ROW_CLIENTS);
    const places = limits.connectsMax === 0 ? 0 : this.#rows * ROW_CLIENTS;
    this.#digests = new Float64Array(places);
    this.#startedMs = new Float64Array(places);
    this.#connects = new Uint32Array(places);
  }

  isBanned(subject: BanSubject): boolean {
    if (this.#bannedUntilMs.size === 0) return false;
    const key = this.#digestOf(subject).toString('latin1');
    const untilMs = this.#bannedUntilMs.get(key);
    if (untilMs === undefined) return false;
    if (this.#clock.now() < untilMs) return true;
    this.#bannedUntilMs.delete(key);
    return false;
  }

  /** Counts a login. True: it is one too many, and the client is banned from now on. */
  loggedIn(subject: BanSubject): boolean {
    const { connectsMax, windowSeconds, banSeconds } = this.#limits;
    if (connectsMax === 0) return false;
    const now = this.#clock.now();
    const digest = this.#digestOf(subject);
    const place = this.#placeOf(digest);
    const isOver = now - this.#startedMs[place] >= windowSeconds * 1000;
    if (this.#connects[place] === 0 || isOver) {
      this.#startedMs[place] = now;
      this.#connects[place] = 0;
    }
    if (++this.#connects[place] <= connectsMax) return false;
    // It begins anew when the ban is over.
    this.#connects[place] = 0;
    this.#ban(digest.toString('latin1'), now + banSeconds * 1000);
    const { address, username, clientId } = subject;
    const fields = { address, username, clientId, connectsMax, windowSeconds, banSeconds };
    this.#log.warn('client.flapping', fields);
    return true;
  }

  /** The client's place, or the one that it takes over. */
  #placeOf(digest: Buffer): number {
    const first = (digest.readUInt32LE(0) % this.#rows) * ROW_CLIENTS;
    const rest = digest.readUIntLE(4, 6);
    let oldest = first;
    for (let place = first; place < first + ROW_CLIENTS; place++) {
      if (this.#digests[place] === rest) return place;
      if (this.#startedMs[place] < this.#startedMs[oldest]) oldest = place;
    }
    this.#digests[oldest] = rest;
    this.#connects[oldest] = 0;
    return oldest;
  }

  #ban(key: string, untilMs: number): void {
    this.#bannedUntilMs.delete(key);
    for (const oldest of this.#bannedUntilMs.keys()) {
      if (this.#bannedUntilMs.size < BANNED_MAX) break;
      this.#bannedUntilMs.delete(oldest);
    }
    this.#bannedUntilMs.set(key, untilMs);
  }

  #digestOf({ address, username, clientId }: BanSubject): Buffer {
    // An IPv4 address is its own origin; the other kind takes longer to look at.
    const source = address.includes(':') ? originOf(address).source : address;
    const user = username === null ? '-' : `${username.length}=${username}`;
    return hash('sha256', `${this.#secret}${source} ${user} ${clientId}`, 'buffer');
  }
}
