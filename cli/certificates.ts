/**
 * Development certificates: an authority of our own and a server certificate for this machine, so that TLS works before
 * anybody has bought or set up anything. Not for production: the authority's key lies beside the certificate.
 */
import 'reflect-metadata';
import { createPrivateKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { ConfigError } from '../src/errors.ts';
import { writeAtomically } from './files.ts';

/** The common name that marks an authority as ours to replace. */
export const DEV_CA_NAME = 'Sluice development CA';

const DAY_MS = 86_400_000;
/** Browsers refuse server certificates that are valid for more than 398 days. */
const VALID_DAYS = 365;
/** Clocks differ: what was made now must be valid for a device that is some minutes behind. */
const BACKDATE_MS = 3_600_000;
const RENEW_BEFORE_MS = 7 * DAY_MS;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

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
  const generated = (): Promise<KeyPair> => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  let ca: x509.X509Certificate;
  let caKey: webcrypto.CryptoKey;
  if (keepAuthority) {
    ca = new x509.X509Certificate(readFileSync(files.ca, 'utf8'));
    caKey = await importKey(files.caKey);
  } else {
    const pair = await generated();
    ca = await makeAuthority(pair, now);
    caKey = pair.privateKey;
    writeAtomically(files.caKey, await exportKey(caKey), 0o600);
    writeAtomically(files.ca, `${ca.toString('pem')}\n`, 0o644);
  }
  const serverPair = await generated();
  const server = await makeServer(serverPair.publicKey, ca, caKey, now);
  // The key first: a certificate without its key is noticed at the next start, an old key with a new one is not.
  writeAtomically(files.key, await exportKey(serverPair.privateKey), 0o600);
  writeAtomically(files.cert, `${server.toString('pem')}\n`, 0o644);
}

async function makeAuthority(keys: KeyPair, now: number): Promise<x509.X509Certificate> {
  return x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial(),
      name: `CN=${DEV_CA_NAME}`,
      ...validity(now),
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
}

async function makeServer(
  publicKey: webcrypto.CryptoKey,
  ca: x509.X509Certificate,
  signingKey: webcrypto.CryptoKey,
  now: number,
): Promise<x509.X509Certificate> {
  const usages = x509.KeyUsageFlags.digitalSignature;
  return x509.X509CertificateGenerator.create(
    {
      serialNumber: serial(),
      subject: 'CN=localhost',
      issuer: ca.subject,
      ...validity(now),
      signingAlgorithm: ALGORITHM,
      publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(usages, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(alternativeNames()),
        await x509.SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
        await x509.AuthorityKeyIdentifierExtension.create(ca, false, webcrypto),
      ],
    },
    webcrypto,
  );
}

function alternativeNames(): x509.JsonGeneralNames {
  const names = new Set(['localhost', hostname()]);
  const dns = [...names].filter((name) => /^[A-Za-z0-9.-]+$/.test(name));
  return [
    ...dns.map((value) => ({ type: 'dns' as const, value })),
    { type: 'ip', value: '127.0.0.1' },
    { type: 'ip', value: '::1' },
  ];
}

function validity(now: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + VALID_DAYS * DAY_MS) };
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
