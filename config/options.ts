/**
 * The one option table. Everything that knows an option reads it here: the loader, the environment, the flags, `--help`
 * and docs/config.md. `convict` holds the schema made from it and fills in the defaults.
 */
import convict from 'convict';
import { AUTH_OPTIONS } from './auth-options.ts';
import { describeFormat, type Format, fits, integer } from './formats.ts';
import { guardOptions } from './guard-options.ts';
import { limitOptions } from './limit-options.ts';
import type { Option } from './option.ts';
import { PROCESS_OPTIONS } from './process-options.ts';
import { strangerOptions } from './stranger-options.ts';

const LISTENERS_TEXT = 'a listener on loopback for each of mqtt, mqtts, ws and wss';
const boolean: Format = { kind: 'boolean' };

export const OPTIONS: readonly Option[] = [
  {
    key: 'listeners',
    format: { kind: 'listeners' },
    default: null,
    defaultText: `without a configuration file, ${LISTENERS_TEXT}; with one, none`,
    doc: 'The doors clients come in by; in a flag or variable, URLs separated by commas or a YAML list.',
  },
  {
    key: 'auth.allowAnonymous',
    format: boolean,
    default: null,
    defaultText: 'false; true in local-only mode',
    doc: 'Whether clients without a user name get in.',
  },
  {
    key: 'auth.passwordFile',
    format: { kind: 'path', emptyAllowed: false },
    default: null,
    defaultText: 'none',
    doc: 'File of users and password hashes, written by `sluice passwd`.',
  },
  {
    key: 'auth.aclFile',
    format: { kind: 'path', emptyAllowed: false },
    default: null,
    defaultText: 'none: whoever is logged in may do anything but write $SYS',
    doc: 'File of rules that say who may publish and subscribe to what.',
  },
  {
    key: 'auth.aclShadowFile',
    format: { kind: 'path', emptyAllowed: false },
    default: null,
    defaultText: 'none',
    doc: 'File of rules that are only tried out: what they would decide differently from auth.aclFile is logged as acl.shadow.',
  },
  ...AUTH_OPTIONS,
  ...limitOptions(),
  ...PROCESS_OPTIONS,
  ...strangerOptions(),
  ...guardOptions(),
  {
    key: 'payloadFormatCheck',
    format: boolean,
    default: false,
    doc: 'Whether payloads declared to be UTF-8 are checked and refused when they are not.',
  },
  {
    key: 'queueQos0',
    format: boolean,
    default: false,
    doc: 'Whether QoS 0 messages are kept for sessions that are offline.',
  },
  {
    key: 'queueWhenFull',
    format: { kind: 'choice', values: ['drop-newest', 'drop-oldest'] },
    default: 'drop-newest',
    doc: 'What a full queue (limits.queueMessagesMax, limits.queueBytesMax) loses: the message that comes, or those that have waited longest.',
  },
  {
    key: 'hold',
    format: { kind: 'holds' },
    default: [],
    defaultText: 'none',
    doc: 'Topics whose messages are kept while nobody subscribes to them, and go to the first who does; in a flag or variable, filters separated by commas or a YAML list.',
  },
  {
    key: 'deniedPublish',
    format: { kind: 'choice', values: ['drop', 'disconnect'] },
    default: 'drop',
    doc: 'What happens when a client publishes what it may not: the message is dropped, or the client disconnected.',
  },
  {
    key: 'responseInformation',
    format: { kind: 'text', charactersMax: 1_024 },
    default: '',
    doc: 'Prefix for response topics, sent to MQTT 5 clients that ask for Response Information; empty: not sent.',
  },
  {
    key: 'sys.intervalSeconds',
    format: integer(0, 86_400, 'seconds'),
    default: 10,
    doc: 'Time between two $SYS reports, in seconds; 0: none.',
  },
  {
    key: 'log.level',
    format: { kind: 'choice', values: ['debug', 'info', 'warn', 'error'] },
    default: 'info',
    doc: 'Least severe kind of line that is logged.',
  },
  {
    key: 'log.file',
    format: { kind: 'path', emptyAllowed: true },
    default: 'log/sluice.log',
    doc: 'Log file; a number goes before its extension (log/sluice.1.log); "": standard output.',
  },
  {
    key: 'log.maxSizeBytes',
    format: integer(4_096, 1_099_511_627_776, 'bytes'),
    default: 10_485_760,
    doc: 'Size at which the next log file is begun, in bytes.',
  },
  {
    key: 'log.maxFiles',
    format: integer(2, 10_000, 'files'),
    default: 10,
    doc: 'Log files kept, with the current one; the oldest go first.',
  },
  {
    key: 'log.pretty',
    format: { kind: 'choice', values: ['auto', 'always', 'never'] },
    default: 'auto',
    doc: 'Whether lines on the terminal are made readable instead of JSON; auto: when it is a terminal.',
  },
  {
    key: 'shutdownGraceSeconds',
    format: integer(0, 300, 'seconds'),
    default: 5,
    doc: 'Time connections get to end when the broker stops, in seconds.',
  },
  {
    key: 'persistence.enabled',
    format: boolean,
    default: true,
    doc: 'Whether sessions, queues and retained messages outlive the broker, and are on the disk before they are acknowledged.',
  },
  {
    key: 'persistence.dir',
    format: { kind: 'path', emptyAllowed: false },
    default: 'data',
    doc: 'Folder of the store, of one broker alone; made when missing, for its user alone.',
  },
  {
    key: 'persistence.acknowledge',
    format: { kind: 'choice', values: ['durable', 'committed', 'received'] },
    default: 'durable',
    doc: 'What an acknowledgement says: durable: it is on the disk and survives a power cut; committed: it survives the end of the process; received: neither is waited for.',
  },
  {
    key: 'persistence.diskFreeBytesMin',
    format: integer(0, 1_099_511_627_776, 'bytes'),
    default: 67_108_864,
    doc: 'Free space of the disk below which nothing is taken that would have to be kept, in bytes; 0: only when it is full.',
  },
  {
    key: 'workers',
    format: { kind: 'only', value: 1 },
    default: 1,
    doc: 'Threads that serve connections. More than one is not available in this version.',
  },
];

/** Keys planned for later versions, so that an error can say so instead of "unknown". */
export const PLANNED_KEYS: ReadonlySet<string> = new Set(['admin']);

const byKey = new Map(OPTIONS.map((option) => [option.key, option]));

/** The option with this dotted key, if there is one. */
export function findOption(key: string): Option | undefined {
  return byKey.get(key);
}

/** `limits.queueMessagesMax` → `SLUICE_LIMITS_QUEUE_MESSAGES_MAX`. */
export function envName(key: string): string {
  return `SLUICE_${kebab(key).replace(/[.-]/g, '_').toUpperCase()}`;
}

/** `limits.queueMessagesMax` → `--limits.queueMessagesMax`. */
export function flagName(key: string): string {
  return `--${key}`;
}

/** `limits.queueMessagesMax` → `limits.queue-messages-max`, the other spelling of a flag. */
export function kebab(key: string): string {
  return key.replace(/(?<=[a-z0-9])[A-Z]|(?<=[a-z])\d(?=[a-z])/g, (part) => `-${part.toLowerCase()}`);
}

/** A fresh convict configuration with every option at its default. It reads neither the environment nor the command line. */
export function createSchema(): convict.Config<object> {
  const schema: Record<string, unknown> = {};
  for (const option of OPTIONS) {
    const parts = option.key.split('.');
    const name = parts.pop()!;
    let section = schema;
    for (const part of parts) {
      section[part] ??= {};
      section = section[part] as Record<string, unknown>;
    }
    section[name] = {
      doc: option.doc,
      default: option.default,
      env: envName(option.key),
      format: (value: unknown) => {
        if (value === option.default || fits(option.format, value)) return;
        throw new Error(`must be ${describeFormat(option.format)}`);
      },
    };
  }
  return convict(schema as convict.Schema<object>, { env: {}, args: [] });
}
