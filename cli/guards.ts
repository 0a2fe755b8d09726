/** What stands before every way to log in, at every listener: bans, and the throttle for failed logins. */
import { banFileReader } from '../auth/bans/ban-file.ts';
import { Bans } from '../auth/bans/bans.ts';
import type { HashPlace } from '../auth/passwords/hash-queue.ts';
import { LoginThrottle } from '../auth/throttle/throttle.ts';
import type { Config } from '../config/types.ts';
import type { Attempt, Authenticator } from '../src/interfaces/auth.ts';
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { WatchedFiles } from './watched-files.ts';

export interface GuardParts {
  readonly files: WatchedFiles;
  readonly log: Log;
  readonly clock: Clock;
}

export class Guards {
  readonly bans: Bans;
  readonly #throttle: LoginThrottle | null;

  /** Reads the ban file. Throws ConfigError, with the line, when it cannot be used. */
  constructor(config: Pick<Config, 'throttle' | 'bans' | 'flapping'>, { files, log, clock }: GuardParts) {
    const { throttle, flapping } = config;
    this.#throttle = throttle.enabled ? new LoginThrottle(clock, throttle) : null;
    const use = {
      name: 'bans',
      path: config.bans.file,
      read: banFileReader(),
      describe: ({ bans }: { bans: readonly unknown[] }) => ({ bans: bans.length }),
      // It lies beside the store, which writes all the time.
      pollOnly: true,
    };
    const list = files.open(use, (changed) => this.bans.replaceList(changed));
    this.bans = new Bans({ list, flapping, clock, log });
  }

  /** Whoever is banned is not counted, and whoever is throttled costs nothing. */
  before(authenticator: Authenticator): Authenticator {
    return this.bans.guard(this.#throttle?.guard(authenticator) ?? authenticator);
  }

  /** The place of an attempt in the queue of those that need a hash. */
  placeOf(attempt: Attempt): HashPlace {
    return this.#throttle?.placeOf(attempt) ?? { address: attempt.peer.address, rank: 0 };
  }
}
