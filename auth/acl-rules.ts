/** The rules of an ACL file in their order, and those among them that concern one client. */
import type { Identity } from '../src/interfaces/auth.ts';

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
}

/** A rule as it reads for one client: nothing left to fill in. */
export interface ClientRule {
  readonly allow: boolean;
  readonly actions: number;
  readonly filter: string;
}

interface Numbered {
  readonly order: number;
  readonly rule: AclRule;
}

/** Immutable; a reload makes a new one. Indexed by subject, so that a client costs only the rules that concern it. */
export class AclRules {
  readonly #bySubject = new Map<string, Numbered[]>();
  readonly #groupsOf: ReadonlyMap<string, ReadonlySet<string>>;

  /**
   * @param rules in the order of the file
   * @param groupsOf user name to the groups it is in
   */
  constructor(rules: readonly AclRule[], groupsOf: ReadonlyMap<string, ReadonlySet<string>>) {
    this.#groupsOf = groupsOf;
    for (const [order, rule] of rules.entries()) {
      const key = subjectKey(rule.subject);
      const list = this.#bySubject.get(key);
      if (list === undefined) this.#bySubject.set(key, [{ order, rule }]);
      else list.push({ order, rule });
    }
  }

  /** The rules that concern this client, in the order of the file, with `%u` and `%c` filled in. */
  forClient(identity: Identity): readonly ClientRule[] {
    const { username, clientId } = identity;
    const subjects: Subject[] = [{ kind: 'all' }, { kind: 'client', name: clientId }];
    if (username === null) {
      subjects.push({ kind: 'anonymous' });
    } else {
      subjects.push({ kind: 'user', name: username });
      for (const name of this.#groupsOf.get(username) ?? []) subjects.push({ kind: 'group', name });
    }
    return subjects
      .flatMap((subject) => this.#bySubject.get(subjectKey(subject)) ?? [])
      .sort((a, b) => a.order - b.order)
      .flatMap(({ rule }) => fillIn(rule, identity));
  }
}

function subjectKey(subject: Subject): string {
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
  const { allow, actions } = rule;
  const literal = { allow, actions, filter: levels.map((level, i) => values[i] ?? level).join('/') };
  if (values.every((value, i) => value === null || isOneLevel(value, i === 0))) return [literal];
  if (allow) return [];
  const wide = {
    allow,
    actions,
    filter: levels.map((level, i) => (values[i] === null ? level : '+')).join('/'),
  };
  const hasWildcard = values.some((value) => value !== null && /[+#]/.test(value));
  return hasWildcard ? [wide] : [wide, literal];
}

function isPlaceholder(level: string): boolean {
  return level === '%u' || level === '%c';
}

function nameFor(placeholder: string, identity: Identity): string {
  return placeholder === '%u' ? (identity.username ?? '') : identity.clientId;
}

function isOneLevel(value: string, first: boolean): boolean {
  return value !== '' && !/[/+#]/.test(value) && !(first && value.startsWith('$'));
}
