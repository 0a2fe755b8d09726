/** Stored password hashes of every scheme that a password file may hold: read, check, make. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { ConfigError } from '../../src/errors.ts';
import { deriveScram, parseScram, type ScramHash } from '../scram/scram-hash.ts';
import {
  ARGON2ID_NOW,
  type Argon2idHash,
  deriveArgon2id,
  hashArgon2id,
  isCurrentArgon2id,
  parseArgon2id,
} from './argon2id.ts';
import {
  derivePbkdf2,
  deriveSha512,
  type Pbkdf2Hash,
  parsePbkdf2,
  parseSha512,
  type Sha512Hash,
} from './mosquitto-hash.ts';
import { type CryptHash, looksLikeCrypt, parseCrypt } from './sha512-crypt.ts';
import { CryptThread } from './sha512-crypt-thread.ts';

export type StoredHash = Argon2idHash | Pbkdf2Hash | Sha512Hash | CryptHash | ScramHash;

/** Longer ones are never stored, so they are always wrong; crypt's work grows with the square of the length. */
export const PASSWORD_BYTES_MAX = 1_024;

/**
 * Reads a stored hash and checks every parameter in it.
 * @param where file and line for the error
 * @throws ConfigError for an unknown scheme, a damaged field or a parameter out of bounds; never repeats the hash
 */
export function parseHash(text: string, where: string): StoredHash {
  if (text.startsWith('$argon2id$')) return parseArgon2id(text, where);
  if (text.startsWith('$7$')) return parsePbkdf2(text, where);
  if (text.startsWith('$scram-sha-256$')) return parseScram(text, where);
  if (text.startsWith('$6$'))
    return looksLikeCrypt(text) ? parseCrypt(text, where) : parseSha512(text, where);
  throw new ConfigError(
    where,
    'the password is not stored as a hash of a known scheme',
    'Known are $argon2id$, $scram-sha-256$, $7$ and $6$ (mosquitto_passwd, crypt); make one with "sluice passwd set".',
  );
}

/**
 * Whether the hash has today's scheme and parameters. When not, the next occasion to hash anew should be taken.
 * A SCRAM line is somebody's choice: a better hash would take the SCRAM login away.
 */
export function isCurrentHash(stored: StoredHash): boolean {
  if (stored.scheme === 'scram-sha-256') return true;
  return stored.scheme === 'argon2id' && isCurrentArgon2id(stored);
}

/** Scheme and cost for people, e.g. `pbkdf2-sha512 i=101`. Equal descriptions take equally long to check. */
export function describeHash(stored: StoredHash): string {
  switch (stored.scheme) {
    case 'argon2id':
      return `argon2id m=${stored.memoryKib},t=${stored.passes},p=${stored.lanes}`;
    case 'pbkdf2-sha512':
      return `pbkdf2-sha512 i=${stored.iterations}`;
    case 'sha512-crypt':
      return `sha512-crypt rounds=${stored.rounds}`;
    case 'sha512':
      return 'sha512';
    case 'scram-sha-256':
      return `scram-sha-256 i=${stored.iterations}`;
  }
}

/** Memory that checking a password against it takes, in KiB; 0: next to none. */
export function hashMemoryKib(stored: StoredHash): number {
  return stored.scheme === 'argon2id' ? stored.memoryKib : 0;
}

/** A hash that costs as much to check as `stored` and fits no password. */
export function decoyOf(stored: StoredHash): StoredHash {
  return {
    ...stored,
    text: '',
    salt: randomBytes(stored.salt.length),
    digest: randomBytes(stored.digest.length),
  };
}

/** A decoy with today's parameters, for a file that holds no user yet. */
export function currentDecoy(): StoredHash {
  return {
    scheme: 'argon2id',
    text: '',
    memoryKib: ARGON2ID_NOW.memoryKib,
    passes: ARGON2ID_NOW.passes,
    lanes: ARGON2ID_NOW.lanes,
    salt: randomBytes(ARGON2ID_NOW.saltBytes),
    digest: randomBytes(ARGON2ID_NOW.digestBytes),
  };
}

/** Checks and makes hashes. Costly work runs in libuv's thread pool or in a thread of this object. */
export class PasswordHasher {
  readonly #crypt = new CryptThread();

  /**
   * Whether `password` (bytes, of any value and any length) is the one behind `stored`. Compares in constant time.
   * Never rejects because of the password; rejects when a thread or memory is not to be had.
   */
  async verify(password: Uint8Array, stored: StoredHash): Promise<boolean> {
    if (password.length > PASSWORD_BYTES_MAX) return false;
    const digest = await this.#derive(password, stored);
    const same = digest.length === stored.digest.length && timingSafeEqual(digest, stored.digest);
    // HMAC pads its key with zeros, so PBKDF2 cannot tell "secret" from "secret\0". mosquitto_passwd stores no NUL.
    return same && !(stored.scheme === 'pbkdf2-sha512' && password.includes(0));
  }

  /**
   * A new stored hash: argon2id with today's parameters and a fresh salt.
   * @throws RangeError when the password is longer than PASSWORD_BYTES_MAX
   */
  async hash(password: Uint8Array): Promise<string> {
    if (password.length > PASSWORD_BYTES_MAX) {
      throw new RangeError(`A password has at most ${PASSWORD_BYTES_MAX} bytes, not ${password.length}.`);
    }
    return hashArgon2id(password);
  }

  /** Ends the thread, if one was started. */
  close(): Promise<void> {
    return this.#crypt.close();
  }

  async #derive(password: Uint8Array, stored: StoredHash): Promise<Buffer> {
    switch (stored.scheme) {
      case 'argon2id':
        return deriveArgon2id(stored, password);
      case 'pbkdf2-sha512':
        return derivePbkdf2(stored, password);
      case 'sha512':
        return deriveSha512(stored, password);
      case 'sha512-crypt':
        return this.#crypt.digest(password, stored.salt, stored.rounds);
      case 'scram-sha-256':
        return deriveScram(stored, password);
    }
  }
}
