/** What the broker itself has to know of revocation lists and OCSP responses: whose they are, and until when they hold. */
import { childrenOf, expectTag, readDer, TAG, timeOf } from './certificate-der.ts';

/** The head of a CRL (RFC 5280, 5.1). Whether its signature is right is OpenSSL's to say, in each handshake. */
export interface CrlHead {
  /** Name of the authority, DER. */
  readonly issuer: Uint8Array;
  /** Milliseconds since 1970. */
  readonly from: number;
  /** Milliseconds since 1970; infinite when it does not say. */
  readonly until: number;
}

/**
 * Reads the head of a CRL; the list itself is not looked at.
 * @throws DerError
 */
export function readCrlHead(der: Uint8Array): CrlHead {
  const [tbs] = childrenOf(readDer(der, TAG.sequence));
  const parts = listParts(expectTag(tbs, TAG.sequence));
  const issuer = expectTag(parts[1], TAG.sequence).whole;
  const isTime = parts[3]?.tag === TAG.utcTime || parts[3]?.tag === TAG.generalizedTime;
  return { issuer, from: timeOf(parts[2]), until: isTime ? timeOf(parts[3]) : Number.POSITIVE_INFINITY };
}

/** signature, issuer, thisUpdate, nextUpdate, …: without the version, which version 1 does not have. */
function listParts(tbs: Parameters<typeof childrenOf>[0]): ReturnType<typeof childrenOf> {
  const parts = childrenOf(tbs);
  return parts[0]?.tag === TAG.integer ? parts.slice(1) : parts;
}

/** What an OCSP response says of one certificate (RFC 6960, 4.2.1). */
export interface OcspAnswer {
  /** Serial number in capital hexadecimal digits, as node:crypto writes it. */
  readonly serial: string;
  readonly status: 'good' | 'revoked' | 'unknown';
  /** Milliseconds since 1970. */
  readonly from: number;
  /** Milliseconds since 1970; infinite when it does not say. */
  readonly until: number;
}

const EXPLICIT_0 = 0xa0;
const STATUSES: Readonly<Record<number, OcspAnswer['status']>> = {
  128: 'good',
  161: 'revoked',
  130: 'unknown',
};

/**
 * Reads a whole OCSP response; null when the responder answered with an error. The signature is the client's to check.
 * @throws DerError
 */
export function readOcspResponse(der: Uint8Array): OcspAnswer[] | null {
  const [status, explicit] = childrenOf(readDer(der, TAG.sequence));
  if (expectTag(status, TAG.enumerated).content[0] !== 0) return null;
  const [, basic] = childrenOf(readDer(expectTag(explicit, EXPLICIT_0).content, TAG.sequence));
  const [data] = childrenOf(readDer(expectTag(basic, TAG.octetString).content, TAG.sequence));
  // [0] version, responder id, producedAt, responses: the first SEQUENCE among them is the list.
  const parts = childrenOf(expectTag(data, TAG.sequence));
  const list = expectTag(
    parts.find((part) => part.tag === TAG.sequence),
    TAG.sequence,
  );
  return childrenOf(list).map((single) => {
    const [id, certStatus, thisUpdate, next] = childrenOf(expectTag(single, TAG.sequence));
    const serial = expectTag(childrenOf(expectTag(id, TAG.sequence))[3], TAG.integer).content;
    const hasNext = next?.tag === EXPLICIT_0;
    return {
      serial: Buffer.from(serial)
        .toString('hex')
        .toUpperCase()
        .replace(/^(00)+(?=..)/, ''),
      status: STATUSES[certStatus?.tag ?? 0] ?? 'unknown',
      from: timeOf(thisUpdate),
      until: hasNext ? timeOf(readDer(next.content, TAG.generalizedTime)) : Number.POSITIVE_INFINITY,
    };
  });
}
