/** Lets clients in by a JSON Web Token (RFC 7519) in the password field. Signatures are verified by jose. */
import type { JWTPayload } from 'jose';
import * as errors from 'jose/errors';
import { jwtVerify } from 'jose/jwt/verify';
import type { Attempt, Authenticator, Grants, Verdict } from '../../src/interfaces/auth.ts';
import type { Clock } from '../../src/interfaces/clock.ts';
import { GrantsError, grantsFrom } from '../grants.ts';
import { HashQueue } from '../passwords/hash-queue.ts';
import type { JwtKeys } from './jwt-keys.ts';
import type { JwtKeySource } from './jwt-remote-keys.ts';
import { isUserName, readToken } from './jwt-token.ts';

export interface JwtOptions {
  readonly keys: JwtKeySource;
  readonly clock: Pick<Clock, 'now' | 'wallNow'>;
  /** What `iss` must be; null: anything. */
  readonly issuer: string | null;
  /** One of these must be in `aud`; null: anything. */
  readonly audiences: readonly string[] | null;
  /** The claim that is the user name. */
  readonly usernameClaim: string;
  /** The claim `{ pub: [filters], sub: [filters] }` that says what the client may do at most. */
  readonly aclClaim: string;
  /** How far the clocks of issuer and broker may differ. */
  readonly clockToleranceSeconds: number;
  /** Why a token was refused, for the log: words of this program, none of the token's. */
  readonly onRefused?: (problem: string, attempt: Attempt) => void;
}

/** Signatures verified at once, in libuv's threads, and waiting, of all and of one address; one takes some 0.1 ms. */
const SIGNATURES = { atOnceMax: 4, waitingMax: 1_024, waitingPerAddressMax: 256 };

/** What a token for logging in may say of itself. Logout tokens, tickets and whatever else an issuer signs are none. */
const LOGIN_TYPES: ReadonlySet<string> = new Set(['', 'jwt', 'at+jwt']);

const UNKNOWN: Verdict = Object.freeze({ ok: false, reason: 'unknown-user' });
const REFUSED: Verdict = Object.freeze({ ok: false, reason: 'bad-credentials' });
const BUSY: Verdict = Object.freeze({ ok: false, reason: 'busy' });

/** A token that is genuine and says something that cannot be used. */
class ClaimError extends Error {}

/**
 * A password that is no token is left to others (`unknown-user`); one that is decides, good or bad. A token must have `exp`,
 * and the connection ends with it. A user name in the CONNECT must be the token's.
 */
export class JwtAuthenticator implements Authenticator {
  readonly #options: JwtOptions;
  readonly #queue = new HashQueue(SIGNATURES);

  constructor(options: JwtOptions) {
    this.#options = options;
  }

  authenticate(attempt: Attempt): Verdict | Promise<Verdict> {
    const token = readToken(attempt.password);
    if (token === null || !LOGIN_TYPES.has(token.typ)) return UNKNOWN;
    return this.#check(token.text, attempt);
  }

  /** Rejects when there are no keys to check with, which the chain answers with `unavailable`. */
  async #check(token: string, attempt: Attempt): Promise<Verdict> {
    const keys = await this.#options.keys.keys();
    try {
      const claims = await this.#verify(token, keys, attempt.peer.address);
      return claims === null ? BUSY : this.#accept(claims, attempt);
    } catch (error) {
      if (!isTokensFault(error)) throw error;
      this.#options.onRefused?.(describeFault(error), attempt);
      return REFUSED;
    }
  }

  /** Null: too many wait already. Keys that have to be fetched first are waited for without a place in the queue. */
  async #verify(token: string, keys: JwtKeys, address: string): Promise<JWTPayload | null> {
    const { issuer, audiences, usernameClaim, clockToleranceSeconds, clock } = this.#options;
    const options = {
      requiredClaims: ['exp', usernameClaim],
      clockTolerance: clockToleranceSeconds,
      currentDate: new Date(clock.wallNow()),
      ...(issuer === null ? {} : { issuer }),
      ...(audiences === null ? {} : { audience: [...audiences] }),
    };
    const turn = { address, rank: 0, memoryKib: 0 };
    const verifyWith = async ({ find, algorithms }: JwtKeys): Promise<JWTPayload | null> => {
      const allowed = { ...options, algorithms: [...algorithms] };
      const verified = await this.#queue.offer(turn, () => jwtVerify(token, find, allowed));
      return verified?.payload ?? null;
    };
    try {
      return await verifyWith(keys);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      const newer = await this.#options.keys.newer?.();
      if (newer === null || newer === undefined) throw error;
      return verifyWith(newer);
    }
  }

  #accept(claims: JWTPayload, attempt: Attempt): Verdict {
    const { usernameClaim, clockToleranceSeconds, clock } = this.#options;
    const username = claims[usernameClaim];
    if (!isUserName(username)) throw new ClaimError(`the claim ${usernameClaim} is no user name`);
    if (attempt.username !== null && attempt.username !== username)
      throw new ClaimError("the user name of the CONNECT is not the token's");
    const lastMs = (claims.exp! + clockToleranceSeconds) * 1_000;
    if (!Number.isSafeInteger(Math.trunc(lastMs))) throw new ClaimError('the claim exp is out of range');
    const leftMs = lastMs - clock.wallNow();
    // jose counts in whole seconds.
    if (leftMs <= 0) throw new ClaimError('it has expired');
    const endsAtMs = clock.now() + leftMs;
    return { ok: true, username, grants: this.#grants(claims, username, attempt), endsAtMs };
  }

  #grants(claims: JWTPayload, username: string, { clientId }: Attempt): Grants | null {
    const { aclClaim } = this.#options;
    if (!Object.hasOwn(claims, aclClaim)) return null;
    const acl = claims[aclClaim];
    if (acl === null || typeof acl !== 'object' || Array.isArray(acl))
      throw new ClaimError(`the claim ${aclClaim} is not an object`);
    // There is a claim, so a list that is not there (or goes by another name) grants nothing.
    const { pub = [], sub = [] } = acl as { pub?: unknown; sub?: unknown };
    return grantsFrom(pub, sub, { username, clientId });
  }
}

/** Whether the token is to blame, and not the keys or this program. */
function isTokensFault(error: unknown): error is Error {
  return error instanceof errors.JOSEError || error instanceof ClaimError || error instanceof GrantsError;
}

/** What jose says, but where that repeats a word of the token: then the code alone. */
function describeFault(error: Error): string {
  if (error instanceof errors.JOSENotSupported) return error.code;
  return error instanceof errors.JOSEError ? `${error.message} (${error.code})` : error.message;
}
