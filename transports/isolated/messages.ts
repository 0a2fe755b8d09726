/** What broker and engine tell each other besides bytes: as JSON, a few times for each connection. */
import { ConfigError, DoorUnavailable } from '../../src/errors.ts';
import type { TlsOptions } from '../tls/tls-options.ts';
import type { EngineChoice } from '../webtransport/engine.ts';

/** Whom a process becomes that was started by root. */
export interface Ids {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** Which door the process is to open. */
export interface EngineSpec {
  readonly url: string;
  readonly tls: TlsOptions;
  readonly origins?: readonly string[] | undefined;
  readonly engine?: EngineChoice | undefined;
  readonly streamTimeoutMs?: number | undefined;
  readonly dataStreamsMax?: number | undefined;
  readonly frameBytesMax?: number | undefined;
  readonly strangerBytesMax?: number | undefined;
  /** To be given up for this when the port is bound; null: it stays who it is. */
  readonly ids: Ids | null;
}

/** The door is open. */
export interface BoundMessage {
  readonly port: number;
  /** SHA-256 of the certificate in Base64, where clients may trust it by that. */
  readonly certificateHash?: string | undefined;
}

/** A stream is there, of somebody who has knocked: his first, or a further one of the connection whose first stream is `parent`. */
export interface OpenMessage {
  readonly visit: number;
  readonly parent?: number | undefined;
  readonly port: number;
  readonly username?: string | undefined;
  readonly origin?: string | undefined;
}

export interface LogMessage {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly event: string;
  readonly fields?: object | undefined;
}

/** An error on its way to the other process. */
export interface ToldError {
  readonly kind: 'error' | 'config' | 'unavailable';
  readonly message: string;
  /** The system's code, or what OpenSSL calls it. */
  readonly code?: string | undefined;
  readonly reason?: string | undefined;
  readonly where?: string | undefined;
  readonly remedy?: string | undefined;
  /** Whom it is about. */
  readonly address?: string | undefined;
}

/** Longest text of an error that is passed on, in characters. */
const TEXT_CHARACTERS_MAX = 2_000;

export function tellError(error: Error, address?: string): ToldError {
  const { code, reason } = error as Error & { code?: unknown; reason?: unknown };
  const told: ToldError = {
    kind: 'error',
    message: error.message.slice(0, TEXT_CHARACTERS_MAX),
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(address === undefined ? {} : { address }),
  };
  if (!(error instanceof ConfigError)) return told;
  const kind = error instanceof DoorUnavailable ? 'unavailable' : 'config';
  return { ...told, message: error.message, kind, where: error.where, remedy: error.remedy };
}

/** The error that was told, of the class that it had. */
export function errorOf(told: ToldError): Error {
  const { kind, message, where = '', remedy = '', code, reason } = told;
  if (kind === 'error') {
    const error: Error & { code?: string; reason?: string } = withoutStack(message);
    if (code !== undefined) error.code = code;
    if (reason !== undefined) error.reason = reason;
    return error;
  }
  const problem = message.slice(where.length + 2, -(remedy.length + 2));
  return kind === 'config'
    ? new ConfigError(where, problem, remedy)
    : new DoorUnavailable(where, problem, remedy);
}

/** Where it was told says nothing of where it was raised, and strangers cause many. */
function withoutStack(message: string): Error {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const error = new Error(message);
  Error.stackTraceLimit = stackTraceLimit;
  return error;
}

/** What a frame says. Throws when it is no JSON object. */
export function readJson<T extends object>(payload: Buffer): T {
  const value: unknown = JSON.parse(payload.toString('utf8'));
  if (typeof value !== 'object' || value === null) throw new Error('not an object');
  return value as T;
}
