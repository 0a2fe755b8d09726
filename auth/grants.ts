/** What a credential allows at most: the claims of a token, the scope of a ticket, the answer of a login service. */
import type { Action, Authorizer, Grants, Identity } from '../src/interfaces/auth.ts';
import { DEFAULT_LIMITS } from '../src/limits.ts';
import { filtersOverlap, isValidTopicFilter, topicMatches } from '../src/topics/names.ts';
import { intersectFilters } from './acl/filter-intersection.ts';

/** Filters of one kind in one credential: every question about a topic walks them. */
export const GRANT_FILTERS_MAX = 100;

/** Puts `Identity.grants` over another authorizer: what is done must be allowed by both. Without grants it changes nothing. */
export class GrantsAuthorizer implements Authorizer {
  readonly #rules: Authorizer;

  constructor(rules: Authorizer) {
    this.#rules = rules;
  }

  get generation(): number {
    return this.#rules.generation;
  }

  may(identity: Identity, action: Action, topic: string): boolean {
    const grants = identity.grants ?? null;
    if (grants === null) return this.#rules.may(identity, action, topic);
    if (action === 'subscribe') return this.#maySubscribe(identity, grants.subscribe, topic);
    const filters = action === 'publish' ? grants.publish : grants.subscribe;
    return matchesAny(filters, topic) && this.#rules.may(identity, action, topic);
  }

  /** Whether the rules leave anything of what a grant and the filter select together. */
  #maySubscribe(identity: Identity, granted: readonly string[], filter: string): boolean {
    for (const each of granted) {
      if (!filtersOverlap(each, filter)) continue;
      const common = intersectFilters(each, filter);
      if (common !== null && this.#rules.may(identity, 'subscribe', common)) return true;
    }
    return false;
  }
}

function matchesAny(filters: readonly string[], topic: string): boolean {
  for (const filter of filters) if (topicMatches(filter, topic)) return true;
  return false;
}

/** Who a credential's filters speak of: the name it vouches for, and the client id of the CONNECT. */
export interface GrantSubject {
  readonly username: string | null;
  readonly clientId: string;
}

/**
 * The grants that two lists of a credential mean. A list that is missing grants nothing; both missing: null, no limits beyond
 * the rules. `%u` and `%c` as whole levels are filled in; where the name or client id is not exactly one level (empty, or with
 * `/`, `+`, `#`, or with a leading `$` in first place) the filter falls away, so that an odd client id opens nothing.
 * @throws GrantsError when a list is no list, is too long, or holds what is no topic filter
 */
export function grantsFrom(publish: unknown, subscribe: unknown, subject: GrantSubject): Grants | null {
  if (publish === undefined && subscribe === undefined) return null;
  return {
    publish: filtersFrom('publish', publish, subject),
    subscribe: filtersFrom('subscribe', subscribe, subject),
  };
}

/** A credential with grants that cannot be understood; it lets nobody in. The message never repeats what it holds. */
export class GrantsError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'GrantsError';
  }
}

/** Why a filter cannot be granted, or null when it can. */
export function problemWithGrant(filter: unknown): string | null {
  if (typeof filter !== 'string') return 'is not a text';
  const { topicBytesMax, topicLevelsMax } = DEFAULT_LIMITS;
  // A string has at most three bytes of UTF-8 for each of its units, so the length alone settles most.
  const isTooLong = filter.length > topicBytesMax || Buffer.byteLength(filter) > topicBytesMax;
  if (isTooLong || !isValidTopicFilter(filter, topicLevelsMax)) return 'is not a topic filter';
  if (filter === '$share' || filter.startsWith('$share/'))
    return 'is a shared subscription; grant its inner filter';
  const isMixed = filter.split('/').some((level) => !isPlaceholder(level) && /%[uc]/.test(level));
  return isMixed ? 'mixes %u or %c with other text in one level' : null;
}

function filtersFrom(kind: string, list: unknown, subject: GrantSubject): readonly string[] {
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw new GrantsError(`what it grants to ${kind} is not a list`);
  if (list.length > GRANT_FILTERS_MAX)
    throw new GrantsError(`it grants more than ${GRANT_FILTERS_MAX} filters to ${kind}`);
  return list.flatMap((filter: unknown, index) => {
    const problem = problemWithGrant(filter);
    if (problem !== null)
      throw new GrantsError(`filter ${index + 1} of what it grants to ${kind} ${problem}`);
    return fillIn(filter as string, subject);
  });
}

function isPlaceholder(level: string): boolean {
  return level === '%u' || level === '%c';
}

function fillIn(filter: string, subject: GrantSubject): string[] {
  const levels = filter.split('/');
  if (!levels.some(isPlaceholder)) return [filter];
  const filled: string[] = [];
  for (const [index, level] of levels.entries()) {
    if (!isPlaceholder(level)) {
      filled.push(level);
      continue;
    }
    const value = level === '%u' ? (subject.username ?? '') : subject.clientId;
    if (value === '' || /[/+#]/.test(value) || (index === 0 && value.startsWith('$'))) return [];
    filled.push(value);
  }
  return [filled.join('/')];
}
