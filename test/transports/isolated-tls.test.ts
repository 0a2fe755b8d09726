import { readFileSync } from 'node:fs';
import { connect as dialTcp } from 'node:net';
import { after } from 'node:test';
import { connect } from 'node:tls';
import { IsolatedTransport } from '../../transports/isolated.ts';
import { transportContract } from '../contract/transport.ts';
import { Certificates } from './certificates.ts';
import { BUILT_ENTRY } from './isolated-stage.ts';
import { socketClient } from './socket-client.ts';

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
