/**
 * The ACL file. Sections say who, the rules under them say what; the first rule that fits decides, and what no rule
 * fits is denied. An empty file therefore denies everything.
 *
 *     user NAME | group NAME | client ID | anonymous | all
 *     allow|deny  publish|subscribe|readwrite|all  FILTER
 *     members alice bob          inside a group; `member NAME` takes one name that may have spaces
 *
 * `subscribe` also covers what is delivered. `%u` (user name) and `%c` (client id) stand for one whole level.
 * Lines beginning with `#` are comments; `#` later in a line belongs to the filter.
 */
import { ConfigError } from '../../src/errors.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { isValidTopicFilter } from '../../src/topics/names.ts';
import { LineFaults } from '../files/bad-lines.ts';
import { hasControlCharacter, readGuardedFile, splitLines } from '../files/guarded-file.ts';
import { type AclRule, AclRules, PUBLISH, SUBSCRIBE, type Subject } from './acl-rules.ts';

/** 16 MiB, some 400 000 rules: read and parsed in one go. */
const FILE_BYTES_MAX = 16_777_216;

/** What a rule may speak of. Being allowed to read and write is all there is, so `readwrite` and `all` are one. */
const ACTIONS: ReadonlyMap<string, number> = new Map([
  ['publish', PUBLISH],
  ['subscribe', SUBSCRIBE],
  ['readwrite', PUBLISH | SUBSCRIBE],
  ['all', PUBLISH | SUBSCRIBE],
]);

const ALL: Subject = Object.freeze({ kind: 'all' });

export interface AclFileOptions {
  /** Skips the check that only owner and group may write the file. */
  readonly allowUnsafeModes?: boolean;
}

/**
 * Reads and checks the whole file, which others must not be able to write.
 * @throws ConfigError naming file and line; nothing of a file with an error is used
 */
export function readAclFile(path: string, options: AclFileOptions = {}): AclRules {
  return rulesOf(readAclText(path, options));
}

/**
 * Reads and checks the whole file, for those who want to know its lines.
 * @throws ConfigError naming file and line; BadLines where several lines are wrong
 */
export function readAclText(path: string, options: AclFileOptions = {}): AclText {
  const text = readGuardedFile(path, {
    fileBytesMax: FILE_BYTES_MAX,
    forbiddenMode: options.allowUnsafeModes === true ? 0 : 0o002,
    modeRemedy: `Run "chmod o-w ${path}".`,
  });
  return parseAclText(text, path);
}

/**
 * Parses the text of an ACL file.
 * @param path only for errors
 * @throws ConfigError naming file and line; BadLines where several lines are wrong
 */
export function parseAcl(text: string, path: string): AclRules {
  return rulesOf(parseAclText(text, path));
}

/** The rules of a file as the broker applies them. */
export function rulesOf({ rules, members }: AclText): AclRules {
  const groupsOf = new Map<string, Set<string>>();
  for (const { username, group } of members) {
    const groups = groupsOf.get(username);
    if (groups === undefined) groupsOf.set(username, new Set([group]));
    else groups.add(group);
  }
  return new AclRules(rules, groupsOf);
}

/** The head of a section. */
export interface Section {
  readonly subject: Subject;
  readonly line: number;
}

/** One name of a `members` or `member` line. */
export interface Member {
  readonly group: string;
  readonly username: string;
  readonly line: number;
}

/** What stands in an ACL file, line by line. */
export interface AclText {
  readonly rules: readonly AclRule[];
  readonly members: readonly Member[];
  readonly sections: readonly Section[];
}

/**
 * Parses the text of an ACL file, for those who want to know its lines.
 * @param path only for errors
 * @throws ConfigError naming file and line; BadLines where several lines are wrong
 */
export function parseAclText(text: string, path: string): AclText {
  const parser = new AclParser(path);
  const faults = new LineFaults(path);
  for (const [index, raw] of splitLines(text).entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    try {
      parser.take(line, index + 1);
    } catch (error) {
      faults.add(error);
      if (faults.full) break;
    }
  }
  faults.throwIfAny();
  return parser;
}

/** Takes a file line by line. */
class AclParser implements AclText {
  readonly rules: AclRule[] = [];
  readonly members: Member[] = [];
  readonly sections: Section[] = [];
  readonly #path: string;
  /** Null before the first section; unknown after a line that may have been meant to begin one. */
  #subject: Subject | null | 'unknown' = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws ConfigError */
  take(text: string, line: number): void {
    const where = `${this.#path}:${line}`;
    if (hasControlCharacter(text, true)) {
      throw new ConfigError(where, 'the line has a control character', 'Write printable text.');
    }
    const [word, rest] = cut(text);
    if (word === 'allow' || word === 'deny') this.#takeRule(word === 'allow', rest, text, line, where);
    else if (word === 'member' || word === 'members') this.#takeMembers(word, rest, line, where);
    else this.#takeSection(word, rest, line, where);
  }

  #takeRule(allow: boolean, rest: string, text: string, line: number, where: string): void {
    const rule = parseRule(rest, where);
    const subject = this.#subject === 'unknown' ? ALL : inside(this.#subject, where);
    this.rules.push({ subject, allow, actions: rule.actions, filter: rule.filter, line, text });
  }

  #takeMembers(word: 'member' | 'members', rest: string, line: number, where: string): void {
    const group = this.#subject === 'unknown' ? '' : groupName(this.#subject, where);
    for (const username of memberNames(word, rest, where)) this.members.push({ group, username, line });
  }

  #takeSection(word: string, name: string, line: number, where: string): void {
    // Set first: one bad head must not make every line under it bad as well.
    this.#subject = 'unknown';
    const subject = parseSubject(word, name, where);
    this.#subject = subject;
    this.sections.push({ subject, line });
  }
}

/** The first word and the rest, without the blanks between them. */
function cut(text: string): [word: string, rest: string] {
  const word = /^\S*/.exec(text)![0];
  return [word, text.slice(word.length).trim()];
}

function parseSubject(word: string, name: string, where: string): Subject {
  switch (word) {
    case 'user':
    case 'group':
    case 'client':
      if (name === '')
        throw new ConfigError(where, `"${word}" has no name after it`, `Write ${word} NAME on one line.`);
      return { kind: word, name };
    case 'anonymous':
    case 'all':
      if (name !== '')
        throw new ConfigError(where, `"${word}" takes no name`, 'Put the rules on lines of their own.');
      return { kind: word };
    default:
      throw new ConfigError(
        where,
        `"${printable(word)}" begins neither a section nor a rule`,
        'Begin with user, group, client, anonymous, all, allow, deny, members or member.',
      );
  }
}

function parseRule(text: string, where: string): Pick<AclRule, 'actions' | 'filter'> {
  const [word, filter] = cut(text);
  const actions = ACTIONS.get(word);
  if (actions === undefined) {
    throw new ConfigError(
      where,
      `"${printable(word)}" is no action`,
      'After allow or deny comes publish, subscribe, readwrite or all, then a topic filter.',
    );
  }
  checkFilter(filter, where);
  return { actions, filter };
}

function checkFilter(filter: string, where: string): void {
  if (filter === '')
    throw new ConfigError(where, 'the topic filter is missing', 'Write e.g. sensors/+/state.');
  if (/^\$share(\/|$)/.test(filter)) {
    throw new ConfigError(
      where,
      'a rule speaks of topics, not of shared subscriptions',
      'Leave out $share/GROUP/: the rule covers shared subscriptions as well.',
    );
  }
  if (
    Buffer.byteLength(filter) > DEFAULT_LIMITS.topicBytesMax ||
    !isValidTopicFilter(filter, DEFAULT_LIMITS.topicLevelsMax)
  ) {
    throw new ConfigError(
      where,
      `"${printable(filter)}" is not a topic filter`,
      'A + stands for a whole level and # only at the end; comments go on lines of their own.',
    );
  }
  for (const level of filter.split('/')) {
    if (level !== '%u' && level !== '%c' && /%[uc]/.test(level)) {
      throw new ConfigError(
        where,
        `"${printable(level)}" mixes %u or %c with other text`,
        'Give %u and %c a level of their own, e.g. devices/%c/state.',
      );
    }
  }
}

function inside(subject: Subject | null, where: string): Subject {
  if (subject !== null) return subject;
  throw new ConfigError(
    where,
    'the rule stands before any section',
    'Write user NAME, group NAME, client ID, anonymous or all above it.',
  );
}

function groupName(subject: Subject | null, where: string): string {
  if (subject !== null && subject.kind === 'group') return subject.name;
  throw new ConfigError(where, 'members stand outside a group', 'Write group NAME above them.');
}

function memberNames(word: 'member' | 'members', rest: string, where: string): string[] {
  if (rest === '') throw new ConfigError(where, 'no member is named', 'Write members alice bob.');
  return word === 'member' ? [rest] : rest.split(/\s+/);
}

/** Text from the file for an error message: short, and nothing that moves a terminal's cursor or turns its text. */
function printable(text: string): string {
  const short = text.length > 64 ? `${text.slice(0, 64)}…` : text;
  return short.replace(/[\p{C}\u2028\u2029]/gu, '?');
}
