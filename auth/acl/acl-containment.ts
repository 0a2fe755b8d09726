/**
 * Whether one rule leaves nothing for a later one, whoever the client is. Only what is certain is said: where names of clients
 * make a difference that cannot be followed, the answer is no.
 */
import { filterCovers } from '../../src/topics/names.ts';
import { type AclRule, isPlaceholder, problemWithLevel, type Subject } from './acl-rules.ts';
import type { Subjects } from './acl-subjects.ts';

/** The actions in which `earlier` decides all that `later` could, for every client that `later` speaks of: bits of `actions`. */
export function decidedBefore(earlier: AclRule, later: AclRule, subjects: Subjects): number {
  const shared = earlier.actions & later.actions;
  if (shared === 0 || !coversAlways(earlier, later)) return 0;
  return subjects.covers(earlier.subject, later.subject) ? shared : 0;
}

/** Why an allow rule falls away for every client that it speaks of, or null: its `%u` or `%c` is a name that is never put in. */
export function neverFilledIn(rule: AclRule): string | null {
  if (!rule.allow) return null;
  const { subject } = rule;
  for (const [index, level] of rule.filter.split('/').entries()) {
    if (level === '%u' && subject.kind === 'anonymous') return 'an anonymous client has no user name for %u';
    const name = fixedName(subject, level);
    const problem = name === null ? null : problemWithLevel(name, index === 0);
    if (problem !== null)
      return `the ${level === '%u' ? 'user name' : 'client id'} ${problem}, and is never put in for ${level}`;
  }
  return null;
}

/** The name that a placeholder is in every client that the subject speaks of; null when they differ. */
function fixedName(subject: Subject, placeholder: string): string | null {
  if (subject.kind === 'user' && placeholder === '%u') return subject.name;
  return subject.kind === 'client' && placeholder === '%c' ? subject.name : null;
}

/** Whether the first selects every topic that the second does, as they read for any client that the second speaks of. */
function coversAlways(earlier: AclRule, later: AclRule): boolean {
  const mine = fillInFixed(earlier.filter, later);
  const theirs = fillInFixed(later.filter, later);
  // A placeholder is a level like any other here: the same name stands for it on both sides.
  if (mine === null || theirs === null || !filterCovers(mine, theirs)) return false;
  // An allow that can be filled in has one level for a name; for other names it falls away, whatever the earlier rule does then:
  // the same placeholders stand in the later one.
  if (later.allow) return true;
  return coversOddNames(earlier, mine.split('/'), theirs.split('/'));
}

/**
 * The same for a deny rule, which names that are no single level make wider: `+` in place of all placeholders, and besides
 * that the name's own text, with as many levels as it has.
 */
function coversOddNames(earlier: AclRule, mine: readonly string[], theirs: readonly string[]): boolean {
  const needed = new Set(theirs.filter(isPlaceholder));
  const own = new Set(mine.filter(isPlaceholder));
  // The earlier one must get wider whenever the later one does; an allow falls away instead. It has no placeholder that the
  // later one lacks, or it would not cover it.
  if (own.size > 0 && (earlier.allow || own.size < needed.size)) return false;
  const open = mine.at(-1) === '#' ? mine.length - 1 : Number.POSITIVE_INFINITY;
  return theirs.every((level, index) => {
    if (!isPlaceholder(level) || mine[index] === level) return true;
    // Below # a name may have any text, but not in first place, where it might begin with $.
    return index >= open && index > 0;
  });
}

/**
 * The filter with the name that the later rule's subject says for sure. Null: that name is no single level here.
 * Not filled in when another name could still make the later rule wider in this place.
 */
function fillInFixed(filter: string, later: AclRule): string | null {
  if (!filter.includes('%')) return filter;
  const placeholder = later.subject.kind === 'user' ? '%u' : later.subject.kind === 'client' ? '%c' : null;
  if (placeholder === null) return filter;
  const other = placeholder === '%u' ? '%c' : '%u';
  if (!later.allow && later.filter.split('/').includes(other)) return filter;
  const name = fixedName(later.subject, placeholder)!;
  const levels = filter.split('/');
  for (const [index, level] of levels.entries()) {
    if (level !== placeholder) continue;
    // A name that looks like a placeholder would be taken for one.
    if (isPlaceholder(name) || problemWithLevel(name, index === 0) !== null) return null;
    levels[index] = name;
  }
  return levels.join('/');
}
