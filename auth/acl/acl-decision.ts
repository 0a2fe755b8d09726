/**
 * The one place where rules are held against a topic: the broker asks it for an answer, and `sluice acl explain` for the
 * steps on the way, so that what is explained is what happens.
 */
import type { Action } from '../../src/interfaces/auth.ts';
import { filterCovers, filtersOverlap, topicMatches } from '../../src/topics/names.ts';
import { type AclRule, type ClientRule, PUBLISH, SUBSCRIBE } from './acl-rules.ts';
import { intersectFilters } from './filter-intersection.ts';

/**
 * What became of one rule. `decides`: it is the answer. `other-action`: it speaks of publishing only, or of subscribing only.
 * `no-match`: it selects another topic. `denies-part`: it denies some of what the filter selects, so the next are asked.
 * `hidden`: what it allows of the filter is denied by one before it.
 */
export type Finding = 'decides' | 'other-action' | 'no-match' | 'denies-part' | 'hidden';

/** One rule that was looked at. */
export interface Step {
  readonly rule: ClientRule;
  readonly finding: Finding;
}

/** `$SYS` is the broker's own to write, whatever a rule says. */
export const SYSTEM_RULE: AclRule = Object.freeze({
  subject: Object.freeze({ kind: 'all' }),
  allow: false,
  actions: PUBLISH,
  filter: '$SYS/#',
  line: 0,
  text: 'deny publish $SYS/#',
});

/** Whether the topic is one of those that only the broker writes. */
export function isSystemTopic(topic: string): boolean {
  return topic.startsWith('$SYS') && (topic.length === 4 || topic[4] === '/');
}

/**
 * The rule that decides; null: none fits, which denies. For `subscribe` the topic is a filter, and an allow rule decides when
 * it leaves anything of it: delivery is checked message by message.
 * @param rules those that concern the client, in order, filled in
 * @param trace takes every rule that was looked at; without it nothing is allocated for a topic
 */
export function decide(
  rules: readonly ClientRule[],
  action: Action,
  topic: string,
  trace: Step[] | null = null,
): ClientRule | null {
  if (action === 'publish' && isSystemTopic(topic)) return SYSTEM_RULE;
  if (action === 'subscribe') return decideFilter(rules, topic, trace);
  const wanted = action === 'publish' ? PUBLISH : SUBSCRIBE;
  for (const rule of rules) {
    const speaks = (rule.actions & wanted) !== 0;
    const fits = speaks && topicMatches(rule.filter, topic);
    trace?.push({ rule, finding: fits ? 'decides' : speaks ? 'no-match' : 'other-action' });
    if (fits) return rule;
  }
  return null;
}

/**
 * Whether some topic that `filter` selects may be received. A deny is always right: every overlap with an allow rule
 * lies inside one earlier deny. An allow may be generous where only several denies together cover an overlap.
 */
function decideFilter(rules: readonly ClientRule[], filter: string, trace: Step[] | null): ClientRule | null {
  const denied: ClientRule[] = [];
  for (const rule of rules) {
    const finding = examine(rule, filter, denied);
    trace?.push({ rule, finding });
    if (finding === 'decides') return rule;
    if (finding === 'denies-part') denied.push(rule);
  }
  return null;
}

/** @param denied the rules before this one that deny part of the filter */
function examine(rule: ClientRule, filter: string, denied: readonly ClientRule[]): Finding {
  if ((rule.actions & SUBSCRIBE) === 0) return 'other-action';
  if (!filtersOverlap(rule.filter, filter)) return 'no-match';
  if (!rule.allow) return filterCovers(rule.filter, filter) ? 'decides' : 'denies-part';
  return hiderOf(rule, filter, denied) === null ? 'decides' : 'hidden';
}

/** The first of the denies that covers all that the rule and the filter select together, or null. */
function hiderOf(rule: ClientRule, filter: string, denied: readonly ClientRule[]): ClientRule | null {
  if (denied.length === 0) return null;
  const common = intersectFilters(rule.filter, filter);
  if (common === null) return denied[0];
  return denied.find((deny) => filterCovers(deny.filter, common)) ?? null;
}

/** What one rule says of a filter: for the topics of `part` that no earlier part has. */
export interface Part {
  readonly rule: ClientRule;
  /** What the rule and the filter select together. */
  readonly part: string;
  /** The rule before it that denies all of the part, for an allow that therefore counts for nothing. */
  readonly hiddenBy: ClientRule | null;
}

/**
 * What each rule says of the topics that `filter` selects, in order, as long as something is left of them.
 * @param partsMax where to stop
 */
export function partsOf(rules: readonly ClientRule[], filter: string, partsMax: number): Part[] {
  const denied: ClientRule[] = [];
  const parts: Part[] = [];
  for (const rule of rules) {
    const finding = examine(rule, filter, denied);
    if (finding === 'other-action' || finding === 'no-match') continue;
    const hiddenBy = finding === 'hidden' ? hiderOf(rule, filter, denied) : null;
    const part = intersectFilters(rule.filter, filter);
    if (part !== null) parts.push({ rule, part, hiddenBy });
    if (!rule.allow) denied.push(rule);
    if (filterCovers(rule.filter, filter) || parts.length >= partsMax) break;
  }
  return parts;
}
