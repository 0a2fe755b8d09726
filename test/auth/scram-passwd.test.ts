import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { readPasswordFile } from '../../auth/passwords/password-file.ts';
import { ScramAuthenticator } from '../../auth/scram/scram.ts';
import type { Step } from '../../src/interfaces/auth.ts';
import { attempt } from '../contract/authenticator.ts';
import { ScramClient } from '../support/scram-client.ts';

const ENTRY = join(import.meta.dirname, 'passwd-entry.ts');
const SCRAM_LINE = /^\$scram-sha-256\$i=15000,s=[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=\$[A-Za-z0-9+/]{43}=$/;

describe('sluice passwd --scram', () => {
  let dir: string;
  let file: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'sluice-scram-'));
    file = join(dir, 'passwd');
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  function passwd(args: string[], input: string) {
    const child = spawnSync(process.execPath, [ENTRY, 'passwd', ...args], { input, encoding: 'utf8' });
    return { code: child.status, out: child.stdout, err: child.stderr };
  }

  function logsIn(username: string, password: string): boolean {
    const one = new ScramAuthenticator({ users: readPasswordFile(file) });
    const exchange = one.exchange('SCRAM-SHA-256', attempt())!;
    const client = new ScramClient({ username, password });
    const step = exchange.next(client.final((exchange.next(client.first()) as Step).data!)) as Step;
    return step.kind === 'end' && step.verdict.ok;
  }

  it('stores what a SCRAM login needs, for a new user and for one who is there, with a salt of its own', () => {
    writeFileSync(file, '', { mode: 0o600 });
    assert.deepEqual(passwd(['add', '--scram', file, 'ann'], 'pencil\n'), {
      code: 0,
      out: 'Added ann.\n',
      err: '',
    });
    assert.equal(passwd(['add', file, 'bob'], 'pencil\n').code, 0);
    assert.equal(logsIn('bob', 'pencil'), false);
    assert.equal(passwd(['set', '--scram', file, 'bob'], 'pencil\n').out, 'Changed bob.\n');
    const [ann, bob] = readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.slice(line.indexOf(':') + 1));
    assert.match(ann, SCRAM_LINE);
    assert.match(bob, SCRAM_LINE);
    assert.notEqual(ann, bob);
    for (const name of ['ann', 'bob']) {
      assert.equal(logsIn(name, 'pencil'), true);
      assert.equal(logsIn(name, 'wrong'), false);
    }
  });

  it('verifies and lists such a user, and offers no other hash', () => {
    passwd(['add', '--scram', file, 'ann'], 'pencil\n');
    assert.equal(passwd(['verify', '--rehash', file, 'ann'], 'pencil\n').out, 'The password is right.\n');
    assert.equal(passwd(['verify', file, 'ann'], 'wrong\n').code, 1);
    assert.equal(passwd(['list', file], '').out, 'ann  scram-sha-256 i=15000\n');
    assert.equal(logsIn('ann', 'pencil'), true);
  });

  it('says so when a plain "set" ends the SCRAM login', () => {
    passwd(['add', '--scram', file, 'ann'], 'pencil\n');
    const { code, out } = passwd(['set', file, 'ann'], 'other\n');
    assert.equal(code, 0);
    assert.match(out, /^Changed ann\.\nLogging in by SCRAM-SHA-256 is over for this user/);
    assert.equal(logsIn('ann', 'other'), false);
    assert.equal(passwd(['set', file, 'ann'], 'third\n').out, 'Changed ann.\n');
  });

  it('refuses names and passwords that SCRAM has another form of, or none, and leaves no file', () => {
    for (const [name, password, message] of [
      ['ａｎｎ', 'x', /user: SCRAM has another form of this name.*Write it as "ann"/],
      ['\u00ad', 'x', /user: SCRAM has another form of this name.*Choose another name/],
      ['ann', 'tab\there', /password: SCRAM takes text without control characters/],
    ] as const) {
      const { code, err } = passwd(['add', '--scram', file, name], `${password}\n`);
      assert.equal(code, 2, name);
      assert.match(err, message);
      assert.throws(() => readFileSync(file), { code: 'ENOENT' });
    }
  });
});
