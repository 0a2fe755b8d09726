/** What `sluice certs show` tells of a certificate file. */
import { X509Certificate } from 'node:crypto';
import { readGuardedBytes } from '../../auth/files/guarded-file.ts';
import { printable } from '../../config/problems.ts';
import { ConfigError } from '../../src/errors.ts';

/** The streams of a command. */
interface Io {
  readonly stdout: { write(text: string): unknown };
}

/** Exit codes: nothing wrong; something is. Errors are thrown. */
const EXIT = Object.freeze({ sound: 0, unsound: 1 });

const FILE_BYTES_MAX = 1_048_576;
const DAY_MS = 86_400_000;
const SOON_DAYS = 30;
const RSA_BITS_MIN = 2_048;
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/**
 * Prints every certificate of a file, and what is wrong with each and with their order.
 * @param now milliseconds since 1970
 * @returns the exit code
 * @throws ConfigError when the file cannot be read or holds none
 */
export function show(file: string, { ca }: { ca?: string | undefined }, io: Io, now: number): number {
  const certificates = readAll(file);
  const problems = certificates.map((each) => problemsOf(each, now));
  addChainProblems(certificates, problems);
  if (ca !== undefined) addTrustProblem(certificates, readAll(ca), ca, problems);
  certificates.forEach((each, index) => {
    if (index > 0) io.stdout.write('\n');
    for (const [label, value] of rowsOf(each, index, certificates.length, now)) {
      io.stdout.write(`${label.padEnd(12)} ${printable(value)}\n`);
    }
    for (const problem of problems[index]) io.stdout.write(`${'problem'.padEnd(12)} ${printable(problem)}\n`);
  });
  return problems.some((list) => list.length > 0) ? EXIT.unsound : EXIT.sound;
}

function readAll(file: string): X509Certificate[] {
  const bytes = readGuardedBytes(file, { fileBytesMax: FILE_BYTES_MAX, forbiddenMode: 0, modeRemedy: '' });
  const remedy = 'Name a file with certificates in PEM or DER form';
  const isDer = bytes[0] === 0x30;
  const pattern = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;
  const found: (string | Buffer)[] = isDer ? [bytes] : (bytes.toString('latin1').match(pattern) ?? []);
  if (found.length === 0) throw new ConfigError(file, 'it holds no certificate', remedy);
  return found.map((each, index) => {
    try {
      return new X509Certificate(each);
    } catch {
      throw new ConfigError(file, `certificate ${index + 1} is damaged`, remedy);
    }
  });
}

function rowsOf(each: X509Certificate, index: number, count: number, now: number): [string, string][] {
  const rows: [string, string][] = count > 1 ? [['certificate', `${index + 1} of ${count}`]] : [];
  const days = Math.floor((each.validToDate.getTime() - now) / DAY_MS);
  const left = days < 0 ? 'expired' : `${days} ${days === 1 ? 'day' : 'days'} left`;
  rows.push(
    ['subject', inOneLine(each.subject)],
    ['issuer', isSelfSigned(each) ? 'itself' : inOneLine(each.issuer)],
    ['names', each.subjectAltName ?? 'none'],
    ['for', usesOf(each)],
    ['valid', `${isoOf(each.validFromDate)} to ${isoOf(each.validToDate)}, ${left}`],
    ['key', keyOf(each)],
    ['serial', each.serialNumber],
    ['SHA-256', each.fingerprint256],
  );
  return rows;
}

function problemsOf(each: X509Certificate, now: number): string[] {
  const problems: string[] = [];
  const left = each.validToDate.getTime() - now;
  const { asymmetricKeyType, asymmetricKeyDetails } = each.publicKey;
  if (left <= 0) problems.push('it has expired');
  else if (left <= SOON_DAYS * DAY_MS) problems.push(`it expires within ${SOON_DAYS} days`);
  if (each.validFromDate.getTime() > now) problems.push('it is not valid yet');
  if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) < RSA_BITS_MIN) {
    problems.push(`its key has fewer than ${RSA_BITS_MIN} bits`);
  }
  const isServer = !each.ca && (each.keyUsage?.includes(SERVER_AUTH) ?? false);
  if (isServer && each.subjectAltName === undefined)
    problems.push('it names no host, so that no client accepts it');
  return problems;
}

/** In a chain each certificate is signed by the next; a file of authorities is none. */
function addChainProblems(certificates: readonly X509Certificate[], problems: string[][]): void {
  if (certificates[0].ca) return;
  certificates.slice(1).forEach((issuer, index) => {
    if (isSignedBy(certificates[index], issuer)) return;
    problems[index].push(
      `certificate ${index + 2} did not sign it: the server's comes first, then who signed it, and so on`,
    );
  });
}

function addTrustProblem(
  certificates: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
  file: string,
  problems: string[][],
): void {
  const last = certificates.length - 1;
  // Every certificate of a file of authorities stands for itself, in a chain the last one for all.
  const indexes = certificates[0].ca ? certificates.keys() : [last];
  for (const index of indexes) {
    if (!authorities.some((authority) => isSignedBy(certificates[index], authority))) {
      problems[index].push(`none of ${file} signed it`);
    }
  }
}

function isSignedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

function usesOf({ ca, keyUsage: usages }: X509Certificate): string {
  if (ca) return 'an authority';
  if (usages === undefined) return 'servers and clients: it does not say';
  const known = [
    ...(usages.includes(SERVER_AUTH) ? ['servers'] : []),
    ...(usages.includes(CLIENT_AUTH) ? ['clients'] : []),
  ];
  return known.length > 0 ? known.join(' and ') : 'neither servers nor clients of TLS';
}

function keyOf({ publicKey }: X509Certificate): string {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = publicKey;
  if (type === 'ec') return `EC ${details?.namedCurve ?? ''}`;
  return `${type?.toUpperCase()}${details?.modulusLength === undefined ? '' : ` ${details.modulusLength} bits`}`;
}

function inOneLine(name: string | undefined): string {
  return name ? name.split('\n').join(', ') : 'none';
}

function isoOf(date: Date): string {
  return date.toISOString().slice(0, 10);
}
