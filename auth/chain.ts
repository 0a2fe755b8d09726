/** Several ways to log in, one after the other: the first that knows the user decides. */
import type { Attempt, Authenticator, Exchange, Step, Verdict } from '../src/interfaces/auth.ts';

/** One way in, under the name that the configuration and the log give it. */
export interface ChainLink {
  readonly name: string;
  readonly authenticator: Authenticator;
}

/** What went wrong in a link, for the log; the client hears no more than `unavailable`. */
export type OnLinkError = (name: string, error: unknown, attempt: Attempt) => void;

const UNKNOWN: Verdict = Object.freeze({ ok: false, reason: 'unknown-user' });
const UNAVAILABLE: Verdict = Object.freeze({ ok: false, reason: 'unavailable' });
const ANONYMOUS: Verdict = Object.freeze({ ok: true, username: null });
const FAILED: Exchange = Object.freeze({
  next: () => ({ kind: 'end', verdict: UNAVAILABLE, data: null }) as const,
});

/**
 * Asks its links in order. `unknown-user` goes on to the next; every other verdict stands, and so does a link that fails:
 * a broken check must not become one that is skipped. Waits only where a link waits.
 */
export class AuthenticatorChain implements Authenticator {
  readonly #links: readonly ChainLink[];
  readonly #onError: OnLinkError;

  constructor(links: readonly ChainLink[], onError: OnLinkError = () => {}) {
    this.#links = links;
    this.#onError = onError;
  }

  authenticate(attempt: Attempt): Verdict | Promise<Verdict> {
    return this.#ask(attempt, 0);
  }

  /** Begins with the first link that knows the method; it alone decides, but not against a certificate that is asked before it. */
  exchange(method: string, attempt: Attempt): Exchange | null {
    let vouchedFor: string | undefined;
    for (const { name, authenticator } of this.#links) {
      if (isCertificate(authenticator)) vouchedFor = attempt.peer.username;
      try {
        const exchange = authenticator.exchange?.(method, attempt) ?? null;
        if (exchange !== null) return vouchedFor === undefined ? exchange : onlyFor(vouchedFor, exchange);
      } catch (error) {
        this.#onError(name, error, attempt);
        return FAILED;
      }
    }
    return null;
  }

  #ask(attempt: Attempt, from: number): Verdict | Promise<Verdict> {
    for (let at = from; at < this.#links.length; at++) {
      const { name, authenticator } = this.#links[at];
      let verdict: Verdict | Promise<Verdict>;
      try {
        verdict = authenticator.authenticate(attempt);
      } catch (error) {
        return this.#failed(name, error, attempt);
      }
      if (verdict instanceof Promise) {
        return verdict.then(
          (decided) => (goesOn(decided) ? this.#ask(attempt, at + 1) : decided),
          (error: unknown) => this.#failed(name, error, attempt),
        );
      }
      if (!goesOn(verdict)) return verdict;
    }
    return UNKNOWN;
  }

  #failed(name: string, error: unknown, attempt: Attempt): Verdict {
    this.#onError(name, error, attempt);
    return UNAVAILABLE;
  }
}

function isCertificate(authenticator: Authenticator): boolean {
  return authenticator instanceof CertificateAuthenticator;
}

/** An exchange that proves somebody else than `username` has failed. */
function onlyFor(username: string, exchange: Exchange): Exchange {
  const judge = (step: Step): Step =>
    step.kind === 'end' && step.verdict.ok && step.verdict.username !== username
      ? { kind: 'end', verdict: { ok: false, reason: 'bad-credentials' }, data: null }
      : step;
  return {
    next: (data) => {
      const step = exchange.next(data);
      return step instanceof Promise ? step.then(judge) : judge(step);
    },
  };
}

function goesOn(verdict: Verdict): boolean {
  return !verdict.ok && verdict.reason === 'unknown-user';
}

/**
 * Accepts whom the transport vouches for: the name in a verified client certificate. A CONNECT may repeat that name; one
 * that gives another is refused, and no other link is asked, because whoever holds the certificate would be two people.
 * A password is not looked at.
 */
export class CertificateAuthenticator implements Authenticator {
  authenticate({ username, peer }: Attempt): Verdict {
    if (peer.username === undefined) return UNKNOWN;
    if (username !== null && username !== peer.username) return { ok: false, reason: 'bad-credentials' };
    return { ok: true, username: peer.username };
  }
}

/**
 * The end of a chain that lets in clients without a name. `nameless`: those that give none. `everybody`: all, also under the
 * name they give, which nobody has checked and which is therefore not believed: they have none either.
 */
export class AnonymousAuthenticator implements Authenticator {
  readonly #everybody: boolean;

  constructor(whom: 'nameless' | 'everybody') {
    this.#everybody = whom === 'everybody';
  }

  authenticate({ username }: Attempt): Verdict {
    return username === null || this.#everybody ? ANONYMOUS : UNKNOWN;
  }
}
