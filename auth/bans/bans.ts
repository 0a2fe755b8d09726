/** Keeps out who is banned: by the operator, in a list that is replaced when its file changes, or for flapping. */
import type { Attempt, Authenticator, Exchange, Step, Verdict } from '../../src/interfaces/auth.ts';
import type { Clock } from '../../src/interfaces/clock.ts';
import type { Log } from '../../src/interfaces/log.ts';
import type { FlappingLimits } from '../../src/limits.ts';
import type { BanList, BanSubject } from './ban-list.ts';
import { FlappingWatch } from './flapping.ts';

export interface BansOptions {
  readonly list: BanList;
  readonly flapping: FlappingLimits;
  readonly clock: Clock;
  readonly log: Log;
}

const BANNED: Verdict = Object.freeze({ ok: false, reason: 'banned' });

/** One for the process. Look-ups go by the clock: a ban is over when its time has come, without anybody reading the file. */
export class Bans {
  readonly #clock: Clock;
  readonly #flapping: FlappingWatch;
  #list: BanList;
  #onReplaced: () => void = () => {};

  constructor({ list, flapping, clock, log }: BansOptions) {
    this.#list = list;
    this.#clock = clock;
    this.#flapping = new FlappingWatch(clock, log, flapping);
  }

  /** Takes another list from now on. */
  replaceList(list: BanList): void {
    this.#list = list;
    this.#onReplaced();
  }

  /** @param task called behind each new list: connections of those whom it bans should end */
  onReplaced(task: () => void): void {
    this.#onReplaced = task;
  }

  /** Whether nobody from this address may even knock. Never throws. */
  isBanned(address: string): boolean {
    return this.#list.ofAddress(address, this.#clock.wallNow()) !== null;
  }

  /** Whether the operator has banned anything about a client. */
  covers(subject: BanSubject): boolean {
    return this.#list.of(subject, this.#clock.wallNow()) !== null;
  }

  /** An authenticator that does not ask `inner` about those who are banned. */
  guard(inner: Authenticator): Authenticator {
    const authenticate = (attempt: Attempt): Verdict | Promise<Verdict> => {
      if (this.#keepsOut(subjectOf(attempt))) return BANNED;
      const verdict = inner.authenticate(attempt);
      if (!(verdict instanceof Promise)) return this.#conclude(attempt, verdict);
      return verdict.then((decided) => this.#conclude(attempt, decided));
    };
    if (inner.exchange === undefined) return { authenticate };
    return { authenticate, exchange: (method, attempt) => this.#exchange(inner, method, attempt) };
  }

  #keepsOut(subject: BanSubject): boolean {
    return this.covers(subject) || this.#flapping.isBanned(subject);
  }

  /** Who he is may be known only now, from a certificate or a token; and he may have been banned while he waited. */
  #conclude(attempt: Attempt, verdict: Verdict): Verdict {
    if (!verdict.ok) return verdict;
    const subject = { ...subjectOf(attempt), username: verdict.username };
    return this.#keepsOut(subject) || this.#flapping.loggedIn(subject) ? BANNED : verdict;
  }

  #exchange(inner: Authenticator, method: string, attempt: Attempt): Exchange | null {
    if (this.#keepsOut(subjectOf(attempt)))
      return { next: () => ({ kind: 'end', verdict: BANNED, data: null }) };
    const exchange = inner.exchange?.(method, attempt) ?? null;
    if (exchange === null) return null;
    const conclude = (step: Step): Step => {
      if (step.kind !== 'end') return step;
      const verdict = this.#conclude(attempt, step.verdict);
      // What proves to the client that we know its password is not for one that is kept out.
      return verdict === step.verdict ? step : { kind: 'end', verdict, data: null };
    };
    return {
      next: (data) => {
        const step = exchange.next(data);
        return step instanceof Promise ? step.then(conclude) : conclude(step);
      },
    };
  }
}

function subjectOf({ peer, username, clientId }: Attempt): BanSubject {
  return { address: peer.address, username, clientId };
}
