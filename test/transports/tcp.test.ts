import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import { ConfigError } from '../../src/errors.ts';
import { TcpTransport } from '../../transports/tcp.ts';
import { transportContract } from '../contract/transport.ts';
import { PlainTcpTransport } from './plain-tcp.ts';
import { socketClient } from './socket-client.ts';

const url = 'mqtt://127.0.0.1:0';
const refuse = () => {
  throw new Error('nobody should come');
};

transportContract('tcp', (onError, doorkeeper) => ({
  transport: new TcpTransport({ url, onError, doorkeeper }),
  secure: false,
  abortIsError: true,
  dial: ({ port }) => socketClient(connect(port, '127.0.0.1'), 'connect'),
}));

transportContract('tcp without handles', (onError, doorkeeper) => ({
  transport: new PlainTcpTransport({ url, onError, doorkeeper }),
  secure: false,
  abortIsError: true,
  dial: ({ port }) => socketClient(connect(port, '127.0.0.1'), 'connect'),
}));

describe('the TCP door', () => {
  it('answers with the port that was bound', async () => {
    const transport = new TcpTransport({ url });
    const address = await transport.listen(refuse);
    assert.ok(address.port > 0);
    assert.equal(address.url, `mqtt://127.0.0.1:${address.port}`);
    await transport.close(0);
  });

  it('names the URL and the remedy when the port is taken', async () => {
    const first = new TcpTransport({ url });
    const taken = await first.listen(refuse);
    await assert.rejects(new TcpTransport({ url: taken.url }).listen(refuse), (error: ConfigError) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.where, taken.url);
      assert.match(error.message, /already listens.*another address/);
      return true;
    });
    await first.close(0);
  });

  it('names the URL and the remedy when the address is not of this machine', async () => {
    const foreign = new TcpTransport({ url: 'mqtt://192.0.2.1:1883' });
    await assert.rejects(foreign.listen(refuse), /192\.0\.2\.1.*no interface.*0\.0\.0\.0/);
  });

  for (const [bad, why] of [
    ['ws://127.0.0.1:1883', /scheme/],
    ['127.0.0.1:1883', /scheme/],
    ['mqtt://:1883', /cannot be read|host is missing/],
    ['mqtt://127.0.0.1:70000', /cannot be read/],
    ['mqtt://127.0.0.1:1883/mqtt', /no path/],
    ['mqtt://bob:secret@127.0.0.1', /no user, password/],
    ['mqtt://127.0.0.1?x=1', /query/],
  ] as const) {
    it(`refuses ${bad.replace('secret', '…')} as a listener`, () => {
      assert.throws(() => new TcpTransport({ url: bad }), why);
    });
  }

  it('shows an IPv4 client of an IPv6 listener as the IPv4 address it is', async (t) => {
    const transport = new TcpTransport({ url: 'mqtt://[::]:0' });
    let seen: ((address: string) => void) | undefined;
    const address = new Promise<string>((resolve) => {
      seen = resolve;
    });
    const bound = await transport
      .listen((wire) => {
        seen?.(wire.peer.address);
        return { data() {}, drain() {}, closed() {} };
      })
      .catch(() => undefined);
    if (bound === undefined) return t.skip('this machine has no IPv6');
    assert.equal(bound.url, `mqtt://[::]:${bound.port}`);
    connect(bound.port, '127.0.0.1').on('error', () => {});
    assert.equal(await address, '127.0.0.1');
    await transport.close(0);
  });
});
