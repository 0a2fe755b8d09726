/** Strict reading of the fields inside a stored hash: what is not exactly right is refused, by name. */
import { ConfigError } from '../../src/errors.ts';

/**
 * A whole number inside its bounds. The upper bound matters most: a line such as `m=4194304` would make
 * every login of that user take gigabytes.
 * @param where file and line for the error
 * @throws ConfigError outside `min`…`max`, or when `text` is not plain digits
 */
export function readCount(text: string, name: string, min: number, max: number, where: string): number {
  const value = /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new ConfigError(
    where,
    `the ${name} of the password hash is out of bounds`,
    `Use ${min} to ${max}, or make the hash anew with "sluice passwd set".`,
  );
}

/**
 * Canonical base64 of `minBytes`…`maxBytes` bytes.
 * @param padding whether the text carries `=` at its end (PHC strings do not)
 * @throws ConfigError when it is anything else
 */
export function readBase64(
  text: string,
  name: string,
  size: { min: number; max: number; padding: boolean },
  where: string,
): Buffer {
  const bytes = Buffer.from(text, 'base64');
  const padded = bytes.toString('base64');
  const canonical = size.padding ? padded : padded.replace(/=+$/, '');
  if (canonical === text && bytes.length >= size.min && bytes.length <= size.max) return bytes;
  throw new ConfigError(
    where,
    `the ${name} of the password hash is damaged`,
    'Copy the whole line again, or make the hash anew with "sluice passwd set".',
  );
}
