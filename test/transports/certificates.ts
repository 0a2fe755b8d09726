/** Certificates made for one test run, in a directory of its own. */
import { webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

type KeyPair = webcrypto.CryptoKeyPair;

/** What a certificate may say differently from a usual one. */
export interface IssueOptions {
  /** Default: `CN=` and the name. */
  readonly subject?: x509.JsonName;
  /** Default: localhost and 127.0.0.1. */
  readonly names?: x509.JsonGeneralNames;
  readonly usages?: readonly string[];
  /** Default: yesterday and tomorrow. */
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

/** Paths of PEM files, and the serial number for a revocation list. */
export interface Issued {
  readonly cert: string;
  readonly key: string;
  readonly serial: string;
}

/** A certificate authority and what it signs, as PEM files. */
export class Certificates {
  readonly dir: string;
  /** PEM file of the authority's certificate. */
  readonly ca: string;
  readonly #caCertificate: x509.X509Certificate;
  readonly #caKeys: KeyPair;
  #serial = 1;

  private constructor(dir: string, caCertificate: x509.X509Certificate, caKeys: KeyPair) {
    this.dir = dir;
    this.#caCertificate = caCertificate;
    this.#caKeys = caKeys;
    this.ca = this.file('ca.pem', caCertificate.toString('pem'));
  }

  /** @param name of the authority */
  static async create(name = 'CN=Test authority'): Promise<Certificates> {
    x509.cryptoProvider.set(webcrypto);
    const keys = await generateKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: '01',
      name,
      notBefore: new Date(Date.now() - DAY_MS),
      notAfter: new Date(Date.now() + DAY_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
    });
    return new Certificates(mkdtempSync(join(tmpdir(), 'sluice-tls-')), certificate, keys);
  }

  /** Writes a file next to the others; answers its path. */
  file(name: string, content: string | Uint8Array): string {
    const path = join(this.dir, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /** A certificate for localhost and 127.0.0.1, good for servers and clients unless told otherwise. Its files are `name`.pem and .key. */
  async issue(name: string, options: IssueOptions = {}): Promise<Issued> {
    const keys = await generateKeys();
    const serial = (++this.#serial).toString(16).padStart(2, '0');
    const names = options.names ?? [
      { type: 'dns', value: 'localhost' },
      { type: 'ip', value: '127.0.0.1' },
    ];
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial,
      subject: options.subject ?? [{ CN: [name] }],
      issuer: this.#caCertificate.subject,
      notBefore: options.notBefore ?? new Date(Date.now() - DAY_MS),
      notAfter: options.notAfter ?? new Date(Date.now() + DAY_MS),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: this.#caKeys.privateKey,
      extensions: [
        ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
        ...(options.usages ? [new x509.ExtendedKeyUsageExtension([...options.usages])] : []),
      ],
    });
    return {
      cert: this.file(`${name}.pem`, certificate.toString('pem')),
      key: this.file(`${name}.key`, await keyToPem(keys.privateKey)),
      serial,
    };
  }

  /** The authority's list of these serial numbers; good until tomorrow unless told otherwise. Answers DER. */
  async crl(serials: readonly string[], nextUpdate = new Date(Date.now() + DAY_MS)): Promise<Buffer> {
    const crl = await x509.X509CrlGenerator.create({
      issuer: this.#caCertificate.subject,
      thisUpdate: new Date(Date.now() - DAY_MS),
      nextUpdate,
      signingAlgorithm: ALGORITHM,
      signingKey: this.#caKeys.privateKey,
      entries: serials.map((serialNumber) => ({ serialNumber, revocationDate: new Date() })),
    });
    return Buffer.from(crl.rawData);
  }

  /** The authority's private key as a PEM file, for tools. */
  async caKey(): Promise<string> {
    return this.file('ca.key', await keyToPem(this.#caKeys.privateKey));
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

async function generateKeys(): Promise<KeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as KeyPair;
}

/** A revocation list as OpenSSL writes it. */
export function crlToPem(der: Buffer): string {
  return `-----BEGIN X509 CRL-----\n${der
    .toString('base64')
    .match(/.{1,64}/g)!
    .join('\n')}\n-----END X509 CRL-----\n`;
}

async function keyToPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const lines = der.toString('base64').match(/.{1,64}/g)!;
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`;
}
