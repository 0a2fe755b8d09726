/** Rules that never decide, and rules of which the order decides. */
import { filtersOverlap } from '../../src/topics/names.ts';
import { decidedBefore, neverFilledIn } from './acl-containment.ts';
import { SYSTEM_RULE } from './acl-decision.ts';
import type { AclText } from './acl-file.ts';
import type { Remarks } from './acl-remarks.ts';
import { type AclRule, subjectKey, withWildcards } from './acl-rules.ts';
import type { Subjects } from './acl-subjects.ts';
import { intersectFilters } from './filter-intersection.ts';

/** Pairs of rules that are compared, in each of the two searches: a second or two. Files of thousands of rules stay far below. */
const COMPARISONS_MAX = 10_000_000;
/** Earlier lines that one remark names. */
const LINES_NAMED_MAX = 5;

/**
 * Looks for rules that never decide (every one it names is one; some that it does not name may be, where several rules before
 * one cover it together), and for pairs of allow and deny that overlap.
 * @param comparisonsMax pairs looked at in each search; beyond, a remark says from which line on nothing was compared
 */
export function remarkOnOrder(
  { rules }: AclText,
  subjects: Subjects,
  remarks: Remarks,
  comparisonsMax: number = COMPARISONS_MAX,
): void {
  const dead = findUnreachable(rules, subjects, remarks, comparisonsMax);
  findOverlaps(
    rules.filter((rule) => !dead.has(rule)),
    subjects,
    remarks,
    comparisonsMax,
  );
}

/** @returns the rules that never decide */
function findUnreachable(
  rules: readonly AclRule[],
  subjects: Subjects,
  remarks: Remarks,
  comparisonsMax: number,
): ReadonlySet<AclRule> {
  const dead = new Set<AclRule>();
  const earlier = new Map<string, AclRule[]>([[subjectKey(SYSTEM_RULE.subject), [SYSTEM_RULE]]]);
  let left = comparisonsMax;
  for (const rule of rules) {
    const never = neverFilledIn(rule);
    const keys = subjects.keysAbove(rule.subject);
    const candidates = keys.flatMap((key) => earlier.get(key) ?? []);
    left -= keys.length + candidates.length;
    if (left < 0) {
      remarks.add(notCompared(rule.line, 'that never decide', comparisonsMax));
      break;
    }
    const deciders = never === null ? decidersOf(rule, candidates, subjects) : [];
    if (never !== null || deciders.length > 0) {
      dead.add(rule);
      remarks.add({
        severity: 'fault',
        kind: 'unreachable',
        line: rule.line,
        problem: `"${rule.text}" never decides: ${never ?? saying(deciders, rule)}`,
        remedy: never === null ? 'Remove it, or put it before them.' : 'Remove it, or write the topic out.',
      });
    }
    const key = subjectKey(rule.subject);
    const same = earlier.get(key);
    if (same === undefined) earlier.set(key, [rule]);
    else same.push(rule);
  }
  return dead;
}

/** The rules, at most one for each action, that together decide all that this one could; none when something is left to it. */
function decidersOf(rule: AclRule, candidates: readonly AclRule[], subjects: Subjects): AclRule[] {
  const deciders: AclRule[] = [];
  let open = rule.actions;
  for (const candidate of candidates.toSorted((a, b) => a.line - b.line)) {
    const decided = decidedBefore(candidate, rule, subjects) & open;
    if (decided === 0) continue;
    deciders.push(candidate);
    open &= ~decided;
    if (open === 0) return deciders;
  }
  return [];
}

function saying(deciders: readonly AclRule[], rule: AclRule): string {
  return deciders
    .map((decider) => {
      if (decider === SYSTEM_RULE) return 'nobody may publish to $SYS';
      const way = decider.allow === rule.allow ? 'the same way' : 'the other way';
      return `line ${decider.line} "${decider.text}" decides before it, ${way}`;
    })
    .join('; ');
}

function notCompared(line: number, what: string, comparisonsMax: number): Parameters<Remarks['add']>[0] {
  return {
    severity: 'note',
    kind: 'not-compared',
    line,
    problem: `from here on the rules were not searched for those ${what}`,
    remedy: `At most ${comparisonsMax} pairs are compared; groups and %u make a file shorter.`,
  };
}

interface Wide {
  readonly rule: AclRule;
  /** With + for names. */
  readonly filter: string;
}

/** Earlier rules by whom they speak of. */
class Earlier {
  readonly #subjects: Subjects;
  readonly #all: Wide[] = [];
  readonly #clients: Wide[] = [];
  readonly #byKey = new Map<string, Wide[]>();

  constructor(subjects: Subjects) {
    this.#subjects = subjects;
  }

  add(wide: Wide): void {
    const { subject } = wide.rule;
    this.#all.push(wide);
    if (subject.kind === 'client') this.#clients.push(wide);
    const key = subjectKey(subject);
    const same = this.#byKey.get(key);
    if (same === undefined) this.#byKey.set(key, [wide]);
    else same.push(wide);
  }

  /** All that may speak of a client that `rule` speaks of, and some that do not: lists, so that a long one is not copied. */
  lists({ subject }: AclRule): readonly (readonly Wide[])[] {
    // Of a group with thousands of members the list of all sections that speak of one would be longer.
    if (subject.kind !== 'user' && subject.kind !== 'anonymous') return [this.#all];
    const keys = ['all', subjectKey(subject)];
    if (subject.kind === 'user') {
      for (const name of this.#subjects.groups(subject.name)) keys.push(subjectKey({ kind: 'group', name }));
    }
    return [...keys.map((key) => this.#byKey.get(key) ?? []), this.#clients];
  }
}

function findOverlaps(
  rules: readonly AclRule[],
  subjects: Subjects,
  remarks: Remarks,
  comparisonsMax: number,
): void {
  const earlier = new Earlier(subjects);
  let left = comparisonsMax;
  for (const rule of rules) {
    const wide = { rule, filter: withWildcards(rule.filter) };
    const lists = earlier.lists(rule);
    left -= lists.reduce((sum, list) => sum + list.length + 1, 0);
    if (left < 0) {
      remarks.add(notCompared(rule.line, 'of which the order decides', comparisonsMax));
      return;
    }
    const opposed = lists.flatMap((list) => list.filter((other) => areOpposed(other, wide, subjects)));
    if (opposed.length > 0) remarkOnOverlap(wide, opposed, remarks);
    earlier.add(wide);
  }
}

function areOpposed(a: Wide, b: Wide, subjects: Subjects): boolean {
  return (
    a.rule.allow !== b.rule.allow &&
    (a.rule.actions & b.rule.actions) !== 0 &&
    filtersOverlap(a.filter, b.filter) &&
    subjects.meet(a.rule.subject, b.rule.subject) &&
    !needsMissingName(a.rule, b.rule) &&
    !needsMissingName(b.rule, a.rule)
  );
}

/** An allow with %u falls away for the anonymous, of whom the other rule speaks. */
function needsMissingName(rule: AclRule, other: AclRule): boolean {
  return rule.allow && other.subject.kind === 'anonymous' && rule.filter.split('/').includes('%u');
}

function remarkOnOverlap({ rule, filter }: Wide, opposed: readonly Wide[], remarks: Remarks): void {
  const named = opposed
    .toSorted((a, b) => a.rule.line - b.rule.line)
    .slice(0, LINES_NAMED_MAX)
    .map((other) => `line ${other.rule.line} ("${intersectFilters(other.filter, filter)}")`);
  const more = opposed.length - named.length;
  const lines = more > 0 ? `${named.join(', ')} and ${more} more` : named.join(', ');
  const verb = rule.allow ? 'deny' : 'allow';
  remarks.add({
    severity: 'note',
    kind: 'order-decides',
    line: rule.line,
    problem: `"${rule.text}" does not hold where lines before it ${verb}: ${lines}`,
    remedy: 'Keep them in this order if that is meant.',
  });
}
