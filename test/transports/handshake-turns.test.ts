import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { HandshakeTurns } from '../../transports/tls/handshake-turns.ts';

const unexpected = (error: Error): never => assert.fail(error);

describe('The turns of handshakes', () => {
  it('begin one handshake in each turn of the event loop, in the order in which they came', async () => {
    const turns = new HandshakeTurns();
    const begun: number[] = [];
    for (const number of [1, 2, 3]) turns.wait(new Socket(), () => void begun.push(number), unexpected);
    const seen: number[][] = [];
    for (let n = 0; n < 4; n++) {
      seen.push([...begun]);
      await turn();
    }
    assert.deepEqual(seen, [[], [1], [1, 2], [1, 2, 3]]);
    turns.wait(new Socket(), () => void begun.push(4), unexpected);
    await turn();
    assert.deepEqual(begun, [1, 2, 3, 4]);
  });

  it('pass over a socket that breaks while it waits, and tell of it once', async () => {
    const turns = new HandshakeTurns();
    const told: string[] = [];
    const broken = new Socket();
    turns.wait(broken, unexpected as never, ({ message }) => void told.push(message));
    const begun = new Promise<void>((resolve) => turns.wait(new Socket(), resolve, unexpected));
    const closed = new Promise((resolve) => broken.once('close', resolve));
    broken.destroy(new Error('reset'));
    await Promise.all([closed, begun]);
    assert.deepEqual(told, ['reset']);
  });

  it('leave a socket whose turn has come to whoever takes it over', async () => {
    const socket = new Socket();
    const begun = new Promise<void>((resolve) => new HandshakeTurns().wait(socket, resolve, unexpected));
    await begun;
    assert.equal(socket.listenerCount('error'), 0);
  });
});
