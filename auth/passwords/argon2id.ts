/** argon2id as a PHC string, `$argon2id$v=19$m=…,t=…,p=…$salt$digest`: what new passwords are stored with. */
import { randomBytes } from 'node:crypto';
import { hash as argon2, argon2id } from 'argon2';
import { ConfigError } from '../../src/errors.ts';
import { readBase64, readCount } from './hash-fields.ts';

export interface Argon2idHash {
  readonly scheme: 'argon2id';
  /** The line's hash as it stands in the file. */
  readonly text: string;
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
  readonly salt: Buffer;
  readonly digest: Buffer;
}

/** 19 MiB, two passes, one lane: about 20 ms of one core, and two at once stay below 40 MiB. */
export const ARGON2ID_NOW = Object.freeze({
  memoryKib: 19_456,
  passes: 2,
  lanes: 1,
  saltBytes: 16,
  digestBytes: 32,
});

/** 256 MiB: two at once still fit beside a broker on a small machine. */
const MEMORY_KIB_MAX = 262_144;
/** At the greatest memory one check then takes seconds, not minutes. */
const PASSES_MAX = 16;
const LANES_MAX = 16;

/**
 * Reads a PHC string.
 * @throws ConfigError for other versions, unknown parameters, and parameters out of bounds
 */
export function parseArgon2id(text: string, where: string): Argon2idHash {
  const [, , version, parameters, salt, digest, ...rest] = text.split('$');
  const costs = readCosts(parameters ?? '');
  if (version !== 'v=19' || costs === null || digest === undefined || rest.length > 0) {
    throw new ConfigError(
      where,
      'this argon2id hash cannot be read',
      'It must look like $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH; make it with "sluice passwd set".',
    );
  }
  const lanes = readCount(costs.p, 'lanes (p)', 1, LANES_MAX, where);
  return {
    scheme: 'argon2id',
    text,
    lanes,
    memoryKib: readCount(costs.m, 'memory (m, in KiB)', 8 * lanes, MEMORY_KIB_MAX, where),
    passes: readCount(costs.t, 'passes (t)', 1, PASSES_MAX, where),
    salt: readBase64(salt, 'salt', { min: 8, max: 64, padding: false }, where),
    digest: readBase64(digest, 'digest', { min: 16, max: 64, padding: false }, where),
  };
}

/** `m=…,t=…,p=…` as the reference implementation writes it, or in another order, as some libraries do. */
function readCosts(text: string): { m: string; t: string; p: string } | null {
  const costs = new Map(text.split(',').map((part) => [part.slice(0, 2), part.slice(2)]));
  const [m, t, p] = [costs.get('m='), costs.get('t='), costs.get('p=')];
  if (text.split(',').length !== 3 || m === undefined || t === undefined || p === undefined) return null;
  return { m, t, p };
}

/** Computes the digest of `password` with the salt and cost of `stored`. Runs in libuv's thread pool. */
export function deriveArgon2id(stored: Argon2idHash, password: Uint8Array): Promise<Buffer> {
  return argon2(Buffer.from(password), {
    raw: true,
    type: argon2id,
    version: 0x13,
    memoryCost: stored.memoryKib,
    timeCost: stored.passes,
    parallelism: stored.lanes,
    hashLength: stored.digest.length,
    salt: stored.salt,
  });
}

/** A PHC string for `password` with today's parameters and a fresh salt. */
export async function hashArgon2id(password: Uint8Array): Promise<string> {
  const { memoryKib, passes, lanes, saltBytes, digestBytes } = ARGON2ID_NOW;
  const salt = randomBytes(saltBytes);
  const empty = Buffer.alloc(digestBytes);
  const digest = await deriveArgon2id(
    { scheme: 'argon2id', text: '', memoryKib, passes, lanes, salt, digest: empty },
    password,
  );
  // Written here and not by the package, which puts the parameters in an order that strict readers refuse.
  return `$argon2id$v=19$m=${memoryKib},t=${passes},p=${lanes}$${unpadded(salt)}$${unpadded(digest)}`;
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}

/** Whether a stored hash has today's parameters. */
export function isCurrentArgon2id(stored: Argon2idHash): boolean {
  return (
    stored.memoryKib === ARGON2ID_NOW.memoryKib &&
    stored.passes === ARGON2ID_NOW.passes &&
    stored.lanes === ARGON2ID_NOW.lanes &&
    stored.salt.length >= ARGON2ID_NOW.saltBytes &&
    stored.digest.length >= ARGON2ID_NOW.digestBytes
  );
}
