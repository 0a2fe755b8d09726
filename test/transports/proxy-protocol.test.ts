import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  HEADER_BYTES_MAX,
  ProxyError,
  parseProxyHeader,
  V1_BYTES_MAX,
} from '../../transports/proxy/proxy-protocol.ts';
import { IPV4_BLOCK, IPV6_BLOCK, v2Header } from './proxy-headers.ts';

const TLV = Buffer.from('\x04\x00\x03abc', 'latin1');

/** Headers that are right, with what they say. */
const GOOD: readonly (readonly [what: string, header: Buffer, source: string | null])[] = [
  ['TCP4', text('PROXY TCP4 192.0.2.1 198.51.100.1 4711 1883\r\n'), '192.0.2.1 4711'],
  ['TCP6', text('PROXY TCP6 2001:DB8::1 2001:db8::2 0 65535\r\n'), '2001:db8::1 0'],
  [
    'TCP6 in full',
    text(`PROXY TCP6 ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}ffff 65535 65535\r\n`),
    `${'ffff:'.repeat(7)}ffff 65535`,
  ],
  ['TCP6 with an IPv4 address', text('PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n'), '192.0.2.1 1'],
  ['UNKNOWN', text('PROXY UNKNOWN\r\n'), null],
  ['UNKNOWN with more', text('PROXY UNKNOWN ffff:: what ever 99999 x\r\n'), null],
  ['v2 TCP over IPv4', v2Header(0x21, 0x11, IPV4_BLOCK), '192.0.2.1 4711'],
  ['v2 TCP over IPv6', v2Header(0x21, 0x21, IPV6_BLOCK), '2001:db8::1 4711'],
  ['v2 with additions', v2Header(0x21, 0x11, Buffer.concat([IPV4_BLOCK, TLV])), '192.0.2.1 4711'],
  [
    'v2 as long as it may be',
    v2Header(0x21, 0x11, Buffer.concat([IPV4_BLOCK, Buffer.alloc(HEADER_BYTES_MAX - 28)])),
    '192.0.2.1 4711',
  ],
  ['v2 LOCAL', v2Header(0x20, 0x00, Buffer.alloc(0)), null],
  ['v2 LOCAL with addresses', v2Header(0x20, 0x11, IPV4_BLOCK), null],
  ['v2 LOCAL of an unknown family', v2Header(0x20, 0x77, Buffer.alloc(3)), null],
  ['v2 AF_UNSPEC', v2Header(0x21, 0x00, TLV), null],
  ['v2 AF_UNIX', v2Header(0x21, 0x31, Buffer.alloc(216, 'x')), null],
];

/** What is no header, or no right one. */
const BAD: readonly (readonly [what: string, bytes: Buffer])[] = [
  ['MQTT', Buffer.from('\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00', 'latin1')],
  ['TLS', Buffer.from('160301020001000001fc', 'hex')],
  ['HTTP', text('GET /mqtt HTTP/1.1\r\n\r\n')],
  ['lower case', text('proxy TCP4 192.0.2.1 198.51.100.1 4711 1883\r\n')],
  ['two spaces', text('PROXY  TCP4 192.0.2.1 198.51.100.1 4711 1883\r\n')],
  ['a space at the end', text('PROXY TCP4 192.0.2.1 198.51.100.1 4711 1883 \r\n')],
  ['a line that ends in LF', text('PROXY TCP4 192.0.2.1 198.51.100.1 4711 1883\n')],
  ['a line without end', text(`PROXY UNKNOWN ${'x'.repeat(V1_BYTES_MAX)}`)],
  ['a line that is too long', text(`PROXY UNKNOWN ${'x'.repeat(V1_BYTES_MAX - 15)}\r\n`)],
  ['no port', text('PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n')],
  ['a port above 65535', text('PROXY TCP4 192.0.2.1 198.51.100.1 65536 1883\r\n')],
  ['a port with a zero in front', text('PROXY TCP4 192.0.2.1 198.51.100.1 04711 1883\r\n')],
  ['a port with a sign', text('PROXY TCP4 192.0.2.1 198.51.100.1 +471 1883\r\n')],
  ['a wrong port of ours', text('PROXY TCP4 192.0.2.1 198.51.100.1 4711 x\r\n')],
  ['a name', text('PROXY TCP4 localhost 198.51.100.1 4711 1883\r\n')],
  ['a wrong address of ours', text('PROXY TCP4 192.0.2.1 198.51.100.256 4711 1883\r\n')],
  ['an IPv6 address in TCP4', text('PROXY TCP4 2001:db8::1 2001:db8::2 4711 1883\r\n')],
  ['an IPv4 address in TCP6', text('PROXY TCP6 192.0.2.1 198.51.100.1 4711 1883\r\n')],
  ['an octal address', text('PROXY TCP4 192.0.2.01 198.51.100.1 4711 1883\r\n')],
  ['an address with a zone', text('PROXY TCP6 fe80::1%eth0 ::1 4711 1883\r\n')],
  ['another protocol', text('PROXY UDP4 192.0.2.1 198.51.100.1 4711 1883\r\n')],
  ['UNKNOWN with something stuck to it', text('PROXY UNKNOWNX\r\n')],
  ['v2 of version 1', v2Header(0x11, 0x11, IPV4_BLOCK)],
  ['v2 of version 3', v2Header(0x31, 0x11, IPV4_BLOCK)],
  ['v2 with an unknown command', v2Header(0x22, 0x11, IPV4_BLOCK)],
  ['v2 of UDP', v2Header(0x21, 0x12, IPV4_BLOCK)],
  ['v2 of an unknown family', v2Header(0x21, 0x41, IPV4_BLOCK)],
  ['v2 of a family without transport', v2Header(0x21, 0x10, IPV4_BLOCK)],
  ['v2 with short addresses', v2Header(0x21, 0x21, IPV4_BLOCK)],
  ['v2 with a short path', v2Header(0x21, 0x31, Buffer.alloc(215))],
  [
    'v2 above the bound',
    v2Header(0x21, 0x11, Buffer.concat([IPV4_BLOCK, Buffer.alloc(HEADER_BYTES_MAX - 27)])),
  ],
  ['v2 with a broken signature', Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIX\n'), Buffer.alloc(20)])],
];

function text(line: string): Buffer {
  return Buffer.from(line, 'latin1');
}

/** Feeds `bytes` as they grow to each of `lengths`: `LENGTH SOURCE`, `more`, or `refused`. */
function outcome(bytes: Buffer, lengths: readonly number[]): string {
  for (const length of lengths) {
    try {
      const header = parseProxyHeader(bytes.subarray(0, length));
      if (header === null) continue;
      const { source } = header;
      return `${header.length} ${source === null ? null : `${source.address} ${source.port}`}`;
    } catch (error) {
      assert.ok(error instanceof ProxyError, String(error));
      return 'refused';
    }
  }
  return 'more';
}

function each(bytes: Buffer): number[] {
  return Array.from(bytes, (_, index) => index + 1);
}

/** Numbers that look random, and are the same in every run. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('the PROXY header', () => {
  for (const [what, header, source] of GOOD) {
    it(`is read: ${what}`, () => {
      const followed = Buffer.concat([header, Buffer.from('\x10\x0c\x00\x04MQTT\r\n')]);
      assert.equal(outcome(followed, [followed.length]), `${header.length} ${source}`);
      assert.equal(outcome(followed, each(followed)), `${header.length} ${source}`, 'byte by byte');
      assert.equal(outcome(header, each(header).slice(0, -1)), 'more', 'without its last byte');
    });
  }

  for (const [what, bytes] of BAD) {
    it(`is refused: ${what}`, () => {
      assert.equal(outcome(bytes, [bytes.length]), 'refused');
      assert.equal(outcome(bytes, each(bytes)), 'refused', 'byte by byte');
    });
  }

  it('is decided on within its bound, whatever comes', () => {
    const random = seeded(7);
    for (let round = 0; round < 3_000; round++) {
      const bytes = Buffer.from(Array.from({ length: HEADER_BYTES_MAX }, () => random(256)));
      const [, start] = GOOD[random(GOOD.length)];
      start.copy(bytes, 0, 0, random(start.length + 1));
      assert.notEqual(outcome(bytes, [bytes.length]), 'more');
    }
  });

  it('is the same in any split, also when it is damaged', () => {
    const random = seeded(20_261);
    const seen = { refused: 0, more: 0, read: 0 };
    for (let round = 0; round < 20_000; round++) {
      const whole = random(2) === 0 ? GOOD[random(GOOD.length)][1] : BAD[random(BAD.length)][1];
      const bytes = Buffer.concat([
        whole,
        Buffer.from(Array.from({ length: random(40) }, () => random(256))),
      ]);
      for (let damages = random(4); damages > 0; damages--) bytes[random(bytes.length)] = random(256);
      const expected = outcome(bytes, [bytes.length]);
      const cuts = new Set(Array.from({ length: random(6) }, () => 1 + random(bytes.length)));
      const lengths = [...cuts.add(bytes.length)].sort((a, b) => a - b);
      assert.equal(outcome(bytes, lengths), expected, bytes.toString('hex'));
      seen[expected === 'refused' || expected === 'more' ? expected : 'read']++;
    }
    assert.ok(
      Object.values(seen).every((count) => count > 100),
      JSON.stringify(seen),
    );
  });
});
