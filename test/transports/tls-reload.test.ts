import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { after, afterEach, describe, it } from 'node:test';
import { connect, createServer } from 'node:tls';
import type { Clock } from '../../src/interfaces/clock.ts';
import type { TlsOptions } from '../../transports/tls/tls-options.ts';
import { ServerTls } from '../../transports/tls/tls-server.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { Certificates } from './certificates.ts';
import { KeptLog, pairOf, TlsStage } from './tls-stage.ts';

const DAY_MS = 86_400_000;
const url = 'mqtts://127.0.0.1:0';
const certificates = await Certificates.create();
const stranger = await Certificates.create('CN=Other authority');
const server = await certificates.issue('server');
const ca = readFileSync(certificates.ca);
const closing: (() => void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) close();
  await TlsStage.closeAll();
});
after(() => {
  certificates.remove();
  stranger.remove();
});

/** A server whose files are looked at all the time; what it logs, and the serial number of what it shows. */
async function watched(tls: TlsOptions): Promise<{ log: KeptLog; shown: () => Promise<string> }> {
  const log = new KeptLog();
  const watchTimes = { pollMs: 10, quietMs: 10 };
  const serverTls = new ServerTls({ url, tls, protocols: [], log, watchTimes });
  const listening = createServer(serverTls.load(), (socket) => socket.on('error', () => {}));
  serverTls.attach(listening);
  await once(listening.listen(0, '127.0.0.1'), 'listening');
  serverTls.start();
  closing.push(() => {
    serverTls.stop();
    listening.close();
  });
  const { port } = listening.address() as AddressInfo;
  const shown = async (): Promise<string> => {
    const socket = connect({ port, host: '127.0.0.1', ca });
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return Number.parseInt(serialNumber, 16).toString(16).padStart(2, '0');
  };
  return { log, shown };
}

/** Copies of the server's files under another name. */
function copies(name: string): { cert: string; key: string } {
  return {
    cert: certificates.file(`${name}.pem`, readFileSync(server.cert)),
    key: certificates.file(`${name}.key`, readFileSync(server.key)),
  };
}

describe('TLS files that change', () => {
  it('are put in force by themselves, all of them or none', async () => {
    const live = copies('live');
    const { log, shown } = await watched(live);
    assert.equal(await shown(), server.serial);
    const next = await certificates.issue('next');
    writeFileSync(live.cert, readFileSync(next.cert));
    const [refused] = await log.until('tls.refused');
    assert.match(String(refused.fields.problem), /tls\.key: .*does not belong to the certificate/);
    assert.equal(await shown(), server.serial);
    writeFileSync(live.key, readFileSync(next.key));
    await log.until('tls.loaded', 2);
    assert.equal(await shown(), next.serial);
  });

  it('may be gone for a while', async () => {
    const live = copies('gone');
    const { log, shown } = await watched(live);
    renameSync(live.key, `${live.key}.away`);
    const [refused] = await log.until('tls.refused');
    assert.match(String(refused.fields.problem), /tls\.key: .*gone\.key does not exist/);
    assert.equal(await shown(), server.serial);
    renameSync(`${live.key}.away`, live.key);
    await log.until('tls.loaded', 2);
  });

  it('may be links that are turned, as certbot and Kubernetes do', async () => {
    const next = await certificates.issue('turned');
    const link = (name: string, to: string): string => {
      const path = `${certificates.dir}/${name}`;
      rmSync(path, { force: true });
      symlinkSync(to, path);
      return path;
    };
    const { log, shown } = await watched({
      cert: link('l.pem', server.cert),
      key: link('l.key', server.key),
    });
    link('l.pem', next.cert);
    link('l.key', next.key);
    await log.until('tls.loaded', 2);
    assert.equal(await shown(), next.serial);
  });
});

describe('A reload', () => {
  it('changes the authorities for new clients, and leaves those alone who are in', async () => {
    const authority = certificates.file('clients.pem', ca);
    const tls = { ...server, ca: authority, requestCert: 'required', useCertAsUsername: 'cn' } as const;
    const stage = await TlsStage.open('mqtts', tls);
    const ours = pairOf(await certificates.issue('ours'));
    const theirs = pairOf(await stranger.issue('theirs'));
    const guest = await stage.visit({ ca, ...ours });
    assert.equal(guest?.peer.username, 'ours');
    assert.ok((await stage.visit({ ca, ...theirs })) === null);
    writeFileSync(authority, readFileSync(stranger.ca));
    stage.reload();
    assert.ok((await stage.visit({ ca, ...ours, session: guest.session })) === null);
    const second = await stage.visit({ ca, ...theirs });
    assert.equal(second?.peer.username, 'theirs');
    guest.socket.write('still here');
    assert.equal(guest.socket.destroyed, false);
    await stage.close();
  });

  it('that fails for the sake of one file keeps all of the old', async () => {
    const live = copies('whole');
    const authority = certificates.file('whole-ca.pem', ca);
    const stage = await TlsStage.open('wss', { ...live, ca: authority, requestCert: 'required' });
    const next = await certificates.issue('whole-next');
    writeFileSync(live.cert, readFileSync(next.cert));
    writeFileSync(live.key, readFileSync(next.key));
    writeFileSync(authority, 'half a file');
    assert.throws(() => stage.reload(), /tls\.ca: .*holds no certificate/);
    const guest = await stage.visit({ ca, ...pairOf(next) });
    assert.equal(guest?.socket.getPeerX509Certificate()?.serialNumber, server.serial.toUpperCase());
    await stage.close();
  });
});

describe('A private key that others can read', () => {
  for (const mode of [0o640, 0o604, 0o660]) {
    it(`is refused with mode ${mode.toString(8)}, and taken when that is allowed`, async () => {
      const live = copies('open');
      chmodSync(live.key, mode);
      const opening = TlsStage.open('mqtts', live);
      await assert.rejects(
        opening,
        /tls\.key: mode 06\d\d opens the private key .*open\.key to others\. Run "chmod 600 .*open\.key"/,
      );
      await (await TlsStage.open('mqtts', { ...live, allowOpenFiles: true })).close();
    });
  }
});

/** Wall time from a moment of the test's choice. */
class ClockAt extends FakeClock implements Clock {
  readonly #startMs: number;
  readonly #startedFake = super.wallNow();

  constructor(startMs: number) {
    super();
    this.#startMs = startMs;
  }

  override wallNow(): number {
    return this.#startMs + super.wallNow() - this.#startedFake;
  }
}

describe('The end of a certificate', () => {
  it('is announced once a day for its last 30 days, and then said', async () => {
    // Whole seconds: certificates have no smaller unit.
    const start = Math.floor(Date.now() / 1_000) * 1_000;
    const cert = await certificates.issue('long', {
      notBefore: new Date(start - 300 * DAY_MS),
      notAfter: new Date(start + 32 * DAY_MS),
    });
    const clock = new ClockAt(start);
    const stage = await TlsStage.open('mqtts', cert, clock);
    assert.deepEqual(stage.log.of('tls.expires_soon'), []);
    clock.advance(DAY_MS);
    assert.deepEqual(stage.log.of('tls.expires_soon'), []);
    clock.advance(3 * DAY_MS);
    const soon = stage.log.of('tls.expires_soon');
    assert.deepEqual(
      soon.map(({ level, fields }) => [level, fields.what, fields.subject, fields.daysLeft]),
      [30, 29, 28].map((days) => ['warn', 'certificate', 'CN=long', days]),
    );
    stage.reload();
    assert.equal(stage.log.of('tls.expires_soon').length, 4);
    clock.advance(28 * DAY_MS);
    const [expired] = stage.log.of('tls.expired');
    assert.deepEqual([expired.level, expired.fields.effect], ['error', 'clients refuse it']);
    await stage.close();
    const told = stage.log.lines.length;
    clock.advance(DAY_MS);
    assert.equal(stage.log.lines.length, told);
  });

  it('is announced in the last third of a short life, for authorities and lists as well', async () => {
    const start = Date.now();
    const brief = await certificates.issue('week', {
      notBefore: new Date(start),
      notAfter: new Date(start + 9 * DAY_MS),
    });
    const clock = new ClockAt(start + DAY_MS / 2);
    const tls = { ...brief, ca: certificates.ca, requestCert: 'optional' } as const;
    const crl = certificates.file('brief.crl', await certificates.crl([]));
    const stage = await TlsStage.open('mqtts', { ...tls, crl }, clock);
    const whats = () => stage.log.of('tls.expires_soon').map(({ fields }) => fields.what);
    // Authority and list of this test live from yesterday to tomorrow.
    assert.deepEqual(whats(), ['authority', 'crl']);
    clock.advance(7 * DAY_MS);
    assert.equal(whats().at(-1), 'certificate');
    assert.deepEqual(
      new Set(stage.log.of('tls.expired').map(({ fields }) => fields.what)),
      new Set(['authority', 'crl']),
    );
    await stage.close();
  });

  it('is told with the certificate when it begins to be served', async () => {
    const stage = await TlsStage.open('mqtts', server);
    const [{ fields }] = stage.log.of('tls.loaded');
    assert.equal(fields.subject, 'CN=server');
    assert.match(String(fields.fingerprint), /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
    assert.ok(Date.parse(String(fields.until)) > Date.now());
    await stage.close();
  });
});
