import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { after, afterEach, describe, it } from 'node:test';
import { type ConnectionOptions, connect, createServer } from 'node:tls';
import type { TlsOptions } from '../../transports/tls/tls-options.ts';
import { ServerTls } from '../../transports/tls/tls-server.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { Certificates } from './certificates.ts';
import { type Guest, pairOf, SCHEMES, TlsStage } from './tls-stage.ts';

const DAY_MS = 86_400_000;
const certificates = await Certificates.create();
const server = await certificates.issue('server');
const named = await certificates.issue('named', { names: [{ type: 'dns', value: 'b.example' }] });
const alice = await certificates.issue('alice');
const lasting = await certificates.issue('lasting', { notAfter: new Date(Date.now() + 9 * DAY_MS) });
const ca = readFileSync(certificates.ca);
afterEach(() => TlsStage.closeAll());
after(() => certificates.remove());

const tls: TlsOptions = {
  ...server,
  ca: certificates.ca,
  requestCert: 'optional',
  useCertAsUsername: 'cn',
};

/** Wall time from a real moment on, moved by the test. */
class WallClock extends FakeClock {
  readonly #startedAt = Date.now();
  readonly #startedFake = super.wallNow();

  override wallNow(): number {
    return this.#startedAt + super.wallNow() - this.#startedFake;
  }
}

async function visit(stage: TlsStage, options: ConnectionOptions): Promise<Guest> {
  const guest = await stage.visit({ ca, ...options });
  assert.ok(guest, JSON.stringify(stage.log.lines));
  return guest;
}

for (const scheme of SCHEMES) {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    describe(`a session of ${maxVersion} at ${scheme}`, () => {
      it('is resumed by its ticket, and the client is still who its certificate says', async () => {
        const stage = await TlsStage.open(scheme, tls);
        const client = { maxVersion, ...pairOf(alice) };
        const { session, socket } = await visit(stage, client);
        socket.destroy();
        // Without the certificate: who resumes proves to be the one who showed it before.
        const again = await visit(stage, { maxVersion, session });
        assert.equal(again.reused, true);
        assert.equal(again.peer.username, 'alice');
        again.socket.destroy();
        await stage.close();
      });

      it('is resumed by name, too, where there are several certificates', async () => {
        const sni = [{ name: 'b.example', ...named }];
        const stage = await TlsStage.open(scheme, { ...tls, sni });
        const client = { maxVersion, servername: 'b.example' };
        const { session, socket } = await visit(stage, { ...client, ...pairOf(alice) });
        socket.destroy();
        const again = await visit(stage, { ...client, session });
        assert.deepEqual([again.reused, again.peer.username], [true, 'alice']);
        again.socket.destroy();
        await stage.close();
      });

      it('gives no name to a client that never showed a certificate', async () => {
        const stage = await TlsStage.open(scheme, tls);
        const { session, socket } = await visit(stage, { maxVersion });
        socket.destroy();
        const again = await visit(stage, { maxVersion, session });
        assert.deepEqual([again.reused, again.peer.username], [true, undefined]);
        again.socket.destroy();
        await stage.close();
      });

      it('is resumed for a day, but not at another door, nor after the files were read again', async () => {
        const clock = new WallClock();
        const stage = await TlsStage.open(scheme, tls, clock);
        const other = await TlsStage.open(scheme, tls, clock);
        const client = { maxVersion, ...pairOf(lasting) };
        const session = async (): Promise<Buffer | undefined> => {
          const guest = await visit(stage, client);
          guest.socket.destroy();
          return guest.session;
        };
        const isReused = async (at: TlsStage, before: Buffer | undefined): Promise<boolean> => {
          const { socket, reused, peer } = await visit(at, { ...client, session: before });
          socket.destroy();
          assert.equal(peer.username, 'lasting');
          return reused;
        };
        assert.equal(await isReused(other, await session()), false);
        let before = await session();
        clock.advance(DAY_MS - 1);
        assert.equal(await isReused(stage, before), true);
        before = await session();
        clock.advance(1);
        assert.equal(await isReused(stage, before), false);
        before = await session();
        stage.reload();
        assert.equal(await isReused(stage, before), false);
        await stage.close();
        await other.close();
      });

      it('does not let a client past the list that has revoked it since', async () => {
        const eve = await certificates.issue('eve');
        const crl = certificates.file('live.crl', await certificates.crl([]));
        const stage = await TlsStage.open(scheme, { ...tls, crl });
        const client = { maxVersion, ...pairOf(eve) };
        const { session, socket, peer } = await visit(stage, client);
        assert.equal(peer.username, 'eve');
        writeFileSync(crl, await certificates.crl([eve.serial]));
        stage.reload();
        assert.ok((await stage.visit({ ca, ...client, session })) === null);
        // Who was in stays in.
        assert.equal(socket.destroyed, false);
        socket.destroy();
        await stage.close();
      });

      it('is not resumed when the certificate or the revocation list has expired meanwhile', async () => {
        const clock = new WallClock();
        const brief = await certificates.issue('brief', { notAfter: new Date(Date.now() + 60_000) });
        const list = await certificates.crl([], new Date(Date.now() + 600_000));
        const stage = await TlsStage.open(
          scheme,
          { ...tls, crl: certificates.file('brief.crl', list) },
          clock,
        );
        const first = await visit(stage, { maxVersion, ...pairOf(brief) });
        const second = await visit(stage, { maxVersion, ...pairOf(alice) });
        for (const { socket } of [first, second]) socket.destroy();
        clock.advance(61_000);
        assert.ok((await stage.visit({ ca, maxVersion, session: first.session })) === null);
        clock.advance(600_000);
        assert.ok((await stage.visit({ ca, maxVersion, session: second.session })) === null);
        const problems = stage.log.of('tls.client_refused').map(({ fields }) => fields.problem);
        assert.deepEqual(problems, [
          'its certificate has expired',
          'it resumed a session from before a revocation list expired',
        ]);
        await stage.close();
      });
    });
  }
}

it('A resumed session without a certificate is refused where one is required, though OpenSSL has nothing against it', async () => {
  const strict = new ServerTls({
    url: 'mqtts://127.0.0.1:0',
    tls: { ...tls, requestCert: 'required' },
    protocols: [],
  });
  const lenient = new ServerTls({ url: 'mqtts://127.0.0.1:0', tls, protocols: [] });
  const listening = createServer(lenient.load());
  const judged = new Promise<boolean>((resolve) => {
    listening.on('secureConnection', (socket) => {
      socket.on('error', () => {});
      if (socket.isSessionReused()) resolve(strict.admit(socket, '') !== null);
    });
  });
  lenient.attach(listening);
  await once(listening.listen(0, '127.0.0.1'), 'listening');
  const { port } = listening.address() as AddressInfo;
  const first = connect({ host: '127.0.0.1', port, ca });
  const [session] = await once(first.resume(), 'session');
  const second = connect({ host: '127.0.0.1', port, ca, session }).on('error', () => {});
  assert.equal(await judged, false);
  await once(second.resume(), 'close');
  first.destroy();
  listening.close();
});
