/** Gives root up for good, in a process that had it only to bind a port below 1024. */
import type { Ids } from './messages.ts';

/** @throws Error when something of root is left: the process must end then */
export function becomeUser({ uid, gid, groups }: Ids): void {
  // In this order: whoever is not root any more may not choose his groups. Real, effective and saved ids change, because it is root who asks.
  process.setgroups!([...groups]);
  process.setgid!(gid);
  process.setuid!(uid);
  const now = [process.getuid!(), process.geteuid!(), process.getgid!(), process.getegid!()].join();
  if (now !== [uid, uid, gid, gid].join()) throw new Error(`root could not be given up: the ids are ${now}`);
}
