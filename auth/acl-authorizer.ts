/** Says what a client may do: by the rules of an ACL file, or, without one, everything but writing to `$SYS`. */
import type { Action, Authorizer, Identity } from '../src/interfaces/auth.ts';
import { filterCovers, filtersOverlap, topicMatches } from '../src/topics/names.ts';
import { type AclRules, type ClientRule, PUBLISH, SUBSCRIBE } from './acl-rules.ts';
import { intersectFilters } from './filter-intersection.ts';

/** `$SYS` is the broker's own to write, whatever a rule says. */
function isSystemTopic(topic: string): boolean {
  return topic.startsWith('$SYS') && (topic.length === 4 || topic[4] === '/');
}

/** First rule that fits decides; none denies. */
export class AclAuthorizer implements Authorizer {
  #rules: AclRules;
  #generation = 0;
  /** Rules filled in per client. Keyed by the identity object, so it lives exactly as long as its client does. */
  #forClient = new WeakMap<Identity, readonly ClientRule[]>();

  constructor(rules: AclRules) {
    this.#rules = rules;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Takes other rules from now on. */
  replaceRules(rules: AclRules): void {
    this.#rules = rules;
    this.#forClient = new WeakMap();
    this.#generation++;
  }

  /**
   * Whether the client may. Costs a walk over the rules that concern it; callers should keep one Identity object per
   * client (the rules are filled in once per object) and may cache answers while `generation` stays the same.
   */
  may(identity: Identity, action: Action, topic: string): boolean {
    if (action === 'publish' && isSystemTopic(topic)) return false;
    const rules = this.#rulesFor(identity);
    if (action === 'subscribe') return maySubscribe(rules, topic);
    const wanted = action === 'publish' ? PUBLISH : SUBSCRIBE;
    for (const rule of rules) {
      if ((rule.actions & wanted) !== 0 && topicMatches(rule.filter, topic)) return rule.allow;
    }
    return false;
  }

  #rulesFor(identity: Identity): readonly ClientRule[] {
    const known = this.#forClient.get(identity);
    if (known !== undefined) return known;
    const rules = this.#rules.forClient(identity);
    this.#forClient.set(identity, rules);
    return rules;
  }
}

/**
 * Whether some topic that `filter` selects may be received. False is always right: every overlap with an allow rule
 * lies inside one earlier deny. True may be generous where only several denies together cover an overlap; delivery
 * is checked message by message.
 */
function maySubscribe(rules: readonly ClientRule[], filter: string): boolean {
  const denied: string[] = [];
  for (const rule of rules) {
    if ((rule.actions & SUBSCRIBE) === 0) continue;
    if (!filtersOverlap(rule.filter, filter)) continue;
    if (!rule.allow) {
      if (filterCovers(rule.filter, filter)) return false;
      denied.push(rule.filter);
    } else if (!isDenied(denied, rule.filter, filter)) {
      return true;
    }
  }
  return false;
}

/** Whether one of the earlier denies covers all that `allowed` and `filter` select together. */
function isDenied(denied: readonly string[], allowed: string, filter: string): boolean {
  if (denied.length === 0) return false;
  const common = intersectFilters(allowed, filter);
  return common === null || denied.some((deny) => filterCovers(deny, common));
}

/** For a broker without an ACL file: whoever is logged in may do anything but write to `$SYS`. */
export class OpenAuthorizer implements Authorizer {
  readonly generation = 0;

  may(_identity: Identity, action: Action, topic: string): boolean {
    return action !== 'publish' || !isSystemTopic(topic);
  }
}
