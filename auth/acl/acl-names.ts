/** Names in an ACL file: users and groups that are not there, and names that mean more than they seem to. */
import type { AclText } from './acl-file.ts';
import type { Remarks } from './acl-remarks.ts';
import { type AclRule, isPlaceholder, problemWithLevel } from './acl-rules.ts';
import type { Subjects } from './acl-subjects.ts';

/** Lines and names that one remark lists. */
const NAMED_MAX = 5;

/**
 * Looks at the names of a file.
 * @param users those of the password file; null: it is not known who there is
 */
export function remarkOnNames(
  text: AclText,
  subjects: Subjects,
  users: { has(name: string): boolean; keys(): Iterable<string> } | null,
  remarks: Remarks,
): void {
  remarkOnGroups(text, subjects, remarks);
  remarkOnSections(text, remarks);
  for (const rule of text.rules) remarkOnClientId(rule, remarks);
  remarkOnFirstLevels(text.rules, users, remarks);
  if (users === null) return;
  remarkOnUnknown(text, users, remarks);
  remarkOnOddUsers(text.rules, users, remarks);
}

function remarkOnGroups({ rules, sections, members }: AclText, subjects: Subjects, remarks: Remarks): void {
  const ruled = new Set<string>();
  for (const { subject } of rules) if (subject.kind === 'group') ruled.add(subject.name);
  const seen = new Set<string>();
  for (const { subject, line } of sections) {
    if (subject.kind !== 'group' || seen.has(subject.name)) continue;
    seen.add(subject.name);
    const { name } = subject;
    if (subjects.members(name).size === 0) {
      remarks.add({
        severity: 'fault',
        kind: 'empty-group',
        line,
        problem: `the group "${name}" has no members, so its rules hold for nobody`,
        remedy: 'Write members NAME below it, or remove it.',
      });
    } else if (!ruled.has(name)) {
      const first = members.find((member) => member.group === name)!;
      remarks.add({
        severity: 'note',
        kind: 'unused-group',
        line: first.line,
        problem: `the group "${name}" has members, but no rules`,
        remedy: 'Write rules below it, or remove it.',
      });
    }
  }
}

/** %u and %c are filled in in topics only. */
function remarkOnSections({ sections, members }: AclText, remarks: Remarks): void {
  const names = sections.flatMap(({ subject, line }) => ('name' in subject ? [[subject.name, line]] : []));
  const all = [...names, ...members.map(({ username, line }) => [username, line])] as [string, number][];
  for (const [name, line] of all) {
    if (!isPlaceholder(name)) continue;
    remarks.add({
      severity: 'fault',
      kind: 'literal-placeholder',
      line,
      problem: `the name here is "${name}" itself: it is filled in only in topics`,
      remedy: 'Use all, and the placeholder in the topic.',
    });
  }
}

/** A client id is what the client says it is. */
function remarkOnClientId(rule: AclRule, remarks: Remarks): void {
  const levels = rule.filter.split('/');
  if (!rule.allow || !levels.includes('%c') || levels.includes('%u')) return;
  const wide = levels.map((level) => (level === '%c' ? '+' : level)).join('/');
  if (rule.subject.kind === 'client') return;
  remarks.add({
    severity: 'note',
    kind: 'open-name',
    line: rule.line,
    problem: `"${rule.text}" allows as much as "${wide}" to whoever changes client ids: a client chooses its own`,
    remedy: 'Put %u before %c where the user name should count.',
  });
}

/** A name in first place can be that of a whole tree of topics. */
function remarkOnFirstLevels(
  rules: readonly AclRule[],
  users: { has(name: string): boolean } | null,
  remarks: Remarks,
): void {
  const spokenOf = new Map<string, number>();
  for (const { filter, line } of rules) {
    const first = firstLevel(filter);
    const isName = first !== '+' && first !== '#' && !isPlaceholder(first);
    if (isName && problemWithLevel(first, true) === null && !spokenOf.has(first)) spokenOf.set(first, line);
  }
  if (spokenOf.size === 0) return;
  for (const rule of rules) {
    const placeholder = firstLevel(rule.filter);
    if (!rule.allow || !isPlaceholder(placeholder)) continue;
    const taken = [...spokenOf].filter(([name]) => placeholder === '%u' && users?.has(name) === true);
    const names = (taken.length > 0 ? taken : [...spokenOf])
      .slice(0, NAMED_MAX)
      .map(([name, line]) => `"${name}" (line ${line})`)
      .join(', ');
    const who = placeholder === '%u' ? 'user' : 'client id';
    remarks.add({
      severity: taken.length > 0 ? 'fault' : 'note',
      kind: 'open-name',
      line: rule.line,
      problem:
        taken.length > 0
          ? `"${rule.text}" gives users whole trees that other lines speak of: ${names}`
          : `"${rule.text}" would give a ${who} of that name a tree that other lines speak of: ${names}`,
      remedy: `Put a level of its own before it, e.g. users/${placeholder}/#.`,
    });
  }
}

function firstLevel(filter: string): string {
  const end = filter.indexOf('/');
  return end === -1 ? filter : filter.slice(0, end);
}

function remarkOnUnknown(
  { sections, members }: AclText,
  users: { has(name: string): boolean },
  remarks: Remarks,
): void {
  const named = sections.flatMap(({ subject, line }) =>
    subject.kind === 'user' ? [{ username: subject.name, line, where: 'section' }] : [],
  );
  const grouped = members.map(({ username, group, line }) => ({
    username,
    line,
    where: `group "${group}"`,
  }));
  for (const { username, line, where } of [...named, ...grouped]) {
    if (users.has(username)) continue;
    remarks.add({
      severity: 'fault',
      kind: 'unknown-user',
      line,
      problem: `the password file has no user "${username}" (${where})`,
      remedy: 'Correct the name, add the user, or remove it here.',
    });
  }
}

/** Names of the password file that %u never stands for. */
function remarkOnOddUsers(
  rules: readonly AclRule[],
  users: { keys(): Iterable<string> },
  remarks: Remarks,
): void {
  const withUser = rules.filter((rule) => rule.filter.split('/').includes('%u'));
  if (withUser.length === 0) return;
  const first = withUser.find((rule) => firstLevel(rule.filter) === '%u');
  for (const username of users.keys()) {
    const anywhere = problemWithLevel(username, false);
    const problem = anywhere ?? (first === undefined ? null : problemWithLevel(username, true));
    if (problem === null) continue;
    const rule = anywhere === null ? first! : withUser[0];
    remarks.add({
      severity: 'fault',
      kind: 'odd-name',
      line: rule.line,
      problem: `the user name "${username}" ${problem}, so %u never stands for it: what is allowed with %u is not allowed to it, what is denied is denied to it more widely`,
      remedy: 'Rename the user, or give it a section with topics written out.',
    });
  }
}
