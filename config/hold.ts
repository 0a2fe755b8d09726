/** The entries of `hold`: topics whose messages wait for their first subscriber. */
import { ConfigError } from '../src/errors.ts';
import { isValidTopicFilter } from '../src/topics/names.ts';
import { integer } from './formats.ts';
import { collect, type Found } from './layer.ts';
import type { Option } from './option.ts';
import { showValue } from './problems.ts';
import type { HoldConfig } from './types.ts';
import type { Tree } from './yaml-file.ts';

/** The keys of one entry of `hold`. */
export const HOLD_OPTIONS: readonly Option[] = [
  {
    key: 'filter',
    format: { kind: 'text', charactersMax: 4_096 },
    default: null,
    defaultText: 'required',
    doc: 'Topic filter of the messages that are held; a topic that several entries match belongs to the first.',
  },
  {
    key: 'messagesMax',
    format: integer(1, 10_000_000, 'messages'),
    default: 10_000,
    doc: 'Messages held; those over it are refused.',
  },
  {
    key: 'bytesMax',
    format: integer(1, 1_099_511_627_776, 'bytes'),
    default: 8_388_608,
    doc: 'Bytes (topic, payload, properties) held, in memory as well as in the store.',
  },
  {
    key: 'expirySeconds',
    format: integer(0, 4_294_967_295, 'seconds'),
    default: 604_800,
    doc: 'How long a message is held, in seconds, unless it expires sooner; 0: for ever.',
  },
];

/** Reads the list, adds each value's source to `sources` and each fault to `problems`. */
export function readHolds(tree: Tree, sources: Map<string, string>, problems: ConfigError[]): HoldConfig[] {
  const holds: HoldConfig[] = [];
  const items = tree.kind === 'list' ? tree.items : [];
  items.forEach((item, index) => {
    const name = `hold[${index}]`;
    if (item.kind !== 'map') {
      const remedy = 'Write it as "- filter: jobs/#"';
      problems.push(new ConfigError(`${item.where}: ${name}`, 'not a mapping with a filter', remedy));
      return;
    }
    const found = new Map<string, Found>();
    collect(item, HOLD_OPTIONS, new Set(), found, problems, (key) => `${name}.${key}`);
    for (const [key, { source }] of found) sources.set(`${name}.${key}`, source);
    const value = (key: string): unknown =>
      found.get(key)?.value ?? HOLD_OPTIONS.find((option) => option.key === key)?.default;
    const filter = value('filter') as string | null;
    const problem = faultOf(filter, holds);
    if (problem !== null) {
      const where = `${found.get('filter')?.source ?? item.where}: ${name}.filter`;
      problems.push(new ConfigError(where, problem, 'Give a topic filter like jobs/#'));
      return;
    }
    holds.push({
      filter: filter!,
      messagesMax: value('messagesMax') as number,
      bytesMax: value('bytesMax') as number,
      expirySeconds: value('expirySeconds') as number,
    });
  });
  return holds;
}

function faultOf(filter: string | null, before: readonly HoldConfig[]): string | null {
  if (filter === null) return 'missing';
  const shown = showValue('filter', filter);
  if (!isValidTopicFilter(filter, Number.POSITIVE_INFINITY)) return `${shown} is not a topic filter`;
  if (filter.startsWith('$share/')) return `${shown} is a shared subscription, and nobody subscribes here`;
  return before.some((hold) => hold.filter === filter) ? `${shown} stands there twice` : null;
}
