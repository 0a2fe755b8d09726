/** What an operator can get wrong: the command says what, where and what would be right, and starts nothing. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ensureDevCertificates } from '../../cli/certificates.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'sluice-files-'));
after(() => rmSync(root, { recursive: true }));
await ensureDevCertificates(join(root, 'a'), Date.now());
await ensureDevCertificates(join(root, 'b'), Date.now());
const CERT = join(root, 'a', 'server.pem');
const KEY = join(root, 'a', 'server.key');

interface Fault {
  readonly name: string;
  /** The configuration, as YAML. */
  readonly yaml: string;
  /** Files beside it. */
  readonly files?: Readonly<Record<string, string>>;
  readonly flags?: readonly string[];
  /** All of this stands in the one complaint: what, where, and what would be right. */
  readonly says: readonly (string | RegExp)[];
}

const OPEN = 'auth: { allowAnonymous: true }\n';
const tls = (cert: string, key: string): string =>
  `listeners: [{ url: "mqtts://127.0.0.1:0", tls: { cert: "${cert}", key: "${key}" } }]\n${OPEN}`;
const LOCAL = 'listeners: [{ url: "mqtt://127.0.0.1:0" }]\n';

const FAULTS: readonly Fault[] = [
  {
    name: 'a missing certificate',
    yaml: tls('none.pem', KEY),
    says: ['tls.cert', 'none.pem does not exist'],
  },
  { name: 'a missing key', yaml: tls(CERT, 'none.key'), says: ['tls.key', 'none.key does not exist'] },
  {
    name: 'a certificate that is none',
    yaml: tls('bad.pem', KEY),
    files: { 'bad.pem': 'not a certificate\n' },
    says: ['tls.cert', 'bad.pem'],
  },
  {
    name: 'a key that is none',
    yaml: tls(CERT, 'bad.key'),
    files: { 'bad.key': 'not a key\n' },
    says: ['tls.key', 'bad.key'],
  },
  {
    name: 'a key of another certificate',
    yaml: tls(CERT, join(root, 'b', 'server.key')),
    says: [/does not belong/],
  },
  { name: 'a directory for a key', yaml: tls(CERT, root), says: ['tls.key'] },
  {
    name: 'a password file with a bad line',
    yaml: `${LOCAL}auth: { passwordFile: passwd }\n`,
    files: { passwd: '# users\n\nalice:plain text\n' },
    says: ['passwd:3', 's.yaml:2'],
  },
  {
    name: 'a password file with an empty user name',
    yaml: `${LOCAL}auth: { passwordFile: passwd }\n`,
    files: { passwd: ':$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g\n' },
    says: ['passwd:1'],
  },
  {
    name: 'a missing password file',
    yaml: `${LOCAL}auth: { passwordFile: none }\n`,
    says: ['none', /does not exist/],
  },
  {
    name: 'an ACL file with a bad line',
    yaml: `${LOCAL}auth: { allowAnonymous: true, aclFile: acl }\n`,
    files: { acl: 'all\nallow readwrite a/#\nallow write b\n' },
    says: ['acl:3', 's.yaml:2'],
  },
  {
    name: 'an ACL file with a bad filter',
    yaml: `${LOCAL}auth: { allowAnonymous: true, aclFile: acl }\n`,
    files: { acl: 'all\nallow readwrite a/#/b\n' },
    says: ['acl:2'],
  },
  {
    name: 'a missing ACL file',
    yaml: `${LOCAL}auth: { allowAnonymous: true, aclFile: none }\n`,
    says: ['none'],
  },
  { name: 'a configuration that is not YAML', yaml: 'listeners: [\n', says: ['s.yaml:'] },
  {
    name: 'an unknown key',
    yaml: `${LOCAL}${OPEN}limts: { receiveMaximum: 3 }\n`,
    says: ['s.yaml:3', 'limts: unknown key'],
  },
  {
    name: 'a value out of range',
    yaml: `${LOCAL}${OPEN}limits: { receiveMaximum: 70000 }\n`,
    says: ['s.yaml:3', 'limits.receiveMaximum', '70000', '65535'],
  },
  {
    name: 'a value of the wrong type',
    yaml: `${LOCAL}${OPEN}limits: { receiveMaximum: lots }\n`,
    says: ['s.yaml:3', 'lots'],
  },
  {
    name: 'a listener of an unknown kind',
    yaml: `listeners: [{ url: "http://127.0.0.1:1" }]\n${OPEN}`,
    says: ['s.yaml:1', 'http'],
  },
  { name: 'nobody who could log in', yaml: LOCAL, says: ['auth', /nobody could log in/] },
  {
    name: 'an unknown flag',
    yaml: `${LOCAL}${OPEN}`,
    flags: ['--limits.receiveMaximun', '3'],
    says: ['--limits.receiveMaximum'],
  },
];

let folders = 0;

function folderWith(files: Readonly<Record<string, string>>): string {
  const directory = join(root, `case-${folders++}`);
  mkdirSync(directory);
  for (const [name, text] of Object.entries(files))
    writeFileSync(join(directory, name), text, { mode: 0o600 });
  return directory;
}

async function sluice(args: readonly string[], cwd: string): Promise<{ code: number; text: string }> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICE_')));
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, env: { ...env, NODE_OPTIONS: '' } });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
  const [code] = (await once(child, 'close')) as [number];
  return { code, text };
}

for (const { name, yaml, files = {}, flags = [], says } of FAULTS) {
  test(`${name} is named with its place and its remedy, and nothing starts`, async () => {
    const directory = folderWith({ 's.yaml': yaml, ...files });
    const { code, text } = await sluice(['serve', '-c', 's.yaml', ...flags], directory);
    assert.equal(code, flags.length > 0 ? 2 : 1, text);
    assert.match(text, /^sluice: /);
    for (const part of says) {
      assert.ok(
        typeof part === 'string' ? text.includes(part) : part.test(text),
        `${part} is missing in ${text}`,
      );
    }
    assert.doesNotMatch(text, /^ready$/m);
    // A stack trace or a secret is no help.
    assert.doesNotMatch(text, / at .*:\d+:\d+\)?$/m);
    assert.doesNotMatch(text, /plain text/);
  });
}

test('a missing configuration file is named', async () => {
  const { code, text } = await sluice(['serve', '-c', 'none.yaml'], folderWith({}));
  assert.equal(code, 1, text);
  assert.match(text, /^sluice: .*none\.yaml/);
});

test('a port in use is named, and whoever has it is not disturbed', async () => {
  const holder = createServer((socket) => socket.end('mine')).listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const { port } = holder.address() as { port: number };
  const directory = folderWith({ 's.yaml': `listeners: [{ url: "mqtt://127.0.0.1:${port}" }]\n${OPEN}` });
  const { code, text } = await sluice(['serve', '-c', 's.yaml'], directory);
  const stillListens = holder.listening;
  holder.close();
  assert.equal(code, 1, text);
  assert.ok(stillListens);
  assert.match(
    text,
    new RegExp(`^sluice: mqtt://127\\.0\\.0\\.1:${port}: another process already listens there`),
  );
});

test('a key that may not be read is named', async (t: TestContext) => {
  const directory = folderWith({
    'locked.key': readFileSync(KEY, 'utf8'),
    's.yaml': tls(CERT, 'locked.key'),
  });
  chmodSync(join(directory, 'locked.key'), 0);
  if (process.getuid?.() === 0) {
    t.diagnostic('root reads every file, so that this cannot be shown here');
    return;
  }
  const { code, text } = await sluice(['serve', '-c', 's.yaml'], directory);
  assert.equal(code, 1, text);
  assert.match(text, /tls\.key.*locked\.key/);
});
