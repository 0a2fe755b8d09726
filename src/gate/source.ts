/** Where a stranger comes from, as those who count need it: one host, and the neighbourhood it could move about in. */

/** The keys begin with a letter: text that looks like a number is the weak spot of V8's string hash. */
export interface Source {
  /** An IPv4 address, or the /64 of an IPv6 one: what one host gets. */
  readonly host: string;
  /** The /24 or /48 around it: what one customer gets. */
  readonly prefix: string;
}

const GROUPS = 8;
const HOST_GROUPS = 4;
const PREFIX_GROUPS = 3;

/**
 * What `address` is counted under. Null for one that is not counted by itself: this machine (loopback, a unix socket's path), where
 * proxies, tests and services of one owner share an address, and one that is not known yet (empty).
 */
export function sourceOf(address: string): Source | null {
  const zone = address.indexOf('%');
  const bare = zone === -1 ? address : address.slice(0, zone);
  if (bare === '' || bare.startsWith('/')) return null;
  if (!bare.includes(':')) return sourceOfIpv4(bare);
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare);
  if (mapped !== null) return sourceOfIpv4(mapped[1]);
  const groups = groupsOf(bare);
  if (isLoopback(groups)) return null;
  return {
    host: `h${groups.slice(0, HOST_GROUPS).join(':')}`,
    prefix: `p${groups.slice(0, PREFIX_GROUPS).join(':')}`,
  };
}

function sourceOfIpv4(address: string): Source | null {
  if (address.startsWith('127.')) return null;
  return { host: `h${address}`, prefix: `p${address.slice(0, address.lastIndexOf('.'))}` };
}

/** The eight groups of an IPv6 address, each in its shortest spelling; what is wrong with it stays wrong, but has eight groups. */
function groupsOf(address: string): string[] {
  const gap = address.indexOf('::');
  const head = split(gap === -1 ? address : address.slice(0, gap));
  const tail = gap === -1 ? [] : split(address.slice(gap + 2));
  const zeros = Array<string>(Math.max(0, GROUPS - head.length - tail.length)).fill('0');
  return [...head, ...zeros, ...tail].slice(0, GROUPS);
}

function split(part: string): string[] {
  if (part === '') return [];
  return part
    .toLowerCase()
    .split(':')
    .flatMap((group) => (group.includes('.') ? ['0', '0'] : [group.replace(/^0+(?=.)/, '')]));
}

function isLoopback(groups: readonly string[]): boolean {
  return groups[GROUPS - 1] === '1' && groups.slice(0, GROUPS - 1).every((group) => group === '0');
}
