import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError } from '../../src/errors.ts';
import { canonicalAddress, Networks } from '../../transports/networks.ts';
import { forwardedClient } from '../../transports/proxy/forwarded-for.ts';

const networks = (...texts: string[]) => new Networks('mqtt://0.0.0.0 allow', texts);

describe('a list of networks', () => {
  for (const [list, inside, outside] of [
    [
      ['10.0.0.0/8'],
      ['10.0.0.0', '10.255.255.255', '::ffff:10.1.2.3'],
      ['9.255.255.255', '11.0.0.0', '::a00:1'],
    ],
    [['192.0.2.7'], ['192.0.2.7'], ['192.0.2.6', '192.0.2.8']],
    [['0.0.0.0/0'], ['0.0.0.0', '255.255.255.255'], ['::1', '2001:db8::1']],
    [['::/0'], ['2001:db8::1', '::1'], ['10.0.0.1', '::ffff:10.0.0.1']],
    [['2001:db8::/33'], ['2001:db8:7fff:ffff::1', '2001:DB8:0:0::1'], ['2001:db8:8000::', '10.0.0.1']],
    [['2001:db8::1'], ['2001:db8:0:0:0:0:0:1'], ['2001:db8::2']],
    [
      ['::ffff:10.0.0.0/104', 'fe80::/10'],
      ['10.9.9.9', 'fe80::1%eth0'],
      ['11.0.0.0', 'fec0::1'],
    ],
    [[], [], ['10.0.0.1', '::1']],
  ] as const) {
    it(`[${list}] holds ${inside.join(' ') || 'nobody'}, and not ${outside.join(' ')}`, () => {
      const held = networks(...list);
      for (const address of inside) assert.ok(held.includes(address), address);
      for (const address of outside) assert.ok(!held.includes(address), address);
    });
  }

  it('holds nothing that is no address', () => {
    const all = networks('0.0.0.0/0', '::/0');
    for (const text of [
      '',
      '/run/a.sock',
      '1',
      '0x7f.1',
      '127.1',
      '010.0.0.1',
      '1.2.3.4.5',
      'localhost',
      ':::',
    ]) {
      assert.ok(!all.includes(text), text);
    }
  });

  for (const bad of [
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '10.0.0/8',
    '010.0.0.0/8',
    '10.0.0.1/8',
    '2001:db8::1/64',
    '2001:db8::/129',
    '::ffff:10.0.0.0/95',
    'fe80::%eth0/10',
    'example.com',
    '',
    ' 10.0.0.0/8',
  ]) {
    it(`refuses "${bad}", and says what would be right`, () => {
      assert.throws(
        () => networks(bad),
        (error: ConfigError) => {
          assert.ok(error instanceof ConfigError);
          assert.equal(error.where, 'mqtt://0.0.0.0 allow');
          assert.match(error.message, /Write .*\d/);
          return true;
        },
      );
    });
  }
});

describe('the one spelling of an address', () => {
  for (const [given, expected] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['2001:0DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['192.0.2.01', null],
    ['0x7f000001', null],
    ['fe80::1%eth0', null],
    ['', null],
  ] as const) {
    it(`of "${given}" is ${expected}`, () => assert.equal(canonicalAddress(given), expected));
  }

  it('is made of bytes as well', () => {
    assert.equal(canonicalAddress(Buffer.from([192, 0, 2, 1])), '192.0.2.1');
    assert.equal(canonicalAddress(Buffer.from('00000000000000000000ffffc0000201', 'hex')), '192.0.2.1');
  });
});

describe('the client in X-Forwarded-For', () => {
  const trusted = networks('10.0.0.0/8', '2001:db8::/32');
  const clientOf = (header: string) => forwardedClient(header, (address) => trusted.includes(address));

  for (const [header, expected] of [
    ['192.0.2.1', '192.0.2.1'],
    ['198.51.100.9, 192.0.2.1', '192.0.2.1'],
    ['10.9.9.9, 192.0.2.1, 10.0.0.2,10.0.0.3', '192.0.2.1'],
    ['not an address, 192.0.2.1, 10.0.0.2', '192.0.2.1'],
    ['10.0.0.1, 10.0.0.2', '10.0.0.1'],
    ['192.0.2.1:4711', '192.0.2.1'],
    ['[2001:db9::1]:4711, [2001:db8::1]', '2001:db9::1'],
    ['2001:DB9::1', '2001:db9::1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['192.0.2.1, unknown', null],
    ['192.0.2.1,', null],
    ['', null],
    ['[192.0.2.1]', null],
    ['192.0.2.1:x', null],
    [Array(40).fill('10.0.0.1').join(','), null],
  ] as const) {
    it(`is ${expected} for "${header.slice(0, 60)}"`, () => assert.equal(clientOf(header), expected));
  }
});
