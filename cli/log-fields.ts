/** What a log line may hold: no secrets, no control characters, nothing long. */
import { printable } from '../config/problems.ts';

const STRING_CHARACTERS_MAX = 256;
const ITEMS_MAX = 32;
const DEPTH_MAX = 3;
const SECRET_KEYS: ReadonlySet<string> = new Set([
  'password',
  'authenticationData',
  'passphrase',
  'token',
  'secret',
  'payload',
]);
/** Keys of the line itself; a field of that name would stand twice. */
const RESERVED_KEYS: ReadonlySet<string> = new Set(['level', 'time', 'event']);

/** A copy of `fields` that is safe to write, whatever a client put into them. */
export function safeFields(fields: object): Record<string, unknown> {
  return safeObject(fields, 0, RESERVED_KEYS);
}

function safeObject(source: object, depth: number, reserved?: ReadonlySet<string>): Record<string, unknown> {
  const result: Record<string, unknown> = Object.create(null);
  for (const [key, value] of Object.entries(source).slice(0, ITEMS_MAX)) {
    const name = reserved?.has(key) ? `${key}_` : safeText(key);
    if (SECRET_KEYS.has(key)) result[name] = '(not logged)';
    else if (key === 'stack' && typeof value === 'string') result[name] = safeStack(value);
    else result[name] = safeValue(value, depth + 1);
  }
  return result;
}

function safeValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return safeText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return undefined;
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Uint8Array) return `(${value.length} bytes)`;
  if (value instanceof Error) return safeError(value);
  if (depth >= DEPTH_MAX) return '(nested)';
  if (Array.isArray(value)) return value.slice(0, ITEMS_MAX).map((item) => safeValue(item, depth + 1));
  return safeObject(value, depth);
}

/** Name, message and code; the stack only of what nobody raised on purpose, as a list, since a line has no line breaks. */
function safeError(error: Error): Record<string, unknown> {
  const result: Record<string, unknown> = { name: safeText(error.name), message: safeText(error.message) };
  const code = (error as NodeJS.ErrnoException).code;
  if (code !== undefined) result.code = safeText(String(code));
  if (
    ['TypeError', 'RangeError', 'ReferenceError', 'AssertionError', 'Error'].includes(error.name) &&
    !code
  ) {
    result.stack = safeStack(error.stack ?? '');
  }
  return result;
}

/** The first calls, one an item: a stack has line breaks, and a log line has none. */
function safeStack(stack: string): string[] {
  return stack
    .split('\n')
    .slice(1, 9)
    .map((line) => safeText(line.trim()));
}

function safeText(text: string): string {
  // Cut first: what a client sent may be long, and escaping makes it longer.
  if (text.length <= STRING_CHARACTERS_MAX) return printable(text);
  return `${printable(text.slice(0, STRING_CHARACTERS_MAX))}…`;
}
