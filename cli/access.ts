/** Who gets in and what they may do, from what the configuration names; files are read again when they change. */

import { AclAuthorizer, OpenAuthorizer, type RuleAuthorizer } from '../auth/acl/acl-authorizer.ts';
import { readAclFile } from '../auth/acl/acl-file.ts';
import type { Bans } from '../auth/bans/bans.ts';
import { GrantsAuthorizer } from '../auth/grants.ts';
import { ListenerAuthorizer } from '../auth/listener-authorizer.ts';
import { PasswordHasher } from '../auth/passwords/password-hash.ts';
import type { TicketEndpoint } from '../auth/tickets/ticket-endpoint.ts';
import { doorAuth } from '../config/auth.ts';
import type { Config } from '../config/types.ts';
import type { Authenticator, Authorizer } from '../src/interfaces/auth.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';
import { openShadow } from './acl-shadow.ts';
import { Guards } from './guards.ts';
import { openLogins } from './logins.ts';
import { openTicketEndpoint } from './ticket-endpoint.ts';
import { WatchedFiles } from './watched-files.ts';

type AccessConfig = Pick<Config, 'auth' | 'listeners' | 'throttle' | 'bans' | 'flapping'>;

export class Access {
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly bans: Bans;
  readonly #files: WatchedFiles;
  readonly #hasher = new PasswordHasher();
  readonly #log: Log;
  readonly #ticketEndpoint: TicketEndpoint | null;
  #onRevoked: () => void = () => {};

  /** Reads the files. Throws ConfigError, with the line, when one cannot be used. */
  constructor(config: AccessConfig, log: Log, clock: Clock) {
    this.#log = log;
    this.#files = new WatchedFiles(log);
    const files = this.#files;
    const guards = new Guards(config, { files, log, clock });
    const placeOf = guards.placeOf.bind(guards);
    this.authenticator = guards.before(
      openLogins(config, {
        ...{ files, hasher: this.#hasher, log, clock, placeOf },
        onReplaced: () => this.#onRevoked(),
      }),
    );
    this.bans = guards.bans;
    this.authorizer = new GrantsAuthorizer(openRules(config, files, log));
    this.#ticketEndpoint = openTicketEndpoint(config.auth, { files, log, clock });
    files.start();
  }

  /** @param task called when credentials may have been revoked: connections that logged in with one that is should end */
  onRevoked(task: () => void): void {
    this.#onRevoked = task;
  }

  /** Opens what makes tickets, where that is asked for. Rejects with ConfigError when its port cannot be had. */
  async listen(): Promise<void> {
    const url = await this.#ticketEndpoint?.listen();
    if (url !== undefined) this.#log.info('ticket_endpoint.open', { url });
  }

  /** Reads all files now. What cannot be used is logged, the old content stays in force, and its name is returned. */
  reload(): string[] {
    return this.#files.reload();
  }

  async close(): Promise<void> {
    await this.#ticketEndpoint?.close();
    this.#files.stop();
    await this.#hasher.close();
  }
}

/** The rules of each listener; those with the same file share them. */
function openRules(
  { auth, listeners }: Pick<Config, 'auth' | 'listeners'>,
  files: WatchedFiles,
  log: Log,
): Authorizer {
  const byFile = new Map<string | null, RuleAuthorizer>();
  const rulesOf = (path: string | null): RuleAuthorizer => {
    const known = byFile.get(path);
    if (known !== undefined) return known;
    const made = path === null ? new OpenAuthorizer() : openAcl(path, files);
    byFile.set(path, made);
    return made;
  };
  const rules = rulesOf(auth.aclFile);
  const { aclFile, aclShadowFile } = auth;
  const main = aclShadowFile === null ? rules : openShadow(rules, { aclFile, aclShadowFile }, files, log);
  const byDoor = new Map<string, Authorizer>();
  for (const { url, auth: own } of listeners) {
    if (own?.aclFile !== undefined) byDoor.set(url, rulesOf(doorAuth(auth, own).aclFile));
  }
  return byDoor.size === 0 ? main : new ListenerAuthorizer(main, byDoor);
}

function openAcl(path: string, files: WatchedFiles): RuleAuthorizer {
  const rules = files.open({ name: 'acl', path, read: readAclFile }, (changed) => {
    authorizer.replaceRules(changed);
  });
  const authorizer = new AclAuthorizer(rules);
  return authorizer;
}
