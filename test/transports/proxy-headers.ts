/** Headers of the PROXY protocol, as a proxy makes them. */

/** 192.0.2.1 port 4711, to 198.51.100.1 port 1883. */
export const IPV4_BLOCK = Buffer.from('c0000201c63364011267075b', 'hex');
/** 2001:db8::1 port 4711, to 2001:db8::2 port 1883. */
export const IPV6_BLOCK = Buffer.from(
  '20010db800000000000000000000000120010db80000000000000000000000021267075b',
  'hex',
);

/** A header of version 2: the bytes of command and family, then what follows the length. */
export function v2Header(command: number, family: number, block: Buffer): Buffer {
  const fixed = Buffer.from(`0d0a0d0a000d0a515549540a00000000`, 'hex');
  fixed[12] = command;
  fixed[13] = family;
  fixed.writeUInt16BE(block.length, 14);
  return Buffer.concat([fixed, block]);
}

export const V1_HEADER = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 4711 1883\r\n');
export const V2_HEADER = v2Header(0x21, 0x11, IPV4_BLOCK);
