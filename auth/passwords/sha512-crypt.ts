/**
 * SHA-512-crypt, crypt(3)'s `$6$[rounds=N$]salt$hash`, after U. Drepper, "Unix crypt using SHA-256 and SHA-512".
 * Our own, because the maintained npm package gets passwords of 64 and 128 bytes wrong and takes text, not bytes.
 * Blocks the caller for milliseconds to seconds: call it through CryptThread.
 */
import { createHash, hash } from 'node:crypto';
import { ConfigError } from '../../src/errors.ts';
import { readCount } from './hash-fields.ts';

export interface CryptHash {
  readonly scheme: 'sha512-crypt';
  readonly text: string;
  readonly rounds: number;
  /** As ASCII, at most 16 bytes. */
  readonly salt: Buffer;
  /** The 86 characters as ASCII: compared as they stand. */
  readonly digest: Buffer;
}

const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const BLOCK_BYTES = 64;
/** What `$6$salt$hash` means when it names no rounds. */
const ROUNDS_DEFAULT = 5_000;
/** The specification's own floor. */
const ROUNDS_MIN = 1_000;
/** The specification allows 999 999 999 (half an hour); this is about two seconds of one core. */
const ROUNDS_MAX = 1_000_000;

/** Whether a `$6$` string is crypt's: it names rounds, or its digest is 86 characters of crypt's alphabet. */
export function looksLikeCrypt(text: string): boolean {
  return text.startsWith('$6$rounds=') || /\$[./0-9A-Za-z]{86}$/.test(text);
}

/**
 * Reads a crypt(3) string.
 * @throws ConfigError when it is damaged or its rounds are out of bounds
 */
export function parseCrypt(text: string, where: string): CryptHash {
  const shape = /^\$6\$(?:rounds=([0-9]+)\$)?([^$:\n]{0,16})\$([./0-9A-Za-z]{86})$/.exec(text);
  if (shape === null || !/^[\x21-\x7e]*$/.test(shape[2])) {
    throw new ConfigError(
      where,
      'this crypt(3) hash cannot be read',
      'It must be $6$SALT$HASH or $6$rounds=N$SALT$HASH with 86 characters of hash.',
    );
  }
  const rounds =
    shape[1] === undefined ? ROUNDS_DEFAULT : readCount(shape[1], 'rounds', ROUNDS_MIN, ROUNDS_MAX, where);
  return {
    scheme: 'sha512-crypt',
    text,
    rounds,
    salt: Buffer.from(shape[2], 'ascii'),
    digest: Buffer.from(shape[3], 'ascii'),
  };
}

/**
 * The 86 characters that crypt(3) would put after the last `$`, as ASCII.
 * Work grows with the square of the password's length: callers bound it.
 */
export function sha512Crypt(password: Uint8Array, salt: Uint8Array, rounds: number): Buffer {
  const alternate = createHash('sha512').update(password).update(salt).update(password).digest();
  const start = createHash('sha512').update(password).update(salt);
  start.update(repeatTo(alternate, password.length));
  for (let bits = password.length; bits > 0; bits >>= 1) start.update(bits & 1 ? alternate : password);
  const first = start.digest();

  const fromPassword = createHash('sha512');
  for (let i = 0; i < password.length; i++) fromPassword.update(password);
  const fromSalt = createHash('sha512');
  for (let i = 0; i < 16 + first[0]; i++) fromSalt.update(salt);
  const p = repeatTo(fromPassword.digest(), password.length);
  const s = repeatTo(fromSalt.digest(), salt.length);
  return encode(stretch(first, p, s, rounds));
}

/** The rounds proper. One scratch buffer and one call a round: half the time of a hash object a round. */
function stretch(first: Buffer, p: Buffer, s: Buffer, rounds: number): Buffer {
  const scratch = Buffer.alloc(BLOCK_BYTES + 2 * p.length + s.length);
  let digest = first;
  for (let round = 0; round < rounds; round++) {
    const odd = (round & 1) === 1;
    let end = (odd ? p : digest).copy(scratch, 0);
    if (round % 3 !== 0) end += s.copy(scratch, end);
    if (round % 7 !== 0) end += p.copy(scratch, end);
    end += (odd ? digest : p).copy(scratch, end);
    digest = hash('sha512', scratch.subarray(0, end), 'buffer');
  }
  return digest;
}

/** `length` bytes of `block`, over and over. */
function repeatTo(block: Buffer, length: number): Buffer {
  return length === 0 ? Buffer.alloc(0) : Buffer.alloc(length, block);
}

/** crypt's base64: little-endian groups of three bytes that lie 21 apart and rotate, then the last byte alone. */
function encode(digest: Buffer): Buffer {
  let text = '';
  let [high, middle, low] = [0, 21, 42];
  for (let group = 0; group < 21; group++) {
    text += sextets((digest[high] << 16) | (digest[middle] << 8) | digest[low], 4);
    [high, middle, low] = [middle + 1, low + 1, high + 1];
  }
  return Buffer.from(text + sextets(digest[63], 2), 'ascii');
}

function sextets(value: number, count: number): string {
  let text = '';
  for (let i = 0; i < count; i++) text += ALPHABET[(value >> (6 * i)) & 63];
  return text;
}
