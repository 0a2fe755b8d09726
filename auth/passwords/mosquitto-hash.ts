/** The two schemes of mosquitto_passwd: `$7$` (PBKDF2) and `$6$` (one salted SHA-512, up to version 1.6). */
import { createHash, pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import { ConfigError } from '../../src/errors.ts';
import { readBase64, readCount } from './hash-fields.ts';

export interface Pbkdf2Hash {
  readonly scheme: 'pbkdf2-sha512';
  readonly text: string;
  readonly iterations: number;
  readonly salt: Buffer;
  readonly digest: Buffer;
}

export interface Sha512Hash {
  readonly scheme: 'sha512';
  readonly text: string;
  readonly salt: Buffer;
  readonly digest: Buffer;
}

/** Ten times what is advised today for PBKDF2 with SHA-512; about a second of one core. */
const ITERATIONS_MAX = 2_000_000;
const SALT = { min: 1, max: 64, padding: true };
const DIGEST = { min: 64, max: 64, padding: true };

const derive = promisify(pbkdf2);

/**
 * Reads `$7$iterations$salt$digest`.
 * @throws ConfigError when a field is missing, damaged or out of bounds
 */
export function parsePbkdf2(text: string, where: string): Pbkdf2Hash {
  const [, , iterations, salt, digest, ...rest] = text.split('$');
  if (digest === undefined || rest.length > 0) {
    throw new ConfigError(where, 'this $7$ hash cannot be read', 'It must be $7$ITERATIONS$SALT$HASH.');
  }
  return {
    scheme: 'pbkdf2-sha512',
    text,
    iterations: readCount(iterations, 'iteration count', 1, ITERATIONS_MAX, where),
    salt: readBase64(salt, 'salt', SALT, where),
    digest: readBase64(digest, 'digest', DIGEST, where),
  };
}

/**
 * Reads `$6$salt$digest` with a digest in padded base64 (crypt's `$6$` has 86 characters of another alphabet).
 * @throws ConfigError when a field is missing or damaged
 */
export function parseSha512(text: string, where: string): Sha512Hash {
  const [, , salt, digest, ...rest] = text.split('$');
  if (digest === undefined || rest.length > 0) {
    throw new ConfigError(
      where,
      'this $6$ hash cannot be read',
      'It must be $6$SALT$HASH or $6$rounds=N$SALT$HASH.',
    );
  }
  return {
    scheme: 'sha512',
    text,
    salt: readBase64(salt, 'salt', SALT, where),
    digest: readBase64(digest, 'digest', DIGEST, where),
  };
}

/** PBKDF2 in libuv's thread pool. */
export function derivePbkdf2(stored: Pbkdf2Hash, password: Uint8Array): Promise<Buffer> {
  return derive(password, stored.salt, stored.iterations, stored.digest.length, 'sha512');
}

/** One SHA-512 of password and salt: microseconds, so it runs where it is called. */
export function deriveSha512(stored: Sha512Hash, password: Uint8Array): Buffer {
  return createHash('sha512').update(password).update(stored.salt).digest();
}
