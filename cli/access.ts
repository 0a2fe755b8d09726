/** Who gets in and what they may do, from the files the configuration names; both are read again when they change. */

import { AclAuthorizer, OpenAuthorizer } from '../auth/acl-authorizer.ts';
import { readAclFile } from '../auth/acl-file.ts';
import { PasswordAuthenticator } from '../auth/password-authenticator.ts';
import { readPasswordFile } from '../auth/password-file.ts';
import { PasswordHasher } from '../auth/password-hash.ts';
import { WatchedFile } from '../auth/watched-file.ts';
import type { Config } from '../config/types.ts';
import type { Authenticator, Authorizer } from '../src/interfaces/auth.ts';
import type { Log } from '../src/interfaces/log.ts';

/** One watched file, whatever it holds. */
interface Watched {
  readonly name: string;
  readonly path: string;
  readonly file: Pick<WatchedFile<unknown>, 'reload' | 'start' | 'stop'>;
}

export class Access {
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly #log: Log;
  readonly #hasher = new PasswordHasher();
  readonly #watched: Watched[] = [];

  /** Reads the files. Throws ConfigError, with the line, when one cannot be used. */
  constructor(auth: Config['auth'], log: Log) {
    this.#log = log;
    this.authenticator = this.#openPasswords(auth);
    this.authorizer = this.#openRules(auth);
    for (const { file } of this.#watched) file.start();
  }

  /** Reads both files now. What cannot be used is logged, the old content stays in force, and its name is returned. */
  reload(): string[] {
    const kept: string[] = [];
    for (const { name, path, file } of this.#watched) {
      const result = file.reload();
      if (result.ok) continue;
      this.#refused(name, path, result.error);
      kept.push(name);
    }
    return kept;
  }

  async close(): Promise<void> {
    for (const { file } of this.#watched) file.stop();
    await this.#hasher.close();
  }

  #openPasswords(auth: Config['auth']): Authenticator {
    const path = auth.passwordFile;
    // Nobody has a name here: what a client says about itself is not checked, so it is not believed either.
    if (path === null) return { authenticate: () => ({ ok: true, username: null }) };
    const watched = new WatchedFile(path, {
      read: readPasswordFile,
      onChange: (users) => {
        passwords.replaceUsers(users);
        this.#log.info('passwords.loaded', { file: path, users: users.size });
      },
      onError: (error) => this.#refused('passwords', path, error),
    });
    const passwords = new PasswordAuthenticator({
      users: watched.current,
      allowAnonymous: auth.allowAnonymous,
      hasher: this.#hasher,
      onRehashWanted: (username) => this.#log.info('passwords.rehash_wanted', { file: path, username }),
    });
    this.#watched.push({ name: 'passwords', path, file: watched });
    return passwords;
  }

  #openRules(auth: Config['auth']): Authorizer {
    const path = auth.aclFile;
    if (path === null) return new OpenAuthorizer();
    const watched = new WatchedFile(path, {
      read: readAclFile,
      onChange: (rules) => {
        authorizer.replaceRules(rules);
        this.#log.info('acl.loaded', { file: path });
      },
      onError: (error) => this.#refused('acl', path, error),
    });
    const authorizer = new AclAuthorizer(watched.current);
    this.#watched.push({ name: 'acl', path, file: watched });
    return authorizer;
  }

  #refused(name: string, path: string, error: Error): void {
    this.#log.error(`${name}.refused`, {
      file: path,
      problem: error.message,
      kept: 'what was loaded before',
    });
  }
}
