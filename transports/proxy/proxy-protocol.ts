/** The header that a proxy puts before a connection: PROXY protocol, version 1 (text) and 2 (binary), of haproxy.org. */
import { canonicalAddress } from '../networks.ts';

/** The longest line of version 1, its end included. */
export const V1_BYTES_MAX = 107;
/** The longest header of version 2 that is read: what a first segment always holds. Proxies that add more than this have no use for us. */
export const HEADER_BYTES_MAX = 536;

/** Who the proxy says is at the other end. */
export interface ProxySource {
  /** In its one spelling. */
  readonly address: string;
  readonly port: number;
}

export interface ProxyHeader {
  /** Bytes of the header; what follows is the client's. */
  readonly length: number;
  /** Null: the proxy comes by itself (a health check), or does not know. */
  readonly source: ProxySource | null;
}

/** What came is not a header that this door takes. */
export class ProxyError extends Error {
  constructor(problem: string) {
    super(`PROXY protocol: ${problem}`);
    this.name = 'ProxyError';
  }
}

const V1_START = Buffer.from('PROXY ', 'latin1');
const V2_START = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_FIXED_BYTES = 16;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** Version 2: the byte of family and transport, to the bytes of one address and of the whole address block. */
const FAMILIES: Readonly<Record<number, { readonly addressBytes: number; readonly blockBytes: number }>> = {
  // AF_UNSPEC, and AF_UNIX stream: no address of any use here.
  0: { addressBytes: 0, blockBytes: 0 },
  49: { addressBytes: 0, blockBytes: 216 },
  // TCP over IPv4 and over IPv6.
  17: { addressBytes: 4, blockBytes: 12 },
  33: { addressBytes: 16, blockBytes: 36 },
};

/**
 * Reads the header at the front of `bytes`, all that has come so far.
 * @returns null when more has to come; never for `HEADER_BYTES_MAX` bytes
 * @throws ProxyError when it is no header, or one that cannot be right
 */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | null {
  if (bytes.length === 0) return null;
  return bytes[0] === V2_START[0] ? parseV2(bytes) : parseV1(bytes);
}

/** Throws when `bytes` begin otherwise than `start`, as far as they go. */
function expectStart(bytes: Buffer, start: Buffer): void {
  const length = Math.min(bytes.length, start.length);
  if (!bytes.subarray(0, length).equals(start.subarray(0, length))) {
    throw new ProxyError('the connection does not begin with a header');
  }
}

function parseV1(bytes: Buffer): ProxyHeader | null {
  expectStart(bytes, V1_START);
  const end = bytes.subarray(0, V1_BYTES_MAX).indexOf(LINE_FEED);
  if (end === -1) {
    if (bytes.length >= V1_BYTES_MAX) throw new ProxyError(`no end of line in ${V1_BYTES_MAX} bytes`);
    return null;
  }
  if (bytes[end - 1] !== CARRIAGE_RETURN) throw new ProxyError('the line does not end in CR LF');
  return { length: end + 1, source: parseLine(bytes.toString('latin1', V1_START.length, end - 1)) };
}

/** What stands behind `PROXY `. */
function parseLine(line: string): ProxySource | null {
  const parts = line.split(' ');
  // Whatever follows is to be ignored.
  if (parts[0] === 'UNKNOWN') return null;
  const ipv6 = parts[0] === 'TCP6';
  if ((!ipv6 && parts[0] !== 'TCP4') || parts.length !== 5) throw new ProxyError('the line cannot be read');
  const [, from, to, fromPort, toPort] = parts;
  const address = parseAddress(from, ipv6);
  parseAddress(to, ipv6);
  parsePort(toPort);
  return { address, port: parsePort(fromPort) };
}

function parseAddress(text: string, ipv6: boolean): string {
  const address = text.includes(':') === ipv6 ? canonicalAddress(text) : null;
  if (address === null) throw new ProxyError(`an address that is none of TCP${ipv6 ? 6 : 4}`);
  return address;
}

function parsePort(text: string): number {
  if (!/^(0|[1-9]\d{0,4})$/.test(text) || Number(text) > 65_535) throw new ProxyError('a port that is none');
  return Number(text);
}

function parseV2(bytes: Buffer): ProxyHeader | null {
  expectStart(bytes, V2_START);
  if (bytes.length < V2_FIXED_BYTES) return null;
  const command = bytes[12];
  if (command >> 4 !== 2) throw new ProxyError(`version ${command >> 4} in a header of version 2`);
  if ((command & 0x0f) > 1) throw new ProxyError(`unknown command ${command & 0x0f}`);
  const length = V2_FIXED_BYTES + bytes.readUInt16BE(14);
  if (length > HEADER_BYTES_MAX) {
    throw new ProxyError(`a header of ${length} bytes, above ${HEADER_BYTES_MAX}`);
  }
  if (bytes.length < length) return null;
  // LOCAL: the proxy itself. Whatever it says of addresses is to be ignored.
  if ((command & 0x0f) === 0) return { length, source: null };
  return { length, source: parseBlock(bytes[13], bytes.subarray(V2_FIXED_BYTES, length)) };
}

/** The address block; behind it there may be additions (TLVs), which are of no use here. */
function parseBlock(kind: number, block: Buffer): ProxySource | null {
  if (!Object.hasOwn(FAMILIES, kind)) {
    throw new ProxyError(
      `0x${kind.toString(16).padStart(2, '0')} is no family and transport of a TCP connection`,
    );
  }
  const { addressBytes, blockBytes } = FAMILIES[kind];
  if (block.length < blockBytes) throw new ProxyError('the addresses are cut short');
  if (addressBytes === 0) return null;
  const address = canonicalAddress(block.subarray(0, addressBytes))!;
  return { address, port: block.readUInt16BE(addressBytes * 2) };
}
