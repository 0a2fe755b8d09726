/** The files a configuration names: there, readable, whole, and fitting each other. */
import { existsSync } from 'node:fs';
import { readAclFile } from '../auth/acl-file.ts';
import { readPasswordFile } from '../auth/password-file.ts';
import type { Config } from '../config/types.ts';
import { ConfigError } from '../src/errors.ts';
import { loadTls } from '../transports/tls-options.ts';

/** Every problem with them, none of them raised. Ports are not tried. */
export function checkFiles(config: Config): ConfigError[] {
  const problems: ConfigError[] = [];
  const attempt = (key: string, read: () => unknown): void => {
    try {
      read();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(withSource(error, config.sources.get(key)));
    }
  };
  const { passwordFile, aclFile } = config.auth;
  if (passwordFile !== null) attempt('auth.passwordFile', () => readPasswordFile(passwordFile));
  if (aclFile !== null) attempt('auth.aclFile', () => readAclFile(aclFile));
  config.listeners.forEach(({ url, tls }, index) => {
    if (tls === undefined) return;
    // Development certificates are made when the broker starts.
    if (config.devCertificates && !existsSync(tls.cert)) return;
    attempt(`listeners[${index}].tls.cert`, () => loadTls(url, tls));
  });
  return problems;
}

/** The same problem, and which line of the configuration named the file. */
function withSource(error: ConfigError, source: string | undefined): ConfigError {
  if (source === undefined) return error;
  const problem = error.message.slice(error.where.length + 2, -error.remedy.length - 2);
  return new ConfigError(`${error.where} (named in ${source})`, problem, error.remedy);
}
