/** The keys of a listener that say from where: networks of clients and of proxies. `transports/networks.ts` is what uses them. */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Found } from './layer.ts';
import type { Option } from './option.ts';
import { showValue } from './problems.ts';
import type { Fault } from './tls.ts';
import type { ListenerConfig } from './types.ts';

const BITS_MAX: Readonly<Record<number, number>> = { 4: 32, 6: 128 };

export const DOOR_LIST_OPTIONS: readonly Option[] = [
  {
    key: 'allow',
    format: { kind: 'texts' },
    default: null,
    defaultText: 'everybody',
    doc: 'Networks like 10.0.0.0/8 that clients may come from; behind a trusted proxy their own address counts.',
  },
  {
    key: 'deny',
    format: { kind: 'texts' },
    default: null,
    defaultText: 'nobody',
    doc: 'Networks that clients may not come from; goes before `allow`.',
  },
  {
    key: 'proxyProtocol',
    format: { kind: 'boolean' },
    default: false,
    doc: 'Whether every connection comes from one of `trustedProxies` and begins with a PROXY protocol header, version 1 or 2; others are refused.',
  },
  {
    key: 'trustedProxies',
    format: { kind: 'texts' },
    default: null,
    defaultText: 'none',
    doc: 'Networks of proxies whose PROXY header, or X-Forwarded-For (ws and wss), is believed.',
  },
];

/** Keys without a meaning for a unix socket. */
export const DOOR_LIST_KEYS: ReadonlySet<string> = new Set(DOOR_LIST_OPTIONS.map(({ key }) => key));

type DoorLists = Pick<ListenerConfig, 'allow' | 'deny' | 'trustedProxies' | 'proxyProtocol'>;

/** The keys that are given, checked; faults are reported. */
export function readDoorLists(
  found: Map<string, Found>,
  scheme: ListenerConfig['scheme'],
  fault: Fault,
): DoorLists {
  const lists: DoorLists = {};
  for (const key of ['allow', 'deny', 'trustedProxies'] as const) {
    const texts = found.get(key)?.value as string[] | undefined;
    if (texts === undefined) continue;
    lists[key] = texts;
    for (const text of texts) {
      const remedy = remedyFor(text);
      if (remedy !== null) fault(key, `${showValue(key, text)} is not a network`, remedy);
    }
  }
  if (lists.allow?.length === 0) {
    fault('allow', 'is empty: nobody could connect', 'Name the networks, or leave the key out for everybody');
  }
  const trusts = (lists.trustedProxies?.length ?? 0) > 0;
  if (found.get('proxyProtocol')?.value === true) {
    lists.proxyProtocol = true;
    if (!trusts) {
      fault(
        'proxyProtocol',
        'true without trustedProxies',
        'Name the networks of the proxies in trustedProxies',
      );
    }
  } else if (trusts && (scheme === 'mqtt' || scheme === 'mqtts')) {
    fault('trustedProxies', 'nothing is read of them here', 'Set proxyProtocol: true, or leave the key out');
  }
  return lists;
}

/** What to do about a text that is no network; null: it is one. */
function remedyFor(text: string): string | null {
  const general = 'Give a network like 10.0.0.0/8 or 2001:db8::/32, or one address';
  const [address, bits, ...more] = text.split('/');
  const family = address.includes('%') ? 0 : isIP(address);
  if (family === 0 || more.length > 0) return general;
  if (bits === undefined) return null;
  if (!/^\d{1,3}$/.test(bits) || Number(bits) > BITS_MAX[family]) return general;
  // A list for protection that says something other than it means is worse than none.
  const network = (family === 4 ? ipaddr.IPv4 : ipaddr.IPv6).networkAddressFromCIDR(text).toString();
  return network === ipaddr.parse(address).toString()
    ? null
    : `There are bits behind the prefix: give ${network}/${bits}, or the address alone`;
}
