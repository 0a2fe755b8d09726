/** Which sections of an ACL file speak of the same clients. */
import type { AclText } from './acl-file.ts';
import { type Subject, subjectKey } from './acl-rules.ts';

/** Answers that are remembered, some 100 MB at most; a file with more pairs of groups is no usual one. */
const ANSWERS_MAX = 1_000_000;

export class Subjects {
  readonly #membersOf = new Map<string, Set<string>>();
  readonly #groupsOf = new Map<string, Set<string>>();
  readonly #nobody: ReadonlySet<string> = new Set();
  /** Answers about two groups, which are asked for every pair of their rules. */
  readonly #known = new Map<string, boolean>();

  constructor({ members }: Pick<AclText, 'members'>) {
    for (const { group, username } of members) {
      add(this.#membersOf, group, username);
      add(this.#groupsOf, username, group);
    }
  }

  members(group: string): ReadonlySet<string> {
    return this.#membersOf.get(group) ?? this.#nobody;
  }

  groups(username: string): ReadonlySet<string> {
    return this.#groupsOf.get(username) ?? this.#nobody;
  }

  /** Whether every client that `narrow` speaks of is one that `wide` speaks of. Never true of a group without members. */
  covers(wide: Subject, narrow: Subject): boolean {
    if (narrow.kind === 'group' && this.members(narrow.name).size === 0) return false;
    if (wide.kind === 'all' || subjectKey(wide) === subjectKey(narrow)) return true;
    if (wide.kind !== 'group') return false;
    if (narrow.kind === 'user') return this.members(wide.name).has(narrow.name);
    return narrow.kind === 'group' && this.#isWithin(narrow.name, wide.name);
  }

  /** The keys of all subjects that cover this one, but for group sections of which only some do: ask `covers`. */
  keysAbove(subject: Subject): string[] {
    const keys = new Set(['all', subjectKey(subject)]);
    // A group that has all members of this one has the first.
    const [username] = subject.kind === 'group' ? this.members(subject.name) : [];
    const groups = subject.kind === 'user' ? this.groups(subject.name) : this.groups(username ?? '');
    for (const name of groups) keys.add(subjectKey({ kind: 'group', name }));
    return [...keys];
  }

  /** Whether there can be a client of which both speak. */
  meet(a: Subject, b: Subject): boolean {
    if (a.kind === 'all') return this.#speaks(b);
    if (b.kind === 'all') return this.#speaks(a);
    if (a.kind === b.kind && a.kind !== 'group') return subjectKey(a) === subjectKey(b);
    if (a.kind === 'client') return this.#speaks(b);
    if (b.kind === 'client') return this.#speaks(a);
    return this.#remembered(`meet ${subjectKey(a)}\n${subjectKey(b)}`, () => {
      const usersOfA = this.#users(a);
      for (const username of this.#users(b)) if (usersOfA.has(username)) return true;
      return false;
    });
  }

  #isWithin(narrow: string, wide: string): boolean {
    return this.#remembered(`within ${narrow}\n${wide}`, () => {
      const members = this.members(wide);
      if (this.members(narrow).size > members.size) return false;
      for (const username of this.members(narrow)) if (!members.has(username)) return false;
      return true;
    });
  }

  /** @param question with names on lines of their own, which no name has in it */
  #remembered(question: string, answer: () => boolean): boolean {
    let known = this.#known.get(question);
    if (known === undefined) {
      known = answer();
      if (this.#known.size < ANSWERS_MAX) this.#known.set(question, known);
    }
    return known;
  }

  #speaks(subject: Subject): boolean {
    return subject.kind !== 'group' || this.members(subject.name).size > 0;
  }

  /** The users that a user or group section speaks of; none for anonymous clients. */
  #users(subject: Subject): ReadonlySet<string> {
    if (subject.kind === 'group') return this.members(subject.name);
    return subject.kind === 'user' ? new Set([subject.name]) : this.#nobody;
  }
}

function add(map: Map<string, Set<string>>, key: string, value: string): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, new Set([value]));
  else values.add(value);
}
