/** The files a configuration names: there, readable, whole, and fitting each other. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { readAclFile } from '../auth/acl/acl-file.ts';
import { readBanFile } from '../auth/bans/ban-file.ts';
import { problemsOf } from '../auth/files/bad-lines.ts';
import { readPasswordFile } from '../auth/passwords/password-file.ts';
import { readEndpointToken } from '../auth/tickets/ticket-endpoint.ts';
import { readTicketKeys } from '../auth/tickets/ticket-key.ts';
import { jwtKeyKind } from '../config/auth.ts';
import type { Config, ListenerAuth } from '../config/types.ts';
import { ConfigError } from '../src/errors.ts';
import { reportExpiry } from '../transports/tls/tls-expiry.ts';
import { loadTls } from '../transports/tls/tls-options.ts';
import { missingEngine } from '../transports/webtransport/engine.ts';
import { checkLogFile } from './log-file.ts';
import { fileModes, JWT_KEY_READERS, jwtKeyOptions } from './logins.ts';

/** Every problem with them, none of them raised. Ports are not tried. */
export function checkFiles(config: Config): ConfigError[] {
  const problems: ConfigError[] = [];
  const attempt = (key: string, read: () => unknown): void => {
    try {
      read();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const each of problemsOf(error)) problems.push(withSource(each, config.sources.get(key)));
    }
  };
  checkLogins(config, attempt);
  attempt('bans.file', () => readBanFile(config.bans.file));
  config.listeners.forEach(({ url, tls }, index) => {
    if (tls === undefined) return;
    // Development certificates are made when the broker starts.
    if (config.devCertificates && !existsSync(tls.cert)) return;
    attempt(`listeners[${index}].tls.cert`, () => loadTls(url, tls));
  });
  if (config.log.file !== '') attempt('log.file', () => checkLogFile(config.log.file));
  config.listeners.forEach(({ url, scheme, path }, index) => {
    if (scheme === 'unix') attempt(`listeners[${index}].url`, () => checkSocketFolder(url, dirname(path)));
  });
  return problems;
}

function checkSocketFolder(url: string, folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw new ConfigError(url, `there is no folder ${folder}`, `Make it: "mkdir -p ${folder}"`);
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch {
    const remedy = 'Give the folder to the user that the broker runs as';
    throw new ConfigError(url, `no permission to make a socket in ${folder}`, remedy);
  }
}

/** The files that say who gets in, of all listeners, each once. */
function checkLogins({ auth, listeners }: Config, attempt: (key: string, read: () => unknown) => void): void {
  const seen = new Set<string>();
  const modes = fileModes(auth);
  const readPasswords = (path: string) => readPasswordFile(path, modes);
  const attemptOnce = (
    key: string,
    path: string | null | undefined,
    read: (path: string) => unknown,
  ): void => {
    if (path === null || path === undefined || seen.has(path)) return;
    seen.add(path);
    attempt(key, () => read(path));
  };
  const sections: readonly (readonly [string, ListenerAuth])[] = listeners.map(({ auth: own }, index) => [
    `listeners[${index}].auth`,
    own ?? {},
  ]);
  attemptOnce('auth.passwordFile', auth.passwordFile, readPasswords);
  attemptOnce('auth.aclFile', auth.aclFile, readAclFile);
  attemptOnce('auth.aclShadowFile', auth.aclShadowFile, readAclFile);
  for (const [name, own] of sections) {
    attemptOnce(`${name}.passwordFile`, own.passwordFile, readPasswords);
    attemptOnce(`${name}.aclFile`, own.aclFile, readAclFile);
  }
  const { keyFile, mintTokenFile } = auth.tickets;
  attemptOnce('auth.tickets.keyFile', keyFile, (path) => readTicketKeys(path, modes));
  attemptOnce('auth.tickets.mintTokenFile', mintTokenFile, (path) => readEndpointToken(path, modes));
  const kind = jwtKeyKind(auth);
  if (kind === null || kind === 'jwksUrl') return;
  attemptOnce(`auth.jwt.${kind}`, auth.jwt[kind], (path) => JWT_KEY_READERS[kind](path, jwtKeyOptions(auth)));
}

/**
 * What of the TLS files has ended, is about to, or is of no use: no reason not to start, but nothing to be surprised by.
 * @param nowMs milliseconds since 1970
 */
export function warningsOf(config: Config, nowMs: number): string[] {
  const warnings: string[] = [];
  const tell = (event: string, fields: object = {}): void => {
    const { file, subject, until, from } = fields as Record<string, string | undefined>;
    const what = subject ? `${file} (${subject})` : file;
    warnings.push(`${what} ${TLS_WARNINGS[event]} ${until ?? from}`);
  };
  const log = { debug: tell, info: tell, warn: tell, error: tell };
  for (const { url, tls } of config.listeners) {
    if (tls === undefined || (config.devCertificates && !existsSync(tls.cert))) continue;
    const { dated, warnings: unused } = loadTls(url, tls);
    reportExpiry(url, dated, nowMs, log);
    warnings.push(...unused);
  }
  for (const { url, scheme, engine } of config.listeners) {
    const missing = scheme === 'wt' ? missingEngine(engine) : null;
    if (missing !== null) warnings.push(`${url} stays shut here: ${missing} is not installed`);
  }
  // Several listeners may share their files.
  return [...new Set(warnings)];
}

const TLS_WARNINGS: Readonly<Record<string, string>> = {
  'tls.expired': 'expired on',
  'tls.expires_soon': 'expires on',
  'tls.not_yet_valid': 'is not valid before',
};

/** The same problem, and which line of the configuration named the file. */
function withSource(error: ConfigError, source: string | undefined): ConfigError {
  if (source === undefined) return error;
  const problem = error.message.slice(error.where.length + 2, -error.remedy.length - 2);
  return new ConfigError(`${error.where} (named in ${source})`, problem, error.remedy);
}
