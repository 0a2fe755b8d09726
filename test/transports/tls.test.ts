import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { after, describe, it } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { Address } from '../../src/interfaces/transport.ts';
import { loadTls, type TlsOptions } from '../../transports/tls/tls-options.ts';
import { TlsTransport } from '../../transports/tls.ts';
import { transportContract } from '../contract/transport.ts';
import { Certificates } from './certificates.ts';
import { socketClient } from './socket-client.ts';

const url = 'mqtts://127.0.0.1:0';
const certificates = await Certificates.create();
const server = await certificates.issue('server');
const other = await certificates.issue('other');
const ca = readFileSync(certificates.ca);
after(() => certificates.remove());

const dial = ({ port }: Address, more: ConnectionOptions = {}): TLSSocket =>
  connect({ port, host: '127.0.0.1', ca, ...more });

/** Resolves when the broker has accepted; rejects when either side refuses. */
async function handshake(tls: TlsOptions, more: ConnectionOptions = {}): Promise<string | null> {
  const transport = new TlsTransport({ url, tls });
  const address = await transport.listen((wire) => {
    wire.write(Buffer.from('hello'));
    return { data() {}, drain() {}, closed() {} };
  });
  const socket = dial(address, more);
  const closed = once(socket, 'close').then(() => Promise.reject(new Error('closed')));
  closed.catch(() => {});
  try {
    await Promise.race([once(socket, 'data'), closed]);
    return socket.getProtocol();
  } finally {
    socket.destroy();
    await transport.close(0);
  }
}

transportContract('tls', (onError, doorkeeper) => ({
  transport: new TlsTransport({ url, tls: server, onError, doorkeeper }),
  secure: true,
  abortIsError: true,
  dial: (address) => socketClient(dial(address), 'secureConnect'),
}));

describe('the TLS door', () => {
  it('speaks TLS 1.3 when the client can, and 1.2 when that is all it can', async () => {
    assert.equal(await handshake(server), 'TLSv1.3');
    assert.equal(await handshake(server, { maxVersion: 'TLSv1.2' }), 'TLSv1.2');
  });

  it('refuses clients below its minimum and above its maximum', async () => {
    await assert.rejects(
      handshake({ ...server, minVersion: 'TLSv1.3' }, { maxVersion: 'TLSv1.2' }),
      /version/i,
    );
    await assert.rejects(
      handshake({ ...server, maxVersion: 'TLSv1.2' }, { minVersion: 'TLSv1.3' }),
      /version/i,
    );
    await assert.rejects(handshake(server, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' }));
  });

  it('refuses suites without forward secrecy or AEAD', async () => {
    const cbc = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' } as const;
    await assert.rejects(handshake(server, cbc), /handshake failure/i);
  });

  it('lets in only clients whose certificate its authority signed, when it asks for one', async () => {
    const tls = { ...server, ca: certificates.ca, requestCert: true };
    const stranger = await Certificates.create();
    const theirs = await stranger.issue('theirs');
    const pair = ({ cert, key }: { cert: string; key: string }) => ({
      cert: readFileSync(cert),
      key: readFileSync(key),
    });
    await handshake(tls, pair(other));
    await assert.rejects(handshake(tls));
    await assert.rejects(handshake(tls, pair(theirs)));
    stranger.remove();
  });

  for (const [how, bytes, told] of [
    ['begin', Buffer.alloc(0), /no TLS handshake began within 20 ms/],
    ['finish', Buffer.from([0x16, 3, 1, 2, 0]), /handshake timeout/i],
  ] as const) {
    it(`drops a client that does not ${how} its handshake, and tells so`, async () => {
      let report: (error: Error) => void = () => {};
      const reported = new Promise<Error>((resolve) => {
        report = resolve;
      });
      const tls = { ...server, handshakeTimeoutSeconds: 0.02 };
      const transport = new TlsTransport({ url, tls, onError: (error) => report(error) });
      const { port } = await transport.listen(() => assert.fail('it should not be accepted'));
      const socket = connectTcp(port, '127.0.0.1');
      socket.write(bytes);
      await once(socket.resume(), 'close');
      const { message } = await reported;
      await transport.close(0);
      assert.match(message, told);
    });
  }

  it('survives a client that speaks no TLS', async () => {
    const errors: Error[] = [];
    const transport = new TlsTransport({ url, tls: server, onError: (error) => errors.push(error) });
    const address = await transport.listen(() => ({ data() {}, drain() {}, closed() {} }));
    const plain = connectTcp(address.port, '127.0.0.1');
    plain.on('error', () => {});
    plain.write(Buffer.from('\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00'));
    await once(plain.resume(), 'close');
    assert.equal(errors.length, 1);
    await once(dial(address), 'secureConnect');
    await transport.close(0);
  });

  it('serves the new certificate after a reload, and keeps the old one when the new files are bad', async () => {
    const cert = certificates.file('live.pem', readFileSync(server.cert, 'utf8'));
    const key = certificates.file('live.key', readFileSync(server.key, 'utf8'));
    const transport = new TlsTransport({ url, tls: { cert, key } });
    const address = await transport.listen(() => ({ data() {}, drain() {}, closed() {} }));
    const name = async () => {
      const socket = dial(address);
      await once(socket, 'secureConnect');
      const { subject } = socket.getPeerCertificate();
      socket.destroy();
      return subject.CN;
    };
    assert.equal(await name(), 'server');
    copyFileSync(other.cert, cert);
    assert.throws(() => transport.reload(), /tls\.key.*does not belong/);
    assert.equal(await name(), 'server');
    copyFileSync(other.key, key);
    transport.reload();
    assert.equal(await name(), 'other');
    await transport.close(0);
  });
});

describe('the TLS options', () => {
  const garbage = certificates.file('garbage.pem', 'not a PEM file');
  const broken = certificates.file(
    'broken.pem',
    '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
  );
  const absent = `${certificates.dir}/absent.pem`;
  const faults: readonly (readonly [string, TlsOptions, RegExp])[] = [
    ['a missing certificate', { ...server, cert: absent }, /tls\.cert: .*absent\.pem does not exist/],
    ['a missing key', { ...server, key: absent }, /tls\.key: .*absent\.pem does not exist/],
    ['a directory for a key', { ...server, key: certificates.dir }, /tls\.key: .*is a directory/],
    ['a certificate that is no PEM', { ...server, cert: garbage }, /tls\.cert: .*no certificate/],
    ['a damaged certificate', { ...server, cert: broken }, /tls\.cert: certificate 1 .*damaged/],
    ['a key that is no PEM', { ...server, key: garbage }, /tls\.key: .*no private key/],
    ['the key of another certificate', { ...server, key: other.key }, /tls\.key: .*does not belong/],
    ['an authority that is no PEM', { ...server, ca: garbage }, /tls\.ca: .*no certificate/],
    [
      'client certificates without an authority',
      { ...server, requestCert: true },
      /tls\.requestCert.*tls\.ca/,
    ],
    ['unknown ciphers', { ...server, ciphers: 'ROT13' }, /tls\.ciphers/],
    [
      'a minimum above the maximum',
      { ...server, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' },
      /minVersion.*above.*maxVersion/,
    ],
    ['a version that is too old', { ...server, minVersion: 'TLSv1' as 'TLSv1.2' }, /TLSv1.*not offered/],
  ];
  for (const [what, options, why] of faults) {
    it(`refuse ${what}, and say where and what would be right`, () => {
      assert.throws(() => loadTls(url, options), why);
      assert.throws(() => loadTls(url, options), { name: 'ConfigError' });
    });
  }
});
