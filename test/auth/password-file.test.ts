import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { BadLines } from '../../auth/files/bad-lines.ts';
import { parsePasswordFile, readPasswordFile } from '../../auth/passwords/password-file.ts';
import { ConfigError } from '../../src/errors.ts';
import vectors from '../data/hashes.json' with { type: 'json' };

const HASH = vectors.good.find(({ scheme }) => scheme === 'pbkdf2-sha512')!.hash;

describe('The password file', () => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-passwd-'));
  after(() => rmSync(dir, { recursive: true }));

  it('holds users by name, with comments and blank lines, LF or CRLF, with or without a last line end', () => {
    const text = `# people\r\n\r\nalice:${HASH}\r\n   \nbob smith:${HASH}\n#x\n__proto__:${HASH}\nпётр:${HASH}`;
    const users = parsePasswordFile(text, 'passwd');
    assert.deepEqual([...users.keys()], ['alice', 'bob smith', '__proto__', 'пётр']);
    assert.equal(users.get('alice')!.text, HASH);
    assert.equal(users.get('constructor'), undefined);
    assert.equal(parsePasswordFile('', 'passwd').size, 0);
  });

  const broken: [why: string, line: string, message: RegExp][] = [
    ['no colon', 'bob', /no colon/],
    ['an empty user name', `:${HASH}`, /user name is empty/],
    ['only a colon', ':', /user name is empty/],
    ['a user twice', `alice:${HASH}`, /already on line 1/],
    ['an empty hash', 'bob:', /hash of a known scheme/],
    ['a plain password', 'bob:secret', /hash of a known scheme/],
    [
      '4 GiB of memory',
      'bob:$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEg',
      /out of bounds/,
    ],
    ['a NUL', `bo\0b:${HASH}`, /control character/],
    ['an escape sequence', `\x1b[31mbob:${HASH}`, /control character/],
    ['a tab', `bob\t:${HASH}`, /control character/],
    ['a carriage return inside', `bob:${HASH}\rx`, /control character/],
    ['a space before the name', ` bob:${HASH}`, /begins or ends with a space/],
    ['a space after the hash', `bob:${HASH} `, /damaged/],
    ['something after the hash', `bob:${HASH}:x`, /damaged/],
  ];
  for (const [why, line, message] of broken) {
    it(`is refused whole, by file and line, for ${why}`, () => {
      assert.throws(
        () => parsePasswordFile(`alice:${HASH}\n# comment\n${line}\n`, 'config/passwd'),
        (error: unknown) =>
          error instanceof ConfigError && error.where === 'config/passwd:3' && message.test(error.message),
      );
    });
  }

  it('names every line that is wrong', () => {
    const text = `bob\nalice:${HASH}\nalice:${HASH}\ncarol:secret\ndan:${HASH}\n`;
    assert.throws(
      () => parsePasswordFile(text, 'passwd'),
      (error: unknown) =>
        error instanceof BadLines &&
        error.problems.map(({ where }) => where).join(' ') === 'passwd:1 passwd:3 passwd:4' &&
        !error.message.includes('secret'),
    );
  });

  it('is refused for bytes that are not UTF-8, by line', () => {
    const path = join(dir, 'latin1');
    writeFileSync(path, Buffer.from(`alice:${HASH}\nb\xf6b:${HASH}\n`, 'latin1'), { mode: 0o600 });
    assert.throws(() => readPasswordFile(path), { where: `${path}:2`, message: /not valid UTF-8/ });
  });

  it('is refused when others may read, write or run it, unless told otherwise', () => {
    const path = join(dir, 'open');
    writeFileSync(path, `alice:${HASH}\n`);
    for (const mode of [0o604, 0o602, 0o601, 0o640, 0o620, 0o644, 0o666]) {
      chmodSync(path, mode);
      assert.throws(() => readPasswordFile(path), { where: path, remedy: `Run "chmod 600 ${path}".` });
      assert.equal(readPasswordFile(path, { allowUnsafeModes: true }).size, 1);
    }
    for (const mode of [0o600, 0o400]) {
      chmodSync(path, mode);
      assert.equal(readPasswordFile(path).size, 1);
    }
  });

  it('is refused when it is missing, a directory or a named pipe, without waiting', () => {
    assert.throws(() => readPasswordFile(join(dir, 'none')), { message: /does not exist/ });
    assert.throws(() => readPasswordFile(dir), { message: /not a regular file/ });
    const pipe = join(dir, 'pipe');
    execFileSync('mkfifo', ['-m', '600', pipe]);
    assert.throws(() => readPasswordFile(pipe), { message: /not a regular file/ });
  });
});
