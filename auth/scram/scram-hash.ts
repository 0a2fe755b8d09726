/**
 * What the broker keeps of a password for SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677):
 * `$scram-sha-256$i=ITERATIONS,s=SALT$STOREDKEY$SERVERKEY`, all but the first in base64.
 */
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { saslprep } from '@mongodb-js/saslprep';
import { ConfigError } from '../../src/errors.ts';
import { readBase64, readCount } from '../passwords/hash-fields.ts';

export interface ScramHash {
  readonly scheme: 'scram-sha-256';
  readonly text: string;
  readonly iterations: number;
  readonly salt: Buffer;
  /** StoredKey: what a client's proof, or a password, is checked against. */
  readonly digest: Buffer;
  /** ServerKey: proves to the client that we know him. */
  readonly serverKey: Buffer;
}

/** RFC 7677 section 4: about 0.1 s on a machine of 2015. The client pays for it at each login, and may be a microcontroller. */
export const SCRAM_ITERATIONS_NOW = 15_000;
export const SCRAM_SALT_BYTES_NOW = 16;
/** RFC 7677 section 4 asks for no less. */
const ITERATIONS_MIN = 4_096;
/** 0.13 s of a fast core for one login by password, ten times that on a small one. */
const ITERATIONS_MAX = 1_000_000;
const SALT = { min: 8, max: 64, padding: true };
const KEY = { min: 32, max: 32, padding: true };

const derive = promisify(pbkdf2);

/**
 * Reads a stored line.
 * @throws ConfigError when a field is missing, damaged or out of bounds
 */
export function parseScram(text: string, where: string): ScramHash {
  const shape = /^\$scram-sha-256\$i=([^,$]*),s=([^,$]*)\$([^$]*)\$([^$]*)$/.exec(text);
  if (shape === null) {
    throw new ConfigError(
      where,
      'this SCRAM credential cannot be read',
      'It must be $scram-sha-256$i=ITERATIONS,s=SALT$STOREDKEY$SERVERKEY; make it with "sluice passwd set --scram".',
    );
  }
  return {
    scheme: 'scram-sha-256',
    text,
    iterations: readCount(shape[1], 'iteration count', ITERATIONS_MIN, ITERATIONS_MAX, where),
    salt: readBase64(shape[2], 'salt', SALT, where),
    digest: readBase64(shape[3], 'stored key', KEY, where),
    serverKey: readBase64(shape[4], 'server key', KEY, where),
  };
}

/**
 * The StoredKey that `password` has with the salt and cost of `stored`, empty for a password that no line can be made of.
 * PBKDF2 in libuv's thread pool, in either case.
 */
export async function deriveScram(
  stored: Pick<ScramHash, 'salt' | 'iterations'>,
  password: Uint8Array,
): Promise<Buffer> {
  const prepared = preparePassword(password);
  const salted = await derive(prepared ?? password, stored.salt, stored.iterations, 32, 'sha256');
  return prepared === null ? Buffer.alloc(0) : keysOf(salted).storedKey;
}

/**
 * A line for `password` with a fresh salt.
 * @throws ConfigError when SASLprep does not allow the password
 */
export async function hashScram(
  password: Uint8Array,
  salt: Buffer = randomBytes(SCRAM_SALT_BYTES_NOW),
  iterations: number = SCRAM_ITERATIONS_NOW,
): Promise<string> {
  const prepared = preparePassword(password);
  if (prepared === null) {
    throw new ConfigError(
      'password',
      'SCRAM takes text without control characters',
      'Choose printable UTF-8 (SASLprep, RFC 4013).',
    );
  }
  const { storedKey, serverKey } = keysOf(await derive(prepared, salt, iterations, 32, 'sha256'));
  const [s, stored, server] = [salt, storedKey, serverKey].map((bytes) => bytes.toString('base64'));
  return `$scram-sha-256$i=${iterations},s=${s}$${stored}$${server}`;
}

/**
 * SASLprep (RFC 4013) as for a query, so that text of a later Unicode version passes: names and passwords in the form that SCRAM
 * compares. Null: it has none (forbidden characters, mixed directions, nothing left). Works through the text: callers bound it.
 */
export function prepareText(text: string): string | null {
  try {
    const prepared = saslprep(text, { allowUnassigned: true });
    return prepared === '' ? null : prepared;
  } catch {
    // The package throws for whatever is forbidden, and for text of which nothing is left.
    return null;
  }
}

/** Null: not UTF-8, or with what SASLprep forbids. */
function preparePassword(password: Uint8Array): Buffer | null {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(password);
  } catch {
    return null;
  }
  const prepared = prepareText(text);
  return prepared === null ? null : Buffer.from(prepared);
}

function keysOf(salted: Buffer): { storedKey: Buffer; serverKey: Buffer } {
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  return {
    storedKey: createHash('sha256').update(clientKey).digest(),
    serverKey: createHmac('sha256', salted).update('Server Key').digest(),
  };
}
