/** Certificates, keys and versions of the doors that speak TLS; every fault is found before a client meets it. */
import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type TlsOptions as NodeTlsOptions } from 'node:tls';
import { ConfigError } from '../src/errors.ts';

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
export const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Section `tls` of a listener. */
export interface TlsOptions {
  /** PEM file: the server's certificate, then the intermediates. */
  readonly cert: string;
  /** PEM file: the private key that belongs to `cert`. */
  readonly key: string;
  /** PEM file: the authorities that may sign client certificates. */
  readonly ca?: string | undefined;
  readonly passphrase?: string | undefined;
  readonly minVersion?: TlsVersion | undefined;
  readonly maxVersion?: TlsVersion | undefined;
  /** OpenSSL cipher list. */
  readonly ciphers?: string | undefined;
  /** Asks clients for a certificate; needs `ca`. */
  readonly requestCert?: boolean | undefined;
  /** With `requestCert`: refuses clients without a certificate that `ca` signed. Default true. */
  readonly rejectUnauthorized?: boolean | undefined;
  readonly handshakeTimeoutMs?: number | undefined;
}

/**
 * Reads the files and checks all of it together.
 * @param url the listener, for error messages
 * @returns options for `tls.createServer`, `https.createServer` and `setSecureContext`
 * @throws ConfigError that names the option, the file and what would be right
 */
export function loadTls(url: string, options: TlsOptions): NodeTlsOptions {
  const minVersion = version(url, 'minVersion', options.minVersion ?? 'TLSv1.2');
  const maxVersion = version(url, 'maxVersion', options.maxVersion ?? 'TLSv1.3');
  if (TLS_VERSIONS.indexOf(minVersion) > TLS_VERSIONS.indexOf(maxVersion)) {
    const problem = `${minVersion} is above tls.maxVersion ${maxVersion}`;
    throw new ConfigError(`${url} tls.minVersion`, problem, 'Lower minVersion, or raise maxVersion');
  }
  if (options.requestCert && options.ca === undefined) {
    // Without it every certificate that a public authority ever signed would pass.
    const remedy = 'Set tls.ca to the PEM file of the authority that signs your client certificates';
    throw new ConfigError(`${url} tls.requestCert`, 'tls.ca is missing', remedy);
  }
  const cert = readPem(url, 'cert', options.cert);
  const leaf = readCertificates(url, 'cert', options.cert, cert)[0];
  const key = readPem(url, 'key', options.key);
  if (!leaf.checkPrivateKey(readKey(url, options, key))) {
    const problem = `${options.key} does not belong to the certificate in ${options.cert}`;
    const remedy =
      'Give the key the certificate was made for; the server certificate comes first in its file';
    throw new ConfigError(`${url} tls.key`, problem, remedy);
  }
  const loaded: NodeTlsOptions = {
    cert,
    key,
    minVersion,
    maxVersion,
    ciphers: options.ciphers ?? CIPHERS_DEFAULT,
    requestCert: options.requestCert ?? false,
    rejectUnauthorized: options.rejectUnauthorized ?? true,
    handshakeTimeout: options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
    // Tickets would let a session outlive the revocation of its client certificate, under keys Node never rotates.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
  if (options.passphrase !== undefined) loaded.passphrase = options.passphrase;
  if (options.ca !== undefined) {
    loaded.ca = readPem(url, 'ca', options.ca);
    readCertificates(url, 'ca', options.ca, loaded.ca);
  }
  tryContext(url, loaded);
  return loaded;
}

function version(url: string, option: string, value: TlsVersion): TlsVersion {
  if (TLS_VERSIONS.includes(value)) return value;
  throw new ConfigError(
    `${url} tls.${option}`,
    `"${value}" is not offered`,
    `Use ${TLS_VERSIONS.join(' or ')}`,
  );
}

const READ_FAULTS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'may not be read by this user',
  EISDIR: 'is a directory',
};

function readPem(url: string, option: string, file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    const problem = `${file} ${READ_FAULTS[code] ?? `cannot be read (${message})`}`;
    throw new ConfigError(`${url} tls.${option}`, problem, 'Give the path of a PEM file the broker may read');
  }
}

/** Every certificate of a PEM file; at least one. */
function readCertificates(url: string, option: string, file: string, pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  const where = `${url} tls.${option}`;
  const remedy = 'Give a PEM file with whole "BEGIN CERTIFICATE" blocks';
  if (blocks.length === 0) throw new ConfigError(where, `${file} holds no certificate in PEM form`, remedy);
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch {
      throw new ConfigError(where, `certificate ${index + 1} in ${file} is damaged`, remedy);
    }
  });
}

function readKey(url: string, options: TlsOptions, pem: string): KeyObject {
  const { key: file, passphrase } = options;
  try {
    return createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
  } catch (error) {
    const encrypted = pem.includes('ENCRYPTED');
    if (encrypted && passphrase === undefined) {
      throw new ConfigError(
        `${url} tls.key`,
        `${file} is encrypted`,
        'Set tls.passphrase, or decrypt the key',
      );
    }
    if (encrypted && (error as NodeJS.ErrnoException).code !== 'ERR_OSSL_UNSUPPORTED') {
      throw new ConfigError(`${url} tls.passphrase`, `it does not open ${file}`, 'Correct tls.passphrase');
    }
    const remedy = 'Give a PEM file with a whole "BEGIN PRIVATE KEY" block';
    throw new ConfigError(`${url} tls.key`, `${file} holds no private key in PEM form`, remedy);
  }
}

/** What is left to go wrong is OpenSSL's judgement: an unknown cipher, a key too short for its security level. */
function tryContext(url: string, loaded: NodeTlsOptions): void {
  try {
    createSecureContext(loaded);
  } catch (error) {
    const { message } = error as Error;
    const option = /cipher/i.test(message) ? 'tls.ciphers' : 'tls.cert';
    const remedy =
      option === 'tls.ciphers'
        ? 'Give an OpenSSL cipher list'
        : 'Use an RSA key of 2048 bits or more, or P-256, signed with SHA-256';
    throw new ConfigError(`${url} ${option}`, `OpenSSL refuses it (${message})`, remedy);
  }
}
