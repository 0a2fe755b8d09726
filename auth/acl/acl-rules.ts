/** The rules of an ACL file in their order, and those among them that concern one client. */
import type { Identity } from '../../src/interfaces/auth.ts';

/** Bits of `actions`. `subscribe` covers asking for messages and being sent them. */
export const PUBLISH = 1;
export const SUBSCRIBE = 2;

/** Whom a section speaks of. */
export type Subject =
  | { readonly kind: 'user' | 'group' | 'client'; readonly name: string }
  | { readonly kind: 'anonymous' | 'all' };

/** One line of the file. */
export interface AclRule {
  readonly subject: Subject;
  readonly allow: boolean;
  /** PUBLISH, SUBSCRIBE or both. */
  readonly actions: number;
  /** May have `%u` and `%c` as whole levels. */
  readonly filter: string;
  /** Number of the line, from 1; no two rules have the same. 0: built in. */
  readonly line: number;
  /** The line, without blanks at its ends. */
  readonly text: string;
}

/** A rule as it reads for one client: nothing left to fill in. */
export type ClientRule = AclRule;

/** A rule, and how it reads for one client. */
export interface Reading {
  readonly rule: AclRule;
  /** Null: it speaks of others. Empty: it cannot be filled in, and falls away. Two: as wide as it could be meant, and literally. */
  readonly reads: readonly ClientRule[] | null;
}

/** Immutable; a reload makes a new one. Indexed by subject, so that a client costs only the rules that concern it. */
export class AclRules {
  readonly #all: readonly AclRule[];
  readonly #bySubject = new Map<string, AclRule[]>();
  readonly #groupsOf: ReadonlyMap<string, ReadonlySet<string>>;

  /**
   * @param rules in the order of the file
   * @param groupsOf user name to the groups it is in
   */
  constructor(rules: readonly AclRule[], groupsOf: ReadonlyMap<string, ReadonlySet<string>>) {
    this.#all = rules;
    this.#groupsOf = groupsOf;
    for (const rule of rules) {
      const key = subjectKey(rule.subject);
      const list = this.#bySubject.get(key);
      if (list === undefined) this.#bySubject.set(key, [rule]);
      else list.push(rule);
    }
  }

  /** The rules that concern this client, in the order of the file, with `%u` and `%c` filled in. */
  forClient(identity: Identity): readonly ClientRule[] {
    return this.#concerning(identity).flatMap((rule) => fillIn(rule, identity));
  }

  /** Every rule of the file in its order, those that do not concern this client too, and how it reads for it. */
  readFor(identity: Identity): readonly Reading[] {
    const concerning = new Set(this.#concerning(identity));
    return this.#all.map((rule) => ({
      rule,
      reads: concerning.has(rule) ? fillIn(rule, identity) : null,
    }));
  }

  #concerning({ username, clientId }: Identity): AclRule[] {
    const subjects: Subject[] = [{ kind: 'all' }, { kind: 'client', name: clientId }];
    if (username === null) {
      subjects.push({ kind: 'anonymous' });
    } else {
      subjects.push({ kind: 'user', name: username });
      for (const name of this.#groupsOf.get(username) ?? []) subjects.push({ kind: 'group', name });
    }
    return subjects
      .flatMap((subject) => this.#bySubject.get(subjectKey(subject)) ?? [])
      .sort((a, b) => a.line - b.line);
  }
}

/** One text for each subject: two are the same when their keys are. */
export function subjectKey(subject: Subject): string {
  return 'name' in subject ? `${subject.kind} ${subject.name}` : subject.kind;
}

/**
 * The rule with `%u` and `%c` filled in.
 *
 * A value that is empty or missing, or has `/`, `+` or `#`, is no single level, and one that begins with `$` must not
 * reach into `$SYS` by standing first. Then an allow rule falls away, and a deny rule is kept as wide as it could
 * have been meant (the level matches anything, and the value's own text too), so that an odd client id opens nothing.
 */
function fillIn(rule: AclRule, identity: Identity): readonly ClientRule[] {
  const levels = rule.filter.split('/');
  if (!levels.some(isPlaceholder)) return [rule];
  const values = levels.map((level) => (isPlaceholder(level) ? nameFor(level, identity) : null));
  const literal = { ...rule, filter: levels.map((level, i) => values[i] ?? level).join('/') };
  if (values.every((value, i) => value === null || problemWithLevel(value, i === 0) === null))
    return [literal];
  if (rule.allow) return [];
  const wide = { ...rule, filter: withWildcards(rule.filter) };
  const hasWildcard = values.some((value) => value !== null && /[+#]/.test(value));
  return hasWildcard ? [wide] : [wide, literal];
}

/** Whether a level of a filter stands for a name. */
export function isPlaceholder(level: string): boolean {
  return level === '%u' || level === '%c';
}

/** The filter with `+` in place of `%u` and `%c`: all that it selects for any name that can be filled in, and more. */
export function withWildcards(filter: string): string {
  if (!filter.includes('%')) return filter;
  return filter
    .split('/')
    .map((level) => (isPlaceholder(level) ? '+' : level))
    .join('/');
}

/** What stands for `%u` or `%c`; empty where an anonymous client has no name. */
export function nameFor(placeholder: string, identity: Identity): string {
  return placeholder === '%u' ? (identity.username ?? '') : identity.clientId;
}

/**
 * Why a name cannot be filled in as one level of a filter, or null when it can.
 * @param first it would be the filter's first level
 */
export function problemWithLevel(name: string, first: boolean): string | null {
  if (name === '') return 'is empty';
  if (/[/+#]/.test(name)) return 'has / + or #';
  return first && name.startsWith('$') ? 'begins with $' : null;
}
