import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Wire } from '../../src/interfaces/transport.ts';
import { type MemoryClient, MemoryTransport } from '../../transports/memory.ts';
import { type RawStream, transportContract } from '../contract/transport.ts';
import type { OpenDoor } from '../contract/transport-stage.ts';

function rawClient(client: MemoryClient): RawStream {
  return {
    write: (bytes) => client.write(bytes),
    get unsentBytes() {
      return client.unsentBytes;
    },
    onData: (listener) => client.onData(listener),
    pause: () => client.pause(),
    resume: () => client.resume(),
    end: () => client.end(),
    abort: () => client.abort(),
    onClosed: (listener) => client.onClosed(listener),
    openStream: () => rawClient(client.openStream()),
    get resetCode() {
      return client.resetCode;
    },
  };
}

const open: OpenDoor = (onError, doorkeeper) => {
  const transport = new MemoryTransport({ onError, doorkeeper });
  return {
    transport,
    secure: false,
    abortIsError: true,
    dial: async () => rawClient(transport.connect()),
  };
};
transportContract('memory', open, 'apart');

describe('the memory door', () => {
  it('delivers within the call, and lets the core finish before the next event', async () => {
    const transport = new MemoryTransport();
    const order: string[] = [];
    let wire: Wire | undefined;
    await transport.listen((accepted) => {
      wire = accepted;
      return {
        data(chunk) {
          order.push(`data ${chunk}`);
          accepted.write(Buffer.from('answer'));
          order.push('written');
        },
        drain() {},
        closed: () => order.push('closed'),
      };
    });
    const client = transport.connect({ address: '10.0.0.7' });
    assert.equal(wire?.peer.address, '10.0.0.7');
    client.onData(() => {
      if (order.length === 1) client.write(Buffer.from('two'));
      else client.end();
    });
    client.write(Buffer.from('one'));
    assert.deepEqual(order, ['data one', 'written', 'data two', 'written', 'closed']);
  });

  it('refuses a write that breaks the contract', async () => {
    const transport = new MemoryTransport();
    let wire: Wire | undefined;
    await transport.listen((accepted) => {
      wire = accepted;
      return { data() {}, drain() {}, closed() {} };
    });
    const client = transport.connect();
    client.pause();
    assert.equal(wire?.write(Buffer.from('held')), false);
    assert.throws(() => wire?.write(Buffer.from('more')), /before drain/);
    client.resume();
    wire?.end(0x8d);
    assert.throws(() => wire?.write(Buffer.from('more')), /after end/);
    assert.equal(client.closed?.reasonCode, 0x8d);
    assert.equal(client.take().toString(), 'held');
  });
});
