import { after } from 'node:test';
import { QuicTransport } from '../../transports/quic.ts';
import { transportContract } from '../contract/transport.ts';
import type { OpenDoor } from '../contract/transport-stage.ts';
import { Certificates } from './certificates.ts';
import { QuicClient } from './quic-client.ts';
import { withoutFirstByte } from './quic-stage.ts';

const url = 'quic://127.0.0.1:0';
const certificates = await Certificates.create();
const server = await certificates.issue('server');
after(() => certificates.remove());

const open: OpenDoor = (onError, doorkeeper) => ({
  transport: withoutFirstByte(new QuicTransport({ url, tls: server, onError, doorkeeper })),
  secure: true,
  abortIsError: true,
  async dial({ port }) {
    const client = await QuicClient.dial(port, { ca: certificates.ca });
    client.write(Buffer.alloc(1));
    return client;
  },
});
transportContract('quic', open, 'apart');
