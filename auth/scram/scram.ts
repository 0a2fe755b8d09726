/** SCRAM-SHA-256 (RFC 5802, RFC 7677) for clients of MQTT 5: they prove that they know the password, and never send it. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type {
  Attempt,
  Authenticator,
  Exchange,
  RefusalReason,
  Step,
  Verdict,
} from '../../src/interfaces/auth.ts';
import type { PasswordUsers } from '../passwords/password-file.ts';
import { RevocableCredentials } from '../revocable.ts';
import { prepareText, SCRAM_ITERATIONS_NOW, SCRAM_SALT_BYTES_NOW, type ScramHash } from './scram-hash.ts';
import { type ClientFirst, parseClientFinal, parseClientFirst } from './scram-message.ts';

export const SCRAM_SHA_256 = 'SCRAM-SHA-256';

/** A client's message: a name, a nonce and a proof take some 200 bytes; the rest is room for a long name. */
export const SCRAM_MESSAGE_BYTES_MAX = 2_048;
/** Ours, in the server's first message. */
const NONCE_BYTES = 18;
/** More would change the decoys more often, fewer would let few people know the key together. */
const DECOY_KEY_LINES = 4;

export interface ScramOptions {
  /** Those with a SCRAM line get in, under the name in the file. */
  readonly users: PasswordUsers;
  /** Our part of a login's nonce: printable, without a comma, and never the same. Without it: 144 random bits. */
  readonly nonce?: (() => string) | undefined;
}

/** What a user that does not exist would have: his salt and cost are always the same, and no proof fits. */
type Credential = Pick<ScramHash, 'iterations' | 'salt' | 'digest' | 'serverKey'>;

const NOT_FOUND: Verdict = Object.freeze({ ok: false, reason: 'unknown-user' });

/** Checks against the SCRAM lines of a password file. Passwords in CONNECT are someone else's. */
export class ScramAuthenticator implements Authenticator {
  /** Our part of the next login's nonce. */
  readonly nonce: () => string;
  readonly #credentials = new RevocableCredentials();
  #decoyKey: Buffer;
  #users: PasswordUsers;
  /** Cost and salt length of each SCRAM user. */
  #shapes: readonly { iterations: number; saltBytes: number }[];

  constructor({ users, nonce = randomNonce }: ScramOptions) {
    this.nonce = nonce;
    this.#users = users;
    this.#decoyKey = decoyKeyOf(users);
    this.#shapes = shapesOf(users);
  }

  /** Takes another set of users from now on. An exchange under way counts, and a login lasts, only if the user's line stayed the same. */
  replaceUsers(users: PasswordUsers): void {
    this.#users = users;
    this.#credentials.review((name) => users.get(name)?.text);
    this.#decoyKey = decoyKeyOf(users);
    this.#shapes = shapesOf(users);
  }

  authenticate(): Verdict {
    return NOT_FOUND;
  }

  /** A user name in the CONNECT, if there is one, must be the one that is proved. */
  exchange(method: string, attempt: Attempt): Exchange | null {
    return method === SCRAM_SHA_256 ? new ScramExchange(this, attempt.username) : null;
  }

  /** The user's SCRAM line; undefined: he has none. */
  find(username: string): ScramHash | undefined {
    const stored = this.#users.get(username);
    return stored?.scheme === 'scram-sha-256' ? stored : undefined;
  }

  /** The verdict for who has proved to be this user. */
  accept(username: string, { text }: ScramHash): Verdict {
    return { ok: true, username, credential: this.#credentials.of(username, text) };
  }

  /** What the server says of a user that is not there: a keyed hash of the name picks whose cost, as it makes his salt. */
  decoyFor(username: string): Credential {
    const pick = this.#keyed('shape', username).readUInt32LE(0);
    const { iterations, saltBytes } = this.#shapes[pick % this.#shapes.length];
    return {
      iterations,
      salt: this.#keyed('salt', username).subarray(0, saltBytes),
      digest: this.#keyed('stored key', username).subarray(0, 32),
      serverKey: this.#keyed('server key', username).subarray(0, 32),
    };
  }

  #keyed(purpose: string, username: string): Buffer {
    return createHmac('sha512', this.#decoyKey).update(`${purpose}\0${username}`).digest();
  }
}

/** One login. The server's first message waits in it for the client's proof. */
class ScramExchange implements Exchange {
  readonly #authenticator: ScramAuthenticator;
  /** From the CONNECT; null: it had none. */
  readonly #claimed: string | null;
  #asked: Asked | null = null;
  #isOver = false;

  constructor(authenticator: ScramAuthenticator, claimed: string | null) {
    this.#authenticator = authenticator;
    this.#claimed = claimed;
  }

  next(data: Uint8Array): Step {
    if (this.#isOver || data.length > SCRAM_MESSAGE_BYTES_MAX) return this.#refuse('not-authorized');
    if (this.#asked !== null) return this.#prove(this.#asked, data);
    // A client may leave its first message for AUTH (RFC 4422 section 5: an empty challenge asks for it).
    return data.length === 0 ? { kind: 'continue', data: null } : this.#ask(data);
  }

  #ask(data: Uint8Array): Step {
    const first = parseClientFirst(data);
    if (first === null || (first.authzid !== null && first.authzid !== first.username)) {
      return this.#refuse('not-authorized');
    }
    const username = prepareText(first.username);
    if (username === null) return this.#refuse('not-authorized');
    // Both are looked up and made, known or not, so that both take as long.
    const stored = this.#authenticator.find(username);
    const decoy = this.#authenticator.decoyFor(username);
    const { salt, iterations } = stored ?? decoy;
    const nonce = `${first.nonce}${this.#authenticator.nonce()}`;
    const answer = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`;
    this.#asked = { first, username, stored, credential: stored ?? decoy, nonce, answer };
    return { kind: 'continue', data: Buffer.from(answer), username };
  }

  #prove(asked: Asked, data: Uint8Array): Step {
    this.#isOver = true;
    const { first, username, stored, credential, nonce, answer } = asked;
    const final = parseClientFinal(data);
    if (final === null || final.nonce !== nonce || !final.gs2Header.equals(Buffer.from(first.gs2Header))) {
      return this.#refuse('not-authorized');
    }
    const signed = `${first.bare},${answer},${final.withoutProof}`;
    const signature = createHmac('sha256', credential.digest).update(signed).digest();
    const clientKey = final.proof.map((byte, i) => byte ^ signature[i]);
    const fits = timingSafeEqual(createHash('sha256').update(clientKey).digest(), credential.digest);
    const serverSignature = createHmac('sha256', credential.serverKey).update(signed).digest('base64');
    const isHe = this.#authenticator.find(username)?.text === stored?.text;
    if (!fits || !isHe || stored === undefined || (this.#claimed !== null && this.#claimed !== username)) {
      return this.#refuse('bad-credentials');
    }
    const verdict = this.#authenticator.accept(username, stored);
    return { kind: 'end', verdict, data: Buffer.from(`v=${serverSignature}`) };
  }

  #refuse(reason: RefusalReason): Step {
    this.#isOver = true;
    return { kind: 'end', verdict: { ok: false, reason }, data: null };
  }
}

/** What is known between the two messages of a client. */
interface Asked {
  readonly first: ClientFirst;
  /** Prepared, as it stands in the file. */
  readonly username: string;
  /** Undefined: there is no such user. */
  readonly stored: ScramHash | undefined;
  /** His, or that of the decoy. */
  readonly credential: Credential;
  /** The client's and ours. */
  readonly nonce: string;
  readonly answer: string;
}

function randomNonce(): string {
  return randomBytes(NONCE_BYTES).toString('base64');
}

/**
 * The secret behind the decoys. From the file, so that a restart changes no salt of a user that is not there, which those of real users
 * survive too; from its first lines, which change least; from several, so that nobody knows them all by his own password.
 */
function decoyKeyOf(users: PasswordUsers): Buffer {
  if (users.size === 0) return randomBytes(64);
  const key = createHash('sha512');
  let lines = 0;
  for (const [username, { text }] of users) {
    key.update(`${username}:${text}\n`);
    lines++;
    if (lines === DECOY_KEY_LINES) break;
  }
  return key.digest();
}

function shapesOf(users: PasswordUsers): readonly { iterations: number; saltBytes: number }[] {
  const shapes: { iterations: number; saltBytes: number }[] = [];
  for (const stored of users.values()) {
    if (stored.scheme !== 'scram-sha-256') continue;
    shapes.push({ iterations: stored.iterations, saltBytes: stored.salt.length });
  }
  return shapes.length > 0 ? shapes : [{ iterations: SCRAM_ITERATIONS_NOW, saltBytes: SCRAM_SALT_BYTES_NOW }];
}
