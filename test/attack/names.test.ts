/** Names made to hurt whoever reads them: terminals, logs, files, and tables that are objects. */
import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { hashArgon2id } from '../../auth/passwords/argon2id.ts';
import { connect, publish, subscribe } from '../support/packets.ts';
import { attackBroker } from './harness/target.ts';

const ESCAPE = '\u001b';
const NAMES: readonly string[] = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '../../../../tmp/sluice-was-here',
  '/etc/passwd',
  '-rf',
  'a b\\"c\'d',
  '%s%n%d{}#{7*7}',
  '<script>alert(1)</script>',
  `${ESCAPE}[2J${ESCAPE}[31mred`,
  `${ESCAPE}]0;title\u0007`,
  'line\nbreak',
  'carriage\r\nreturn {"level":"error","event":"forged"}',
  '\u0001\u0002\u0008\u007f\u0085\u009b31m',
  '\u202eright to left',
  '\u2028separator\u2029',
  '\ufeffbyte order',
  '#',
  '+',
  '$SYS',
  'x'.repeat(1_000),
];

/** What must not reach a terminal or a file raw: controls but for the line's own end, and what turns text around. */
const RAW = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/;

attackBroker(
  'names with control characters, escapes, paths and prototype keys leave logs, files and tables clean',
  {
    passwordLines: [
      `canary:${await hashArgon2id(Buffer.from('sings'))}`,
      `__proto__:${await hashArgon2id(Buffer.from('its password'))}`,
    ],
    canary: { username: 'canary', password: 'sings' },
    allowAnonymous: true,
    config: { persistence: { enabled: true, dir: 'data' } },
  },
  async (target) => {
    await target.canary.singDuring(NAMES.length, async (step) => {
      const name = NAMES[step]!;
      const from = 1 + step;
      for (const version of [4, 5] as const) {
        // As a client id that is let in, with everything else called the same.
        const client = await target.client('tcp', version, from);
        const properties = version === 5 ? { userProperties: [[name, name]] as [string, string][] } : {};
        client.send(
          connect({
            version,
            clientId: name,
            cleanStart: false,
            properties: version === 5 ? { ...properties, sessionExpiryInterval: 1 } : {},
          }),
        );
        const answer = await client.next();
        if (answer?.type === 2 && answer.reasonCode === 0) {
          if (version === 5)
            client.send(publish(`named/${name.replace(/[#+]/g, 'x')}`, name, { properties }));
          client.send(subscribe(1, [`named/${name}`]));
          await client.next();
        }
        client.raw.abort();
        if (version === 4) continue;
        // As a user name with a wrong password, and as a user name that is nobody's.
        const guesser = await target.client('tcp', version, from);
        guesser.send(connect({ version, clientId: `guess-${step}`, username: name, password: name }));
        const refused = await guesser.next();
        if (refused?.type === 2) assert.notEqual(refused.reasonCode, 0, `${JSON.stringify(name)} got in`);
        guesser.raw.abort();
      }
    });
    // What 3.1.1 leaves behind is ended by a clean start.
    for (const [step, clientId] of NAMES.entries()) {
      const client = await target.client('tcp', 5, 1 + step);
      client.send(connect({ clientId }));
      await client.next();
      client.raw.abort();
    }
    await target.canary.sing();
    const output = target.broker.output();
    for (const line of output.split('\n')) assert.doesNotMatch(line, RAW, JSON.stringify(line));
    assert.equal(target.log('forged').length, 0);
    assert.ok(target.log('auth.failed').length >= NAMES.length, 'guesses are in the log');
    assert.ok(
      Math.max(...output.split('\n').map((line) => line.length)) < 4_096,
      'a line is longer than 4 KB',
    );
    const files = globSync('**/*', { cwd: target.broker.directory }).sort();
    assert.deepEqual(
      files.filter((file) => !/^(certs|data|passwd|sluice\.yaml|bans)/.test(file)),
      [],
      'files that nobody asked for',
    );
    assert.equal(globSync('/tmp/sluice-was-here*').length, 0);
  },
);
