/** The options that say how the process runs: as whom, and what it may take of its machine. */
import { type Format, integer } from './formats.ts';
import type { Option } from './option.ts';

const name: Format = { kind: 'text', charactersMax: 256 };

export const PROCESS_OPTIONS: readonly Option[] = [
  {
    key: 'limits.memoryMaxBytes',
    format: integer(0, 1_099_511_627_776, 'bytes'),
    default: 0,
    defaultText: '0: three quarters of what the machine, or the container, has',
    doc: 'Memory the process may have, in bytes; load is shed from 80 % of it on.',
  },
  {
    key: 'overload.eventLoopDelayMsMax',
    format: integer(0, 60_000, 'milliseconds'),
    default: 500,
    doc: 'Mean delay of the event loop above which load is shed, in milliseconds; 0: not watched.',
  },
  {
    key: 'user',
    format: name,
    default: null,
    defaultText: 'none: the broker stays who started it',
    doc: 'User, a name or a number, that the broker becomes once its ports are open; only root can.',
  },
  {
    key: 'group',
    format: name,
    default: null,
    defaultText: 'the main group of `user`',
    doc: 'Group, a name or a number, that the broker becomes a member of with `user`.',
  },
  {
    key: 'allowOpenFiles',
    format: { kind: 'boolean' },
    default: false,
    doc: 'Whether private keys, secrets and password files may be readable by group and others; false: the broker does not start with such a file.',
  },
];
