/** Why a client may or may not: the answer that the broker gives, and the way to it. */
import type { Action, Identity } from '../../src/interfaces/auth.ts';
import { decide, type Finding, partsOf, type Step, SYSTEM_RULE } from './acl-decision.ts';
import {
  type AclRule,
  type AclRules,
  type ClientRule,
  isPlaceholder,
  nameFor,
  problemWithLevel,
  type Reading,
} from './acl-rules.ts';

/** Parts of a filter that are listed: a screenful. */
const PARTS_MAX = 20;

/** A name that stands for `%u` or `%c` in a rule. */
export interface Filled {
  readonly placeholder: '%u' | '%c';
  readonly name: string;
  /** Why it cannot be put in, or null. */
  readonly problem: string | null;
}

/** One line of the file, as it was met on the way. */
export interface Look {
  readonly rule: AclRule;
  /** The filters that it came to for this client; the same as the rule's where there was nothing to fill in. */
  readonly filters: readonly string[];
  readonly filled: readonly Filled[];
  /** `others`: it speaks of somebody else. `falls-away`: an allow rule that cannot be filled in. */
  readonly finding: Finding | 'others' | 'falls-away';
}

/** What one line says of a filter, for the topics that no earlier part has. */
export interface FilterPart {
  readonly allow: boolean;
  readonly line: number;
  /** What line and filter select together. */
  readonly filter: string;
  /** The line that denies all of it before, for an allow that counts for nothing; else null. */
  readonly hiddenByLine: number | null;
}

export interface Explanation {
  readonly allowed: boolean;
  /** `none`: no rule fits, and what no rule fits is denied. `built-in`: nobody may publish to `$SYS`. */
  readonly by: 'rule' | 'none' | 'built-in';
  /** The line that decides; null unless it is by a rule. */
  readonly rule: Look | null;
  /** Every line that was looked at, or passed over, before the answer was there; in the order of the file. */
  readonly before: readonly Look[];
  /** For `subscribe`: what the filter is made of, at most 20; else empty. */
  readonly parts: readonly FilterPart[];
}

/**
 * Asks as the broker does, and tells how the answer came about.
 * @param topic a valid topic name; for `subscribe` a valid filter without `$share/group/`
 */
export function explain(rules: AclRules, identity: Identity, action: Action, topic: string): Explanation {
  const forClient = rules.forClient(identity);
  const trace: Step[] = [];
  const decider = decide(forClient, action, topic, trace);
  const allowed = decider?.allow ?? false;
  const builtIn = decider === SYSTEM_RULE;
  const parts = action === 'subscribe' ? partsOf(forClient, topic, PARTS_MAX).map(toPart) : [];
  if (builtIn) return { allowed, by: 'built-in', rule: null, before: [], parts };
  const steps = Map.groupBy(trace, ({ rule }) => rule.line);
  const looks = rules
    .readFor(identity)
    .filter(({ rule }) => decider === null || rule.line <= decider.line)
    .map((reading) => toLook(reading, steps.get(reading.rule.line) ?? [], identity));
  if (decider === null) return { allowed, by: 'none', rule: null, before: looks, parts };
  return { allowed, by: 'rule', rule: looks.at(-1)!, before: looks.slice(0, -1), parts };
}

function toPart({ rule, part, hiddenBy }: ReturnType<typeof partsOf>[number]): FilterPart {
  return { allow: rule.allow, line: rule.line, filter: part, hiddenByLine: hiddenBy?.line ?? null };
}

/** @param steps what the decision made of the rule: none where it did not come to it, two where it reads in two ways */
function toLook({ rule, reads }: Reading, steps: readonly Step[], identity: Identity): Look {
  const filters = (reads ?? [rule]).map((read: ClientRule) => read.filter);
  const filled = reads === null ? [] : filledIn(rule.filter, identity);
  if (reads === null) return { rule, filters, filled, finding: 'others' };
  if (reads.length === 0) return { rule, filters, filled, finding: 'falls-away' };
  // Of two readings the one that did more tells why.
  const finding = FINDINGS.find((each) => steps.some((step) => step.finding === each)) ?? 'no-match';
  return { rule, filters, filled, finding };
}

const FINDINGS: readonly Finding[] = ['decides', 'denies-part', 'hidden', 'no-match', 'other-action'];

/** Each placeholder of the filter once, with what stands for it. */
function filledIn(filter: string, identity: Identity): Filled[] {
  const filled = new Map<string, Filled>();
  for (const [index, level] of filter.split('/').entries()) {
    if (!isPlaceholder(level)) continue;
    const name = nameFor(level, identity);
    const problem = filled.get(level)?.problem ?? problemWithLevel(name, index === 0);
    filled.set(level, { placeholder: level as Filled['placeholder'], name, problem });
  }
  return [...filled.values()];
}
