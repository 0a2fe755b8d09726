/** Keeps a flood of logins from taking the machine: few hashes at once, few waiting, each address in its turn. */

/** Two keep two cores busy at full rate and leave libuv's other threads to files and name look-ups. */
export const HASHES_AT_ONCE_MAX = 2;
/** At about 96 logins a second the last in line waits under three seconds, well inside the CONNECT deadline. */
export const HASHES_WAITING_MAX = 256;
/**
 * Of one address: all there are, because a whole fleet may come back from behind one. Whoever comes from elsewhere takes the place of the last of
 * the longest line, and has the next turn.
 */
export const HASHES_WAITING_PER_ADDRESS_MAX = HASHES_WAITING_MAX;
/** 64 MiB for the hashes that are computed together. One that alone needs more runs alone. */
export const HASH_MEMORY_KIB_MAX = 65_536;
/** Whoever has waited this long has often left, or soon will: no hash is computed for him. */
export const HASH_WAIT_MS_MAX = 5_000;

export interface HashQueueOptions {
  readonly atOnceMax?: number;
  readonly waitingMax?: number;
  readonly waitingPerAddressMax?: number;
  readonly memoryKibMax?: number;
  readonly waitMsMax?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/** What one hash is for. */
export interface HashTurn {
  /** Who shares a turn: the client's address, or the network of a host. */
  readonly address: string;
  /** 0 goes before 1, and so on, whoever came first. */
  readonly rank: number;
  /** Asked when its turn comes: a higher rank by now, and it goes on waiting there; null: it is not wanted any more. */
  readonly rankNow?: () => number | null;
  /** Memory that computing it takes. */
  readonly memoryKib: number;
}

/** Whose turn it is, and before whom. */
export type HashPlace = Omit<HashTurn, 'memoryKib'>;

interface Waiting {
  readonly turn: HashTurn;
  rank: number;
  readonly since: number;
  /** True: its turn has come. False: it was sent away. */
  readonly answer: (mayRun: boolean) => void;
}

/** Those who wait in one class: by address, the address whose turn is next first. */
type Lines = Map<string, Waiting[]>;

/**
 * Two classes a rank: addresses that have had no turn since they began to wait, and those that have and want more. A newcomer
 * need not wait for one turn of everybody who has sent a hundred.
 */
const CLASSES_PER_RANK = 2;

/** One for the whole process; share it between listeners. */
export class HashQueue {
  readonly #atOnceMax: number;
  readonly #waitingMax: number;
  readonly #waitingPerAddressMax: number;
  readonly #memoryKibMax: number;
  readonly #waitMsMax: number;
  readonly #now: () => number;
  /** By class, first to last. */
  readonly #lines: Lines[] = [];
  readonly #perAddress = new Map<string, number>();
  #running = 0;
  #memoryKib = 0;
  #waiting = 0;

  constructor(options: HashQueueOptions = {}) {
    this.#atOnceMax = options.atOnceMax ?? HASHES_AT_ONCE_MAX;
    this.#waitingMax = options.waitingMax ?? HASHES_WAITING_MAX;
    this.#waitingPerAddressMax = options.waitingPerAddressMax ?? HASHES_WAITING_PER_ADDRESS_MAX;
    this.#memoryKibMax = options.memoryKibMax ?? HASH_MEMORY_KIB_MAX;
    this.#waitMsMax = options.waitMsMax ?? HASH_WAIT_MS_MAX;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Tasks that wait for their turn. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Runs `task` when its turn comes and settles as it does: lower ranks first; then addresses that have not had a turn yet, then
   * one of each address after the other; those of one address as they came. Null: there is no room, or room was made for
   * somebody with more right to it, or the wait was too long.
   */
  offer<T>(turn: HashTurn, task: () => Promise<T>): Promise<T | null> | null {
    if (this.#waiting === 0 && this.#fits(turn)) return this.#run(turn, task);
    if ((this.#perAddress.get(turn.address) ?? 0) >= this.#waitingPerAddressMax) return null;
    if (this.#waiting >= this.#waitingMax && !this.#makeRoom(turn)) return null;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#enqueue({ turn, rank: turn.rank, since: this.#now(), answer: resolve });
    // The place is handed over, not freed and taken again, so that no newcomer slips in between.
    return promise.then((mayRun) => (mayRun ? this.#finish(turn, task) : null));
  }

  #fits({ memoryKib }: HashTurn): boolean {
    if (this.#running === 0) return true;
    return this.#running < this.#atOnceMax && this.#memoryKib + memoryKib <= this.#memoryKibMax;
  }

  #run<T>(turn: HashTurn, task: () => Promise<T>): Promise<T> {
    this.#occupy(turn);
    return this.#finish(turn, task);
  }

  #occupy({ memoryKib }: HashTurn): void {
    this.#running++;
    this.#memoryKib += memoryKib;
  }

  async #finish<T>({ memoryKib }: HashTurn, task: () => Promise<T>): Promise<T> {
    try {
      return await task();
    } finally {
      this.#running--;
      this.#memoryKib -= memoryKib;
      this.#startNext();
    }
  }

  /** Starts as many as fit. The first in line is never overtaken for needing more memory. */
  #startNext(): void {
    for (let lines = this.#firstLines(); lines !== null; lines = this.#firstLines()) {
      const [[address, line]] = lines;
      const next = line[0];
      const isStale = this.#now() - next.since > this.#waitMsMax;
      if (!isStale && !this.#fits(next.turn)) return;
      line.shift();
      lines.delete(address);
      this.#left(next);
      const rank = isStale ? null : rankOf(next);
      if (rank !== null && rank > next.rank) {
        if (line.length > 0) lines.set(address, line);
        next.rank = rank;
        this.#enqueue(next);
        continue;
      }
      // To the end of those who have had a turn: the other addresses come first now.
      if (line.length > 0) this.#linesAt(next.rank * CLASSES_PER_RANK + 1).set(address, line);
      if (rank !== null) this.#occupy(next.turn);
      next.answer(rank !== null);
    }
  }

  #firstLines(): Lines | null {
    return this.#lines.find((lines) => lines !== undefined && lines.size > 0) ?? null;
  }

  #enqueue(waiting: Waiting): void {
    const { turn, rank } = waiting;
    const line = this.#lineOf(turn.address, rank);
    if (line === undefined) this.#linesAt(rank * CLASSES_PER_RANK).set(turn.address, [waiting]);
    else line.push(waiting);
    this.#waiting++;
    this.#perAddress.set(turn.address, (this.#perAddress.get(turn.address) ?? 0) + 1);
  }

  #linesAt(at: number): Lines {
    this.#lines[at] ??= new Map();
    return this.#lines[at];
  }

  #lineOf(address: string, rank: number): Waiting[] | undefined {
    const first = rank * CLASSES_PER_RANK;
    return this.#lines[first]?.get(address) ?? this.#lines[first + 1]?.get(address);
  }

  #left({ turn: { address } }: Waiting): void {
    this.#waiting--;
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }

  /** Sends away the last of the longest line in the last class, if it has less right to its place than `turn`. */
  #makeRoom(turn: HashTurn): boolean {
    const last = this.#lines.findLast((lines) => lines !== undefined && lines.size > 0);
    if (last === undefined) return false;
    let longest: Waiting[] = [];
    for (const line of last.values()) {
      if (line.length > longest.length) longest = line;
    }
    const { rank } = longest[0];
    if (rank < turn.rank) return false;
    const own = this.#lineOf(turn.address, turn.rank)?.length ?? 0;
    if (rank === turn.rank && longest.length <= own + 1) return false;
    const sentAway = longest.pop()!;
    if (longest.length === 0) last.delete(sentAway.turn.address);
    this.#left(sentAway);
    sentAway.answer(false);
    return true;
  }
}

/** Null: not wanted any more. */
function rankOf({ turn, rank }: Waiting): number | null {
  return turn.rankNow === undefined ? rank : turn.rankNow();
}
