import { after } from 'node:test';
import { IsolatedTransport } from '../../transports/isolated.ts';
import { transportContract } from '../contract/transport.ts';
import { Certificates } from './certificates.ts';
import { BUILT_ENTRY } from './isolated-stage.ts';
import { QuicClient } from './quic-client.ts';
import { withoutFirstByte } from './quic-stage.ts';

const certificates = await Certificates.create();
const tls = await certificates.issue('server');
after(() => certificates.remove());

transportContract(
  'quic in a process of its own',
  (onError, doorkeeper) => ({
    transport: withoutFirstByte(
      new IsolatedTransport({ url: 'quic://127.0.0.1:0', tls, onError, doorkeeper, entry: BUILT_ENTRY }),
    ),
    secure: true,
    abortIsError: true,
    async dial({ port }) {
      const client = await QuicClient.dial(port, { ca: certificates.ca });
      client.write(Buffer.alloc(1));
      return client;
    },
  }),
  'apart',
);
