/** Whom an HTTP proxy says it brings: the header X-Forwarded-For, to which every proxy appends whom it heard. */
import { canonicalAddress } from '../networks.ts';

/** Proxies in a row; more is nonsense, or somebody's attempt to make us read. */
const HOPS_MAX = 32;

/**
 * The client behind a trusted proxy: going back from the right, the first address that is not a trusted proxy's; where all are, the
 * leftmost. What stands further left was claimed by that client and is not looked at.
 * @param header all values joined with commas
 * @returns null when what a trusted proxy wrote is no address
 */
export function forwardedClient(header: string, isTrusted: (address: string) => boolean): string | null {
  const hops = header.split(',', HOPS_MAX + 1);
  if (hops.length > HOPS_MAX) return null;
  let client: string | null = null;
  for (const hop of hops.reverse()) {
    client = addressOf(hop.trim());
    if (client === null || !isTrusted(client)) return client;
  }
  return client;
}

/** Some proxies write the port as well: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
function addressOf(hop: string): string | null {
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(hop);
  if (bracketed !== null) return bracketed[1].includes(':') ? canonicalAddress(bracketed[1]) : null;
  const withPort = /^([\d.]+):\d{1,5}$/.exec(hop);
  return canonicalAddress(withPort === null ? hop : withPort[1]);
}
