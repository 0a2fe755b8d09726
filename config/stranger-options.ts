/** The options of section `strangers`. */
import { DEFAULT_STRANGER_LIMITS, type StrangerLimits } from '../src/limits.ts';
import { type Format, integer } from './formats.ts';
import type { Option } from './option.ts';

/** Range and meaning of each; the record type makes a bound without an option a compile error. */
const STRANGER_OPTIONS: Record<keyof StrangerLimits, readonly [Format, string]> = {
  totalMax: [
    integer(1, 10_000_000, 'connections'),
    'Connections that have not logged in, handshakes included; when there are so many, the oldest is closed for a new one.',
  ],
  perAddressMax: [
    integer(0, 10_000_000, 'connections'),
    'The same from one address (IPv6: /64); 0: no limit. This machine is not counted, here and below.',
  ],
  perPrefixMax: [
    integer(0, 10_000_000, 'connections'),
    'The same from one network (IPv4: /24, IPv6: /48); 0: no limit.',
  ],
  connectsPerSecondPerAddressMax: [
    integer(0, 1_000_000, 'connections a second'),
    'Connections one address may open a second, on average; 0: no limit.',
  ],
  connectBurstPerAddressMax: [
    integer(1, 10_000_000, 'connections'),
    'Connections one address may open at once before that average counts.',
  ],
  connectionsPerAddressMax: [
    integer(0, 10_000_000, 'connections'),
    'Connections from one address, logged in or not; 0: no limit.',
  ],
};

/** One option for each, with the default of src/limits.ts. */
export function strangerOptions(): Option[] {
  return Object.entries(STRANGER_OPTIONS).map(([name, [format, doc]]) => ({
    key: `strangers.${name}`,
    format,
    default: DEFAULT_STRANGER_LIMITS[name as keyof StrangerLimits],
    doc,
  }));
}
