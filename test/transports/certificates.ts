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

  static async create(): Promise<Certificates> {
    x509.cryptoProvider.set(webcrypto);
    const keys = await generateKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: '01',
      name: 'CN=Test authority',
      notBefore: new Date(Date.now() - DAY_MS),
      notAfter: new Date(Date.now() + DAY_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
    });
    return new Certificates(mkdtempSync(join(tmpdir(), 'sluice-tls-')), certificate, keys);
  }

  /** Writes a file next to the others; answers its path. */
  file(name: string, content: string): string {
    const path = join(this.dir, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /** A certificate for localhost and 127.0.0.1, good for servers and clients. Answers the paths of its files. */
  async issue(name: string): Promise<{ cert: string; key: string }> {
    const keys = await generateKeys();
    this.#serial++;
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: this.#serial.toString(16).padStart(2, '0'),
      subject: `CN=${name}`,
      issuer: this.#caCertificate.subject,
      notBefore: new Date(Date.now() - DAY_MS),
      notAfter: new Date(Date.now() + DAY_MS),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: this.#caKeys.privateKey,
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          { type: 'dns', value: 'localhost' },
          { type: 'ip', value: '127.0.0.1' },
        ]),
      ],
    });
    const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
    const lines = der.toString('base64').match(/.{1,64}/g)!;
    return {
      cert: this.file(`${name}.pem`, certificate.toString('pem')),
      key: this.file(
        `${name}.key`,
        `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`,
      ),
    };
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

async function generateKeys(): Promise<KeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as KeyPair;
}
