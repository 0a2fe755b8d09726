/** Tokens in the password field: what looks like one, before anything is believed of it. */
import { hasControlCharacter } from '../files/guarded-file.ts';

/** A stranger may make us look at this much: larger than any sane token, and a quarter of the largest CONNECT. */
export const TOKEN_BYTES_MAX = 16_384;

/** Names are keys, log fields and topic levels; the bound is that of client ids. */
const NAME_BYTES_MAX = 1_024;

/** A signed token (JWS compact serialization, RFC 7515 section 7.1) whose signature nobody has looked at. */
export interface Token {
  readonly text: string;
  /** What it says it is: the header's `typ` in lower case, without `application/`; empty: it does not say. */
  readonly typ: string;
}

/**
 * The token in a password, or null when that is something else: then it may be a plain password.
 * @param password as it came in the CONNECT
 */
export function readToken(password: Uint8Array | null): Token | null {
  if (password === null || password.length > TOKEN_BYTES_MAX || !isCompact(password)) return null;
  const text = Buffer.from(password.buffer, password.byteOffset, password.length).toString('latin1');
  const header = readHeader(text.slice(0, text.indexOf('.')));
  if (header === null || typeof header.alg !== 'string') return null;
  const { typ } = header;
  if (typ === undefined) return { text, typ: '' };
  return typeof typ === 'string' ? { text, typ: typ.toLowerCase().replace(/^application\//, '') } : null;
}

/** Whether a name from a token or a login service can be a user's: a text, not empty, without control characters. */
export function isUserName(name: unknown): name is string {
  if (typeof name !== 'string' || name === '' || name.length > NAME_BYTES_MAX) return false;
  return Buffer.byteLength(name) <= NAME_BYTES_MAX && name.isWellFormed() && !hasControlCharacter(name);
}

/** Three parts of base64url, none empty, with dots between them. */
function isCompact(bytes: Uint8Array): boolean {
  let dots = 0;
  let inPart = 0;
  for (const byte of bytes) {
    if (byte !== 0x2e) {
      if (!isBase64Url(byte)) return false;
      inPart++;
    } else {
      if (inPart === 0 || ++dots > 2) return false;
      inPart = 0;
    }
  }
  return dots === 2 && inPart > 0;
}

function isBase64Url(byte: number): boolean {
  const isLetter = (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
  return isLetter || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x5f;
}

function readHeader(part: string): Record<string, unknown> | null {
  try {
    const header: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return header !== null && typeof header === 'object' ? (header as Record<string, unknown>) : null;
  } catch {
    // Not JSON: three words with dots between them, which may be somebody's password.
    return null;
  }
}
