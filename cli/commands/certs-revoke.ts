/** What `sluice certs revoke` does: keeps the revocation list of an authority made by `sluice certs init`. */
import { webcrypto, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { ConfigError } from '../../src/errors.ts';
import { ALGORITHM, type Authority, BACKDATE_MS, DAY_MS, readAuthority } from '../certificates.ts';
import { writeAtomically } from '../files.ts';

/** The streams of a command. */
interface Io {
  readonly stdout: { write(text: string): unknown };
}

/**
 * Adds certificates to `ca.crl` in the folder of the authority, which is made when missing; without any, renews it.
 * @param files certificates, PEM or DER
 * @param days how long the list holds; when it has ended, the broker refuses every client certificate
 * @param now milliseconds since 1970
 * @returns how many certificates the list has
 * @throws ConfigError when a certificate is not of this authority, or a file cannot be used
 */
export async function revoke(
  files: readonly string[],
  { dir, days }: { readonly dir: string; readonly days: number },
  io: Io,
  now: number,
): Promise<number> {
  const paths = { ca: join(dir, 'ca.pem'), caKey: join(dir, 'ca.key') };
  const authority = await readAuthority(paths);
  const list = join(dir, 'ca.crl');
  const ca = new X509Certificate(readFileSync(paths.ca));
  const entries = new Map<string, x509.X509CrlEntryParams>();
  for (const { serialNumber, revocationDate } of await readEntries(list, authority)) {
    entries.set(serialNumber, { serialNumber, revocationDate });
  }
  for (const file of files) {
    const serialNumber = serialOf(file, ca, paths.ca);
    if (!entries.has(serialNumber))
      entries.set(serialNumber, { serialNumber, revocationDate: new Date(now) });
  }
  const nextUpdate = new Date(now + days * DAY_MS);
  const crl = await x509.X509CrlGenerator.create(
    {
      issuer: authority.certificate.subject,
      thisUpdate: new Date(now - BACKDATE_MS),
      nextUpdate,
      signingAlgorithm: ALGORITHM,
      signingKey: authority.key,
      entries: [...entries.values()],
      extensions: [
        await x509.AuthorityKeyIdentifierExtension.create(authority.certificate, false, webcrypto),
      ],
    },
    webcrypto,
  );
  writeAtomically(list, toPem(Buffer.from(crl.rawData)), 0o644);
  io.stdout.write(`${list}: ${entries.size} revoked; holds until ${nextUpdate.toISOString().slice(0, 10)}\n`);
  return entries.size;
}

const LABEL = 'X509 CRL';

/** What the list has so far. One that this authority did not sign is not taken over. */
async function readEntries(list: string, { certificate }: Authority): Promise<readonly x509.X509CrlEntry[]> {
  if (!existsSync(list)) return [];
  const remedy = 'Move it away to begin a new list';
  let crl: x509.X509Crl;
  try {
    const base64 = readFileSync(list, 'latin1').replace(/-----[^-]+-----|\s/g, '');
    crl = new x509.X509Crl(Buffer.from(base64, 'base64'));
  } catch {
    throw new ConfigError(list, 'it is no revocation list', remedy);
  }
  if (await crl.verify({ publicKey: certificate }, webcrypto)) return crl.entries;
  throw new ConfigError(list, 'it is not signed by the authority beside it', remedy);
}

function serialOf(file: string, ca: X509Certificate, caFile: string): string {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(readFileSync(file));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const problem =
      code === 'ENOENT'
        ? 'it does not exist'
        : code === 'EACCES'
          ? 'no permission to read it'
          : 'it is no certificate in PEM or DER form';
    throw new ConfigError(file, problem, 'Name the certificate that is to be revoked');
  }
  if (certificate.checkIssued(ca) && certificate.verify(ca.publicKey)) {
    return certificate.serialNumber.toLowerCase();
  }
  throw new ConfigError(file, `it is not signed by ${caFile}`, 'Name the folder of its authority with --dir');
}

function toPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g)!;
  return `-----BEGIN ${LABEL}-----\n${lines.join('\n')}\n-----END ${LABEL}-----\n`;
}
