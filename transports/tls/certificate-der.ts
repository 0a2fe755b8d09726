/**
 * Reads DER (X.690), as far as certificates, CRLs and OCSP responses need it. Strict on purpose: two readers that do not agree on
 * what a certificate says are how somebody becomes somebody else.
 */

/** Elements of one SEQUENCE or SET; names and extensions have some dozens. */
const CHILDREN_MAX = 1_024;

/** Universal tags, and the bit that says an element holds others. */
export const TAG = Object.freeze({
  boolean: 0x01,
  integer: 0x02,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
});

/** Tag and content of one element; `whole` also has the header. Views, not copies. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly whole: Uint8Array;
}

/** The bytes are not the DER that was expected. */
export class DerError extends Error {}

/**
 * The one element that `bytes` are, with nothing behind it.
 * @throws DerError when they are something else
 */
export function readDer(bytes: Uint8Array, tag: number): DerElement {
  const element = readAt(bytes, 0);
  if (element.whole.length !== bytes.length) throw new DerError('there are bytes behind the end');
  return expectTag(element, tag);
}

/**
 * What a constructed element holds, in order.
 * @throws DerError when it is cut short or has more than 1024 parts
 */
export function childrenOf(element: DerElement): DerElement[] {
  const children: DerElement[] = [];
  for (let at = 0; at < element.content.length; ) {
    if (children.length === CHILDREN_MAX) throw new DerError('it has too many parts');
    const child = readAt(element.content, at);
    children.push(child);
    at += child.whole.length;
  }
  return children;
}

/** The element, when it is there and of this kind. @throws DerError */
export function expectTag(element: DerElement | undefined, tag: number): DerElement {
  if (element?.tag !== tag) throw new DerError('a part is missing or of another kind');
  return element;
}

/**
 * UTCTime or GeneralizedTime in the forms of RFC 5280, 4.1.2.5.
 * @returns milliseconds since 1970
 * @throws DerError
 */
export function timeOf(element: DerElement | undefined): number {
  const text = Buffer.from(element?.content ?? []).toString('latin1');
  const short = element?.tag === TAG.utcTime;
  if (!short && element?.tag !== TAG.generalizedTime) throw new DerError('a time is missing');
  const digits = short ? (Number(text.slice(0, 2)) < 50 ? `20${text}` : `19${text}`) : text;
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits);
  if (match === null) throw new DerError('a time cannot be read');
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number);
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** Whether two runs of bytes are the same. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function readAt(bytes: Uint8Array, at: number): DerElement {
  const tag = bytes[at];
  // Tag numbers from 31 up take more bytes; nothing that is read here has one.
  if (tag === undefined || (tag & 0x1f) === 0x1f) throw new DerError('it is no DER');
  let length = bytes[at + 1];
  let start = at + 2;
  if (length === undefined) throw new DerError('it is cut short');
  if (length >= 0x80) {
    const count = length & 0x7f;
    // 0 would be the indefinite length of BER; four bytes are 4 GiB.
    if (count === 0 || count > 4) throw new DerError('it is no DER');
    length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + (bytes[start++] ?? Number.NaN);
    if (!(length >= 0x80 && length >= 256 ** (count - 1))) throw new DerError('it is no DER');
  }
  const end = start + length;
  if (!(end <= bytes.length)) throw new DerError('it is cut short');
  return { tag, content: bytes.subarray(start, end), whole: bytes.subarray(at, end) };
}
