/** Certificates, keys and versions of the doors that speak TLS; every fault is found before a client meets it. */
import { constants, randomBytes, type X509Certificate } from 'node:crypto';
import { createSecureContext, type TlsOptions as NodeTlsOptions, type SecureContext } from 'node:tls';
import { ConfigError } from '../../src/errors.ts';
import { sameBytes } from './certificate-der.ts';
import { type IdentityField, subjectOf } from './certificate-identity.ts';
import {
  type FileOption,
  fault,
  type OcspResponse,
  readCertificates,
  readCrls,
  readKey,
  readOcsp,
} from './tls-files.ts';

/** Oldest first. TLS 1.0 and 1.1 are not to be had (RFC 8996). */
const TLS_VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
export type TlsVersion = (typeof TLS_VERSIONS)[number];

/** The TLS 1.3 suites, then for 1.2 only those with forward secrecy and an AEAD: Node's own list holds static RSA and CBC. */
export const CIPHERS_DEFAULT = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** A handshake needs three round trips at most; Node's own 120 s would let strangers hold sockets for nothing. */
export const HANDSHAKE_TIMEOUT_SECONDS = 10;
/**
 * How long a session can be resumed. A device that loses its network for an hour is spared the signatures; what its certificate
 * was then judged by is not older than this.
 */
const SESSION_SECONDS = 7_200;
/** Keys of session tickets, as node:tls wants them: name, HMAC, AES. */
export const TICKET_KEYS_BYTES = 48;
/** OpenSSL's bound is 32 characters. */
const SESSION_CONTEXT_BYTES = 16;

/** Whether clients are asked for a certificate. One that is shown must hold up, also where it is optional. */
export type RequestCert = 'none' | 'optional' | 'required';

/** Another certificate, for clients that ask for `name` (Server Name Indication, RFC 6066). */
export interface SniOptions {
  /** A host name, or `*.example.org` for every name with one more label. */
  readonly name: string;
  readonly cert: string;
  readonly key: string;
  readonly ocspResponse?: string | undefined;
}

/** Section `tls` of a listener. */
export interface TlsOptions {
  /** PEM file: the server's certificate, then the intermediates. */
  readonly cert: string;
  /** PEM file: the private key that belongs to `cert`. */
  readonly key: string;
  /** PEM file: the authorities that may sign client certificates. */
  readonly ca?: string | undefined;
  /** Revocation lists, PEM or DER: one for every authority of `ca`. */
  readonly crl?: string | readonly string[] | undefined;
  readonly passphrase?: string | undefined;
  readonly minVersion?: TlsVersion | undefined;
  readonly maxVersion?: TlsVersion | undefined;
  /** OpenSSL cipher list. */
  readonly ciphers?: string | undefined;
  /** Default none; `true` means required, `false` none. Needs `ca`. */
  readonly requestCert?: RequestCert | boolean | undefined;
  /** Where the user name stands in the client's certificate; default false: it names nobody. */
  readonly useCertAsUsername?: IdentityField | false | undefined;
  readonly sni?: readonly SniOptions[] | undefined;
  /** DER file: what the authority's OCSP responder says of `cert`, kept fresh by somebody else. */
  readonly ocspResponse?: string | undefined;
  /** From accept to the end of the handshake, in seconds. Default 10. */
  readonly handshakeTimeoutSeconds?: number | undefined;
  /** Takes private keys that group or others can read. Default false. */
  readonly allowOpenFiles?: boolean | undefined;
}

/** Something of the files that ends one day. */
export interface Dated {
  readonly what: 'certificate' | 'authority' | 'crl' | 'ocsp';
  readonly file: string;
  /** Who it is about, in words; empty for lists. */
  readonly subject: string;
  /** Milliseconds since 1970. */
  readonly from: number;
  /** Milliseconds since 1970; may be infinite. */
  readonly until: number;
}

/** One server certificate, ready to be shown. */
export interface ServerPair {
  /** Which names it is for; null: the default. */
  readonly name: string | null;
  readonly certificate: X509Certificate;
  /** Null for the default, whose context the server makes itself: with long revocation lists each is large. */
  readonly context: SecureContext | null;
  readonly staple: Staple | null;
}

/** An OCSP response with its term, in milliseconds since 1970. */
export interface Staple {
  readonly der: Buffer;
  readonly from: number;
  readonly until: number;
}

/** All files of one listener, read and checked together. */
export interface LoadedTls {
  /** Options for `tls.createServer`, `https.createServer` and `setSecureContext`. */
  readonly server: NodeTlsOptions;
  /** The default one first. */
  readonly pairs: readonly ServerPair[];
  readonly dated: readonly Dated[];
  /** What can be done without, and why it is: sentences for the log. */
  readonly warnings: readonly string[];
}

/** What `requestCert` means. */
export function requestCertOf(options: TlsOptions): RequestCert {
  const { requestCert = 'none' } = options;
  if (typeof requestCert === 'string') return requestCert;
  return requestCert ? 'required' : 'none';
}

/** Every file the options name. */
export function filesOf(options: TlsOptions): string[] {
  const { cert, key, ca, ocspResponse, sni = [] } = options;
  const files = [cert, key, ca, ...crlFilesOf(options), ocspResponse];
  for (const entry of sni) files.push(entry.cert, entry.key, entry.ocspResponse);
  return [...new Set(files.filter((file) => file !== undefined))];
}

/**
 * Reads the files and checks all of it together.
 * @param url the listener, for error messages
 * @throws ConfigError that names the option, the file and what would be right
 */
export function loadTls(url: string, options: TlsOptions): LoadedTls {
  const base = baseOptions(url, options);
  const dated: Dated[] = [];
  const warnings: string[] = [];
  const trust = readTrust(url, options, dated);
  const shared: NodeTlsOptions = { ...base, ...trust };
  if (options.passphrase !== undefined) shared.passphrase = options.passphrase;
  const load = (pair: Omit<SniOptions, 'name'>, name: string | null, prefix: string): [ServerPair, Pem] => {
    const pem = readPair(url, options, pair, prefix, dated);
    const { certificate } = pem;
    if (name !== null) checkName(url, prefix, name, certificate);
    const context = tryContext(url, prefix, { ...shared, cert: pem.cert, key: pem.key });
    const staple = readStaple(url, pair.ocspResponse, prefix, certificate, dated, warnings);
    return [{ name, certificate, context: name === null ? null : context, staple }, pem];
  };
  const [first, pem] = load(options, null, 'tls');
  const named = (options.sni ?? []).map((entry, index) => load(entry, entry.name, `tls.sni[${index}]`)[0]);
  return { server: { ...shared, cert: pem.cert, key: pem.key }, pairs: [first, ...named], dated, warnings };
}

/** All that does not come from a file. */
function baseOptions(url: string, options: TlsOptions): NodeTlsOptions {
  const minVersion = version(url, 'minVersion', options.minVersion ?? 'TLSv1.2');
  const maxVersion = version(url, 'maxVersion', options.maxVersion ?? 'TLSv1.3');
  if (TLS_VERSIONS.indexOf(minVersion) > TLS_VERSIONS.indexOf(maxVersion)) {
    const problem = `${minVersion} is above tls.maxVersion ${maxVersion}`;
    throw new ConfigError(`${url} tls.minVersion`, problem, 'Lower minVersion, or raise maxVersion');
  }
  return {
    minVersion,
    maxVersion,
    ciphers: options.ciphers ?? CIPHERS_DEFAULT,
    requestCert: requestCertOf(options) !== 'none',
    // Who may stay is decided in tls-server.ts, which can tell why not: Node would hang up without a word to anybody.
    rejectUnauthorized: false,
    handshakeTimeout: (options.handshakeTimeoutSeconds ?? HANDSHAKE_TIMEOUT_SECONDS) * 1_000,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    sessionTimeout: SESSION_SECONDS,
    // New with each reading of the files: a session begun under an old authority or list is not resumed under the new ones.
    ticketKeys: randomBytes(TICKET_KEYS_BYTES),
    sessionIdContext: randomBytes(SESSION_CONTEXT_BYTES).toString('hex'),
  };
}

function version(url: string, option: string, value: TlsVersion): TlsVersion {
  if (TLS_VERSIONS.includes(value)) return value;
  throw new ConfigError(
    `${url} tls.${option}`,
    `"${value}" is not offered`,
    `Use ${TLS_VERSIONS.join(' or ')}`,
  );
}

/** Authorities and revocation lists, as options of node:tls. */
function readTrust(url: string, options: TlsOptions, dated: Dated[]): Pick<NodeTlsOptions, 'ca' | 'crl'> {
  const asks = requestCertOf(options) !== 'none';
  const where = `${url} tls.requestCert`;
  if (asks && options.ca === undefined) {
    // Without it every certificate that a public authority ever signed would pass.
    const remedy = 'Set tls.ca to the PEM file of the authority that signs your client certificates';
    throw new ConfigError(where, 'tls.ca is missing', remedy);
  }
  for (const option of ['crl', 'useCertAsUsername'] as const) {
    if (asks || options[option] === undefined || options[option] === false) continue;
    const problem = 'it has no effect while clients are not asked for certificates';
    throw new ConfigError(`${url} tls.${option}`, problem, 'Set tls.requestCert to optional or required');
  }
  if (options.ca === undefined) return {};
  const { pem, certificates } = readCertificates({ url, option: 'tls.ca', file: options.ca });
  for (const certificate of certificates) dated.push(datesOf('authority', options.ca, certificate));
  const crls = crlFilesOf(options).flatMap((file) => {
    const lists = readCrls({ url, option: 'tls.crl', file });
    for (const { from, until } of lists) dated.push({ what: 'crl', file, subject: '', from, until });
    return lists;
  });
  if (crls.length === 0) return { ca: pem };
  const bare = certificates.find(({ raw }) => !crls.some(({ issuer }) => sameBytes(issuer, subjectOf(raw))));
  if (bare !== undefined) {
    // OpenSSL refuses every client below an authority whose list it does not have.
    const problem = `there is no list of the authority "${nameOf(bare)}"`;
    throw new ConfigError(`${url} tls.crl`, problem, 'Name a CRL for every authority of tls.ca');
  }
  return { ca: pem, crl: crls.map((crl) => crl.pem) };
}

function crlFilesOf({ crl }: TlsOptions): readonly string[] {
  return typeof crl === 'string' ? [crl] : (crl ?? []);
}

interface Pem {
  readonly cert: string;
  readonly key: string;
  readonly certificate: X509Certificate;
}

/** Certificate chain and key, which must belong together. */
function readPair(
  url: string,
  options: TlsOptions,
  pair: { readonly cert: string; readonly key: string },
  prefix: string,
  dated: Dated[],
): Pem {
  const { pem: cert, certificates } = readCertificates({ url, option: `${prefix}.cert`, file: pair.cert });
  const [certificate] = certificates;
  const from: FileOption = { url, option: `${prefix}.key`, file: pair.key };
  const { pem: key, key: keyObject } = readKey(from, options.passphrase, options.allowOpenFiles ?? false);
  if (!certificate.checkPrivateKey(keyObject)) {
    const problem = `${pair.key} does not belong to the certificate in ${pair.cert}`;
    const remedy =
      'Give the key the certificate was made for; the server certificate comes first in its file';
    throw fault(from, problem, remedy);
  }
  for (const each of certificates) dated.push(datesOf('certificate', pair.cert, each));
  return { cert, key, certificate };
}

function datesOf(what: Dated['what'], file: string, certificate: X509Certificate): Dated {
  const { validFromDate, validToDate } = certificate;
  return {
    what,
    file,
    subject: nameOf(certificate),
    from: validFromDate.getTime(),
    until: validToDate.getTime(),
  };
}

/** The subject in one line, for people. */
export function nameOf(certificate: X509Certificate): string {
  return (
    (certificate.subject ?? '').split('\n').join(', ') || (certificate.subjectAltName ?? 'without a name')
  );
}

function checkName(url: string, prefix: string, name: string, certificate: X509Certificate): void {
  const example = name.startsWith('*.') ? `x${name.slice(1)}` : name;
  if (certificate.checkHost(example) !== undefined) return;
  const problem = `the certificate is for ${certificate.subjectAltName ?? 'no name at all'}, not for ${name}`;
  throw new ConfigError(`${url} ${prefix}.cert`, problem, 'Give the certificate that was made for this name');
}

/**
 * What is stapled to the certificate. A response that does not fit is left out with a warning, and is no reason to refuse a new
 * certificate: it is fetched by another program, later than the certificate it is about.
 */
function readStaple(
  url: string,
  file: string | undefined,
  prefix: string,
  certificate: X509Certificate,
  dated: Dated[],
  warnings: string[],
): Staple | null {
  if (file === undefined) return null;
  const { der, answers }: OcspResponse = readOcsp({ url, option: `${prefix}.ocspResponse`, file });
  const answer = answers.find(({ serial }) => serial === certificate.serialNumber);
  if (answer === undefined || answer.status !== 'good') {
    const what =
      answer === undefined ? 'is about another certificate' : `calls the certificate ${answer.status}`;
    warnings.push(`${file} ${what}: it is not stapled`);
    return null;
  }
  dated.push({ what: 'ocsp', file, subject: nameOf(certificate), from: answer.from, until: answer.until });
  return { der, from: answer.from, until: answer.until };
}

/** What is left to go wrong is OpenSSL's judgement: an unknown cipher, a key too short for its security level. */
function tryContext(url: string, prefix: string, options: NodeTlsOptions): SecureContext {
  try {
    return createSecureContext(options);
  } catch (error) {
    const { message } = error as Error;
    const isCipher = /cipher/i.test(message);
    const option = isCipher ? 'tls.ciphers' : /crl/i.test(message) ? 'tls.crl' : `${prefix}.cert`;
    const remedy = isCipher
      ? 'Give an OpenSSL cipher list'
      : 'Use an RSA key of 2048 bits or more, or P-256, signed with SHA-256';
    throw new ConfigError(`${url} ${option}`, `OpenSSL refuses it (${message})`, remedy);
  }
}
