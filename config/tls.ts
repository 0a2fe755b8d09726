/** Section `tls` of a listener: its option table, and the loading of what the table has found. */
import { ConfigError } from '../src/errors.ts';
import { type Format, integer } from './formats.ts';
import { collect, type Found } from './layer.ts';
import type { Option } from './option.ts';
import { showValue } from './problems.ts';
import type { SniConfig, TlsConfig, TlsVersion } from './types.ts';

const path: Format = { kind: 'path', emptyAllowed: false };

/** The keys of `tls`. */
export const TLS_OPTIONS: readonly Option[] = [
  {
    key: 'tls.cert',
    format: path,
    default: null,
    defaultText: 'required for mqtts, wss, wt and quic',
    doc: 'Certificate chain, a PEM file.',
  },
  {
    key: 'tls.key',
    format: path,
    default: null,
    defaultText: 'required for mqtts, wss, wt and quic',
    doc: 'Private key of the certificate, a PEM file only its owner can read.',
  },
  {
    key: 'tls.sni',
    format: { kind: 'sni' },
    default: null,
    defaultText: 'none',
    doc: 'More certificates, each for the clients that ask for its name; the others get `tls.cert`. Keys: listeners[].tls.sni[] below.',
  },
  {
    key: 'tls.ca',
    format: path,
    default: null,
    defaultText: 'none',
    doc: 'Authorities whose client certificates are accepted, a PEM file.',
  },
  {
    key: 'tls.requestCert',
    format: { kind: 'choice', values: ['none', 'optional', 'required', true, false] },
    default: 'none',
    doc: 'Whether clients show a certificate signed by one of `tls.ca`; with optional they may come without. true: required, false: none.',
  },
  {
    key: 'tls.useCertAsUsername',
    format: { kind: 'choice', values: [false, 'cn', 'san-dns', 'san-email', 'san-uri'] },
    default: false,
    doc: 'Which name in the client certificate is the user name: Common Name, or a DNS name, e-mail address or URI of the Subject Alternative Name. There must be exactly one.',
  },
  {
    key: 'tls.crl',
    format: { kind: 'paths' },
    default: null,
    defaultText: 'none',
    doc: 'Certificate revocation lists, PEM or DER files, one for every authority of `tls.ca`; when one has expired, its clients are refused.',
  },
  {
    key: 'tls.ocspResponse',
    format: path,
    default: null,
    defaultText: 'none',
    doc: 'OCSP response about `tls.cert` to staple, a DER file that another program keeps fresh.',
  },
  {
    key: 'tls.minVersion',
    format: { kind: 'choice', values: ['TLSv1.2', 'TLSv1.3'] },
    default: 'TLSv1.2',
    doc: 'Oldest TLS version accepted.',
  },
  {
    key: 'tls.maxVersion',
    format: { kind: 'choice', values: ['TLSv1.2', 'TLSv1.3'] },
    default: 'TLSv1.3',
    doc: 'Newest TLS version accepted.',
  },
  {
    key: 'tls.ciphers',
    format: { kind: 'text', charactersMax: 4_096 },
    default: null,
    defaultText: 'suites with forward secrecy and authenticated encryption',
    doc: 'Cipher suites in the notation of OpenSSL.',
  },
  {
    key: 'tls.handshakeTimeoutSeconds',
    format: integer(1, 120, 'seconds'),
    default: 10,
    doc: 'Time from the connection to the end of the TLS handshake, in seconds.',
  },
];

/** The keys of one entry of `tls.sni`. */
export const SNI_OPTIONS: readonly Option[] = [
  {
    key: 'name',
    format: { kind: 'text', charactersMax: 253 },
    default: null,
    defaultText: 'required',
    doc: 'Host name that clients ask for, or `*.example.org` for all names with one more label.',
  },
  {
    key: 'cert',
    format: path,
    default: null,
    defaultText: 'required',
    doc: 'Certificate chain, a PEM file.',
  },
  { key: 'key', format: path, default: null, defaultText: 'required', doc: 'Its private key, a PEM file.' },
  {
    key: 'ocspResponse',
    format: path,
    default: null,
    defaultText: 'none',
    doc: 'OCSP response about it, a DER file.',
  },
];

/** Tells of a fault of one key of a listener. */
export type Fault = (key: string, problem: string, remedy: string) => void;

/**
 * What the keys that were found come to; faults go to `fault` and `problems`.
 * @param name of the listener, e.g. `listeners[0]`
 */
export function readTls(
  name: string,
  found: Map<string, Found>,
  sources: Map<string, string>,
  problems: ConfigError[],
  fault: Fault,
): TlsConfig {
  const requestCert = found.get('tls.requestCert')?.value ?? 'none';
  const seconds = found.get('tls.handshakeTimeoutSeconds')?.value;
  const tls: TlsConfig = {
    cert: text(found, 'tls.cert') ?? '',
    key: text(found, 'tls.key') ?? '',
    minVersion: (text(found, 'tls.minVersion') as TlsVersion) ?? 'TLSv1.2',
    maxVersion: (text(found, 'tls.maxVersion') as TlsVersion) ?? 'TLSv1.3',
    requestCert: toRequestCert(requestCert as string | boolean),
    useCertAsUsername: (found.get('tls.useCertAsUsername')?.value as TlsConfig['useCertAsUsername']) ?? false,
    handshakeTimeoutSeconds: (seconds as number) ?? 10,
  };
  for (const key of ['ca', 'ciphers', 'ocspResponse'] as const) {
    const value = text(found, `tls.${key}`);
    if (value !== undefined) tls[key] = value;
  }
  const crl = found.get('tls.crl')?.value as string | string[] | undefined;
  if (crl !== undefined) tls.crl = typeof crl === 'string' ? [crl] : crl;
  if (found.has('tls.sni')) tls.sni = readSni(`${name}.tls.sni`, found.get('tls.sni')!, sources, problems);
  checkTls(tls, fault);
  return tls;
}

function toRequestCert(value: string | boolean): TlsConfig['requestCert'] {
  if (typeof value === 'string') return value as TlsConfig['requestCert'];
  return value ? 'required' : 'none';
}

function checkTls(tls: TlsConfig, fault: Fault): void {
  if (tls.minVersion > tls.maxVersion) {
    fault(
      'tls.minVersion',
      `${tls.minVersion} is above maxVersion ${tls.maxVersion}`,
      'Lower it, or raise the other',
    );
  }
  if (tls.requestCert !== 'none') {
    // Without it Node would accept any certificate that a public authority signed.
    const remedy = 'Name the authority whose client certificates are accepted';
    if (tls.ca === undefined) fault('tls.requestCert', `${tls.requestCert} without tls.ca`, remedy);
    return;
  }
  // Neither must look like protection where it is none.
  const remedy = 'Set tls.requestCert to optional or required, or leave it out';
  const problem = 'has no effect while clients are not asked for certificates';
  if (tls.crl !== undefined) fault('tls.crl', problem, remedy);
  if (tls.useCertAsUsername !== false) fault('tls.useCertAsUsername', problem, remedy);
}

function readSni(
  name: string,
  { tree }: Found,
  sources: Map<string, string>,
  problems: ConfigError[],
): SniConfig[] {
  const entries: SniConfig[] = [];
  const items = tree.kind === 'list' ? tree.items : [];
  items.forEach((item, index) => {
    const each = `${name}[${index}]`;
    const found = new Map<string, Found>();
    const fault = (key: string, problem: string, remedy: string): void => {
      problems.push(
        new ConfigError(`${found.get(key)?.source ?? item.where}: ${each}.${key}`, problem, remedy),
      );
    };
    if (item.kind !== 'map') {
      const remedy = 'Write it as "- { name: example.org, cert: FILE, key: FILE }"';
      problems.push(new ConfigError(`${item.where}: ${each}`, 'not a mapping with a name', remedy));
      return;
    }
    const before = problems.length;
    collect(item, SNI_OPTIONS, new Set(), found, problems, (key) => `${each}.${key}`);
    for (const [key, { source }] of found) sources.set(`${each}.${key}`, source);
    if (problems.length > before) return;
    for (const key of ['name', 'cert', 'key']) {
      if (!found.has(key)) fault(key, 'missing', 'Every certificate has a name, a cert and a key');
    }
    if (problems.length > before) return;
    const entry: SniConfig = {
      name: text(found, 'name')!.toLowerCase(),
      cert: text(found, 'cert')!,
      key: text(found, 'key')!,
    };
    const ocspResponse = text(found, 'ocspResponse');
    if (ocspResponse !== undefined) entry.ocspResponse = ocspResponse;
    const problem = problemWithName(entry.name, entries);
    if (problem === null) entries.push(entry);
    else
      fault(
        'name',
        `${showValue('name', entry.name)} ${problem}`,
        'Give one like mqtt.example.org or *.example.org',
      );
  });
  return entries;
}

/** A host name as it stands in a ClientHello: ASCII, no final dot, and a wildcard for one whole label only. */
function problemWithName(name: string, before: readonly SniConfig[]): string | null {
  if (before.some((entry) => entry.name === name)) return 'stands there twice';
  const [first, ...rest] = name.split('.');
  const labels = first === '*' ? rest : [first, ...rest];
  if (first === '*' && labels.length < 2) return 'is a wildcard for too much';
  if (labels.length > 0 && /^\d+$/.test(labels.at(-1)!)) return 'is an address: clients ask for names only';
  return labels.every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label))
    ? null
    : 'is not a host name';
}

function text(found: Map<string, Found>, key: string): string | undefined {
  return found.get(key)?.value as string | undefined;
}
