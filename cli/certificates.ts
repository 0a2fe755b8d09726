/**
 * Certificates of an authority of our own (`sluice certs`), and development certificates: such an authority and a server certificate
 * for this machine, so that TLS works before anybody has bought or set up anything. Those are not for production: the authority's
 * key lies beside the certificate.
 */
import 'reflect-metadata';
import { createPrivateKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { ConfigError } from '../src/errors.ts';
import { writeAtomically } from './files.ts';

/** The common name that marks an authority as ours to replace. */
export const DEV_CA_NAME = 'Sluice development CA';

export const DAY_MS = 86_400_000;
/** Browsers refuse server certificates that are valid for more than 398 days. */
export const VALID_DAYS = 365;
/** The common name that marks a certificate for browsers as ours to renew. */
export const BROWSER_CERTIFICATE_NAME = 'Sluice browser certificate';
/** Browsers trust no certificate by its hash that is valid for more than 14 days; the day before now counts. */
const BROWSER_CERTIFICATE_DAYS = 13;
/** ub-common-name of X.520. */
export const COMMON_NAME_CHARACTERS_MAX = 64;
/** Clocks differ: what was made now must be valid for a device that is some minutes behind. */
export const BACKDATE_MS = 3_600_000;
const RENEW_BEFORE_MS = 7 * DAY_MS;
export const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface DevCertificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** True when this call wrote files. */
  readonly made: boolean;
  /** False when the files are the operator's own. */
  readonly development: boolean;
}

type KeyPair = webcrypto.CryptoKeyPair;

/**
 * Makes `ca.pem`, `ca.key`, `server.pem` and `server.key` in `directory` where they are missing or about to expire.
 * Files that were not made here are never touched.
 * @param now milliseconds since 1970
 * @throws ConfigError when foreign files are incomplete or the directory cannot be written
 */
export async function ensureDevCertificates(directory: string, now: number): Promise<DevCertificates> {
  const files = {
    ca: join(directory, 'ca.pem'),
    caKey: join(directory, 'ca.key'),
    cert: join(directory, 'server.pem'),
    key: join(directory, 'server.key'),
  };
  const paths = { ca: files.ca, cert: files.cert, key: files.key };
  const state = inspect(files, now);
  if (state === 'good' || state === 'foreign') {
    return { ...paths, made: false, development: state === 'good' };
  }
  try {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    await make(files, state === 'server', now);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const problem = `development certificates cannot be written (${(error as Error).message})`;
    throw new ConfigError(
      directory,
      problem,
      'Make the directory writable, or name certificates in a configuration',
    );
  }
  return { ...paths, made: true, development: true };
}

interface Files {
  readonly ca: string;
  readonly caKey: string;
  readonly cert: string;
  readonly key: string;
}

/** What there is: all good, somebody else's, only the server's part to be made, or everything. */
function inspect(files: Files, now: number): 'good' | 'foreign' | 'server' | 'all' {
  const hasPair = existsSync(files.cert) && existsSync(files.key);
  if (!existsSync(files.ca)) {
    // A pair without ca.pem is the operator's: nothing tells that we made it.
    if (hasPair) return 'foreign';
    refuseForeign(files.cert, files.key);
    return 'all';
  }
  const ca = readCertificate(files.ca);
  if (ca === null || !isNamed(ca.subject)) {
    if (hasPair) return 'foreign';
    const remedy = 'Add server.pem and server.key, or move ca.pem away to have development certificates made';
    throw new ConfigError(files.ca, 'not a development authority, and there is no pair beside it', remedy);
  }
  const server = hasPair ? readCertificate(files.cert) : null;
  // Signed by somebody else: the operator's own.
  if (hasPair && (server === null || !isNamed(server.issuer))) return 'foreign';
  if (server !== null && isFresh(ca, now) && isFresh(server, now) && belongsTogether(server, ca, files.key)) {
    return 'good';
  }
  return existsSync(files.caKey) && isFresh(ca, now) ? 'server' : 'all';
}

function isNamed(name: string): boolean {
  return name.split('\n').includes(`CN=${DEV_CA_NAME}`);
}

/** False after a crash between two writes, or when half of the files were replaced. */
function belongsTogether(server: X509Certificate, ca: X509Certificate, keyFile: string): boolean {
  try {
    const key = createPrivateKey(readFileSync(keyFile));
    return server.checkIssued(ca) && server.verify(ca.publicKey) && server.checkPrivateKey(key);
  } catch {
    // An unreadable key fits nothing; a new pair is made.
    return false;
  }
}

function refuseForeign(...files: string[]): void {
  const found = files.find((file) => existsSync(file));
  if (found === undefined) return;
  const remedy = 'Put certificate and key there, or move it away to have development certificates made';
  throw new ConfigError(found, 'its other half is missing', remedy);
}

function readCertificate(file: string): X509Certificate | null {
  try {
    return new X509Certificate(readFileSync(file));
  } catch {
    // Unreadable or not a certificate: not ours, and whoever uses it will say what is wrong.
    return null;
  }
}

function isFresh(certificate: X509Certificate, now: number): boolean {
  return (
    certificate.validFromDate.getTime() <= now && certificate.validToDate.getTime() - RENEW_BEFORE_MS > now
  );
}

async function make(files: Files, keepAuthority: boolean, now: number): Promise<void> {
  const authority = keepAuthority
    ? {
        certificate: new x509.X509Certificate(readFileSync(files.ca, 'utf8')),
        key: await importKey(files.caKey),
      }
    : await makeAuthority(files, now, VALID_DAYS);
  await issueCertificate(files, authority, serverRequest(localNames(), VALID_DAYS), now);
}

/** Who signs. */
export interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

/** What a certificate is to say. */
export interface CertificateRequest {
  /** Null: the names say it all. */
  readonly commonName: string | null;
  readonly names: x509.JsonGeneralNames;
  readonly usage: 'server' | 'client';
  /** From now on; never longer than the authority's own. */
  readonly days: number;
}

/** What a server's certificate says: names, the first of them as Common Name. */
export function serverRequest(names: x509.JsonGeneralNames, days: number): CertificateRequest {
  const first = names[0].value as string;
  return {
    commonName: first.length <= COMMON_NAME_CHARACTERS_MAX ? first : null,
    names,
    usage: 'server',
    days,
  };
}

/**
 * Makes a key pair and its certificate, and writes both: the key for its owner alone.
 * @param now milliseconds since 1970
 * @returns the certificate
 */
export async function issueCertificate(
  files: { readonly cert: string; readonly key: string },
  authority: Authority,
  request: CertificateRequest,
  now: number,
): Promise<x509.X509Certificate> {
  const pair = await generateKeys();
  const certificate = await signCertificate(pair.publicKey, authority, request, now);
  // The key first: a certificate without its key is noticed at the next start, an old key with a new one is not.
  writeAtomically(files.key, await exportKey(pair.privateKey), 0o600);
  writeAtomically(files.cert, `${certificate.toString('pem')}\n`, 0o644);
  return certificate;
}

function generateKeys(): Promise<KeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

/**
 * Makes an authority and writes its certificate and key.
 * @param now milliseconds since 1970
 */
export async function makeAuthority(
  files: { readonly ca: string; readonly caKey: string },
  now: number,
  days: number,
): Promise<Authority> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial(),
      name: `CN=${DEV_CA_NAME}`,
      ...validity(now, days),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  writeAtomically(files.caKey, await exportKey(keys.privateKey), 0o600);
  writeAtomically(files.ca, `${certificate.toString('pem')}\n`, 0o644);
  return { certificate, key: keys.privateKey };
}

/**
 * Makes a certificate that a page can trust by its hash alone (`serverCertificateHashes` of WebTransport), and its key. Browsers want a P-256
 * key and at most 14 days.
 * @param now milliseconds since 1970
 */
export async function makeBrowserCertificate(
  files: { readonly cert: string; readonly key: string },
  names: x509.JsonGeneralNames,
  now: number,
): Promise<x509.X509Certificate> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial(),
      name: `CN=${BROWSER_CERTIFICATE_NAME}`,
      ...validity(now, BROWSER_CERTIFICATE_DAYS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(names),
      ],
    },
    webcrypto,
  );
  writeAtomically(files.key, await exportKey(keys.privateKey), 0o600);
  writeAtomically(files.cert, `${certificate.toString('pem')}\n`, 0o644);
  return certificate;
}

/**
 * An authority from its files, to sign with.
 * @throws ConfigError when they cannot be used
 */
export async function readAuthority(files: {
  readonly ca: string;
  readonly caKey: string;
}): Promise<Authority> {
  const remedy = 'Make an authority with "sluice certs init", or name its folder with --dir';
  for (const file of [files.ca, files.caKey]) {
    if (!existsSync(file)) throw new ConfigError(file, 'it does not exist', remedy);
    try {
      accessSync(file, constants.R_OK);
    } catch {
      throw new ConfigError(file, 'it cannot be read', 'Run this as the user that the file belongs to');
    }
  }
  const certificate = readCertificate(files.ca);
  if (certificate?.ca !== true) {
    throw new ConfigError(files.ca, 'it is no certificate of an authority', remedy);
  }
  try {
    const key = await importKey(files.caKey);
    if (certificate.checkPrivateKey(createPrivateKey(readFileSync(files.caKey)))) {
      return { certificate: new x509.X509Certificate(readFileSync(files.ca, 'utf8')), key };
    }
  } catch {
    // The same answer: what is there is no key to sign with.
  }
  throw new ConfigError(files.caKey, `it is no P-256 key that belongs to ${files.ca}`, remedy);
}

async function signCertificate(
  publicKey: webcrypto.CryptoKey,
  { certificate: ca, key: signingKey }: Authority,
  { commonName, names, usage, days }: CertificateRequest,
  now: number,
): Promise<x509.X509Certificate> {
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const { notBefore, notAfter } = validity(now, days);
  return x509.X509CertificateGenerator.create(
    {
      serialNumber: serial(),
      subject: commonName === null ? [] : [{ CN: [utf8String(commonName)] }],
      issuer: ca.subject,
      notBefore,
      notAfter: notAfter < ca.notAfter ? notAfter : ca.notAfter,
      signingAlgorithm: ALGORITHM,
      publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([usage === 'server' ? serverAuth : clientAuth]),
        ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names, commonName === null)] : []),
        await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
        await x509.AuthorityKeyIdentifierExtension.create(ca, false, webcrypto),
      ],
    },
    webcrypto,
  );
}

/** A name as `#` and DER in hexadecimal digits (RFC 4514, 2.4): given as text the library would take quotes off it. */
function utf8String(text: string): string {
  const bytes = Buffer.from(text);
  const length = bytes.length < 0x80 ? [bytes.length] : [0x81, bytes.length];
  return `#${Buffer.from([0x0c, ...length, ...bytes]).toString('hex')}`;
}

/** This machine, as itself and from itself. */
export function localNames(): x509.JsonGeneralNames {
  const names = new Set(['localhost', hostname()]);
  const dns = [...names].filter((name) => /^[A-Za-z0-9.-]+$/.test(name));
  return [
    ...dns.map((value) => ({ type: 'dns' as const, value })),
    { type: 'ip', value: '127.0.0.1' },
    { type: 'ip', value: '::1' },
  ];
}

/** The names in a certificate. */
export function namesOf({ raw }: X509Certificate): x509.JsonGeneralNames {
  const names = new x509.X509Certificate(raw).getExtension(x509.SubjectAlternativeNameExtension);
  return names?.names.toJSON() ?? localNames();
}

function validity(now: number, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + days * DAY_MS) };
}

/** Positive and unpredictable; the first bit is cleared, since DER integers are signed. */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0] & 0x7f) | 0x40;
  return bytes.toString('hex');
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${der.match(/.{1,64}/g)!.join('\n')}\n-----END PRIVATE KEY-----\n`;
}

function importKey(file: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(readFileSync(file, 'utf8').replace(/-----[^-]+-----|\s/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign']);
}
