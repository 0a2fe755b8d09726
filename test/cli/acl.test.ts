/** The command `sluice acl` as its users meet it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ACL_EXIT, checkCommand, explainCommand } from '../../cli/commands/acl-actions.ts';
import type { Action } from '../../src/interfaces/auth.ts';
import vectors from '../data/hashes.json' with { type: 'json' };

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const HASH = vectors.good.find(({ scheme }) => scheme === 'pbkdf2-sha512')!.hash;
const root = mkdtempSync(join(tmpdir(), 'sluice-acl-command-'));
after(() => rmSync(root, { recursive: true }));
let files = 0;

function file(lines: readonly string[], mode = 0o600): string {
  const path = join(root, `file-${files++}`);
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''), { mode });
  chmodSync(path, mode);
  return path;
}

class Sink {
  text = '';
  write(text: string): void {
    this.text += text;
  }
}

interface Answer {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

function explain(action: Action, topic: string, flags: Record<string, string | boolean>): Answer {
  const [stdout, stderr] = [new Sink(), new Sink()];
  const code = explainCommand(action, topic, { client: 'dev1', ...flags }, { stdout, stderr });
  return { code, out: stdout.text, error: stderr.text };
}

function check(path: string, flags: { users?: string; strict?: boolean; json?: boolean } = {}): Answer {
  const [stdout, stderr] = [new Sink(), new Sink()];
  const code = checkCommand(path, flags, { stdout, stderr });
  return { code, out: stdout.text, error: stderr.text };
}

function run(...args: string[]): Answer {
  const env = { ...process.env, NODE_OPTIONS: '' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'acl', ...args], {
    env,
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { code: status ?? -1, out: stdout, error: stderr };
}

const RULES = [
  'group ops',
  'members bob',
  'allow all #',
  'user dashboard',
  'deny subscribe devices/+/credentials',
  'allow subscribe devices/#',
  'all',
  'allow publish devices/%u/%c/state',
];

describe('sluice acl explain', () => {
  const acl = file(RULES);

  test('says who may do what by which line, and how the line reads', () => {
    const { code, out } = explain('publish', 'devices/alice/dev1/state', { file: acl, user: 'alice' });
    assert.equal(code, ACL_EXIT.yes);
    assert.equal(
      out,
      'allowed: user "alice", client "dev1", may publish to "devices/alice/dev1/state"\n' +
        `  ${acl}:8: allow publish devices/%u/%c/state\n` +
        '  in section all\n' +
        '  reads as "devices/alice/dev1/state" (%u is "alice"; %c is "dev1")\n',
    );
  });

  test('says with --all of every line before why it did not decide', () => {
    const { code, out } = explain('publish', 'x', { file: acl, user: 'alice', client: 'a/b', all: true });
    assert.equal(code, ACL_EXIT.no);
    assert.match(out, /^denied: .*\n {2}no rule of .* fits, and what no rule fits is denied\nLooked at:\n/);
    assert.match(out, /:3: allow all # \(group "ops"\): "alice" is not in the group\n/);
    assert.match(out, /:5: .*: it speaks of another user\n/);
    assert.match(out, /:8: .*: "a\/b" has \/ \+ or #, and is never put in for %c\n$/);
  });

  test('says of a filter which part each line decides, for shared subscriptions too', () => {
    for (const filter of ['devices/#', '$share/g/devices/#']) {
      const { code, out } = explain('subscribe', filter, { file: acl, user: 'dashboard' });
      assert.equal(code, ACL_EXIT.yes);
      assert.ok(out.includes(`may subscribe to "${filter}"\n  ${acl}:6: allow`), out);
      assert.match(out, /:5: denies "devices\/\+\/credentials"\n.*:6: allows "devices\/#"\n$/);
    }
  });

  test('prints the same as JSON', () => {
    const { out } = explain('subscribe', 'devices/#', {
      file: acl,
      user: 'dashboard',
      json: true,
      all: true,
    });
    const answer = JSON.parse(out);
    assert.deepEqual(
      [answer.allowed, answer.by, answer.rule.line, answer.user, answer.client, answer.file],
      [true, 'rule', 6, 'dashboard', 'dev1', acl],
    );
    assert.deepEqual(answer.parts[0], {
      allow: false,
      line: 5,
      filter: 'devices/+/credentials',
      hiddenByLine: null,
    });
    assert.deepEqual(
      answer.before.map(({ line, finding }: { line: number; finding: string }) => [line, finding]),
      [
        [3, 'others'],
        [5, 'denies-part'],
      ],
    );
  });

  test('lets nothing from names, topics or the file reach the terminal unescaped', () => {
    const evil = '\x1b[2J\u202e\x9b\u{e0001}"x"';
    const odd = file(['all', 'deny all b\u202e/#', `allow all #`]);
    for (const json of [false, true]) {
      const asked = explain('receive', `a${evil}`, { file: odd, user: evil, client: evil, all: true, json });
      const wrong = explain('publish', `${evil}/+`, { file: odd, user: evil, json });
      const group = check(
        file(['group \u202eg', 'allow all a', 'all', 'allow all \u202e', 'allow all \u202e']),
        {
          json,
        },
      );
      for (const { out, error } of [asked, wrong, group, check(file(['\u202e', 'x\x1b[2J']), { json })]) {
        const raw = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.exec(`${out}${error}`.replaceAll('\n', ''));
        assert.equal(raw, null, JSON.stringify(out + error));
        if (json && out !== '') JSON.parse(out);
      }
      if (json) assert.equal(JSON.parse(asked.out).client, evil);
    }
  });

  test('refuses with exit code 2 what no rule would be asked about, and files it cannot use', () => {
    const refused: [Action, string, Record<string, string>, RegExp][] = [
      ['publish', 'a/+', { file: acl }, /is no topic name/],
      ['receive', '', { file: acl }, /is no topic name/],
      ['subscribe', 'a/#/b', { file: acl }, /is no topic filter/],
      ['subscribe', '$share//a', { file: acl }, /is no topic filter/],
      ['publish', 'a', { file: join(root, 'none') }, /does not exist/],
      ['publish', 'a', {}, /Give --file FILE/],
      ['publish', 'a', { file: acl, config: acl }, /one file of rules/],
      ['publish', 'a', { file: file(['x', 'y']) }, /:1: .*\n.*:2: /],
      ['publish', 'a', { file: file(['all'], 0o666) }, /mode 0666/],
    ];
    for (const [action, topic, flags, message] of refused) {
      const { code, out, error } = explain(action, topic, flags);
      assert.deepEqual([code, out], [ACL_EXIT.failed, '']);
      assert.match(error, message);
      assert.match(error, /^sluice acl: /);
    }
  });

  test('takes the file and the limits from a configuration, for a listener too', () => {
    const own = file(['all', 'allow publish own']);
    const config = join(root, 'sluice.yaml');
    writeFileSync(
      config,
      `listeners:
  - url: mqtt://127.0.0.1:1883
  - url: mqtt://127.0.0.1:1884
    auth: { aclFile: ${own} }
auth: { allowAnonymous: true, aclFile: ${acl} }
limits: { wildcardSubscriptionAvailable: false }
`,
    );
    assert.equal(explain('publish', 'own', { config }).code, ACL_EXIT.no);
    const there = { config, listener: 'mqtt://127.0.0.1:1884' };
    assert.equal(explain('publish', 'own', there).code, ACL_EXIT.yes);
    const nowhere = explain('publish', 'own', { config, listener: 'mqtt://127.0.0.1:9' });
    assert.match(nowhere.error, /there is no listener .* Name one of mqtt:\/\/127\.0\.0\.1:1883, /);
    const wild = explain('subscribe', 'devices/#', { config, user: 'bob' });
    assert.equal(wild.code, ACL_EXIT.no);
    assert.match(wild.out, /^denied: .*\n.*limits\.wildcardSubscriptionAvailable is false/);
  });

  test('says so when there is no ACL file', () => {
    const config = join(root, 'open.yaml');
    writeFileSync(config, 'listeners: [{ url: "mqtt://127.0.0.1" }]\nauth: { allowAnonymous: true }\n');
    const open = explain('publish', 'a', { config });
    assert.equal(open.code, ACL_EXIT.yes);
    assert.match(open.out, /there is no ACL file/);
    const system = explain('publish', '$SYS/x', { config });
    assert.equal(system.code, ACL_EXIT.no);
    assert.match(system.out, /nobody may publish to \$SYS/);
  });
});

describe('sluice acl check', () => {
  const passwd = file([`alice:${HASH}`, `dashboard:${HASH}`]);

  test('says what it found, with exit code 1 for faults only, or with --strict for notes', () => {
    const clean = file(['user alice', 'allow all a']);
    assert.deepEqual(check(clean, { users: passwd }), { code: 0, out: 'ok: 0 notes\n', error: '' });
    const acl = file(RULES);
    const noted = check(acl);
    assert.equal(noted.code, ACL_EXIT.yes);
    assert.match(
      noted.out,
      /:6: note: "allow subscribe devices\/#" does not hold where lines before it deny/,
    );
    assert.equal(check(acl, { strict: true }).code, ACL_EXIT.no);
    const unknown = check(acl, { users: passwd });
    assert.equal(unknown.code, ACL_EXIT.no);
    assert.match(unknown.out, /:2: fault: the password file has no user "bob" \(group "ops"\)\. /);
    assert.match(unknown.out, /\n1 fault, \d notes?\n$/);
  });

  test('names all lines that cannot be used, with exit code 1', () => {
    const { code, out } = check(file(['allow all #', 'all', 'allow fly #', 'allow all #']));
    assert.equal(code, ACL_EXIT.no);
    assert.match(out, /:1: the rule stands before any section.*\n.*:3: "fly" is no action.*\nNothing else/);
    const many = check(file(Array(30).fill('x')), { json: true });
    const { badLines } = JSON.parse(many.out);
    assert.equal(badLines.length, 21);
    assert.match(badLines[20], /10 more lines cannot be used/);
  });

  test('prints JSON', () => {
    const { out } = check(file(['all', 'allow all a', 'deny all a']), { json: true });
    const { faults, notes, remarks } = JSON.parse(out);
    assert.deepEqual([faults, notes], [1, 0]);
    assert.deepEqual([remarks[0].line, remarks[0].kind, remarks[0].severity], [3, 'unreachable', 'fault']);
  });

  test('fails with exit code 2 for files that are not there or not safe', () => {
    assert.equal(check(join(root, 'none')).code, ACL_EXIT.failed);
    assert.equal(check(file(['all'], 0o666)).code, ACL_EXIT.failed);
    const users = check(file(['all']), { users: file(['alice', 'bob']) });
    assert.equal(users.code, ACL_EXIT.failed);
    assert.match(users.error, /:1: there is no colon.*\n.*:2: there is no colon/);
  });

  test('finds nothing wrong with the example', () => {
    assert.equal(check('config/acl.example').code, ACL_EXIT.yes);
  });
});

describe('The command', () => {
  test('ends with the exit code of the answer', () => {
    const acl = file(RULES);
    const asked = ['explain', '--file', acl, '--client', 'x'];
    assert.equal(run(...asked, '--user', 'bob', 'publish', 'a').code, 0);
    const denied = run(...asked, 'publish', 'a');
    assert.equal(denied.code, 1);
    assert.match(denied.out, /^denied: an anonymous client "x" may not publish to "a"\n/);
    assert.equal(run(...asked, 'fly', 'a').code, 2);
    assert.equal(run('explain', '--file', acl, 'publish', 'a').code, 2);
    assert.equal(run('check', acl).code, 0);
    assert.match(run('chek').error, /Did you mean check\?/);
  });
});
