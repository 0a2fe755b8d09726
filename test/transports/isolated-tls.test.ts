import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as dialTcp } from 'node:net';
import { after, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { WebSocket } from 'ws';
import type { Wire } from '../../src/interfaces/transport.ts';
import { IsolatedTransport } from '../../transports/isolated.ts';
import { RecordingDoorkeeper } from '../contract/doorkeeper.ts';
import { transportContract } from '../contract/transport.ts';
import { Certificates } from './certificates.ts';
import { BUILT_ENTRY } from './isolated-stage.ts';
import { socketClient } from './socket-client.ts';
import { webSocketClient } from './websocket-client.ts';

const certificates = await Certificates.create();
const tls = await certificates.issue('server');
const ca = readFileSync(certificates.ca);
after(() => certificates.remove());

transportContract('tls in a process of its own', (onError, doorkeeper) => ({
  transport: new IsolatedTransport({
    url: 'mqtts://127.0.0.1:0',
    tls,
    onError,
    doorkeeper,
    entry: BUILT_ENTRY,
  }),
  secure: true,
  abortIsError: true,
  async dial({ port }) {
    const socket = dialTcp({ port, host: '127.0.0.1' });
    const client = await socketClient(connect({ socket, host: '127.0.0.1', ca }), 'secureConnect');
    // TLS itself has no way to break off that could be told from an end.
    return Object.assign(client, { abort: () => void socket.resetAndDestroy() });
  },
}));

const wss = { url: 'wss://127.0.0.1:0', tls, entry: BUILT_ENTRY };
const dialWss = ({ port }: { readonly port: number }): WebSocket =>
  new WebSocket(`wss://127.0.0.1:${port}/mqtt`, 'mqtt', { ca });

transportContract('wss in a process of its own', (onError, doorkeeper) => ({
  transport: new IsolatedTransport({ ...wss, onError, doorkeeper, strangerBytesMax: 1 << 20 }),
  secure: true,
  abortIsError: false,
  dial: (address) => webSocketClient(dialWss(address)),
}));

describe('wss in a process of its own', () => {
  it('bounds the message that a stranger does not end, and no longer when it has logged in', {
    timeout: 30_000,
  }, async () => {
    const door = new IsolatedTransport({
      ...wss,
      doorkeeper: new RecordingDoorkeeper(),
      strangerBytesMax: 1_000,
    });
    const wires: Wire[] = [];
    const address = await door.listen((wire) => {
      wires.push(wire);
      // What it says first is its login.
      const data = (): void => {
        wire.visit!.loggedIn();
        wire.write(Buffer.from('welcome'));
      };
      return { data, drain() {}, closed() {} };
    });
    try {
      const stranger = dialWss(address);
      await once(stranger, 'open');
      const cut = once(stranger, 'close');
      stranger.send(Buffer.alloc(1_500), { fin: false });
      await cut;
      const client = dialWss(address);
      await once(client, 'open');
      client.send('login', { binary: true });
      await once(client, 'message');
      client.send(Buffer.alloc(1_500), { fin: false });
      const welcome = once(client, 'message');
      client.send(Buffer.alloc(1), { fin: true });
      await welcome;
      assert.equal(wires.length, 2);
      client.close();
      await once(client, 'close');
    } finally {
      await door.close(0);
    }
  });
});
