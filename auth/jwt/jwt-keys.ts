/** Keys that tokens are verified with. Each knows its algorithms, so that no token can choose one that does not fit. */
import { createPublicKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import type { JSONWebKeySet, JWTVerifyGetKey } from 'jose';
import { createLocalJWKSet } from 'jose/jwks/local';
import { ConfigError } from '../../src/errors.ts';
import { hasControlCharacter, readGuardedBytes, readGuardedFile } from '../files/guarded-file.ts';

/** Everything that can be asked for in `auth.jwt.algorithms`. `none` is not among them. */
export type JwtAlgorithm =
  | ('HS256' | 'HS384' | 'HS512' | 'RS256' | 'RS384' | 'RS512' | 'PS256' | 'PS384' | 'PS512')
  | ('ES256' | 'ES384' | 'ES512' | 'EdDSA' | 'Ed25519');

/** Keys and what they may be used for. */
export interface JwtKeys {
  readonly algorithms: readonly JwtAlgorithm[];
  /** The key for a token's header; rejects with an error of jose when there is none. */
  readonly find: JWTVerifyGetKey;
}

export interface JwtKeyOptions {
  /** Only these algorithms; null: all that fit the key. */
  readonly algorithms: readonly JwtAlgorithm[] | null;
  /** Skips the check of the file's permissions (for file systems that have none). */
  readonly allowUnsafeModes?: boolean;
}

/** A key set of a large identity provider has some ten keys of 2 KB. */
export const KEY_SET_BYTES_MAX = 262_144;
export const KEYS_MAX = 100;
const SECRET_BYTES_MAX = 65_536;
/** RFC 7518 section 3.2: at least as long as the hash. A shorter one can be guessed from a single token. */
const SECRET_BYTES_MIN = 32;
const RSA_BITS_MIN = 2_048;

const RSA_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const;
const EC_ALGORITHMS: ReadonlyMap<string, JwtAlgorithm> = new Map([
  ['prime256v1', 'ES256'],
  ['secp384r1', 'ES384'],
  ['secp521r1', 'ES512'],
]);
/** Least bytes of a secret for each algorithm. */
const HMAC_ALGORITHMS: readonly (readonly [JwtAlgorithm, number])[] = [
  ['HS256', 32],
  ['HS384', 48],
  ['HS512', 64],
];

/**
 * The shared secret of HMAC algorithms. The bytes of the file are the secret; where they are printable text, the line end
 * behind it is not part of it.
 * @throws ConfigError naming the file; never repeats the secret
 */
export function readSecretFile(path: string, options: JwtKeyOptions): JwtKeys {
  const bytes = readGuardedBytes(path, {
    fileBytesMax: SECRET_BYTES_MAX,
    forbiddenMode: options.allowUnsafeModes === true ? 0 : 0o077,
    modeRemedy: `Run "chmod 600 ${path}".`,
  });
  if (bytes.includes('-----BEGIN')) {
    const remedy =
      'Name a public key in auth.jwt.publicKeyFile; a secret is text or bytes that only you know.';
    throw new ConfigError(path, 'this is a PEM file and no shared secret', remedy);
  }
  const secret = withoutLineEnd(bytes);
  if (secret.length < SECRET_BYTES_MIN) {
    const remedy = `Make one of at least ${SECRET_BYTES_MIN}, e.g. with "openssl rand -base64 48".`;
    throw new ConfigError(path, `the secret has ${secret.length} bytes`, remedy);
  }
  const key = createSecretKey(secret);
  const fitting = HMAC_ALGORITHMS.filter(([, bytesMin]) => secret.length >= bytesMin).map(([name]) => name);
  return narrow({ algorithms: fitting, find: () => key }, options, path);
}

/**
 * One public key or certificate in PEM.
 * @throws ConfigError naming the file
 */
export function readPublicKeyFile(path: string, options: JwtKeyOptions): JwtKeys {
  const text = readPublicText(path, options);
  if (text.includes('PRIVATE KEY-----')) {
    const remedy = `Make the public one with "openssl pkey -in ${path} -pubout" and name that.`;
    throw new ConfigError(path, 'this is a private key, which does not belong here', remedy);
  }
  let key: KeyObject;
  try {
    key = createPublicKey(text);
  } catch {
    throw new ConfigError(
      path,
      'this is no public key',
      'Name a PEM file with one public key or certificate.',
    );
  }
  return narrow({ algorithms: algorithmsOf(key, path), find: () => key }, options, path);
}

/**
 * A JSON Web Key Set (RFC 7517 section 5) in a file.
 * @throws ConfigError naming the file and the key in it
 */
export function readKeySetFile(path: string, options: JwtKeyOptions): JwtKeys {
  return parseKeySet(readPublicText(path, options), path, options);
}

/**
 * The public keys of a key set. Keys for encryption and of kinds that sign no tokens are left out; every other one must be good.
 * @param where for errors: file or address
 * @throws ConfigError when there is a fault, or no key that can be used
 */
export function parseKeySet(text: string, where: string, options: JwtKeyOptions): JwtKeys {
  const keys = readKeys(text, where);
  const used: JsonWebKey[] = [];
  const algorithms = new Set<JwtAlgorithm>();
  for (const [index, jwk] of keys.entries()) {
    const place = `${where} keys[${index}]`;
    if (jwk === null || typeof jwk !== 'object')
      throw new ConfigError(place, 'this is no key', 'Give a JSON Web Key Set: {"keys":[{"kty":…}]}.');
    const fields = jwk as JsonWebKey;
    if (fields.use !== undefined && fields.use !== 'sig') continue;
    if (fields.kty === 'oct' || fields.d !== undefined)
      throw new ConfigError(place, 'this is a secret or private key', 'Publish only public keys.');
    if (fields.kty !== 'RSA' && fields.kty !== 'EC' && fields.kty !== 'OKP') continue;
    const fitting = algorithmsOfJwk(fields, place);
    if (fitting.length === 0) continue;
    for (const algorithm of fitting) algorithms.add(algorithm);
    used.push(fields);
  }
  if (used.length === 0)
    throw new ConfigError(where, 'it has no key that verifies signatures', 'Give RSA, EC or Ed25519 keys.');
  const find = createLocalJWKSet({ keys: used } as JSONWebKeySet);
  return narrow({ algorithms: [...algorithms], find }, options, where);
}

function readKeys(text: string, where: string): unknown[] {
  let set: unknown;
  try {
    set = JSON.parse(text);
  } catch {
    throw new ConfigError(where, 'this is not JSON', 'Give a JSON Web Key Set: {"keys":[{"kty":…}]}.');
  }
  const keys = set !== null && typeof set === 'object' && 'keys' in set ? set.keys : null;
  if (!Array.isArray(keys))
    throw new ConfigError(where, 'it has no list of keys', 'Give a JSON Web Key Set: {"keys":[{"kty":…}]}.');
  if (keys.length > KEYS_MAX)
    throw new ConfigError(where, `it has ${keys.length} keys`, `At most ${KEYS_MAX} are taken.`);
  return keys;
}

/** None: a key for something else, like X25519. */
function algorithmsOfJwk(jwk: JsonWebKey, where: string): readonly JwtAlgorithm[] {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    throw new ConfigError(where, 'this key is damaged', 'Fetch the key set again from its issuer.');
  }
  if (jwk.kty === 'OKP' && key.asymmetricKeyType !== 'ed25519') return [];
  const fitting = algorithmsOf(key, where);
  const { alg } = jwk;
  return alg === undefined ? fitting : fitting.filter((algorithm) => algorithm === alg);
}

function algorithmsOf(key: KeyObject, where: string): readonly JwtAlgorithm[] {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === 'rsa') {
    const bits = details?.modulusLength ?? 0;
    if (bits >= RSA_BITS_MIN) return RSA_ALGORITHMS;
    throw new ConfigError(where, `the RSA key has ${bits} bits`, `Use one of at least ${RSA_BITS_MIN}.`);
  }
  if (type === 'ed25519') return ['EdDSA', 'Ed25519'];
  const algorithm = type === 'ec' ? EC_ALGORITHMS.get(details?.namedCurve ?? '') : undefined;
  if (algorithm !== undefined) return [algorithm];
  throw new ConfigError(
    where,
    `a key of type ${type} signs no tokens`,
    'Use RSA, P-256, P-384, P-521 or Ed25519.',
  );
}

/** Leaves only the algorithms that were asked for. */
function narrow(keys: JwtKeys, { algorithms: wanted }: JwtKeyOptions, where: string): JwtKeys {
  if (wanted === null) return keys;
  const algorithms = keys.algorithms.filter((algorithm) => wanted.includes(algorithm));
  if (algorithms.length > 0) return { ...keys, algorithms };
  const remedy = `Take one of ${keys.algorithms.join(', ')} into auth.jwt.algorithms, or leave that out.`;
  throw new ConfigError(where, `no key here fits ${wanted.join(', ')}`, remedy);
}

function readPublicText(path: string, options: JwtKeyOptions): string {
  return readGuardedFile(path, {
    fileBytesMax: KEY_SET_BYTES_MAX,
    // Everyone may read a public key; whoever can replace it can log in as anybody.
    forbiddenMode: options.allowUnsafeModes === true ? 0 : 0o002,
    modeRemedy: `Run "chmod o-w ${path}".`,
  });
}

function withoutLineEnd(bytes: Buffer): Buffer {
  const text = bytes.toString('latin1').replace(/\r?\n$/, '');
  return hasControlCharacter(text, true) ? bytes : bytes.subarray(0, text.length);
}
