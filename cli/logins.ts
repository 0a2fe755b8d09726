/** The ways to log in that a configuration asks for, put together: one chain for each listener with settings of its own. */
import {
  AnonymousAuthenticator,
  AuthenticatorChain,
  CertificateAuthenticator,
  type ChainLink,
} from '../auth/chain.ts';
import { HttpAuthenticator } from '../auth/http/http-authenticator.ts';
import { JwtAuthenticator } from '../auth/jwt/jwt-authenticator.ts';
import {
  type JwtAlgorithm,
  type JwtKeyOptions,
  type JwtKeys,
  readKeySetFile,
  readPublicKeyFile,
  readSecretFile,
} from '../auth/jwt/jwt-keys.ts';
import { type JwtKeySource, RemoteKeySet } from '../auth/jwt/jwt-remote-keys.ts';
import { ListenerAuthenticator } from '../auth/listener-authenticator.ts';
import { type HashPlace, HashQueue } from '../auth/passwords/hash-queue.ts';
import { PasswordAuthenticator } from '../auth/passwords/password-authenticator.ts';
import { type PasswordUsers, readPasswordFile } from '../auth/passwords/password-file.ts';
import type { PasswordHasher } from '../auth/passwords/password-hash.ts';
import { ScramAuthenticator } from '../auth/scram/scram.ts';
import { TicketAuthenticator } from '../auth/tickets/ticket-authenticator.ts';
import { readTicketKeys } from '../auth/tickets/ticket-key.ts';
import { checksNames, type DoorAuth, doorAuth, jwtKeyKind } from '../config/auth.ts';
import type { AuthConfig, Config, LoginMethod } from '../config/types.ts';
import type { Attempt, Authenticator } from '../src/interfaces/auth.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { WatchedFiles } from './watched-files.ts';

export interface LoginParts {
  readonly files: WatchedFiles;
  readonly hasher: PasswordHasher;
  readonly log: Log;
  readonly clock: Clock;
  /** Whose turn an attempt takes where it has to wait for a hash, and before whom. */
  readonly placeOf: (attempt: Attempt) => HashPlace;
  /** A file of users or of ticket keys was replaced: credentials may be revoked now. */
  readonly onReplaced: () => void;
}

/** Reads the files of one key of `auth.jwt`. */
export const JWT_KEY_READERS = {
  secretFile: readSecretFile,
  publicKeyFile: readPublicKeyFile,
  jwksFile: readKeySetFile,
} as const satisfies Record<string, (path: string, options: JwtKeyOptions) => JwtKeys>;

/** The algorithms that the configuration allows; it has checked their names. */
export function jwtKeyOptions(auth: AuthConfig): JwtKeyOptions {
  return { algorithms: auth.jwt.algorithms as JwtAlgorithm[] | null, ...fileModes(auth) };
}

/** Whether the permissions of files with secrets matter. */
export function fileModes({ allowOpenFiles }: AuthConfig): { allowUnsafeModes: boolean } {
  return { allowUnsafeModes: allowOpenFiles };
}

/**
 * Decides on every attempt, by the settings of the listener it came in by.
 * @throws ConfigError when a file cannot be used
 */
export function openLogins(config: Pick<Config, 'auth' | 'listeners'>, parts: LoginParts): Authenticator {
  const logins = new Logins(config.auth, parts);
  const main = logins.chainFor(doorAuth(config.auth));
  const byDoor = new Map<string, Authenticator>();
  for (const { url, auth } of config.listeners) {
    if (auth !== undefined) byDoor.set(url, logins.chainFor(doorAuth(config.auth, auth)));
  }
  return byDoor.size === 0 ? main : new ListenerAuthenticator(main, byDoor);
}

/** Makes each way in once, whichever listeners share it. */
class Logins {
  readonly #auth: AuthConfig;
  readonly #parts: LoginParts;
  readonly #queue = new HashQueue();
  readonly #made = new Map<string, Authenticator>();

  constructor(auth: AuthConfig, parts: LoginParts) {
    this.#auth = auth;
    this.#parts = parts;
  }

  chainFor(door: DoorAuth): Authenticator {
    const links: ChainLink[] = door.chain.map((method) => ({
      name: method,
      authenticator: this.#linkFor(method, door),
    }));
    if (door.allowAnonymous) {
      const whom = checksNames(door) ? 'nameless' : 'everybody';
      links.push({ name: 'anonymous', authenticator: new AnonymousAuthenticator(whom) });
    }
    return new AuthenticatorChain(links, (method, error, attempt) => {
      this.#parts.log.error('auth.error', { ...whoIs(attempt), method, error: String(error) });
    });
  }

  #linkFor(method: LoginMethod, { passwordFile }: DoorAuth): Authenticator {
    const key = method === 'password' || method === 'scram' ? `${method} ${passwordFile}` : method;
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const made = this.#make(method, passwordFile);
    this.#made.set(key, made);
    return made;
  }

  /** What a method needs is there: the configuration was checked. */
  #make(method: LoginMethod, passwordFile: string | null): Authenticator {
    switch (method) {
      case 'certificate':
        return new CertificateAuthenticator();
      case 'ticket':
        return this.#makeTicket(this.#auth.tickets.keyFile!);
      case 'jwt':
        return this.#makeJwt();
      case 'scram':
        return this.#makeScram(passwordFile!);
      case 'password':
        return this.#makePassword(passwordFile!);
      case 'http':
        return this.#makeHttp(this.#auth.http.url!);
    }
  }

  #openUsers(path: string, onChange: (users: PasswordUsers) => void): PasswordUsers {
    const describe = (users: PasswordUsers) => ({ users: users.size });
    const read = (file: string) => readPasswordFile(file, fileModes(this.#auth));
    return this.#parts.files.open({ name: 'passwords', path, read, describe }, (users) => {
      onChange(users);
      this.#parts.onReplaced();
    });
  }

  #makePassword(path: string): Authenticator {
    const { hasher, log, placeOf } = this.#parts;
    const passwords = new PasswordAuthenticator({
      users: this.#openUsers(path, (users) => passwords.replaceUsers(users)),
      allowAnonymous: false,
      queue: this.#queue,
      placeOf,
      hasher,
      onRehashWanted: (username) => log.info('passwords.rehash_wanted', { file: path, username }),
    });
    return passwords;
  }

  #makeScram(path: string): Authenticator {
    const scram = new ScramAuthenticator({
      users: this.#openUsers(path, (users) => scram.replaceUsers(users)),
    });
    return scram;
  }

  #makeTicket(path: string): Authenticator {
    const { clock, files, onReplaced } = this.#parts;
    const { secondsMax } = this.#auth.tickets;
    const read = (file: string) => readTicketKeys(file, fileModes(this.#auth));
    const tickets = new TicketAuthenticator({
      keys: files.open({ name: 'ticket_keys', path, read }, (keys) => {
        tickets.replaceKeys(keys);
        onReplaced();
      }),
      clock,
      secondsMax,
      onRefused: (problem, attempt) => this.#refused('ticket', problem, attempt),
    });
    return tickets;
  }

  #makeJwt(): Authenticator {
    const { issuer, audience, usernameClaim, aclClaim, clockToleranceSeconds } = this.#auth.jwt;
    return new JwtAuthenticator({
      keys: this.#openJwtKeys(),
      clock: this.#parts.clock,
      issuer,
      audiences: audience,
      usernameClaim,
      aclClaim,
      clockToleranceSeconds,
      onRefused: (problem, attempt) => this.#refused('jwt', problem, attempt),
    });
  }

  #openJwtKeys(): JwtKeySource {
    const kind = jwtKeyKind(this.#auth)!;
    const options = jwtKeyOptions(this.#auth);
    const path = this.#auth.jwt[kind]!;
    if (kind === 'jwksUrl') return this.#openRemoteKeys(path, options);
    const read = (file: string) => JWT_KEY_READERS[kind](file, options);
    let current = this.#parts.files.open({ name: 'jwt_keys', path, read }, (keys) => {
      current = keys;
    });
    return { keys: () => current };
  }

  #openRemoteKeys(url: string, { algorithms }: JwtKeyOptions): JwtKeySource {
    const { clock, log } = this.#parts;
    const shown = withoutSecrets(url);
    const remote = new RemoteKeySet({
      url,
      cacheSeconds: this.#auth.jwt.jwksCacheSeconds,
      algorithms,
      clock,
      onLoaded: () => log.info('jwt_keys.loaded', { url: shown }),
      onError: (error) => log.error('jwt_keys.unavailable', { url: shown, problem: error.message }),
    });
    // Before the first token needs them. A failure is logged, and each login tries again.
    Promise.resolve(remote.keys()).catch(() => {});
    return remote;
  }

  #makeHttp(url: string): Authenticator {
    const { timeoutSeconds, concurrencyMax, cacheSeconds } = this.#auth.http;
    const { clock, log, placeOf } = this.#parts;
    return new HttpAuthenticator({
      url,
      placeOf,
      timeoutSeconds,
      concurrencyMax,
      cacheSeconds,
      clock,
      onError: (problem, attempt) =>
        log.error('login_service.unavailable', { ...whoIs(attempt), url: withoutSecrets(url), problem }),
    });
  }

  /** Why, for the operator: the client hears the same as for any wrong password. */
  #refused(method: LoginMethod, problem: string, attempt: Attempt): void {
    this.#parts.log.info(`${method}.refused`, { ...whoIs(attempt), problem });
  }
}

function whoIs({ clientId, username, peer }: Attempt): object {
  return { clientId, username, address: peer.address, door: peer.door };
}

/** A URL as it may stand in a log: without a password or a token that an operator put into it. */
export function withoutSecrets(url: string): string {
  const { protocol, host, pathname, search } = new URL(url);
  return `${protocol}//${host}${pathname}${search === '' ? '' : '?…'}`;
}
