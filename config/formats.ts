/** The kinds of value an option can have: how text becomes one, how one is checked, how it is described. */
import { parse as parseYaml } from 'yaml';

export type Format =
  | { readonly kind: 'integer'; readonly min: number; readonly max: number; readonly unit: string }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'choice'; readonly values: readonly (string | number | boolean)[] }
  | { readonly kind: 'choices'; readonly values: readonly (string | number)[] }
  | { readonly kind: 'text'; readonly charactersMax: number }
  | { readonly kind: 'texts' }
  | { readonly kind: 'path'; readonly emptyAllowed: boolean }
  /** One path, or a list of them. */
  | { readonly kind: 'paths' }
  | { readonly kind: 'mode' }
  | { readonly kind: 'url' }
  | { readonly kind: 'listeners' }
  | { readonly kind: 'holds' }
  | { readonly kind: 'sni' }
  /** An option whose feature is not built yet: only the value that is true today. */
  | { readonly kind: 'only'; readonly value: string | number | boolean };

/** A whole number from `min` to `max`, both included. */
export function integer(min: number, max: number, unit: string): Format {
  return { kind: 'integer', min, max, unit };
}

/** What a format accepts, in words that fit behind "Give" and into the documentation. */
export function describeFormat(format: Format): string {
  switch (format.kind) {
    case 'integer':
      return `a whole number from ${format.min} to ${format.max}${format.unit === '' ? '' : ` (${format.unit})`}`;
    case 'boolean':
      return 'true or false';
    case 'choice':
      return `one of ${format.values.join(', ')}`;
    case 'choices':
      return `a list of some of ${format.values.join(', ')}`;
    case 'text':
      return `text of at most ${format.charactersMax} characters`;
    case 'texts':
      return 'a list of texts';
    case 'path':
      return format.emptyAllowed ? 'a file path, or "" for none' : 'a file path';
    case 'paths':
      return 'a file path, or a list of them';
    case 'mode':
      return 'permission bits as a quoted octal text like "0660"';
    case 'url':
      return 'a listener URL like mqtt://127.0.0.1:1883, ws://127.0.0.1:8083/mqtt or unix:///run/sluice.sock';
    case 'listeners':
      return 'a list of listeners, each with its url';
    case 'holds':
      return 'a list of mappings, each with its filter';
    case 'sni':
      return 'a list of mappings, each with name, cert and key';
    case 'only':
      return `only ${JSON.stringify(format.value)} in this version`;
  }
}

/** Whether `value` fits. Says yes or no; `describeFormat` says what would fit. */
export function fits(format: Format, value: unknown): boolean {
  switch (format.kind) {
    case 'integer':
      return (
        Number.isSafeInteger(value) && (value as number) >= format.min && (value as number) <= format.max
      );
    case 'boolean':
      return typeof value === 'boolean';
    case 'choice':
      return format.values.includes(value as string | number | boolean);
    case 'choices':
      return isChoices(format.values, value);
    case 'text':
      return typeof value === 'string' && isPlain(value) && value.length <= format.charactersMax;
    case 'texts':
      return Array.isArray(value) && value.every((text) => typeof text === 'string' && isPlain(text) && text);
    case 'path':
      return typeof value === 'string' && isPlain(value) && (format.emptyAllowed || value !== '');
    case 'paths':
      return typeof value === 'string' ? isPlain(value) && value !== '' : isPaths(value);
    case 'mode':
      return typeof value === 'string' && /^0?[0-7]{3}$/.test(value);
    case 'url':
      return typeof value === 'string' && isPlain(value);
    case 'listeners':
      return Array.isArray(value) && value.length > 0;
    case 'holds':
    case 'sni':
      return Array.isArray(value);
    case 'only':
      return value === format.value;
  }
}

/** The value that text from the environment or the command line stands for; text that stands for none comes back as it is. */
export function fromText(format: Format, text: string): unknown {
  switch (format.kind) {
    case 'integer':
      return /^-?\d{1,16}$/.test(text) ? Number(text) : text;
    case 'boolean':
      return toBoolean(text);
    case 'choice':
      return format.values.find((value) => String(value) === text) ?? text;
    case 'choices':
      return text.split(',').map((part) => fromText({ kind: 'choice', values: format.values }, part.trim()));
    case 'texts':
      return text.split(',').map((part) => part.trim());
    case 'listeners':
      return listFromText(text, 'url');
    case 'holds':
      return listFromText(text, 'filter');
    case 'only':
      return String(format.value) === text ? format.value : text;
    default:
      return text;
  }
}

function isChoices(allowed: readonly (string | number)[], value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0 || new Set(value).size !== value.length) return false;
  return value.every((item) => allowed.includes(item));
}

function isPaths(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  return value.every((path) => typeof path === 'string' && isPlain(path) && path !== '');
}

function isPlain(text: string): boolean {
  return !/[\p{Cc}\u2028\u2029]/u.test(text);
}

function toBoolean(text: string): unknown {
  if (text === 'true') return true;
  return text === 'false' ? false : text;
}

/** Either `[{ KEY: … }, …]` in YAML or JSON, or the values of KEY separated by commas. */
function listFromText(text: string, key: string): unknown {
  if (!text.trimStart().startsWith('[')) return text.split(',').map((value) => ({ [key]: value.trim() }));
  try {
    return parseYaml(text, { uniqueKeys: true, stringKeys: true, logLevel: 'error' });
  } catch {
    // What cannot be parsed is refused as text by `fits`, with the key and the source.
    return text;
  }
}
