import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { AclAuthorizer } from '../../auth/acl/acl-authorizer.ts';
import { parseAcl, readAclFile } from '../../auth/acl/acl-file.ts';
import { BadLines, problemsOf } from '../../auth/files/bad-lines.ts';
import { ConfigError } from '../../src/errors.ts';

/** What the action throws, which must be a ConfigError. */
function faultOf(action: () => unknown): ConfigError {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error;
  }
  assert.fail('nothing was thrown');
}

describe('The ACL file', () => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-acl-'));
  after(() => rmSync(dir, { recursive: true }));

  const broken: [why: string, line: string, message: RegExp][] = [
    ['a rule before any section', 'allow all #', /before any section/],
    ['an unknown word', 'topic read a/b', /"topic" begins neither a section nor a rule/],
    ['a word in capitals', 'All', /begins neither/],
    ['a user without a name', 'user', /has no name/],
    ['a name after all', 'all people', /takes no name/],
    ['a name after anonymous', 'anonymous x', /takes no name/],
    ['members outside a group', 'members alice', /outside a group/],
    ['no members', 'group g\nmembers', /no member/],
    ['an unknown action', 'all\nallow read a', /"read" is no action/],
    ['a missing filter', 'all\nallow publish', /filter is missing/],
    ['no action at all', 'all\ndeny', /is no action/],
    ['a wildcard in a level', 'all\nallow all a/b+', /not a topic filter/],
    ['# before the end', 'all\nallow all #/a', /not a topic filter/],
    ['a comment after a rule', 'all\nallow all a/# # mine', /not a topic filter/],
    ['a shared subscription', 'all\nallow subscribe $share/g/a', /not of shared subscriptions/],
    ['%c inside a level', 'all\nallow all dev-%c/#', /mixes %u or %c/],
    ['%u twice in a level', 'all\nallow all %u%u', /mixes %u or %c/],
    ['too many levels', `all\nallow all ${'a/'.repeat(128)}a`, /not a topic filter/],
    ['too long a filter', `all\nallow all ${'a'.repeat(4_097)}`, /not a topic filter/],
    ['a control character', 'all\nallow all a\x1b[2Jb', /control character/],
    ['a NUL', 'user ali\0ce', /control character/],
  ];
  for (const [why, text, message] of broken) {
    it(`is refused whole, by file, line and remedy, for ${why}`, () => {
      const line = 2 + text.split('\n').length;
      assert.throws(
        () => parseAcl(`# first\n\n${text}\nall\nallow all ok\n`, 'config/acl'),
        (error: unknown) =>
          error instanceof ConfigError &&
          error.where === `config/acl:${line}` &&
          message.test(error.message) &&
          error.remedy !== '',
      );
    });
  }

  it('names every line that is wrong, but no line that is wrong only because of another', () => {
    const text =
      'usr alice\nallow all #\nmembers bob\nall\nallow fly #\ngroup\nmembers x\nallow all a\ndeny all #/a';
    const error = faultOf(() => parseAcl(text, 'acl'));
    assert.ok(error instanceof BadLines);
    assert.deepEqual(
      error.problems.map(({ where }) => where),
      ['acl:1', 'acl:5', 'acl:6', 'acl:9'],
    );
    assert.match(error.message, /^acl: 4 lines cannot be used\. Correct each of them:\n {2}acl:1: "usr"/);
    for (const { remedy } of error.problems) assert.notEqual(remedy, '');
  });

  it('names twenty lines that are wrong and counts the rest, up to ten thousand', () => {
    const error = faultOf(() => parseAcl('x\n'.repeat(21), 'acl'));
    const problems = problemsOf(error);
    assert.equal(problems.length, 21);
    assert.equal(problems[19].where, 'acl:20');
    assert.match(problems[20].message, /^acl: 1 more line cannot be used/);
    const many = problemsOf(faultOf(() => parseAcl('x\n'.repeat(20_000), 'acl')));
    assert.match(many[20].message, /^acl: at least 9980 more lines cannot be used/);
  });

  it('does not print what would move the cursor or turn the text of a terminal', () => {
    assert.throws(
      () => parseAcl('\u202eevil', 'acl'),
      (error: unknown) => error instanceof ConfigError && !error.message.includes('\u202e'),
    );
  });

  it('takes tabs, CRLF, indented lines, names and topics with spaces, and a byte order mark', () => {
    const path = join(dir, 'acl');
    writeFileSync(path, '\uFEFFuser alice smith\r\n\tallow\tpublish\t a b/c d \r\n');
    const subject = new AclAuthorizer(readAclFile(path));
    assert.equal(subject.may({ username: 'alice smith', clientId: 'x' }, 'publish', 'a b/c d'), true);
    assert.equal(subject.may({ username: 'alice', clientId: 'x' }, 'publish', 'a b/c d'), false);
  });

  it('is refused when others may write it, is not UTF-8 or is missing', () => {
    const path = join(dir, 'modes');
    writeFileSync(path, 'all\nallow all #\n');
    chmodSync(path, 0o646);
    assert.throws(() => readAclFile(path), { where: path, remedy: `Run "chmod o-w ${path}".` });
    readAclFile(path, { allowUnsafeModes: true });
    chmodSync(path, 0o644);
    readAclFile(path);
    writeFileSync(path, Buffer.from('all\n\nallow all \xff\n', 'latin1'));
    assert.throws(() => readAclFile(path), { where: `${path}:3` });
    writeFileSync(path, Buffer.from('all\n\xff\nallow all a\nallow all \xfc', 'latin1'));
    assert.deepEqual(
      problemsOf(faultOf(() => readAclFile(path))).map(({ where }) => where),
      [`${path}:2`, `${path}:4`],
    );
    assert.throws(() => readAclFile(join(dir, 'none')), { message: /does not exist/ });
  });

  it('that comes as an example is valid', () => {
    const subject = new AclAuthorizer(readAclFile('config/acl.example', { allowUnsafeModes: true }));
    assert.equal(subject.may({ username: 'alice', clientId: 'x' }, 'subscribe', '$SYS/#'), true);
    assert.equal(subject.may({ username: 'dashboard', clientId: 'x' }, 'subscribe', 'devices/#'), true);
    assert.equal(
      subject.may({ username: 'dashboard', clientId: 'x' }, 'receive', 'devices/1/credentials'),
      false,
    );
    assert.equal(subject.may({ username: 'carol', clientId: 'x' }, 'publish', 'users/carol/a'), true);
    assert.equal(subject.may({ username: null, clientId: 'x' }, 'publish', 'users/x/a'), false);
  });
});
