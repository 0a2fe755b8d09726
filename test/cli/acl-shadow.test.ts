/** A second ACL file that is only tried out, in a whole broker. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import mqtt from 'mqtt';
import { type Running, serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import { ConfigErrors } from '../../config/problems.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-acl-shadow-'));
after(() => rmSync(directory, { recursive: true }));

class Sink {
  text = '';
  write(text: string): void {
    this.text += text;
  }
  /** The records of one event. */
  events(name: string): Record<string, unknown>[] {
    return this.text
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
      .filter(({ event }) => event === name);
  }
}

let stores = 0;

async function start(flags: Record<string, string>): Promise<{ broker: Running; out: Sink }> {
  const out = new Sink();
  const config = loadConfig({
    env: {},
    flags: {
      'log.file': '',
      listeners: 'mqtt://127.0.0.1:0',
      'persistence.dir': join(directory, `data-${++stores}`),
      'auth.allowAnonymous': 'true',
      ...flags,
    },
  });
  return { broker: await serve(config, { stdout: out, stderr: out }), out };
}

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

describe('auth.aclShadowFile', () => {
  test('logs what it would decide differently, by which line, and decides nothing', async () => {
    const live = file('acl', 'all\nallow all a/#\n');
    const shadow = file('acl.new', 'all\ndeny all a/secret\nallow all a/#\nallow subscribe b\n');
    const { broker, out } = await start({ 'auth.aclFile': live, 'auth.aclShadowFile': shadow });
    const client = await mqtt.connectAsync(
      broker.addresses[0].url,
      { reconnectPeriod: 0, protocolVersion: 5, clientId: 'dev1' },
      false,
    );
    const message = new Promise<string>((resolve) => client.once('message', (topic) => resolve(topic)));
    await client.subscribeAsync('a/#', { qos: 1 });
    await assert.rejects(client.subscribeAsync('b', { qos: 1 }));
    await client.publishAsync('a/secret', 'x', { qos: 1 });
    assert.equal(await message, 'a/secret');
    const told = out.events('acl.shadow');
    assert.deepEqual(
      told.map(({ clientId, username, action, topic, allowed }) => [
        clientId,
        username,
        `${action} ${topic}`,
        allowed,
      ]),
      [
        ['dev1', null, 'subscribe b', false],
        ['dev1', null, 'publish a/secret', true],
        ['dev1', null, 'receive a/secret', true],
      ],
    );
    assert.equal(told[0].by, `no rule of ${live}`);
    assert.equal(told[0].shadowBy, `${shadow}:4 allow subscribe b`);
    assert.equal(told[1].by, `${live}:2 allow all a/#`);
    assert.equal(told[1].shadowBy, `${shadow}:2 deny all a/secret`);

    file('acl.new', 'all\nallow all a/#\n');
    await broker.reload();
    assert.equal(out.events('acl_shadow.loaded').length, 1);
    await client.publishAsync('a/secret', 'x', { qos: 1 });
    assert.equal(out.events('acl.shadow').length, 3);
    file('acl.new', 'all\nallow fly\nallow swim\n');
    await broker.reload();
    const [refused] = out.events('acl_shadow.refused');
    assert.match(String(refused.problem), /:2: "fly" is no action/);
    assert.match(String(refused.others), /:3: "swim" is no action/);
    await client.endAsync();
    await broker.close();
  });

  test('can be tried out where there is no ACL file yet', async () => {
    const shadow = file('first', 'all\nallow all a\n');
    const { broker, out } = await start({ 'auth.aclShadowFile': shadow });
    const client = await mqtt.connectAsync(broker.addresses[0].url, { reconnectPeriod: 0 }, false);
    await client.publishAsync('a', 'x', { qos: 1 });
    await client.publishAsync('b', 'x', { qos: 1 });
    assert.deepEqual(
      out.events('acl.shadow').map(({ topic, by, shadowBy }) => [topic, by, shadowBy]),
      [['b', 'without an ACL file everything is allowed', `no rule of ${shadow}`]],
    );
    await client.endAsync();
    await broker.close();
  });

  test('that cannot be used stops the start, with every bad line', async () => {
    const shadow = file('bad', 'allow all #\nall\nallow\n');
    await assert.rejects(
      start({ 'auth.aclShadowFile': shadow }),
      (error: unknown) =>
        error instanceof ConfigErrors &&
        error.problems.length === 2 &&
        error.problems[1].where === `${shadow}:3 (named in flag --auth.aclShadowFile)`,
    );
  });
});
