/** What goes to and fro besides bytes between the broker and an engine in a process of its own. */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import type { IsolatedOptions } from '../../transports/isolated.ts';
import { skipUnless } from '../tools/needs.ts';
import { Certificates } from './certificates.ts';
import { EchoStage } from './isolated-stage.ts';
import { QuicClient } from './quic-client.ts';
import { certificateHash, openSession } from './webtransport-client.ts';

const TIMEOUT = { timeout: 30_000 };
const QUIC = 'quic://127.0.0.1:0';
const WEB = 'wt://127.0.0.1:0/mqtt';
const HAS_PROC = existsSync('/proc/self/maps');
const certificates = await Certificates.create();
const tls = await certificates.issue('server');
after(() => certificates.remove());

async function withStage(
  options: Partial<IsolatedOptions>,
  use: (stage: EchoStage) => Promise<void>,
): Promise<void> {
  const stage = new EchoStage(certificates, { url: QUIC, tls, ...options });
  try {
    await use(await stage.listen());
  } finally {
    await stage.close();
  }
}

describe('the broker and an engine in a process of its own', () => {
  it('share no memory, no environment and no file but the link', {
    ...TIMEOUT,
    skip: skipUnless(HAS_PROC, 'only Linux shows this in /proc'),
  }, async () => {
    process.env.SLUICE_TEST_SECRET = 'not for everybody';
    await withStage({}, async (stage) => {
      await stage.echo();
      const folder = `/proc/${stage.door.statistics.pid}`;
      assert.match(readFileSync(`${folder}/maps`, 'utf8'), /quic[^\n]*\.node/);
      assert.doesNotMatch(readFileSync(`${folder}/environ`, 'utf8'), /SLUICE|PATH/);
      assert.equal(readFileSync(`${folder}/oom_score_adj`, 'utf8').trim(), '500');
    });
    delete process.env.SLUICE_TEST_SECRET;
  });

  it(
    'tell each other of a new certificate, and keep the old one where it cannot be used',
    TIMEOUT,
    async () => {
      const serving = await certificates.issue('serving');
      const next = await certificates.issue('next');
      await withStage({ tls: serving }, async (stage) => {
        await stage.log.until('tls.loaded');
        copyFileSync(next.key, serving.key);
        assert.throws(() => stage.door.reload(), /does not belong/);
        await stage.echo();
        copyFileSync(next.cert, serving.cert);
        stage.door.reload();
        await stage.log.until('tls.loaded', 2);
        const [first, second] = stage.log.of('tls.loaded').map(({ fields }) => fields);
        assert.match(String(first.subject), /serving/);
        assert.match(String(second.subject), /next/);
        assert.equal(second.door, QUIC);
        await stage.echo();
      });
    },
  );

  it('agree on who the certificate says a client is', TIMEOUT, async () => {
    const pair = await certificates.issue('robot-7');
    const mutual = { ...tls, ca: certificates.ca, requestCert: 'required', useCertAsUsername: 'cn' } as const;
    await withStage({ tls: mutual }, async (stage) => {
      const { port } = stage.address;
      const client = await QuicClient.dial(port, { ca: certificates.ca, pair });
      const heard = new Promise<void>((resolve) => client.onData(() => resolve()));
      client.write(Buffer.from('hello'));
      await heard;
      const { peer, visit } = stage.wires[0].wire;
      assert.equal(peer.username, 'robot-7');
      visit!.loggedIn();
      assert.equal(stage.keeper.visits[0].logins, 1);
      const stranger = await QuicClient.dial(port, { ca: certificates.ca });
      assert.notEqual((await stranger.ended).theirs, null);
      client.abort();
    });
  });

  it('pass on origins, refusals, close codes and the hash of the certificate', TIMEOUT, async () => {
    await withStage({ url: WEB, origins: ['https://dash.example.com'] }, async (stage) => {
      const { url } = stage.address;
      const origin = 'https://dash.example.com';
      assert.equal(stage.door.certificateHash, certificateHash(tls.cert).toString('base64'));
      const refused = await openSession(url, tls.cert, { origin: 'https://evil.example' });
      assert.equal((await refused.closed).closeCode, 403);
      await stage.log.until('connection.failed');
      assert.match(String(stage.log.of('connection.failed')[0].fields.problem), /refused with 403/);
      const session = await openSession(url, tls.cert, { origin });
      const { readable, writable } = await session.createBidirectionalStream();
      const writer = writable.getWriter();
      await writer.write(Buffer.from('hello'));
      const reader = readable.getReader();
      await reader.read();
      const { wire, closed } = stage.wires[0];
      assert.equal(wire.peer.origin, origin);
      wire.write(Buffer.from('bye'));
      wire.end(0x8b);
      assert.equal(Buffer.from((await reader.read()).value!).toString(), 'bye');
      await writer.close();
      assert.equal((await session.closed).closeCode, 0x8b);
      assert.equal(await closed, undefined);
    });
  });

  it('ask the one doorkeeper of all doors', TIMEOUT, async () => {
    await withStage({}, async (stage) => {
      stage.keeper.admits = () => false;
      const unwanted = await QuicClient.start(stage.address.port, { ca: certificates.ca });
      unwanted.write(Buffer.from('hello'));
      assert.notEqual((await unwanted.ended).theirs, null);
      assert.equal(stage.keeper.turnedAway, 1);
      assert.equal(stage.wires.length, 0);
      stage.keeper.admits = () => true;
      const knocked = new Promise<void>((resolve) => {
        stage.keeper.onChange = resolve;
      });
      const silent = await QuicClient.dial(stage.address.port, { ca: certificates.ca });
      await knocked;
      stage.keeper.visits[0].evict();
      assert.equal((await silent.ended).theirs?.errorCode, 2);
    });
  });

  it('have no handshake with an address that was refused again and again', TIMEOUT, async () => {
    await withStage({}, async (stage) => {
      stage.keeper.admits = () => false;
      for (let asked = -1; stage.keeper.turnedAway > asked; ) {
        asked = stage.keeper.turnedAway;
        const dialled = QuicClient.dial(stage.address.port, { ca: certificates.ca, handshakeMs: 300 });
        await dialled.then(
          (client) => client.ended,
          () => {},
        );
      }
      assert.ok(stage.keeper.turnedAway >= 8);
      stage.keeper.admits = () => true;
      // Before the second is over he hears nothing.
      for (let isIn = false; !isIn; ) {
        isIn = await QuicClient.dial(stage.address.port, { ca: certificates.ca, handshakeMs: 300 }).then(
          () => true,
          () => false,
        );
      }
    });
  });
});
