/** The options of the sections `throttle`, `bans` and `flapping`: what stands before every login. */
import {
  DEFAULT_FLAPPING_LIMITS,
  DEFAULT_THROTTLE_LIMITS,
  type FlappingLimits,
  type ThrottleLimits,
} from '../src/limits.ts';
import { type Format, integer } from './formats.ts';
import type { Option } from './option.ts';

const failures = integer(1, 1_000_000, 'failed logins');
const seconds = integer(1, 86_400, 'seconds');

/** Range and meaning of each; the record type makes a bound without an option a compile error. */
const THROTTLE_OPTIONS: Record<keyof ThrottleLimits, readonly [Format, string]> = {
  addressFailuresMax: [
    failures,
    'Failed logins from one address (IPv6: /64) before each further one makes it wait, one second and then twice as long each time.',
  ],
  networkFailuresMax: [failures, 'The same from one network (IPv4: /24, IPv6: /48).'],
  userFailuresMax: [
    failures,
    'Failed logins with one user name, from anywhere, before each network has only one free try with it; where the user has logged in before, he is not held up.',
  ],
  clientIdFailuresMax: [failures, 'The same with one client id.'],
  delayMaxSeconds: [seconds, 'Longest time between two tries, in seconds.'],
};

const FLAPPING_OPTIONS: Record<keyof FlappingLimits, readonly [Format, string]> = {
  connectsMax: [
    integer(0, 1_000_000, 'connects'),
    'Logins of one client (user, client id and address together) in a window before it is banned for a while; 0: any number.',
  ],
  windowSeconds: [seconds, 'That window, in seconds.'],
  banSeconds: [seconds, 'Time it is banned for, in seconds.'],
};

/** One option for each, with the defaults of src/limits.ts. */
export function guardOptions(): Option[] {
  return [
    {
      key: 'throttle.enabled',
      format: { kind: 'boolean' },
      default: true,
      doc: 'Whether failed logins make the next ones wait.',
    },
    ...Object.entries(THROTTLE_OPTIONS).map(([name, [format, doc]]) => ({
      key: `throttle.${name}`,
      format,
      default: DEFAULT_THROTTLE_LIMITS[name as keyof ThrottleLimits],
      doc,
    })),
    {
      key: 'bans.file',
      format: { kind: 'path', emptyAllowed: false },
      default: null,
      defaultText: '`bans.jsonl` in `persistence.dir`',
      doc: 'File of bans, written by `sluice ban`; it need not exist.',
    },
    ...Object.entries(FLAPPING_OPTIONS).map(([name, [format, doc]]) => ({
      key: `flapping.${name}`,
      format,
      default: DEFAULT_FLAPPING_LIMITS[name as keyof FlappingLimits],
      doc,
    })),
  ];
}
