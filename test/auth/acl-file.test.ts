import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { AclAuthorizer } from '../../auth/acl-authorizer.ts';
import { parseAcl, readAclFile } from '../../auth/acl-file.ts';
import { ConfigError } from '../../src/errors.ts';

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
