/** A client on quic-go, which shares no code with the broker's engine, against the broker as users run it. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { pathOf } from '../tools/apt.ts';
import { needs, skipUnless } from '../tools/needs.ts';
import { Certificates } from '../transports/certificates.ts';

const SOURCES = ['main.go', 'multi.go'].map((file) => path.join(import.meta.dirname, 'quic-go', file));
/** Where Debian puts the sources of Go packages. */
const GOPATH = '/usr/share/gocode';
const PACKAGE = 'github.com/lucas-clemente/quic-go';
const QUIC_GO = skipUnless(
  existsSync(path.join(GOPATH, 'src', PACKAGE)),
  `${PACKAGE} is not installed (Debian: apt-get install golang-github-lucas-clemente-quic-go-dev)`,
);
const BUILD_MS = 240_000;
const RUN_MS = 30_000;

interface Ended {
  readonly code: number;
  readonly output: string;
}

describe('A client on quic-go', { skip: needs('go') || QUIC_GO }, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'sluice-quic-go-'));
  const program = path.join(directory, 'client');
  let broker: ChildBroker;
  before(async () => {
    const env = {
      ...process.env,
      GO111MODULE: 'off',
      GOPATH,
      GOCACHE: path.join(directory, 'cache'),
      GOFLAGS: '',
    };
    const built = await run(pathOf('go')!, ['build', '-o', program, ...SOURCES], BUILD_MS, env);
    assert.equal(built.code, 0, built.output);
    broker = await startChildBroker({ doors: ['quic://127.0.0.1:0'] });
  });
  after(async () => {
    await broker?.stop();
    rmSync(directory, { recursive: true });
  });

  const client = (...args: string[]): Promise<Ended> => {
    const address = `127.0.0.1:${broker.port('quic')}`;
    return run(program, ['-address', address, '-ca', broker.caFile, ...args], RUN_MS);
  };

  test('publishes and subscribes with QoS 0, 1 and 2 on the control stream', async () => {
    const { code, output } = await client('-count', '100');
    assert.equal(code, 0, output);
    assert.match(output, /^connected mqtt$/m);
    for (const qos of [0, 1, 2])
      assert.match(output, new RegExp(`^quic-go/${qos} QoS ${qos}: 100 messages`, 'm'));
    assert.match(output, /^done$/m);
  });

  test('moves messages that are much larger than any window', async () => {
    const { code, output } = await client('-count', '3', '-payload', '900000');
    assert.equal(code, 0, output);
  });

  test('is refused with another protocol, by the TLS alert for it', async () => {
    const { code, output } = await client('-alpn', 'h3');
    assert.equal(code, 1);
    assert.match(output, /transport error 0x178 remote true/);
  });

  test('refuses a broker whose certificate is for another name', async () => {
    const { code, output } = await client('-name', 'elsewhere.example');
    assert.equal(code, 1);
    assert.match(output, /transport error 0x12a remote false.*elsewhere\.example/);
  });

  test('has unidirectional streams refused, and goes on with the first', async () => {
    const { code, output } = await client('-uni');
    assert.equal(code, 0, output);
    assert.match(output, /unidirectional stream: stream 2 canceled with error code 131/);
    assert.match(output, /^done$/m);
  });

  test('publishes and subscribes with QoS 0, 1 and 2 on ten data streams, comes back, and is taken over', async () => {
    const { code, output } = await client('-multi', '-count', '20');
    assert.equal(code, 0, output + broker.output());
    assert.match(output, /^10 data streams$/m);
    for (let stream = 0; stream <= 10; stream++)
      for (const qos of [0, 1, 2])
        assert.match(output, new RegExp(`^multi/${stream} QoS ${qos}: 20 messages`, 'm'));
    for (const reset of ['c0 00: reset with 0x82', 'e0 00: reset with 0x82', '36 02 00 00: reset with 0x81'])
      assert.match(output, new RegExp(`^${reset}$`, 'm'));
    assert.match(output, /^30 ff ff ff 7f: reset with 0x95$/m);
    assert.match(output, /^taken over: .+, .+$/m);
    assert.match(output, /^control stream lost: application error 1$/m);
    assert.match(output, /^done$/m);
  });

  test('cannot say anything in early data', async () => {
    const { code, output } = await client('-early');
    assert.equal(code, 0, output);
    assert.match(output, /resumed true early false/);
  });

  test('needs a certificate of the right authority where certificates are required', async () => {
    const certificates = await Certificates.create();
    const [server, mine] = [await certificates.issue('server'), await certificates.issue('sensor')];
    const stranger = await Certificates.create('CN=Another authority');
    const theirs = await stranger.issue('theirs');
    const tls = {
      cert: server.cert,
      key: server.key,
      ca: certificates.ca,
      requestCert: 'required',
      useCertAsUsername: 'cn',
    };
    const mutual = await startChildBroker({
      doors: ['quic://127.0.0.1:0'],
      listener: { tls, auth: { chain: ['certificate'] } },
      acl: 'user sensor\nallow readwrite quic-go/#\n',
    });
    try {
      const args = ['-address', `127.0.0.1:${mutual.port('quic')}`, '-ca', certificates.ca];
      const welcome = await run(program, [...args, '-cert', mine.cert, '-key', mine.key], RUN_MS);
      assert.equal(welcome.code, 0, welcome.output + mutual.output());
      for (const more of [[], ['-cert', theirs.cert, '-key', theirs.key]]) {
        const refused = await run(program, [...args, ...more], RUN_MS);
        assert.equal(refused.code, 1);
        assert.match(refused.output, /transport error 0x1[0-9a-f]{2} remote true/);
      }
    } finally {
      await mutual.stop();
      certificates.remove();
      stranger.remove();
    }
  });
});

function run(file: string, args: string[], timeout: number, env = process.env): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(file, args, { timeout, env }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? -1);
      resolve({ code, output: `${stdout}${stderr}` });
    });
  });
}
