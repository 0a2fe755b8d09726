import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { UnixTransport } from '../../transports/unix.ts';
import { transportContract } from '../contract/transport.ts';
import { socketClient } from './socket-client.ts';

const dir = mkdtempSync(join(tmpdir(), 'sluice-unix-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const idle = () => ({ data() {}, drain() {}, closed() {} });
const at = (name: string) => ({ path: join(dir, name), url: `unix://${join(dir, name)}` });

const contract = at('contract.sock');
transportContract('unix', (onError, doorkeeper) => ({
  transport: new UnixTransport({ url: contract.url, onError, doorkeeper }),
  secure: false,
  abortIsError: false,
  dial: () => socketClient(connect(contract.path), 'connect'),
}));

describe('the unix door', () => {
  it('gives the socket file its mode, and removes it on close', async () => {
    const { path, url } = at('mode.sock');
    for (const [mode, bits] of [
      [undefined, 0o660],
      ['0600', 0o600],
      ['666', 0o666],
    ] as const) {
      const transport = new UnixTransport({ url, mode });
      assert.deepEqual(await transport.listen(idle), { url, port: 0 });
      assert.equal(statSync(path).mode & 0o777, bits);
      await transport.close(0);
      assert.equal(existsSync(path), false);
    }
  });

  it('replaces the socket file of a broker that crashed', async () => {
    const { path, url } = at('stale.sock');
    const crash = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    assert.throws(() => execFileSync(process.execPath, ['-e', crash, path], { stdio: 'ignore' }));
    assert.ok(statSync(path).isSocket());
    const transport = new UnixTransport({ url });
    await transport.listen(idle);
    const socket = connect(path);
    await once(socket, 'connect');
    socket.destroy();
    await transport.close(0);
  });

  it('refuses when another process listens there', async () => {
    const { path, url } = at('busy.sock');
    const first = new UnixTransport({ url });
    await first.listen(idle);
    await assert.rejects(new UnixTransport({ url }).listen(idle), /already listens/);
    assert.ok(existsSync(path), 'the socket of the other is left alone');
    await first.close(0);
  });

  it('refuses to remove what is not a socket', async () => {
    const { path, url } = at('file.sock');
    writeFileSync(path, 'precious');
    await assert.rejects(new UnixTransport({ url }).listen(idle), /not a socket.*in the way/);
    assert.ok(existsSync(path));
  });

  it('says so when the directory is missing', async () => {
    const { url } = at('nowhere/mqtt.sock');
    await assert.rejects(new UnixTransport({ url }).listen(idle), { name: 'ConfigError' });
  });

  it('refuses URLs and modes that cannot be meant', () => {
    assert.throws(() => new UnixTransport({ url: 'unix://relative.sock' }), /absolute path/);
    assert.throws(() => new UnixTransport({ url: `unix:///${'x'.repeat(200)}` }), /shorter path/);
    assert.throws(() => new UnixTransport({ url: 'unix:///a.sock', mode: 'rw-rw----' }), /octal/);
    assert.throws(() => new UnixTransport({ url: 'unix:///a.sock', mode: '9999' }), /octal/);
  });
});
