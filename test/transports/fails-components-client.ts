/** Clients of `@fails-components/webtransport` over HTTP/2: the one way of it that needs no native part. */
import { WebTransport } from '@fails-components/webtransport';
import type { RawClient } from '../contract/transport.ts';
import { type ClientSession, certificateHash, StreamClient } from './webtransport-client.ts';

/** Opens a session over TCP; resolves when it is there. Rejects when it is refused. */
export async function openTcpSession(
  url: string,
  certificateFile: string,
  options: { readonly protocols?: string[] } = {},
): Promise<ClientSession & { readonly protocol: string; close(info?: { closeCode: number }): void }> {
  const session = new WebTransport(url.replace(/^wt:/, 'https:'), {
    serverCertificateHashes: [{ algorithm: 'sha-256', value: certificateHash(certificateFile) }],
    forceReliable: true,
    ...options,
  } as never);
  session.closed.catch(() => {});
  session.draining.catch(() => {});
  await session.ready;
  return session as never;
}

/** A session with its one stream. */
export async function tcpSessionClient(url: string, certificateFile: string): Promise<RawClient> {
  return new StreamClient(await openTcpSession(url, certificateFile)).open();
}
