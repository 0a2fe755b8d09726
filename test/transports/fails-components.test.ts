import { after } from 'node:test';
import { Http2Server } from '@fails-components/webtransport';
import { engineOver, type ServerClass } from '../../transports/webtransport/fails-components.ts';
import { WebTransportTransport } from '../../transports/webtransport.ts';
import { transportContract } from '../contract/transport.ts';
import { Certificates } from './certificates.ts';
import { tcpSessionClient } from './fails-components-client.ts';

const url = 'wt://127.0.0.1:0/mqtt';
const certificates = await Certificates.create();
const tls = await certificates.issue('server');
after(() => certificates.remove());
const load = async () => engineOver(Http2Server as unknown as ServerClass);

transportContract('webtransport over HTTP/2', (onError, doorkeeper) => ({
  transport: new WebTransportTransport({ url, tls, load, origins: ['*'], onError, doorkeeper }),
  secure: true,
  abortIsError: true,
  dial: (address) => tcpSessionClient(address.url, tls.cert),
}));
