/** The doors with TLS as another implementation sees them. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, afterEach, describe, it } from 'node:test';
import { needs } from '../tools/needs.ts';
import { Certificates } from './certificates.ts';
import { SCHEMES, TlsStage } from './tls-stage.ts';

const certificates = await Certificates.create();
const ecdsa = await certificates.issue('server');
const rsa = { cert: `${certificates.dir}/rsa.pem`, key: `${certificates.dir}/rsa.key` };
const skip = needs('openssl');
if (skip === false) makeRsaPair();
after(() => certificates.remove());
afterEach(() => TlsStage.closeAll());

/** So that suites with RSA could be agreed on at all. */
function makeRsaPair(): void {
  // biome-ignore format: one option a word
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', rsa.key, '-out', rsa.cert,
    '-days', '1', '-subj', '/CN=localhost'], { stdio: 'ignore' });
}

/** Everything `openssl s_client` says until it ends; `type` is typed once the handshake is done. */
async function client(stage: TlsStage, options: readonly string[], type?: string): Promise<string> {
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${stage.port}`, ...options]);
  const output = collect(child);
  if (type === undefined) child.stdin.end();
  else {
    child.stdin.on('error', () => {});
    child.stdout.once('data', () => child.stdin.write(type));
  }
  await once(child, 'close');
  return output();
}

function collect(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      text += chunk;
    });
  }
  return () => text;
}

/** What was agreed on, e.g. `TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256`; null: nothing. */
function agreed(output: string): string | null {
  const match = /New, (TLSv[\d.]+), Cipher is (\S+)/.exec(output);
  return match === null ? null : match[2];
}

/** Security level 0: the client would take anything, so that it is the door that refuses. */
const LAX = ':@SECLEVEL=0';

for (const scheme of SCHEMES) {
  describe(`openssl s_client at ${scheme}`, { skip }, () => {
    it('gets no version below 1.2, whatever it may use', async () => {
      const stage = await TlsStage.open(scheme, rsa);
      for (const version of ['-tls1', '-tls1_1']) {
        const output = await client(stage, [version, '-cipher', `ALL${LAX}`]);
        assert.equal(agreed(output), null, output);
        assert.match(output, /alert protocol version/);
      }
      assert.match(agreed(await client(stage, ['-tls1_2'])) ?? '', /^ECDHE-RSA-/);
      assert.match(agreed(await client(stage, ['-tls1_3'])) ?? '', /^TLS_/);
      await stage.close();
    });

    it('gets 1.3 alone where that is the least, and 1.2 alone where that is the most', async () => {
      const least = await TlsStage.open(scheme, { ...ecdsa, minVersion: 'TLSv1.3' });
      assert.equal(agreed(await client(least, ['-tls1_2'])), null);
      assert.match(agreed(await client(least, ['-tls1_3'])) ?? '', /^TLS_/);
      const most = await TlsStage.open(scheme, { ...ecdsa, maxVersion: 'TLSv1.2' });
      assert.equal(agreed(await client(most, ['-tls1_3'])), null);
      assert.match(agreed(await client(most, [])) ?? '', /^ECDHE-ECDSA-/);
    });

    it('gets forward secrecy and an AEAD in 1.2, and nothing of all else that it knows', async () => {
      const known = execFileSync('openssl', ['ciphers', '-tls1_2', '-s', `ALL:COMPLEMENTOFALL${LAX}`], {
        encoding: 'utf8',
      });
      const suites = known
        .trim()
        .split(':')
        .filter((suite) => !suite.startsWith('TLS_'));
      const strong = suites.filter((suite) => /^ECDHE-(RSA|ECDSA)-(AES(128|256)-GCM|CHACHA20)/.test(suite));
      const weak = suites.filter((suite) => !strong.includes(suite));
      assert.ok(
        strong.length === 6 && weak.includes('AES128-SHA') && weak.includes('ECDHE-RSA-AES128-SHA256'),
      );
      for (const pair of [rsa, ecdsa]) {
        const stage = await TlsStage.open(scheme, pair);
        const output = await client(stage, ['-tls1_2', '-cipher', `${weak.join(':')}${LAX}`]);
        assert.equal(agreed(output), null, output);
        await stage.close();
      }
      const stage = await TlsStage.open(scheme, rsa);
      for (const suite of strong.filter((each) => each.startsWith('ECDHE-RSA'))) {
        assert.equal(agreed(await client(stage, ['-tls1_2', '-cipher', suite])), suite);
      }
    });

    it('cannot renegotiate', async () => {
      const stage = await TlsStage.open(scheme, ecdsa);
      const output = await client(stage, ['-tls1_2'], 'R\n');
      assert.match(output, /RENEGOTIATING/);
      assert.match(output, /no renegotiation/);
    });

    it('resumes its session', async () => {
      const stage = await TlsStage.open(scheme, ecdsa);
      const output = await client(stage, ['-tls1_2', '-reconnect']);
      assert.equal(output.match(/^Reused, TLSv1\.2/gm)?.length, 5, output);
    });

    it('is told no compression and no early data', async () => {
      const stage = await TlsStage.open(scheme, ecdsa);
      const output = await client(stage, ['-tls1_3']);
      assert.match(output, /Compression: NONE/);
      assert.match(output, /Early data was not sent/);
      assert.doesNotMatch(output, /Max Early Data: [1-9]/);
    });
  });
}

for (const scheme of SCHEMES) {
  it(`A handshake at ${scheme} ends in time, though bytes keep coming`, async () => {
    const stage = await TlsStage.open(scheme, { ...ecdsa, handshakeTimeoutSeconds: 0.1 });
    const socket = connect(stage.port, '127.0.0.1');
    socket.on('error', () => {});
    // The head of a record of 512 bytes, then a ClientHello that takes for ever.
    socket.write(Buffer.from('1603010200010001fc0303', 'hex'));
    const drip = setInterval(() => socket.write('x'), 20);
    // It may end in a reset: a byte can meet the socket that is closed already.
    await new Promise<unknown>((resolve) => socket.resume().once('close', resolve));
    clearInterval(drip);
    assert.match(stage.errors[0].message, /handshake timeout/i);
  });
}
