/** Reads the PEM and DER files of TLS: regular, bounded, whole, and keys closed to others; each fault names option and file. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { ConfigError } from '../../src/errors.ts';
import { DerError } from './certificate-der.ts';
import { type CrlHead, type OcspAnswer, readCrlHead, readOcspResponse } from './certificate-revocation.ts';

/** All the public authorities of a Linux system together are a quarter of it. */
const PEM_BYTES_MAX = 1_048_576;
/** The largest lists of public authorities have some 10 MiB. */
const CRL_BYTES_MAX = 33_554_432;
/** It goes into the handshake, where everybody waits for it; usual ones have 0.5 to 2 KiB. */
const OCSP_BYTES_MAX = 16_384;
/** Permission bits that let group or others at a private key. */
const OPEN_MODE = 0o077;

/** One option that names a file. */
export interface FileOption {
  /** The listener, for error messages. */
  readonly url: string;
  /** As in the configuration, e.g. `tls.cert`. */
  readonly option: string;
  readonly file: string;
}

const READ_FAULTS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'may not be read by this user',
  EISDIR: 'is a directory',
};

/**
 * Every certificate of a PEM file, at least one, and the text they stand in.
 * @throws ConfigError
 */
export function readCertificates(from: FileOption): { pem: string; certificates: X509Certificate[] } {
  const pem = readBytes(from, PEM_BYTES_MAX).toString('latin1');
  const blocks = blocksOf(pem, 'CERTIFICATE');
  const remedy = 'Give a PEM file with whole "BEGIN CERTIFICATE" blocks';
  if (blocks.length === 0) throw fault(from, `${from.file} holds no certificate in PEM form`, remedy);
  const certificates = blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch {
      throw fault(from, `certificate ${index + 1} in ${from.file} is damaged`, remedy);
    }
  });
  return { pem, certificates };
}

/**
 * The private key of a PEM file, and its text.
 * @param allowOpen whether group or others may read it, too
 * @throws ConfigError
 */
export function readKey(
  from: FileOption,
  passphrase: string | undefined,
  allowOpen: boolean,
): { pem: string; key: KeyObject } {
  const { url, file } = from;
  const pem = readBytes(from, PEM_BYTES_MAX, allowOpen ? 0 : OPEN_MODE).toString('latin1');
  try {
    return { pem, key: createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase }) };
  } catch (error) {
    const encrypted = pem.includes('ENCRYPTED');
    if (encrypted && passphrase === undefined) {
      throw fault(from, `${file} is encrypted`, 'Set tls.passphrase, or decrypt the key');
    }
    if (encrypted && (error as NodeJS.ErrnoException).code !== 'ERR_OSSL_UNSUPPORTED') {
      throw new ConfigError(`${url} tls.passphrase`, `it does not open ${file}`, 'Correct tls.passphrase');
    }
    const remedy = 'Give a PEM file with a whole "BEGIN PRIVATE KEY" block';
    throw fault(from, `${file} holds no private key in PEM form`, remedy);
  }
}

/** A revocation list as OpenSSL wants it, one a text, and what is in its head. */
export interface Crl extends CrlHead {
  readonly pem: string;
}

/**
 * Every list of a file: PEM, or one in DER, which is how authorities publish them.
 * @throws ConfigError
 */
export function readCrls(from: FileOption): Crl[] {
  const bytes = readBytes(from, CRL_BYTES_MAX);
  const isDer = bytes[0] === 0x30;
  const blocks = isDer ? [toPem(bytes, 'X509 CRL')] : blocksOf(bytes.toString('latin1'), 'X509 CRL');
  const remedy = 'Give a CRL in PEM or DER form, as the authority publishes it';
  if (blocks.length === 0) throw fault(from, `${from.file} holds no revocation list`, remedy);
  return blocks.map((pem, index) => {
    try {
      return { pem, ...readCrlHead(isDer ? bytes : fromPem(pem)) };
    } catch (error) {
      throw unparsed(error, from, `list ${index + 1} in ${from.file} is damaged`, remedy);
    }
  });
}

/** An OCSP response, and what it says. */
export interface OcspResponse {
  readonly der: Buffer;
  readonly answers: readonly OcspAnswer[];
}

/**
 * An OCSP response as its responder sent it (DER).
 * @throws ConfigError
 */
export function readOcsp(from: FileOption): OcspResponse {
  const der = readBytes(from, OCSP_BYTES_MAX);
  const remedy = 'Give the response of "openssl ocsp -respout", or take the option out';
  try {
    const answers = readOcspResponse(der);
    if (answers !== null) return { der, answers };
  } catch (error) {
    throw unparsed(error, from, `${from.file} is no OCSP response in DER form`, remedy);
  }
  throw fault(from, `${from.file} holds the error message of a responder`, remedy);
}

/** An error about one option and its file. */
export function fault({ url, option }: FileOption, problem: string, remedy: string): ConfigError {
  return new ConfigError(`${url} ${option}`, problem, remedy);
}

function unparsed(error: unknown, from: FileOption, problem: string, remedy: string): Error {
  if (!(error instanceof DerError)) return error as Error;
  return fault(from, `${problem} (${error.message})`, remedy);
}

function readBytes(from: FileOption, bytesMax: number, forbiddenMode = 0): Buffer {
  const { file } = from;
  const unreadable = (error: unknown): ConfigError => {
    const { code = '', message } = error as NodeJS.ErrnoException;
    const problem = `${file} ${READ_FAULTS[code] ?? `cannot be read (${message})`}`;
    return fault(from, problem, 'Give the path of a file the broker may read');
  };
  let descriptor: number;
  try {
    // Non-blocking, or a named pipe in the file's place would stop the process until someone writes to it.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw unreadable(error);
  }
  try {
    const stat = fstatSync(descriptor);
    if (stat.isFile()) {
      checkMode(from, stat.mode, forbiddenMode);
      if (stat.size > bytesMax) {
        throw fault(
          from,
          `${file} has ${stat.size} bytes`,
          `At most ${bytesMax} are read; is it the right file?`,
        );
      }
    } else if (!stat.isDirectory()) {
      throw fault(from, `${file} is no regular file`, 'Give the path of a file the broker may read');
    }
    return readFileSync(descriptor);
  } catch (error) {
    throw error instanceof ConfigError ? error : unreadable(error);
  } finally {
    closeSync(descriptor);
  }
}

function checkMode(from: FileOption, mode: number, forbidden: number): void {
  // Windows has no such bits: Node makes them up.
  if ((mode & forbidden) === 0 || process.platform === 'win32') return;
  const shown = (mode & 0o777).toString(8).padStart(4, '0');
  const remedy = `Run "chmod 600 ${from.file}", or set allowOpenFiles if that is how it must be`;
  throw fault(from, `mode ${shown} opens the private key ${from.file} to others`, remedy);
}

/** The PEM blocks of one kind. Taken apart by hand: a regular expression over 32 MiB is a risk of its own. */
function blocksOf(pem: string, label: string): string[] {
  const [begin, end] = [`-----BEGIN ${label}-----`, `-----END ${label}-----`];
  const blocks: string[] = [];
  for (let at = pem.indexOf(begin); at !== -1; ) {
    const close = pem.indexOf(end, at);
    if (close === -1) break;
    const after = close + end.length;
    blocks.push(pem.slice(at, after));
    at = pem.indexOf(begin, after);
  }
  return blocks;
}

function fromPem(block: string): Buffer {
  return Buffer.from(block.slice(block.indexOf('\n') + 1, block.lastIndexOf('-----END')), 'base64');
}

function toPem(der: Buffer, label: string): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
