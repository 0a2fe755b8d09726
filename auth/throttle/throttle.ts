/**
 * Makes guessing slow: failed logins cost growing delays to the address they come from, its network, the user and the
 * client id. An answer is never held back, since that would hold a socket: who comes too early is refused before any
 * hash is computed. docs/decisions/0014-login-throttle.md
 */
import type {
  Attempt,
  Authenticator,
  Exchange,
  RefusalReason,
  Step,
  Verdict,
} from '../../src/interfaces/auth.ts';
import type { Clock } from '../../src/interfaces/clock.ts';
import { DEFAULT_THROTTLE_LIMITS, type ThrottleLimits } from '../../src/limits.ts';
import { type Origin, originOf } from '../networks.ts';
import type { HashPlace } from '../passwords/hash-queue.ts';
import { FailureTable } from './failure-table.ts';
import { keyOfName, RecentTable } from './recent-table.ts';

/**
 * Who goes first where logins have to wait: whoever has logged in from there before; then those nobody knows anything bad of;
 * then those with a name that is guessed at; and last who comes from where logins failed.
 */
const RANK = { known: 0, new: 1, guessed: 2, failing: 3 } as const;

/** Keys of one kind remembered; at about 250 bytes each, 8 MB. Only a login that was tried and failed makes one. */
const KEYS_MAX = 32_768;
/** Pairs of user and address that logged in; at about 200 bytes each, 20 MB when as many clients are connected as may be. */
const KNOWN_MAX = 100_000;

/** One count that an attempt is held against. */
interface Check {
  readonly table: FailureTable;
  readonly key: string;
  readonly allowance: number;
}

/** Where an attempt's failures are counted. */
interface Keys {
  readonly origin: Origin;
  readonly user: string;
  readonly clientId: string;
  readonly userThere: string;
  readonly clientIdThere: string;
  readonly pair: string;
}

const THROTTLED: Verdict = Object.freeze({ ok: false, reason: 'throttled' });
/** What says that somebody does not know the password, and not that we had no time. */
const FAILURES: ReadonlySet<RefusalReason> = new Set(['bad-credentials', 'unknown-user', 'not-authorized']);

/** One for the process: guesses at one listener count at all. */
export class LoginThrottle {
  readonly #limits: ThrottleLimits;
  readonly #sources: FailureTable;
  readonly #networks: FailureTable;
  /** Users and client ids, wherever they are tried from. */
  readonly #names: FailureTable;
  /** The same, by the network they are tried from. */
  readonly #namesThere: FailureTable;
  readonly #known = new RecentTable<true>(KNOWN_MAX);
  /** Of attempts that wait for their verdict. */
  readonly #admitted = new WeakMap<Attempt, Admission>();

  constructor(clock: Clock, limits: ThrottleLimits = DEFAULT_THROTTLE_LIMITS, keysMax = KEYS_MAX) {
    this.#limits = limits;
    const options = { clock, delayMaxMs: limits.delayMaxSeconds * 1000, keysMax };
    this.#sources = new FailureTable(options);
    this.#networks = new FailureTable(options);
    this.#names = new FailureTable(options);
    this.#namesThere = new FailureTable(options);
  }

  /** An authenticator that asks `inner` only what is not to be refused for what came before. */
  guard(inner: Authenticator): Authenticator {
    const authenticate = (attempt: Attempt): Verdict | Promise<Verdict> => {
      // Whoever brings neither name nor password guesses at nothing.
      if (attempt.username === null && attempt.password === null) return inner.authenticate(attempt);
      const admission = this.#admit(attempt);
      if (admission === null) return THROTTLED;
      this.#admitted.set(attempt, admission);
      const verdict = inner.authenticate(attempt);
      if (!(verdict instanceof Promise)) return this.#conclude(admission, verdict);
      return verdict.then(
        (decided) => this.#conclude(admission, decided),
        (error: unknown) => {
          release(admission.taken);
          throw error;
        },
      );
    };
    if (inner.exchange === undefined) return { authenticate };
    return { authenticate, exchange: (method, attempt) => this.#exchange(inner, method, attempt) };
  }

  /** The place of an attempt in the queue of those that need a hash. What fails while it waits moves it back, or out. */
  placeOf(attempt: Attempt): HashPlace {
    const keys = this.#admitted.get(attempt)?.keys ?? keysOf(attempt);
    const rankNow = (): number | null =>
      this.#isTooEarly(this.#admitted.get(attempt)) ? null : this.#rankOf(keys);
    const rank = this.#rankOf(keys);
    const { source, network } = keys.origin;
    // Strangers take turns by network: hosts are cheap where whole networks are to be had.
    return { address: rank === RANK.known ? source : network, rank, rankNow };
  }

  #rankOf({ origin, user, pair }: Keys): number {
    const { networkFailuresMax, userFailuresMax } = this.#limits;
    if (this.#known.get(pair) !== undefined) return RANK.known;
    if (this.#sources.count(origin.source) > 0 || this.#networks.count(origin.network) >= networkFailuresMax)
      return RANK.failing;
    return this.#names.count(user) >= userFailuresMax ? RANK.guessed : RANK.new;
  }

  /** Whether it would not be let in now: many that came at once are not to have a hash each when the first of them have failed. */
  #isTooEarly(admission: Admission | undefined): boolean {
    // One that was let in behind a delay is the only one: what it took stands in its own way.
    if (admission === undefined || admission.taken.length > 0) return false;
    return !this.#isOpen(this.#checksFor(admission.keys));
  }

  #isOpen(checks: readonly Check[]): boolean {
    return checks.every(({ table, key, allowance }) => table.isOpen(key, allowance));
  }

  /** Keys remembered in each table, and pairs that logged in. */
  get sizes(): { readonly failures: readonly number[]; readonly known: number } {
    const tables = [this.#sources, this.#networks, this.#names, this.#namesThere];
    return { failures: tables.map((table) => table.size), known: this.#known.size };
  }

  /** Null: too early. Else what is to be given back when nothing fails. */
  #admit(attempt: Attempt): Admission | null {
    const keys = keysOf(attempt);
    const checks = this.#checksFor(keys);
    if (!this.#isOpen(checks)) return null;
    const taken = checks.filter(({ table, key, allowance }) => table.take(key, allowance));
    return { keys, taken };
  }

  #checksFor(keys: Keys): Check[] {
    const { addressFailuresMax, networkFailuresMax, userFailuresMax, clientIdFailuresMax } = this.#limits;
    // Whoever logged in from here before is not to suffer for his neighbours, nor for those who guess at his name: also not
    // for neighbours who guess at his name, so that only failures from his own address count.
    if (this.#known.get(keys.pair) !== undefined)
      return [{ table: this.#namesThere, key: keys.pair, allowance: addressFailuresMax }];
    const checks: Check[] = [
      { table: this.#sources, key: keys.origin.source, allowance: addressFailuresMax },
      { table: this.#networks, key: keys.origin.network, allowance: networkFailuresMax },
    ];
    // One try for each network that has not failed yet, so that guesses from elsewhere lock nobody out.
    if (this.#names.count(keys.user) >= userFailuresMax)
      checks.push({ table: this.#namesThere, key: keys.userThere, allowance: 1 });
    if (this.#names.count(keys.clientId) >= clientIdFailuresMax)
      checks.push({ table: this.#namesThere, key: keys.clientIdThere, allowance: 1 });
    return checks;
  }

  #conclude(admission: Admission, verdict: Verdict): Verdict {
    const { keys, taken } = admission;
    if (!verdict.ok && FAILURES.has(verdict.reason)) this.#failed(keys);
    else {
      release(taken);
      if (verdict.ok) this.#succeeded(keys);
    }
    return verdict;
  }

  #failed(keys: Keys): void {
    const { addressFailuresMax, networkFailuresMax, userFailuresMax, clientIdFailuresMax } = this.#limits;
    this.#sources.fail(keys.origin.source, addressFailuresMax);
    this.#networks.fail(keys.origin.network, networkFailuresMax);
    this.#names.fail(keys.user, userFailuresMax);
    this.#names.fail(keys.clientId, clientIdFailuresMax);
    if (this.#known.get(keys.pair) !== undefined) this.#namesThere.fail(keys.pair, addressFailuresMax);
    else this.#namesThere.fail(keys.userThere, 1);
    this.#namesThere.fail(keys.clientIdThere, 1);
  }

  /** Forgives what failed with this name from there, and no more: an account of one's own must not pay for guesses at others. */
  #succeeded(keys: Keys): void {
    // The path of a unix socket is its own network: then both keys are one.
    const own = keys.pair === keys.userThere ? 0 : this.#namesThere.count(keys.pair);
    const count = this.#namesThere.count(keys.userThere) + own;
    this.#sources.forgive(keys.origin.source, count);
    this.#networks.forgive(keys.origin.network, count);
    this.#names.forgive(keys.user, count);
    this.#names.forgive(keys.clientId, this.#namesThere.count(keys.clientIdThere));
    this.#namesThere.delete(keys.userThere);
    this.#namesThere.delete(keys.pair);
    this.#namesThere.delete(keys.clientIdThere);
    this.#known.touch(keys.pair, true);
  }

  #exchange(inner: Authenticator, method: string, attempt: Attempt): Exchange | null {
    const admission = this.#admit(attempt);
    if (admission === null) return { next: () => ({ kind: 'end', verdict: THROTTLED, data: null }) };
    const exchange = inner.exchange?.(method, attempt) ?? null;
    if (exchange === null) {
      release(admission.taken);
      return null;
    }
    let current = admission;
    const conclude = (step: Step): Step => {
      if (step.kind === 'end') {
        this.#conclude(current, step.verdict);
        return step;
      }
      // A CONNECT without a name: only now is it known whose failures count.
      if (step.username === undefined || attempt.username !== null) return step;
      release(current.taken);
      const named = this.#admit({ ...attempt, username: step.username });
      if (named === null) return { kind: 'end', verdict: THROTTLED, data: null };
      current = named;
      return step;
    };
    return {
      next: (data) => {
        // Many that began at once are not to have a proof looked at each when the first of them have failed.
        if (this.#isTooEarly(current)) return { kind: 'end', verdict: THROTTLED, data: null };
        const step = exchange.next(data);
        return step instanceof Promise ? step.then(conclude) : conclude(step);
      },
    };
  }
}

interface Admission {
  readonly keys: Keys;
  readonly taken: readonly Check[];
}

function release(taken: readonly Check[]): void {
  for (const { table, key } of taken) table.release(key);
}

function keysOf({ peer, username, clientId }: Attempt): Keys {
  const origin = originOf(peer.address);
  const user = `u${keyOfName(username)}`;
  const client = `c${keyOfName(clientId)}`;
  return {
    origin,
    user,
    clientId: client,
    userThere: `${origin.network} ${user}`,
    clientIdThere: `${origin.network} ${client}`,
    pair: `${origin.source} ${user}`,
  };
}
