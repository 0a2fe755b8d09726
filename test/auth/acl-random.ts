/** Seeded random ACL files over few names and levels, so that rules meet, and all clients and topics there are for them. */
import { type AclText, parseAclText } from '../../auth/acl/acl-file.ts';
import type { Action, Identity } from '../../src/interfaces/auth.ts';
import type { Random } from '../codec/random-packets.ts';

const SECTIONS = [
  'all',
  'all',
  'user a',
  'user b',
  'user $s',
  'user a/b',
  'client a',
  'client c',
  'anonymous',
];
const GROUPS = ['g', 'h', 'k'];
const LEVELS = ['a', 'a', 'b', '+', '+', '%u', '%c', '$s'];
const NAMES = ['a', 'b', '$s', 'a/b', '', '+', '$SYS'];

/** The text of a file of up to `rulesMax` rules. */
export function randomAcl(random: Random, rulesMax: number): string {
  const lines: string[] = [];
  for (const group of GROUPS) {
    const members = NAMES.slice(0, 4).filter(() => random.chance(2));
    lines.push(`group ${group}`, ...(members.length > 0 ? [`members ${members.join(' ')}`] : []));
  }
  const rules = 1 + random.below(rulesMax);
  for (let at = 0; at < rules; at++) {
    if (at === 0 || random.chance(2)) {
      lines.push(random.chance(3) ? `group ${random.pick(GROUPS)}` : random.pick(SECTIONS));
    }
    const verb = random.chance(2) ? 'allow' : 'deny';
    lines.push(
      `${verb} ${random.pick(['publish', 'subscribe', 'readwrite', 'all'])} ${randomFilter(random)}`,
    );
    if (random.chance(8)) lines.push('# a comment', '');
  }
  return lines.join('\n');
}

function randomFilter(random: Random): string {
  if (random.chance(8)) return random.pick(['#', '+/#', '$SYS/#', '$SYS', '$SYS/a', '/#', '+/+']);
  const levels = Array.from({ length: 1 + random.below(3) }, () => random.pick(LEVELS));
  return [...levels, ...(random.chance(3) ? ['#'] : [])].join('/');
}

/** Every client with one of the names, the anonymous too. */
export const CLIENTS: readonly Identity[] = [null, ...NAMES].flatMap((username) =>
  ['a', 'c', '$s', 'a/b', '', '#'].map((clientId) => ({ username, clientId })),
);

const TOPICS = words(['a', 'b', '$s', ''], 3).concat('$SYS', '$SYS/a', 'a/b/a/b', 'c/a').filter(Boolean);
const FILTERS = words(['a', '+', '$s'], 2)
  .flatMap((filter) => [filter, `${filter}/#`])
  .concat('#', '$SYS/#', 'a/b/+', '+/+/+');

/** Everything that a client can ask. */
export const QUESTIONS: readonly (readonly [Action, string])[] = [
  ...TOPICS.flatMap((topic) => [['publish', topic] as const, ['receive', topic] as const]),
  ...[...FILTERS, ...TOPICS].map((filter) => ['subscribe', filter] as const),
];

/** The levels in every order, up to `depth` of them. */
function words(levels: readonly string[], depth: number): string[] {
  if (depth === 1) return [...levels];
  const shorter = words(levels, depth - 1);
  return [...levels, ...shorter.flatMap((rest) => levels.map((level) => `${level}/${rest}`))];
}

/** The file without the rules that do not fit. */
export function keepRules(text: AclText, keep: (line: number) => boolean): AclText {
  return { ...text, rules: text.rules.filter(({ line }) => keep(line)) };
}

export function parse(text: string): AclText {
  return parseAclText(text, 'acl');
}
