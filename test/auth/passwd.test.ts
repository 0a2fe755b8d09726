import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { editPasswordFile } from '../../auth/passwords/password-file-edit.ts';
import { PasswordHasher, parseHash } from '../../auth/passwords/password-hash.ts';
import vectors from '../data/hashes.json' with { type: 'json' };

const ENTRY = fileURLToPath(new URL('passwd-entry.ts', import.meta.url));
const HAS_SCRIPT = spawnSync('script', ['--version']).status === 0;
const OLD = vectors.good.find(({ scheme }) => scheme === 'pbkdf2-sha512')!;
const OLD_PASSWORD = Buffer.from(OLD.password, 'base64').toString();

let dir: string;
let file: string;

function passwd(args: string[], input = '') {
  const child = spawnSync(process.execPath, [ENTRY, 'passwd', ...args], { input, encoding: 'utf8' });
  return { code: child.status, out: child.stdout, err: child.stderr };
}

function lines(): string[] {
  return readFileSync(file, 'utf8').split('\n');
}

async function fits(line: string, password: string | Buffer): Promise<boolean> {
  const hasher = new PasswordHasher();
  const stored = parseHash(line.slice(line.indexOf(':') + 1), 'line');
  return hasher.verify(Buffer.from(password), stored);
}

function fresh(): void {
  dir = mkdtempSync(join(tmpdir(), 'sluice-cli-'));
  file = join(dir, 'passwd');
}

function clean(): void {
  rmSync(dir, { recursive: true });
}

describe('sluice passwd', () => {
  beforeEach(fresh);
  afterEach(clean);

  it('adds a user to a file and directory it makes, readable by the owner alone', async () => {
    file = join(dir, 'deep', 'er', 'passwd');
    const { code, out, err } = passwd(['add', file, 'alice'], 'secret\n');
    assert.deepEqual([code, out, err], [0, 'Added alice.\n', '']);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(join(dir, 'deep', 'er')).mode & 0o777, 0o700);
    assert.match(lines()[0], /^alice:\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    assert.equal(await fits(lines()[0], 'secret'), true);
    assert.deepEqual(readdirSync(join(dir, 'deep', 'er')), ['passwd']);
  });

  it('adds only new users and sets only known ones', () => {
    passwd(['add', file, 'alice'], 'one\n');
    const before = readFileSync(file, 'utf8');
    const again = passwd(['add', file, 'alice'], 'two\n');
    assert.equal(again.code, 2);
    assert.match(again.err, /"alice" is there already\. Use "set"/);
    const unknown = passwd(['set', file, 'bob'], 'two\n');
    assert.equal(unknown.code, 2);
    assert.match(unknown.err, /no such user/);
    const missing = passwd(['set', join(dir, 'none'), 'bob'], 'two\n');
    assert.equal(missing.code, 2);
    assert.match(missing.err, /does not exist/);
    assert.equal(readFileSync(file, 'utf8'), before);
  });

  it('changes one line and keeps comments, order, other hashes and the mode', async () => {
    writeFileSync(file, `# people\n\nbob:${OLD.hash}\n  \nalice:${OLD.hash}\n#end`, { mode: 0o640 });
    assert.equal(passwd(['set', file, 'bob'], 'new one\n').code, 0);
    assert.equal(await fits(lines()[2], 'new one'), true);
    assert.deepEqual(lines().toSpliced(2, 1), ['# people', '', '  ', `alice:${OLD.hash}`, '#end', '']);
    assert.equal(statSync(file).mode & 0o777, 0o640);
    assert.equal(passwd(['remove', file, 'bob']).code, 0);
    assert.deepEqual(lines(), ['# people', '', '  ', `alice:${OLD.hash}`, '#end', '']);
    assert.equal(passwd(['remove', file, 'bob']).code, 2);
  });

  it('takes from others what access they had', () => {
    writeFileSync(file, `bob:${OLD.hash}\n`);
    chmodSync(file, 0o666);
    assert.equal(passwd(['add', file, 'alice'], 'x\n').code, 0);
    assert.equal(statSync(file).mode & 0o777, 0o660);
  });

  it('reads one line of standard input, as bytes, and nothing after it', async () => {
    const bytes = Buffer.from([0xff, 0x20, 0x00, 0x22, 0xc3]);
    const input = Buffer.concat([bytes, Buffer.from('\r\nsecond line\n')]);
    const child = spawnSync(process.execPath, [ENTRY, 'passwd', 'add', '--stdin', file, 'alice'], { input });
    assert.equal(child.status, 0);
    assert.equal(await fits(lines()[0], bytes), true);
    assert.equal(passwd(['add', file, 'bob'], 'no line end').code, 0);
    assert.equal(await fits(lines()[1], 'no line end'), true);
  });

  it('refuses no password, an empty one and one that is too long', () => {
    for (const input of ['', '\n', '\r\n', `${'x'.repeat(1_025)}\n`, 'x'.repeat(200_000)]) {
      const { code, err } = passwd(['add', file, 'alice'], input);
      assert.equal(code, 2);
      assert.match(err, /^sluice passwd: .*(no password came|Choose one of 1 to 1024 bytes)/);
    }
    assert.deepEqual(readdirSync(dir), []);
  });

  it('takes a password from the command line only by the flag, and says who can see it', async () => {
    assert.equal(passwd(['add', '--password', 'seen', file, 'alice']).code, 0);
    assert.equal(await fits(lines()[0], 'seen'), true);
    assert.match(passwd(['add', '--help']).out.replace(/\s+/g, ' '), /can see it in the process list/);
    assert.equal(passwd(['add', file, 'bob', 'secret'], 'x\n').code, 1);
    assert.equal(passwd(['add', '--password', 'a', '--stdin', file, 'bob'], 'b\n').code, 2);
    assert.equal(lines().length, 2);
  });

  it('refuses user names that the file cannot hold', () => {
    for (const name of ['', 'a:b', '#a', 'a\nb', 'a\x1bb', 'a\x7fb', ' a', 'a ', 'a\uFFFDb']) {
      const { code, err } = passwd(['add', file, name], 'x\n');
      assert.equal(code, 2, JSON.stringify(name));
      assert.match(err, /^sluice passwd: user: the user name/);
      assert.ok(!/[\x00-\x09\x0b-\x1f\x7f]/.test(err));
    }
    const latin = spawnSync('sh', [
      '-c',
      `"$0" "$1" passwd add "$2" "$(printf 'b\\366b')"`,
      process.execPath,
      ENTRY,
      file,
    ]);
    assert.equal(latin.status, 2);
    assert.deepEqual(readdirSync(dir), []);
  });

  it('does not follow a symbolic link, and leaves a broken file as it is', () => {
    const target = join(dir, 'target');
    writeFileSync(target, '', { mode: 0o600 });
    symlinkSync(target, file);
    const linked = passwd(['add', file, 'alice'], 'x\n');
    assert.equal(linked.code, 2);
    assert.match(linked.err, /symbolic link/);
    writeFileSync(target, `bob:${OLD.hash}\nrubbish\n`);
    const broken = passwd(['add', target, 'alice'], 'x\n');
    assert.equal(broken.code, 2);
    assert.match(broken.err, /target:2: there is no colon/);
    assert.equal(readFileSync(target, 'utf8'), `bob:${OLD.hash}\nrubbish\n`);
    assert.deepEqual(readdirSync(dir).sort(), ['passwd', 'target']);
  });

  it('lists users with how they are stored, and nothing of the hashes', () => {
    writeFileSync(file, `# x\nbob:${OLD.hash}\nal\u202eice:${OLD.hash}\n`, { mode: 0o600 });
    passwd(['add', file, 'carol'], 'x\n');
    const { code, out } = passwd(['list', file]);
    assert.equal(code, 0);
    assert.deepEqual(out.split('\n'), [
      'bob     pbkdf2-sha512 i=101       rehash advised',
      'al?ice  pbkdf2-sha512 i=101       rehash advised',
      'carol   argon2id m=19456,t=2,p=1',
      '',
    ]);
  });

  it('verifies by exit code: 0 right, 1 wrong or unknown, 2 when it could not', () => {
    for (const { scheme, password, hash } of vectors.good.filter((_, i) => i % 5 === 1)) {
      writeFileSync(file, `bob:${hash}\n`, { mode: 0o600 });
      const right = passwd(['verify', file, 'bob'], Buffer.from(password, 'base64').toString());
      assert.equal(right.code, 0, scheme);
      assert.match(right.out, /--rehash stores it as argon2id/);
    }
    const wrong = passwd(['verify', file, 'bob'], 'wrong\n');
    const unknown = passwd(['verify', file, 'nobody'], 'wrong\n');
    assert.equal(wrong.code, 1);
    assert.deepEqual(unknown, wrong);
    assert.equal(passwd(['verify', join(dir, 'none'), 'bob'], 'x\n').code, 2);
  });

  it('stores a fresh hash after --rehash and the right password only', async () => {
    const old = `bob:${OLD.hash}\n`;
    writeFileSync(file, old, { mode: 0o600 });
    assert.equal(passwd(['verify', '--rehash', file, 'bob'], 'wrong\n').code, 1);
    assert.equal(readFileSync(file, 'utf8'), old);
    assert.equal(passwd(['verify', '--rehash', file, 'bob'], `${OLD_PASSWORD}\n`).code, 0);
    assert.match(lines()[0], /^bob:\$argon2id\$/);
    assert.equal(await fits(lines()[0], OLD_PASSWORD), true);
    const again = passwd(['verify', '--rehash', file, 'bob'], `${OLD_PASSWORD}\n`);
    assert.deepEqual([again.code, again.out], [0, 'The password is right.\n']);
  });
});

describe('Editing a password file', () => {
  beforeEach(fresh);
  afterEach(clean);

  it('loses no user when many write at once', async () => {
    const names = Array.from({ length: 12 }, (_, i) => `user${i}`);
    await Promise.all(
      names.map((username) => editPasswordFile(file, { kind: 'add', username, hash: OLD.hash })),
    );
    assert.deepEqual(lines().toSorted(), ['', ...names.map((name) => `${name}:${OLD.hash}`)].toSorted());
  });

  it('gives up when a lock stays, naming it, and leaves both files alone', async () => {
    writeFileSync(`${file}.lock`, 'other');
    await assert.rejects(editPasswordFile(file, { kind: 'add', username: 'alice', hash: OLD.hash }), {
      where: `${file}.lock`,
      message: /another writer/,
    });
    assert.deepEqual(readdirSync(dir), ['passwd.lock']);
    assert.equal(readFileSync(`${file}.lock`, 'utf8'), 'other');
  });

  it('does not rehash over a password that was changed meanwhile', async () => {
    writeFileSync(file, `bob:${OLD.hash}\n`, { mode: 0o600 });
    const other = vectors.good[0].hash;
    await assert.rejects(
      editPasswordFile(file, { kind: 'rehash', username: 'bob', hash: other, oldHash: other }),
      /changed meanwhile/,
    );
    assert.equal(readFileSync(file, 'utf8'), `bob:${OLD.hash}\n`);
    assert.deepEqual(readdirSync(dir), ['passwd']);
  });
});

/** A `passwd` on a terminal of its own; answers each prompt when it has appeared. */
async function onTerminal(args: string[], answers: [prompt: string, keys: string][]) {
  const words = [process.execPath, ENTRY, 'passwd', ...args].map((word) => `'${word}'`).join(' ');
  const child: ChildProcessWithoutNullStreams = spawn('script', ['-qec', `${words}; stty -a`, '/dev/null']);
  let shown = '';
  let from = 0;
  const waiting = [...answers];
  child.stdout.on('data', (chunk: Buffer) => {
    shown += chunk.toString();
    while (waiting.length > 0) {
      const at = shown.indexOf(waiting[0][0], from);
      if (at === -1) return;
      from = at + waiting[0][0].length;
      child.stdin.write(waiting.shift()![1]);
    }
  });
  await new Promise((resolve) => child.on('close', resolve));
  assert.deepEqual(waiting, [], shown);
  // The terminal must be left as it was: with echo, and turning Ctrl-C into a signal.
  assert.match(shown, /[^-]echo\b/);
  assert.match(shown, /[^-]isig\b/);
  return shown;
}

describe('sluice passwd on a terminal', { skip: !HAS_SCRIPT && 'needs script(1)' }, () => {
  beforeEach(fresh);
  afterEach(clean);

  it('asks twice and never shows what is typed', async () => {
    const shown = await onTerminal(
      ['add', file, 'alice'],
      [
        ['Password: ', 'hunter2\r'],
        ['Again: ', 'hunter2\r'],
      ],
    );
    assert.ok(!shown.includes('hunter2') && !shown.includes('*'));
    assert.match(shown, /Added alice/);
    assert.equal(await fits(lines()[0], 'hunter2'), true);
  });

  it('takes both at once when they are pasted', async () => {
    const shown = await onTerminal(['add', file, 'alice'], [['Password: ', 'hunter2\rhunter2\r']]);
    assert.ok(!shown.includes('hunter2'));
    assert.equal(await fits(lines()[0], 'hunter2'), true);
  });

  it('understands backspace, Ctrl-U, letters of several bytes, and ignores arrow keys', async () => {
    await onTerminal(
      ['add', file, 'alice'],
      [
        ['Password: ', 'wrong\x15pä🔑x\x7f\x7f\x7fé\x1b[A\x1b[Dy\r'],
        ['Again: ', 'péy\r'],
      ],
    );
    assert.equal(await fits(lines()[0], 'péy'), true);
  });

  it('refuses two that differ', async () => {
    const shown = await onTerminal(
      ['add', file, 'alice'],
      [
        ['Password: ', 'one\r'],
        ['Again: ', 'two\r'],
      ],
    );
    assert.match(shown, /the two do not agree/);
    assert.deepEqual(readdirSync(dir), []);
  });

  it('stops at Ctrl-C and at Ctrl-D, and writes nothing', async () => {
    for (const key of ['abc\x03', '\x04']) await onTerminal(['add', file, 'alice'], [['Password: ', key]]);
    assert.deepEqual(readdirSync(dir), []);
  });

  it('offers to rehash an old hash, and does so only for y', async () => {
    writeFileSync(file, `bob:${OLD.hash}\n`, { mode: 0o600 });
    const ask = (key: string) =>
      onTerminal(
        ['verify', file, 'bob'],
        [
          ['Password: ', `${OLD_PASSWORD}\r`],
          ['[y/N] ', key],
        ],
      );
    for (const key of ['n', '\r', '\x03']) await ask(key);
    assert.equal(lines()[0], `bob:${OLD.hash}`);
    await ask('y');
    assert.match(lines()[0], /^bob:\$argon2id\$/);
  });
});
