/** Asks a login service over HTTP who may come in. Whatever it does not answer clearly is no. */
import { isUtf8 } from 'node:buffer';
import type { Attempt, Authenticator, Verdict } from '../../src/interfaces/auth.ts';
import type { Clock } from '../../src/interfaces/clock.ts';
import { GrantsError, grantsFrom } from '../grants.ts';
import { isUserName } from '../jwt/jwt-token.ts';
import { type HashPlace, HashQueue } from '../passwords/hash-queue.ts';
import { LoginCache } from './http-cache.ts';
import { fetchBounded } from './http-fetch.ts';

export interface HttpOptions {
  readonly url: string;
  /** From the CONNECT to the last byte of the answer, the wait for a turn included. */
  readonly timeoutSeconds: number;
  /** Requests under way at once. */
  readonly concurrencyMax: number;
  /** How long an accepted login is remembered; 0: not at all. */
  readonly cacheSeconds: number;
  readonly clock: Pick<Clock, 'now'>;
  /** Logins that wait for a turn. */
  readonly waitingMax?: number;
  /** Whose turn an attempt takes where it has to wait, and before whom; by default its address's, all alike. */
  readonly placeOf?: (attempt: Attempt) => HashPlace;
  /** Why the service could not decide, for the log. */
  readonly onError?: (problem: string, attempt: Attempt) => void;
}

/** An answer is some hundred bytes; a hundred filters each way fit in this. */
const ANSWER_BYTES_MAX = 16_384;
/** At 20 ms a request and 16 at once they are through in a third of a second. A quarter of them may be of one address. */
const WAITING_MAX = 256;
/** Longer than any connection lives; keeps sums with it exact. */
const EXPIRES_SECONDS_MAX = 315_360_000;
const ANSWER_KEYS: ReadonlySet<string> = new Set([
  'result',
  'username',
  'publish',
  'subscribe',
  'expiresInSeconds',
]);

const UNKNOWN: Verdict = Object.freeze({ ok: false, reason: 'unknown-user' });
const REFUSED: Verdict = Object.freeze({ ok: false, reason: 'bad-credentials' });
const UNAVAILABLE: Verdict = Object.freeze({ ok: false, reason: 'unavailable' });
const BUSY: Verdict = Object.freeze({ ok: false, reason: 'busy' });

/** The service answered something that cannot be understood. */
class AnswerError extends Error {}

/**
 * POSTs what the client said to a URL. 200 with `{"result":"allow"}` lets it in, `{"result":"deny"}` or status 403 does not,
 * `{"result":"ignore"}` leaves it to others; all else is `unavailable`. Credentials that were let in are remembered for
 * `cacheSeconds` by a keyed hash, so that a dead service does not keep out who was in a moment ago.
 */
export class HttpAuthenticator implements Authenticator {
  readonly #options: HttpOptions;
  readonly #queue: HashQueue;
  readonly #cache: LoginCache | null;

  constructor(options: HttpOptions) {
    const { concurrencyMax, waitingMax = WAITING_MAX, cacheSeconds, clock } = options;
    this.#options = options;
    this.#queue = new HashQueue({
      atOnceMax: concurrencyMax,
      waitingMax,
      waitingPerAddressMax: Math.ceil(waitingMax / 4),
      now: () => clock.now(),
    });
    this.#cache = cacheSeconds === 0 ? null : new LoginCache(cacheSeconds, clock);
  }

  authenticate(attempt: Attempt): Verdict | Promise<Verdict> {
    const body = describeAttempt(attempt);
    const known = this.#cache?.get(body);
    if (known !== undefined) return known;
    const deadlineMs = this.#options.clock.now() + this.#options.timeoutSeconds * 1_000;
    const place = this.#options.placeOf?.(attempt) ?? { address: attempt.peer.address, rank: 0 };
    const turn = { ...place, memoryKib: 0 };
    const asked = this.#queue.offer(turn, () => this.#ask(body, attempt, deadlineMs));
    return asked === null ? BUSY : asked.then((verdict) => verdict ?? BUSY);
  }

  async #ask(body: string, attempt: Attempt, deadlineMs: number): Promise<Verdict> {
    const { url, clock, onError } = this.#options;
    const timeoutMs = Math.ceil(deadlineMs - clock.now());
    try {
      if (timeoutMs <= 0) throw new Error('no turn in time: all requests before it were slow');
      const { status, text } = await fetchBounded({
        url,
        body,
        timeoutMs,
        answerBytesMax: ANSWER_BYTES_MAX,
      });
      if (status === 403) return REFUSED;
      if (status !== 200) throw new AnswerError(`status ${status} instead of 200 or 403`);
      const verdict = readAnswer(text, attempt, clock.now());
      if (verdict.ok) this.#cache?.set(body, verdict, text.length);
      return verdict;
    } catch (error) {
      onError?.((error as Error).message, attempt);
      return UNAVAILABLE;
    }
  }
}

/** What the service is told. Also what a login is remembered by: the same words in the same order. */
function describeAttempt({ clientId, username, password, protocolVersion, peer }: Attempt): string {
  const isText = password !== null && isUtf8(password);
  return JSON.stringify({
    clientId,
    username,
    password: password === null ? null : Buffer.from(password).toString(isText ? 'utf8' : 'base64'),
    passwordEncoding: password === null ? null : isText ? 'utf8' : 'base64',
    address: peer.address,
    door: peer.door,
    protocolVersion,
    certificateUser: peer.username ?? null,
  });
}

function readAnswer(text: string, attempt: Attempt, nowMs: number): Verdict {
  const answer = parseAnswer(text);
  switch (answer.result) {
    case 'deny':
      return REFUSED;
    case 'ignore':
      return UNKNOWN;
    case 'allow':
      return readAllowed(answer, attempt, nowMs);
    default:
      throw new AnswerError('the answer has no "result" of allow, deny or ignore');
  }
}

function parseAnswer(text: string): Record<string, unknown> {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new AnswerError('the answer is not JSON');
  }
  if (answer === null || typeof answer !== 'object' || Array.isArray(answer))
    throw new AnswerError('the answer is not an object');
  // A misspelt limit must not become no limit.
  const isKnown = Object.keys(answer).every((key) => ANSWER_KEYS.has(key));
  if (!isKnown) throw new AnswerError(`the answer has keys other than ${[...ANSWER_KEYS].join(', ')}`);
  return answer as Record<string, unknown>;
}

function readAllowed(answer: Record<string, unknown>, attempt: Attempt, nowMs: number): Verdict {
  const { username = attempt.username, publish, subscribe, expiresInSeconds } = answer;
  // The name of the CONNECT was checked as MQTT wants it; one that the service makes up is checked here.
  if (username !== attempt.username && !isUserName(username))
    throw new AnswerError('"username" in the answer is no user name');
  const name = username as string | null;
  let grants: ReturnType<typeof grantsFrom>;
  try {
    grants = grantsFrom(publish, subscribe, { username: name, clientId: attempt.clientId });
  } catch (error) {
    if (error instanceof GrantsError) throw new AnswerError(`in the answer, ${error.message}`);
    throw error;
  }
  if (expiresInSeconds === undefined) return { ok: true, username: name, grants };
  const isTime = typeof expiresInSeconds === 'number' && expiresInSeconds > 0;
  if (!isTime || expiresInSeconds > EXPIRES_SECONDS_MAX)
    throw new AnswerError('"expiresInSeconds" in the answer is no positive number of seconds');
  return { ok: true, username: name, grants, endsAtMs: nowMs + expiresInSeconds * 1_000 };
}
