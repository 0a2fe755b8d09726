import { after } from 'node:test';
import type { Transport, WireEvents } from '../../src/interfaces/transport.ts';
import { QuicTransport } from '../../transports/quic.ts';
import { transportContract } from '../contract/transport.ts';
import type { OpenDoor } from '../contract/transport-stage.ts';
import { Certificates } from './certificates.ts';
import { QuicClient } from './quic-client.ts';

const url = 'quic://127.0.0.1:0';
const certificates = await Certificates.create();
const server = await certificates.issue('server');
after(() => certificates.remove());

/** A stream is not seen before its first byte: the clients of the contract send one, and its wires do not hear of it. */
function withoutFirstByte(inner: Transport): Transport {
  return {
    listen: (accept) =>
      inner.listen((wire): WireEvents => {
        const events = accept(wire);
        let isFirst = true;
        return {
          data(chunk) {
            const rest = isFirst ? chunk.subarray(1) : chunk;
            isFirst = false;
            if (rest.length > 0) events.data(rest);
          },
          drain: () => events.drain(),
          closed: (error) => events.closed(error),
          stream: (further) => events.stream?.(further) ?? null,
        };
      }),
    close: (graceMs) => inner.close(graceMs),
  };
}

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
