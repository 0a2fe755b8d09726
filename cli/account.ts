/** As whom the process works: root opens the doors below port 1024, and everything else is done by the user it becomes. */
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Config } from '../config/types.ts';
import { ConfigError } from '../src/errors.ts';
import type { Log } from '../src/interfaces/log.ts';
import type { Ids } from '../transports/isolated/messages.ts';

/** Files that are open beside connections: the store, the log, watched folders, the runtime's own. */
const FILES_RESERVED = 64;
/** Fewer than this are too few for most fleets. */
const FILES_FEW = 4_096;

/** In Node, and missing from its types. */
interface Initgroups {
  initgroups(user: string, extraGroup: number): void;
}

interface UserAndGroup {
  readonly uid: number;
  readonly gid: number;
}

export class Account {
  /** Null: the process stays who it is. */
  readonly #ids: UserAndGroup | null;

  /**
   * Begins to work as the `user` of the configuration, with a way back for what only root can do. Files that are read and
   * made from here on are that user's, so that what he may not read or write is found now and not when it is needed.
   * @throws ConfigError when that user or group is not there, is root, or cannot be had
   */
  static takeOn({ user, group }: Pick<Config, 'user' | 'group'>): Account {
    if (user === null) {
      if (group === null) return new Account(null);
      throw new ConfigError('group', 'it is set without "user"', 'Set both, or leave it out');
    }
    if (process.getuid === undefined)
      throw new ConfigError('user', 'this system has none to become', 'Leave it out');
    if (process.getuid() !== 0) {
      if (isMe(user)) return new Account(null);
      const problem = `only root can become "${user}", and this is user id ${process.getuid()}`;
      throw new ConfigError(
        'user',
        problem,
        'Start the broker as root, or leave it out and start it as that user',
      );
    }
    const { ids, name } = idsOf(user, group);
    // In this order: whoever is not root any more may not choose his groups.
    if (name === null) process.setgroups!([ids.gid]);
    else (process as unknown as Initgroups).initgroups(name, ids.gid);
    process.setegid!(ids.gid);
    process.seteuid!(ids.uid);
    if (process.getgroups!().includes(0))
      throw new ConfigError(
        'user',
        `"${user}" is a member of the group of root`,
        'Take it out of that group',
      );
    return new Account(ids);
  }

  private constructor(ids: UserAndGroup | null) {
    this.#ids = ids;
  }

  /** Whom a process has to become that is started by `asRoot`; null: the process stays who it is. */
  get ids(): Ids | null {
    return this.#ids === null ? null : { ...this.#ids, groups: process.getgroups!() };
  }

  /** Runs what only root can do. */
  async asRoot<T>(task: () => Promise<T>): Promise<T> {
    if (this.#ids === null) return await task();
    process.seteuid!(0);
    try {
      return await task();
    } finally {
      process.seteuid!(this.#ids.uid);
    }
  }

  /** Gives root up for good, and makes sure that it is gone. */
  keep(): void {
    if (this.#ids === null) return;
    const { uid, gid } = this.#ids;
    process.seteuid!(0);
    // All of real, effective and saved ids, because it is root who asks.
    process.setgid!(gid);
    process.setuid!(uid);
    const now = [process.getuid!(), process.geteuid!(), process.getgid!(), process.getegid!()].join();
    if (now !== [uid, uid, gid, gid].join() || canBeRootAgain())
      throw new Error(`root could not be given up: the ids are ${now}`);
  }

  /** Says who the process is now, aloud if it is root. */
  tell(log: Log): void {
    if (this.#ids !== null) log.info('process.user', this.#ids);
    else if (process.getuid?.() === 0) {
      const remedy = 'set "user" in the configuration, or start it as a user of its own';
      log.warn('process.root', { remedy });
    }
  }
}

/** Says so when the system allows fewer open files than there may be connections; aloud if somebody has chosen their number. */
export function checkOpenFiles(
  { limits, strangers, sources }: Pick<Config, 'limits' | 'strangers' | 'sources'>,
  log: Log,
): void {
  const { connectionsMax } = limits;
  const openFilesMax = readOpenFilesMax();
  // A stranger in a handshake is no connection yet, and has a socket.
  const wanted = connectionsMax + strangers.totalMax + FILES_RESERVED;
  if (wanted <= openFilesMax) return;
  const isLoud = sources.has('limits.connectionsMax') || openFilesMax < FILES_FEW;
  const remedy = `raise it (ulimit -n, LimitNOFILE) to ${wanted}, or lower limits.connectionsMax`;
  log[isLoud ? 'warn' : 'info']('process.few_files', { openFilesMax, connectionsMax, remedy });
}

/** The soft limit, which Node has raised to the hard one; infinite where the system does not say. */
function readOpenFilesMax(): number {
  try {
    const line = readFileSync('/proc/self/limits', 'utf8')
      .split('\n')
      .find((each) => each.startsWith('Max open files'));
    const soft = line?.split(/ {2,}/)[1] ?? 'unlimited';
    return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    // Not Linux: nothing is said.
    return Number.POSITIVE_INFINITY;
  }
}

function canBeRootAgain(): boolean {
  try {
    process.setuid!(0);
    return true;
  } catch {
    return false;
  }
}

function isMe(user: string): boolean {
  try {
    const { username, uid } = userInfo();
    return user === username || user === String(uid);
  } catch {
    return user === String(process.getuid?.());
  }
}

/** The numbers behind the names. Node has no other way to ask than to become them for a moment. */
function idsOf(user: string, group: string | null): { ids: UserAndGroup; name: string | null } {
  const known = asEffective(user, 'user', () => {
    try {
      return userInfo();
    } catch {
      return { uid: process.geteuid!(), gid: null, username: null };
    }
  });
  if (known.uid === 0)
    throw new ConfigError(
      'user',
      'root is who it is to give up being',
      'Name a user of its own for the broker',
    );
  const gid = group === null ? known.gid : asEffective(group, 'group', () => process.getegid!());
  if (gid === null)
    throw new ConfigError('group', `user ${user} has no name, and so no main group`, 'Set "group", too');
  if (gid === 0) throw new ConfigError('group', 'it is the group of root', 'Name another one');
  return { ids: { uid: known.uid, gid }, name: known.username };
}

function asEffective<T>(given: string, kind: 'user' | 'group', look: () => T): T {
  const id = /^\d{1,10}$/.test(given) ? Number(given) : given;
  try {
    if (kind === 'user') process.seteuid!(id);
    else process.setegid!(id);
  } catch {
    throw new ConfigError(kind, `there is no ${kind} "${given}"`, `Make it, or name another ${kind}`);
  }
  try {
    return look();
  } finally {
    if (kind === 'user') process.seteuid!(0);
    else process.setegid!(0);
  }
}
