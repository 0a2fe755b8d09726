/** Networks of IP addresses, as the lists of a listener name them (docs/decisions/0013-networks-and-proxies.md). */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { ConfigError } from '../src/errors.ts';

type Ip = ipaddr.IPv4 | ipaddr.IPv6;

const REMEDY = 'Write a network like 10.0.0.0/8 or 2001:db8::/32, or one address';
const MAPPED_BITS = 96;

/** A list of networks, each `ADDRESS/BITS`, or an address alone. */
export class Networks {
  readonly #ranges: readonly (readonly [Ip, number])[];

  /**
   * @param where what errors name, e.g. `mqtt://0.0.0.0:1883 allow`
   * @throws ConfigError when a text is no network
   */
  constructor(where: string, texts: readonly string[]) {
    this.#ranges = texts.map((text) => parseNetwork(where, text));
  }

  get size(): number {
    return this.#ranges.length;
  }

  /** Whether one of the networks holds `address`; false for what is no IP address. An IPv4 address in IPv6 clothes is an IPv4 address. */
  includes(address: string): boolean {
    if (this.#ranges.length === 0) return false;
    const ip = parseIp(address);
    return ip !== null && this.#ranges.some(([range, bits]) => holds(range, bits, ip));
  }
}

function holds(range: Ip, bits: number, ip: Ip): boolean {
  return range.kind() === ip.kind() && ip.match(range as never, bits);
}

function parseNetwork(where: string, text: string): readonly [Ip, number] {
  const slash = text.indexOf('/');
  const address = slash === -1 ? text : text.slice(0, slash);
  const bare = address.includes('%') ? null : strictIp(address);
  if (bare === null) throw new ConfigError(where, `"${text}" is not a network`, REMEDY);
  const isMapped = bare.kind() === 'ipv6' && (bare as ipaddr.IPv6).isIPv4MappedAddress();
  const ip = plain(bare);
  const bitsMax = ip.toByteArray().length * 8;
  const bitsText = slash === -1 ? String(isMapped ? bitsMax + MAPPED_BITS : bitsMax) : text.slice(slash + 1);
  const bits = /^\d{1,3}$/.test(bitsText) ? Number(bitsText) - (isMapped ? MAPPED_BITS : 0) : -1;
  if (bits < 0 || bits > bitsMax) {
    throw new ConfigError(where, `"${text}" has no prefix length from 0 to ${bitsMax}`, REMEDY);
  }
  // A list for protection that says something other than it means is worse than none.
  if (firstOf(ip, bits) !== ip.toString()) {
    const problem = `"${text}" has bits behind its prefix`;
    throw new ConfigError(where, problem, `Write ${firstOf(ip, bits)}/${bits}, or the address alone`);
  }
  return [ip, bits];
}

/** The first address of the network that `ip` is in. */
function firstOf(ip: Ip, bits: number): string {
  const bytes = ip.toByteArray().map((byte, index) => {
    const kept = Math.min(Math.max(bits - index * 8, 0), 8);
    return byte & (0xff00 >> kept) & 0xff;
  });
  return ipaddr.fromByteArray(bytes).toString();
}

/** The one spelling of an address that text or bytes stand for; null when they stand for none, or for one with a zone. */
export function canonicalAddress(given: string | Uint8Array): string | null {
  if (typeof given !== 'string') return spell(ipaddr.fromByteArray([...given]));
  const ip = strictIp(given);
  return ip === null || given.includes('%') ? null : spell(ip);
}

function spell(ip: Ip): string {
  const bare = plain(ip);
  return bare.kind() === 'ipv4' ? bare.toString() : (bare as ipaddr.IPv6).toRFC5952String();
}

/** The zone of a link-local address says by which interface it came, not who it is. */
function parseIp(address: string): Ip | null {
  const zone = address.indexOf('%');
  const ip = strictIp(zone === -1 ? address : address.slice(0, zone));
  return ip === null ? null : plain(ip);
}

/** Node's own check first: `ipaddr.js` also takes `0x7f.1` and leading zeros for octal numbers. */
function strictIp(text: string): Ip | null {
  return isIP(text) === 0 ? null : ipaddr.parse(text);
}

function plain(ip: Ip): Ip {
  if (ip.kind() === 'ipv4') return ip;
  const ipv6 = ip as ipaddr.IPv6;
  return ipv6.isIPv4MappedAddress() ? ipv6.toIPv4Address() : ipv6;
}
