/** Lets clients in by user name and password, and tells nobody which of the two was wrong. */
import { hash, randomBytes } from 'node:crypto';
import type { Attempt, Authenticator, Verdict } from '../../src/interfaces/auth.ts';
import { RevocableCredentials } from '../revocable.ts';
import { type HashPlace, HashQueue } from './hash-queue.ts';
import type { PasswordUsers } from './password-file.ts';
import {
  currentDecoy,
  decoyOf,
  describeHash,
  hashMemoryKib,
  isCurrentHash,
  PASSWORD_BYTES_MAX,
  PasswordHasher,
  type StoredHash,
} from './password-hash.ts';

export interface PasswordAuthenticatorOptions {
  readonly users: PasswordUsers;
  /** Whether a client without a user name gets in. */
  readonly allowAnonymous: boolean;
  /** One for the process, shared between listeners; a new one by default. */
  readonly queue?: HashQueue;
  /** Whose turn in the queue an attempt takes, and before whom; by default its address's, all alike. */
  readonly placeOf?: (attempt: Attempt) => HashPlace;
  /** Shared likewise; whoever made it closes it. */
  readonly hasher?: Pick<PasswordHasher, 'verify'>;
  /** Told once per user and load when the right password met a hash of an old scheme or cost. */
  readonly onRehashWanted?: (username: string) => void;
}

const REFUSED: Verdict = Object.freeze({ ok: false, reason: 'bad-credentials' });
const UNKNOWN: Verdict = Object.freeze({ ok: false, reason: 'unknown-user' });
const BUSY: Verdict = Object.freeze({ ok: false, reason: 'busy' });
const ANONYMOUS: Verdict = Object.freeze({ ok: true, username: null });

/** Checks against the users of a password file. No cache of good passwords: a stolen heap holds none. */
export class PasswordAuthenticator implements Authenticator {
  readonly #allowAnonymous: boolean;
  readonly #queue: HashQueue;
  readonly #placeOf: (attempt: Attempt) => HashPlace;
  readonly #hasher: Pick<PasswordHasher, 'verify'>;
  readonly #onRehashWanted: (username: string) => void;
  readonly #decoyKey = randomBytes(32).toString('hex');
  readonly #rehashTold = new Set<string>();
  readonly #credentials = new RevocableCredentials();
  #users: PasswordUsers;
  #decoys: readonly StoredHash[];

  constructor(options: PasswordAuthenticatorOptions) {
    this.#allowAnonymous = options.allowAnonymous;
    this.#queue = options.queue ?? new HashQueue();
    this.#placeOf = options.placeOf ?? (({ peer }) => ({ address: peer.address, rank: 0 }));
    this.#hasher = options.hasher ?? new PasswordHasher();
    this.#onRehashWanted = options.onRehashWanted ?? (() => {});
    this.#users = options.users;
    this.#decoys = decoysFor(options.users);
  }

  /** Takes another set of users from now on. A check under way counts, and a login lasts, only if the user's line stayed the same. */
  replaceUsers(users: PasswordUsers): void {
    this.#users = users;
    this.#credentials.review((name) => users.get(name)?.text);
    this.#decoys = decoysFor(users);
    this.#rehashTold.clear();
  }

  /**
   * Decides on an attempt. What needs no hash is answered at once; everything else costs one hash computation, for known and
   * unknown users alike. Who is not in the file is an `unknown-user`, so that a chain can ask others.
   */
  authenticate(attempt: Attempt): Verdict | Promise<Verdict> {
    const { username, password } = attempt;
    if (username === null) return this.#allowAnonymous ? ANONYMOUS : UNKNOWN;
    const known = this.#users.get(username);
    if (password === null || password.length > PASSWORD_BYTES_MAX)
      return known === undefined ? UNKNOWN : REFUSED;
    const decoy = this.#decoyFor(username);
    const stored = known ?? decoy;
    const turn = { ...this.#placeOf(attempt), memoryKib: hashMemoryKib(stored) };
    const check = this.#queue.offer(turn, () => this.#hasher.verify(password, stored));
    if (check === null) return BUSY;
    return check.then((fits) => (fits === null ? BUSY : this.#conclude(username, known, fits)));
  }

  #conclude(username: string, known: StoredHash | undefined, fits: boolean): Verdict {
    if (known === undefined) return UNKNOWN;
    if (!fits || this.#users.get(username)?.text !== known.text) return REFUSED;
    if (!isCurrentHash(known) && !this.#rehashTold.has(username)) {
      this.#rehashTold.add(username);
      this.#onRehashWanted(username);
    }
    return { ok: true, username, credential: this.#credentials.of(username, known.text) };
  }

  /**
   * Unknown names cost what the file's users cost, in the same proportions: a keyed hash of the name picks, so that
   * a name always costs the same and the cost of a name tells nothing, even where the file mixes schemes.
   */
  #decoyFor(username: string): StoredHash {
    const pick = hash('sha256', `${this.#decoyKey}${username}`, 'buffer').readUInt32LE(0);
    return this.#decoys[pick % this.#decoys.length];
  }
}

/** One entry per user; users of equal cost share one decoy. */
function decoysFor(users: PasswordUsers): readonly StoredHash[] {
  if (users.size === 0) return [currentDecoy()];
  const byCost = new Map<string, StoredHash>();
  return Array.from(users.values(), (stored) => {
    const cost = describeHash(stored);
    const decoy = byCost.get(cost) ?? decoyOf(stored);
    byCost.set(cost, decoy);
    return decoy;
  });
}
