import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import {
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { AclAuthorizer } from '../../auth/acl/acl-authorizer.ts';
import { readAclFile } from '../../auth/acl/acl-file.ts';
import { WatchedFile } from '../../auth/files/watched-file.ts';
import { ConfigError } from '../../src/errors.ts';

const alice = { username: 'alice', clientId: 'dev1' };

describe('A watched file', () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'sluice-watch-'));
    path = join(dir, 'acl');
    writeFileSync(path, 'all\nallow publish a\n');
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  /** An authorizer whose rules come from the file; `events` says `change` and `error`. */
  function open(file = path) {
    const events = new EventEmitter({ captureRejections: false });
    const errors: Error[] = [];
    events.on('error', (error) => errors.push(error));
    const watched = new WatchedFile(file, {
      read: (name) => readAclFile(name),
      onChange: (rules) => {
        authorizer.replaceRules(rules);
        events.emit('change');
      },
      onError: (error) => events.emit('error', error),
      pollMs: 20,
      quietMs: 5,
    });
    const authorizer = new AclAuthorizer(watched.current);
    return { watched, authorizer, events, errors };
  }

  it('that is broken or missing at start is not overlooked', () => {
    writeFileSync(path, 'nonsense\n');
    assert.throws(() => open(), { where: `${path}:1` });
    unlinkSync(path);
    assert.throws(() => open(), { message: /does not exist/ });
  });

  it('is read again on demand, whole, and the generation tells', () => {
    const { watched, authorizer } = open();
    writeFileSync(path, 'all\nallow publish b\n');
    assert.equal(authorizer.may(alice, 'publish', 'a'), true);
    assert.deepEqual(watched.reload(), { ok: true });
    assert.equal(authorizer.may(alice, 'publish', 'a'), false);
    assert.equal(authorizer.may(alice, 'publish', 'b'), true);
    assert.equal(authorizer.generation, 1);
  });

  it('that is broken or gone on demand changes nothing and says where', () => {
    const { watched, authorizer, errors } = open();
    writeFileSync(path, 'all\nallow publish b\nallow nonsense\n');
    const broken = watched.reload();
    assert.ok(!broken.ok && broken.error instanceof ConfigError);
    assert.equal(broken.error.where, `${path}:3`);
    unlinkSync(path);
    const gone = watched.reload();
    assert.ok(!gone.ok && /does not exist/.test(gone.error.message));
    assert.equal(authorizer.may(alice, 'publish', 'a'), true);
    assert.equal(authorizer.may(alice, 'publish', 'b'), false);
    assert.equal(authorizer.generation, 0);
    assert.deepEqual(errors, []);
  });

  it('is read again when it is written in place, and when another is renamed over it', async () => {
    const { watched, authorizer, events } = open();
    watched.start();
    try {
      const written = once(events, 'change');
      writeFileSync(path, 'all\nallow publish b\n');
      await written;
      assert.equal(authorizer.may(alice, 'publish', 'b'), true);
      const renamed = once(events, 'change');
      writeFileSync(join(dir, 'new'), 'all\nallow publish c\n');
      renameSync(join(dir, 'new'), path);
      await renamed;
      assert.equal(authorizer.may(alice, 'publish', 'c'), true);
      assert.equal(authorizer.may(alice, 'publish', 'b'), false);
    } finally {
      watched.stop();
    }
  });

  it('that changed between reading and watching is not missed', async () => {
    const { watched, authorizer, events } = open();
    writeFileSync(path, 'all\nallow publish b\n');
    const changed = once(events, 'change');
    watched.start();
    await changed;
    watched.stop();
    assert.equal(authorizer.may(alice, 'publish', 'b'), true);
  });

  it('that breaks or vanishes keeps the old rules, reports, and recovers when it is back', async () => {
    const { watched, authorizer, events, errors } = open();
    watched.start();
    const nextError = () => new Promise<Error>((resolve) => events.once('error', resolve));
    try {
      const broken = nextError();
      writeFileSync(path, 'all\nallow rubbish\n');
      assert.match((await broken).message, /acl:2: "rubbish" is no action/);
      const gone = nextError();
      unlinkSync(path);
      assert.match((await gone).message, /does not exist/);
      assert.equal(authorizer.may(alice, 'publish', 'a'), true);
      assert.equal(authorizer.generation, 0);
      const back = once(events, 'change');
      writeFileSync(path, 'all\nallow publish b\n');
      await back;
      assert.equal(authorizer.may(alice, 'publish', 'b'), true);
      assert.ok(errors.length >= 2);
    } finally {
      watched.stop();
    }
  });

  it('is found changed behind a symbolic link that leads elsewhere, by polling', async () => {
    const link = join(dir, 'link');
    const elsewhere = mkdtempSync(join(tmpdir(), 'sluice-target-'));
    const target = join(elsewhere, 'acl');
    writeFileSync(target, readFileSync(path));
    symlinkSync(target, link);
    const { watched, authorizer, events } = open(link);
    watched.start();
    try {
      const changed = once(events, 'change');
      writeFileSync(target, 'all\nallow publish b\n');
      await changed;
      assert.equal(authorizer.may(alice, 'publish', 'b'), true);
    } finally {
      watched.stop();
      rmSync(elsewhere, { recursive: true });
    }
  });

  it('can be stopped and started any number of times', () => {
    const { watched } = open();
    watched.stop();
    watched.start();
    watched.start();
    watched.stop();
    watched.stop();
    assert.deepEqual(watched.reload(), { ok: true });
  });
});
