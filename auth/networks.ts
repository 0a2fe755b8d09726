/** Addresses as those who count or ban them need them: in one spelling, and with the network they are in. */
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Who shares what: one host, and the neighbourhood it could move about in. */
export interface Origin {
  /** An IPv4 address or an IPv6 /64, which is what one host gets; a socket path as it is. */
  readonly source: string;
  /** The IPv4 /24 or IPv6 /48 around it, which is what one customer gets; a socket path as it is. */
  readonly network: string;
}

/** A network as text and in bytes. */
export interface Network {
  /** The one spelling, host bits cleared: `203.0.113.0/24`. */
  readonly text: string;
  readonly bytes: readonly number[];
  readonly bits: number;
}

const SOURCE_BITS_V6 = 64;
const NETWORK_BITS_V6 = 48;
const NETWORK_BITS_V4 = 24;

/** The bytes of an IP address, 4 or 16; an IPv6-mapped IPv4 address has 4. Null when it is none (a socket path). */
export function addressBytes(address: string): readonly number[] | null {
  // `fe80::1%eth0`: the zone says by which interface, not who.
  const zone = address.indexOf('%');
  const bare = zone === -1 ? address : address.slice(0, zone);
  // Four parts in full: `1` and `0x7f.1` are addresses to some programs, and nobody writes them on purpose.
  if (!ipaddr.IPv4.isValidFourPartDecimal(bare) && !ipaddr.IPv6.isValid(bare)) return null;
  return ipaddr.process(bare).toByteArray();
}

/** Where a client comes from. Never throws. */
export function originOf(address: string): Origin {
  // As the system writes it: the common case, at every login.
  if (isIPv4(address))
    return { source: address, network: `${address.slice(0, address.lastIndexOf('.'))}.0/${NETWORK_BITS_V4}` };
  const bytes = addressBytes(address);
  if (bytes === null) return { source: address, network: address };
  if (bytes.length === 4) {
    return { source: textOf(bytes), network: networkText(bytes, NETWORK_BITS_V4) };
  }
  return { source: networkText(bytes, SOURCE_BITS_V6), network: networkText(bytes, NETWORK_BITS_V6) };
}

/** An address in its one spelling; null when the text is none. */
export function normalAddress(text: string): string | null {
  const bytes = addressBytes(text);
  return bytes === null ? null : textOf(bytes);
}

/** Reads `ADDRESS/BITS`; host bits are cleared. Null when the text is none. */
export function parseNetwork(text: string): Network | null {
  const parts = /^([^/%]+)\/(\d{1,3})$/.exec(text);
  const bytes = parts === null ? null : addressBytes(parts[1]);
  if (parts === null || bytes === null) return null;
  // `::ffff:203.0.113.0/120` is an IPv4 network in IPv6 clothes.
  const mapped = parts[1].includes(':') && bytes.length === 4;
  const bits = Number(parts[2]) - (mapped ? 96 : 0);
  if (bits < 0 || bits > bytes.length * 8) return null;
  const masked = maskBytes(bytes, bits);
  return { text: `${textOf(masked)}/${bits}`, bytes: masked, bits };
}

/** The bytes with all but the first `bits` cleared. */
export function maskBytes(bytes: readonly number[], bits: number): number[] {
  return bytes.map((byte, index) => {
    const kept = Math.min(Math.max(bits - index * 8, 0), 8);
    return byte & (0xff00 >> kept) & 0xff;
  });
}

function networkText(bytes: readonly number[], bits: number): string {
  return `${textOf(maskBytes(bytes, bits))}/${bits}`;
}

function textOf(bytes: readonly number[]): string {
  return ipaddr.fromByteArray([...bytes]).toString();
}
