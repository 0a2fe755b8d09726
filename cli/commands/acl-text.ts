/** What `sluice acl` prints. Names, topics and lines of the file are shown escaped: they may be anybody's. */
import type { AclReport } from '../../auth/acl/acl-check.ts';
import type { Explanation, FilterPart, Look } from '../../auth/acl/acl-explain.ts';
import { PUBLISH, type Subject } from '../../auth/acl/acl-rules.ts';
import { problemsOf } from '../../auth/files/bad-lines.ts';
import { printable } from '../../config/problems.ts';
import type { ConfigError } from '../../src/errors.ts';
import type { Identity } from '../../src/interfaces/auth.ts';
import type { Asked } from './acl-actions.ts';

const VERBS = { publish: 'publish to', subscribe: 'subscribe to', receive: 'receive' };

/** The answer in lines. @param all with what was looked at before */
export function describeExplanation(asked: Asked, all: boolean): string {
  const { identity, action, topic, why, refusedBy } = asked;
  const allowed = why.allowed && refusedBy === null;
  const lines = [
    `${allowed ? 'allowed' : 'denied'}: ${who(identity)} ${allowed ? 'may' : 'may not'} ${VERBS[action]} ${quote(topic)}`,
  ];
  if (refusedBy !== null) lines.push(`  refused before any rule is asked: ${refusedBy}; the rules say:`);
  lines.push(...reason(asked));
  if (why.parts.length > 0 && /[+#]/.test(topic)) lines.push(...partLines(why, asked.file));
  if (all) lines.push(...beforeLines(asked));
  return asLines(lines);
}

function who({ username, clientId }: Identity): string {
  const user = username === null ? 'an anonymous client' : `user ${quote(username)}`;
  return username === null ? `${user} ${quote(clientId)}` : `${user}, client ${quote(clientId)},`;
}

function reason({ file, why }: Asked): string[] {
  if (why.by === 'built-in') return ['  built in: nobody may publish to $SYS'];
  if (file === null) return ['  there is no ACL file, so everything is allowed but publishing to $SYS'];
  const { rule: look } = why;
  if (look === null) return [`  no rule of ${printable(file)} fits, and what no rule fits is denied`];
  const { rule, filters, filled } = look;
  const lines = [
    `  ${printable(`${file}:${rule.line}`)}: ${printable(rule.text)}`,
    `  in section ${section(rule.subject)}`,
  ];
  if (filled.length === 0) return lines;
  const names = filled.map(({ placeholder, name, problem }) => {
    const odd = problem === null ? '' : `, which ${problem}: so the rule is as wide as it could be meant`;
    return `${placeholder} is ${quote(name)}${odd}`;
  });
  return [...lines, `  reads as ${filters.map(quote).join(' and ')} (${names.join('; ')})`];
}

/** A filter is allowed when something of it is; which, is decided message by message. */
function partLines({ parts }: Explanation, file: string | null): string[] {
  const lines = parts.map(({ allow, line, filter, hiddenByLine }: FilterPart) => {
    const hidden = hiddenByLine === null ? '' : `, but line ${hiddenByLine} denies all of that before`;
    return `  ${printable(`${file}:${line}`)}: ${allow ? 'allows' : 'denies'} ${quote(filter)}${hidden}`;
  });
  return [
    'Of what it selects, the first of these that fits decides for each message, else it is denied:',
    ...lines,
  ];
}

function beforeLines({ file, identity, why }: Asked): string[] {
  if (why.before.length === 0) return ['No rule was looked at before.'];
  const lines = why.before.map((look) => {
    const place = printable(`${file}:${look.rule.line}`);
    return `  ${place}: ${printable(look.rule.text)} (${section(look.rule.subject)}): ${passedOver(look, identity)}`;
  });
  return [why.rule === null ? 'Looked at:' : 'Looked at before:', ...lines];
}

/** Why a line did not decide. */
function passedOver({ rule, filters, filled, finding }: Look, identity: Identity): string {
  switch (finding) {
    case 'others':
      return speaksOfOthers(rule.subject, identity);
    case 'falls-away':
      return filled
        .filter(({ problem }) => problem !== null)
        .map(
          ({ placeholder, name, problem }) =>
            `${quote(name)} ${problem}, and is never put in for ${placeholder}`,
        )
        .join('; ');
    case 'other-action':
      return `it speaks of ${(rule.actions & PUBLISH) !== 0 ? 'publishing' : 'subscribing and receiving'} only`;
    case 'denies-part':
      return 'it denies only part of what the filter selects';
    case 'hidden':
      return 'what it allows of the filter is denied before';
    default:
      return `${filters.map(quote).join(' and ')} does not fit`;
  }
}

function speaksOfOthers(subject: Subject, { username }: Identity): string {
  if (subject.kind === 'group') {
    const member = username === null ? 'an anonymous client' : quote(username);
    return `${member} is not in the group`;
  }
  if (subject.kind === 'anonymous') return 'the client has a user name';
  return `it speaks of another ${subject.kind}`;
}

function section(subject: Subject): string {
  return 'name' in subject ? `${subject.kind} ${quote(subject.name)}` : subject.kind;
}

/** The answer as one line of JSON. */
export function explanationJson(asked: Asked, all: boolean): string {
  const { identity, action, topic, file, refusedBy, why } = asked;
  return toJson({
    allowed: why.allowed && refusedBy === null,
    by: refusedBy !== null ? 'setting' : why.by === 'none' && file === null ? 'no-file' : why.by,
    ...(refusedBy === null ? {} : { setting: refusedBy }),
    user: identity.username,
    client: identity.clientId,
    action,
    topic,
    file,
    rule: why.rule === null ? null : lookJson(why.rule),
    parts: why.parts,
    ...(all ? { before: why.before.map(lookJson) } : {}),
  });
}

function lookJson({ rule, filters, filled, finding }: Look): object {
  return { line: rule.line, text: rule.text, section: rule.subject, filters, filled, finding };
}

/** What was found in a file, in lines. */
export function describeReport(file: string, { remarks, faults, notes }: AclReport): string {
  const lines = remarks.map(({ severity, line, problem, remedy }) =>
    printable(`${file}:${line}: ${severity}: ${problem}. ${remedy}`),
  );
  const more = faults + notes - remarks.length;
  if (more > 0) lines.push(`and ${more} more`);
  lines.push(
    faults === 0 ? `ok: ${count(notes, 'note')}` : `${count(faults, 'fault')}, ${count(notes, 'note')}`,
  );
  return asLines(lines);
}

/** What was found in a file, as one line of JSON. */
export function checkJson(file: string, { remarks, faults, notes }: AclReport): string {
  return toJson({ file, faults, notes, badLines: [], remarks });
}

/** The lines that cannot be used. */
export function describeFaultyLines(error: ConfigError): string {
  const lines = problemsOf(error).map(({ message }) => printable(message));
  return asLines([...lines, 'Nothing else was looked at: the broker would not use this file.']);
}

/** The same as one line of JSON. */
export function faultyLinesJson(file: string, error: ConfigError): string {
  const badLines = problemsOf(error).map(({ message }) => message);
  return toJson({ file, faults: badLines.length, notes: 0, badLines, remarks: [] });
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function asLines(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

/** In quotes, so that blanks at the ends show; nothing in it moves a cursor or turns text. */
function quote(text: string): string {
  return printable(JSON.stringify(text));
}

/** One line, in which what a terminal could take for more than text is escaped, as JSON allows. */
function toJson(value: unknown): string {
  const text = JSON.stringify(value);
  return `${text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escapeUnits)}\n`;
}

/** Every UTF-16 unit of the text as \uXXXX. */
function escapeUnits(text: string): string {
  const units = Array.from({ length: text.length }, (_, at) => text.charCodeAt(at));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
}
