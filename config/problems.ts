/** Saying what is wrong with a configuration: all of it at once, and never a secret. */
import type { ConfigError } from '../src/errors.ts';

const SHOWN_MAX = 80;
const SECRET_NAME = /pass(?!wordFile$)|secret(?!File$)|token(?!File$)|credential|private|api.?key/i;
/** Line breaks, terminal sequences, bidi overrides, invisible and lone surrogate characters. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Every problem of one configuration. The message has one line for each. */
export class ConfigErrors extends Error {
  readonly problems: readonly ConfigError[];
  constructor(problems: readonly ConfigError[]) {
    const lines = problems.map((problem) => problem.message);
    super(
      lines.length === 1 ? lines[0] : `${lines.length} problems:\n${lines.map((l) => `  ${l}`).join('\n')}`,
    );
    this.name = 'ConfigErrors';
    this.problems = problems;
  }
}

/**
 * A value as an error may show it: JSON, control characters escaped, cut at 80 characters, user names and passwords in
 * URLs left out. A key that sounds like a secret (`password`, `token`, …) shows nothing of its value.
 */
export function showValue(key: string, value: unknown): string {
  if (value === undefined) return 'nothing';
  if (SECRET_NAME.test(key) || (typeof value === 'string' && value.includes('PRIVATE KEY')))
    return '(not shown)';
  if (value !== null && typeof value === 'object') return Array.isArray(value) ? 'a list' : 'a mapping';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  const safe = printable(text).replace(/\/\/[^/@]*@/g, '//(not shown)@');
  return safe.length > SHOWN_MAX ? `${safe.slice(0, SHOWN_MAX)}…` : safe;
}

/** Text with control, format and line-separating characters written as `\uXXXX`, safe for a terminal and a log. */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const hex = character.codePointAt(0)!.toString(16).padStart(4, '0');
    return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex}`;
  });
}

/** The candidate nearest to `name` when it is near enough to be a slip of the fingers, else null. */
export function nearest(name: string, candidates: Iterable<string>): string | null {
  const wanted = name.toLowerCase().slice(0, 64);
  let best: string | null = null;
  let bestDistance = Math.max(wanted.length < 4 ? 1 : 2, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance, two rows at a time. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substituted = previous[column - 1] + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(substituted, previous[column] + 1, current[column - 1] + 1));
    }
    previous = current;
  }
  return previous[b.length];
}
