/** Who a client certificate says its holder is: exactly one name, exactly as the authority signed it, or nobody. */
import {
  childrenOf,
  type DerElement,
  DerError,
  expectTag,
  readDer,
  sameBytes,
  TAG,
} from './certificate-der.ts';

/** Where in a certificate the user name stands. `cn`: Common Name of the subject; the others: Subject Alternative Name. */
export const IDENTITY_FIELDS = ['cn', 'san-dns', 'san-email', 'san-uri'] as const;
export type IdentityField = (typeof IDENTITY_FIELDS)[number];

/** Longer than any SPIFFE id (2048 bytes, the longest of the kinds in use). */
const NAME_BYTES_MAX = 2_048;

/** id-at-commonName, 2.5.4.3 */
const COMMON_NAME = Uint8Array.of(0x55, 0x04, 0x03);
/** id-ce-subjectAltName, 2.5.29.17 */
const SUBJECT_ALT_NAME = Uint8Array.of(0x55, 0x1d, 0x11);
/** GeneralName, RFC 5280, 4.2.1.6 */
const GENERAL_NAME_TAGS = { 'san-email': 0x81, 'san-dns': 0x82, 'san-uri': 0x86 } as const;
/** `[3] EXPLICIT Extensions` of TBSCertificate. */
const EXTENSIONS_TAG = 0xa3;
/** `[0] EXPLICIT Version` of TBSCertificate, absent in version 1. */
const VERSION_TAG = 0xa0;

const DESCRIPTIONS: Readonly<Record<IdentityField, string>> = {
  cn: 'Common Name',
  'san-dns': 'DNS name in the Subject Alternative Name',
  'san-email': 'e-mail address in the Subject Alternative Name',
  'san-uri': 'URI in the Subject Alternative Name',
};

export type Identified =
  | { readonly ok: true; readonly name: string }
  | { readonly ok: false; readonly problem: string };

/**
 * The user name in a certificate. Never throws.
 *
 * Read from the certificate's own bytes, not from a printed form, in which a name may look like two.
 * @param certificate DER
 */
export function identityOf(certificate: Uint8Array, field: IdentityField): Identified {
  const what = DESCRIPTIONS[field];
  try {
    const tbs = tbsOf(certificate);
    const names = field === 'cn' ? commonNames(tbs) : alternativeNames(tbs, GENERAL_NAME_TAGS[field]);
    if (names.length === 0) return { ok: false, problem: `it has no ${what}` };
    if (names.length > 1) return { ok: false, problem: `it has more than one ${what}` };
    const name = textOf(names[0]);
    if (name === null) return { ok: false, problem: `its ${what} is not valid UTF-8 or ASCII text` };
    const problem = problemWithIdentity(name);
    return problem === null ? { ok: true, name } : { ok: false, problem: `its ${what} ${problem}` };
  } catch (error) {
    if (error instanceof DerError) return { ok: false, problem: `it cannot be read: ${error.message}` };
    throw error;
  }
}

/** Subject of a certificate as DER, to be compared byte by byte. @throws DerError */
export function subjectOf(certificate: Uint8Array): Uint8Array {
  return subjectElement(tbsOf(certificate)).whole;
}

/** The parts of TBSCertificate, from the serial number on. */
function tbsOf(certificate: Uint8Array): DerElement[] {
  const [tbs] = childrenOf(readDer(certificate, TAG.sequence));
  const parts = childrenOf(expectTag(tbs, TAG.sequence));
  return parts[0]?.tag === VERSION_TAG ? parts.slice(1) : parts;
}

/** serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, … */
function subjectElement(tbs: readonly DerElement[]): DerElement {
  return expectTag(tbs[4], TAG.sequence);
}

function commonNames(tbs: readonly DerElement[]): DerElement[] {
  const found: DerElement[] = [];
  for (const set of childrenOf(subjectElement(tbs))) {
    for (const attribute of childrenOf(expectTag(set, TAG.set))) {
      const [type, value] = childrenOf(expectTag(attribute, TAG.sequence));
      if (sameBytes(expectTag(type, TAG.oid).content, COMMON_NAME) && value !== undefined) found.push(value);
    }
  }
  return found;
}

function alternativeNames(tbs: readonly DerElement[], tag: number): DerElement[] {
  const explicit = tbs.find((part) => part.tag === EXTENSIONS_TAG);
  if (explicit === undefined) return [];
  const found: DerElement[] = [];
  for (const extension of childrenOf(readDer(explicit.content, TAG.sequence))) {
    const parts = childrenOf(expectTag(extension, TAG.sequence));
    if (!sameBytes(expectTag(parts[0], TAG.oid).content, SUBJECT_ALT_NAME)) continue;
    const value = expectTag(parts.at(-1), TAG.octetString);
    found.push(...childrenOf(readDer(value.content, TAG.sequence)).filter((name) => name.tag === tag));
  }
  return found;
}

/** Null for encodings that different readers read differently (T61String, BMPString) and for bytes that do not fit theirs. */
function textOf({ tag, content }: DerElement): string | null {
  const isUtf8 = tag === TAG.utf8String;
  const isAscii = tag === TAG.printableString || tag === TAG.ia5String || (tag & 0x80) !== 0;
  if (!isUtf8 && !isAscii) return null;
  if (isAscii && content.some((byte) => byte >= 0x80)) return null;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    // Not UTF-8: what it might have meant is nobody's to guess.
    return null;
  }
}

/** Why this text cannot be a user name from a certificate, as the end of a sentence; null: it can. */
export function problemWithIdentity(name: string): string | null {
  if (name === '') return 'is empty';
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) return `is longer than ${NAME_BYTES_MAX} bytes`;
  // Cc with NUL, invisible and direction-changing characters (Cf), line separators, unassigned and private ones.
  if (/[\p{C}\p{Zl}\p{Zp}]/u.test(name)) return 'has a control or invisible character';
  if (/[+#*]/.test(name)) return 'has a wildcard character (+, # or *)';
  if (name.trim() !== name) return 'begins or ends with a space';
  return null;
}
