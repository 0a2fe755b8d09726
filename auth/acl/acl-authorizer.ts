/** Says what a client may do: by the rules of an ACL file, or, without one, everything but writing to `$SYS`. */
import type { Action, Authorizer, Identity } from '../../src/interfaces/auth.ts';
import { decide, isSystemTopic, SYSTEM_RULE } from './acl-decision.ts';
import { type AclRule, type AclRules, type ClientRule, PUBLISH, SUBSCRIBE } from './acl-rules.ts';

/** An authorizer that can name the rule it went by. */
export interface RuleAuthorizer extends Authorizer {
  /** The rule that decides; null: none fits, which denies. */
  decide(identity: Identity, action: Action, topic: string): ClientRule | null;
}

/** First rule that fits decides; none denies. */
export class AclAuthorizer implements RuleAuthorizer {
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
    return this.decide(identity, action, topic)?.allow ?? false;
  }

  decide(identity: Identity, action: Action, topic: string): ClientRule | null {
    return decide(this.#rulesFor(identity), action, topic);
  }

  #rulesFor(identity: Identity): readonly ClientRule[] {
    const known = this.#forClient.get(identity);
    if (known !== undefined) return known;
    const rules = this.#rules.forClient(identity);
    this.#forClient.set(identity, rules);
    return rules;
  }
}

/** What stands in for the rules where there are none. */
const OPEN_RULE: AclRule = Object.freeze({
  subject: Object.freeze({ kind: 'all' }),
  allow: true,
  actions: PUBLISH | SUBSCRIBE,
  filter: '#',
  line: 0,
  text: 'without an ACL file everything is allowed',
});

/** For a broker without an ACL file: whoever is logged in may do anything but write to `$SYS`. */
export class OpenAuthorizer implements RuleAuthorizer {
  readonly generation = 0;

  may(identity: Identity, action: Action, topic: string): boolean {
    return this.decide(identity, action, topic).allow;
  }

  decide(_identity: Identity, action: Action, topic: string): ClientRule {
    return action === 'publish' && isSystemTopic(topic) ? SYSTEM_RULE : OPEN_RULE;
  }
}
