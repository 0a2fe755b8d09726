/** What `sluice certs init` and `sluice certs issue` do. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { ConfigError } from '../../src/errors.ts';
import { problemWithIdentity } from '../../transports/tls/certificate-identity.ts';
import {
  type CertificateRequest,
  COMMON_NAME_CHARACTERS_MAX,
  issueCertificate,
  localNames,
  makeAuthority,
  makeBrowserCertificate,
  readAuthority,
  serverRequest,
} from '../certificates.ts';

export interface MakeFlags {
  readonly dir: string;
  readonly days: string;
  readonly force?: boolean | undefined;
}

/** The streams of a command. */
interface Io {
  readonly stdout: { write(text: string): unknown };
}

/** The authority outlives what it signs many times: to replace it, every client has to be visited. */
const AUTHORITY_DAYS = 3_650;
const DAYS_MAX = AUTHORITY_DAYS;
const NAMES_MAX = 100;

type Names = CertificateRequest['names'];

/**
 * Makes an authority and a server certificate.
 * @param now milliseconds since 1970
 * @throws ConfigError when files are there already (without `force`), or a flag cannot be meant
 */
export async function initAuthority(
  flags: MakeFlags & { readonly host?: string | undefined },
  io: Io,
  now: number,
): Promise<void> {
  const { dir } = flags;
  const files = { ...authorityFiles(dir), cert: join(dir, 'server.pem'), key: join(dir, 'server.key') };
  const names = flags.host === undefined ? localNames() : hostNames('--host', flags.host);
  const request = serverRequest(names, daysOf(flags.days));
  keepFiles(Object.values(files), flags.force);
  await inFolder(dir, async () => {
    const authority = await makeAuthority(files, now, AUTHORITY_DAYS);
    const certificate = await issueCertificate(files, authority, request, now);
    io.stdout.write(
      `${files.ca}: the authority, to be trusted by clients, until ${dateOf(authority.certificate.notAfter)}\n` +
        `${files.caKey}: its key; whoever has it can make certificates: keep it off the machine that serves\n` +
        `${files.cert}, ${files.key}: for ${namesOf(names)}, until ${dateOf(certificate.notAfter)}\n`,
    );
  });
}

/**
 * Makes a certificate that pages trust by its hash.
 * @param now milliseconds since 1970
 * @throws ConfigError when files are there already (without `force`), or a flag cannot be meant
 */
export async function initBrowser(
  { dir, host, force }: Omit<MakeFlags, 'days'> & { readonly host?: string | undefined },
  io: Io,
  now: number,
): Promise<void> {
  const files = { cert: join(dir, 'webtransport.pem'), key: join(dir, 'webtransport.key') };
  const names = host === undefined ? localNames() : hostNames('--host', host);
  keepFiles(Object.values(files), force);
  await inFolder(dir, async () => {
    const certificate = await makeBrowserCertificate(files, names, now);
    const hash = createHash('sha256').update(Buffer.from(certificate.rawData)).digest('base64');
    io.stdout.write(
      `${files.cert}, ${files.key}: for ${namesOf(names)}, until ${dateOf(certificate.notAfter)}; ` +
        `renewed by the broker that serves with it\n` +
        `SHA-256, for serverCertificateHashes: ${hash}\n`,
    );
  });
}

/**
 * Makes a certificate for a client or a server.
 * @param now milliseconds since 1970
 * @throws ConfigError when files are there already (without `force`), there is no authority, or a flag cannot be meant
 */
export async function issue(
  flags: MakeFlags & { readonly client?: string | undefined; readonly server?: string | undefined },
  io: Io,
  now: number,
): Promise<void> {
  const { client, server, dir } = flags;
  if ((client === undefined) === (server === undefined)) {
    const problem = client === undefined ? 'it is not said for whom' : 'both are given';
    throw new ConfigError('--client or --server', problem, 'Give one of the two');
  }
  const days = daysOf(flags.days);
  const request =
    client === undefined ? serverRequest(hostNames('--server', server!), days) : clientRequest(client, days);
  const whose = client ?? request.names[0].value;
  // Never `ca` or `server`: those are of the authority itself. What could lead to another folder is no part of a file name.
  const base = join(dir, `${request.usage}-${String(whose).replace(/[^A-Za-z0-9._@-]/g, '_')}`);
  const files = { cert: `${base}.pem`, key: `${base}.key` };
  keepFiles(Object.values(files), flags.force);
  const authority = await readAuthority(authorityFiles(dir));
  if (authority.certificate.notAfter.getTime() <= now) {
    const problem = `the authority has expired (${dateOf(authority.certificate.notAfter)})`;
    throw new ConfigError(authorityFiles(dir).ca, problem, 'Make a new one with "sluice certs init --force"');
  }
  await inFolder(dir, async () => {
    const { notAfter } = await issueCertificate(files, authority, request, now);
    const what = client === undefined ? namesOf(request.names) : `client ${client}`;
    io.stdout.write(`${files.cert}, ${files.key}: for ${what}, until ${dateOf(notAfter)}\n`);
  });
}

function authorityFiles(dir: string): { ca: string; caKey: string } {
  return { ca: join(dir, 'ca.pem'), caKey: join(dir, 'ca.key') };
}

/** A name that the broker would refuse as a user name gets no certificate. */
function clientRequest(name: string, days: number): CertificateRequest {
  const problem = problemWithClient(name);
  if (problem === null) return { commonName: name, names: [], usage: 'client', days };
  const remedy = `Give one to ${COMMON_NAME_CHARACTERS_MAX} characters, without wildcards (+ # *) and control characters`;
  throw new ConfigError('--client', `the name ${problem}`, remedy);
}

function problemWithClient(name: string): string | null {
  if (name.length > COMMON_NAME_CHARACTERS_MAX)
    return `is longer than ${COMMON_NAME_CHARACTERS_MAX} characters`;
  return problemWithIdentity(name);
}

function hostNames(flag: string, text: string): Names {
  const names = text.split(',').map((name) => name.trim());
  if (names.length > NAMES_MAX) {
    throw new ConfigError(flag, `${names.length} names`, `Give at most ${NAMES_MAX}`);
  }
  return names.map((value) => {
    if (isIP(value) !== 0) return { type: 'ip', value };
    const labels = value.startsWith('*.') ? value.slice(2).split('.') : value.split('.');
    const isHost = labels.every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label));
    if (isHost && value.length <= 253) return { type: 'dns', value };
    const problem = `${JSON.stringify(value)} is no host name and no address`;
    throw new ConfigError(
      flag,
      problem,
      'Give names like broker.example.org,10.0.0.1, with commas and no spaces',
    );
  });
}

function namesOf(names: Names): string {
  return names.map(({ value }) => String(value)).join(', ');
}

/** Value of `--days`. @throws ConfigError */
export function daysOf(text: string): number {
  const days = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (days >= 1 && days <= DAYS_MAX) return days;
  throw new ConfigError(
    '--days',
    `${JSON.stringify(text)} does not fit`,
    `Give a whole number from 1 to ${DAYS_MAX}`,
  );
}

function keepFiles(files: readonly string[], force: boolean | undefined): void {
  const found = force === true ? undefined : files.find((file) => existsSync(file));
  if (found !== undefined) throw new ConfigError(found, 'it is there already', 'Give --force to replace it');
}

/** Makes the folder where it is missing, and turns errors of the file system into advice. */
async function inFolder(dir: string, work: () => Promise<void>): Promise<void> {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    await work();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof ConfigError || code === undefined) throw error;
    throw new ConfigError(dir, `cannot be written (${message})`, 'Name a folder you may write to with --dir');
  }
}

function dateOf(date: Date): string {
  return date.toISOString().slice(0, 10);
}
