import { after } from 'node:test';
import { IsolatedTransport } from '../../transports/isolated.ts';
import { transportContract } from '../contract/transport.ts';
import { Certificates } from './certificates.ts';
import { BUILT_ENTRY } from './isolated-stage.ts';
import { webTransportClient } from './webtransport-client.ts';

const certificates = await Certificates.create();
const tls = await certificates.issue('server');
after(() => certificates.remove());

transportContract(
  'webtransport in a process of its own',
  (onError, doorkeeper) => ({
    transport: new IsolatedTransport({
      url: 'wt://127.0.0.1:0/mqtt',
      engine: 'rwebtransport',
      tls,
      onError,
      doorkeeper,
      entry: BUILT_ENTRY,
    }),
    secure: true,
    abortIsError: true,
    dial: (address) => webTransportClient(address.url, tls.cert),
  }),
  'apart',
);
