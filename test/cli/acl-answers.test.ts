/** What `sluice acl explain` says is what the broker does. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { explainCommand } from '../../cli/commands/acl-actions.ts';
import { type Running, serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import type { Action } from '../../src/interfaces/auth.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-acl-answers-'));
const acl = join(directory, 'acl');
const RULES = `client seer
allow all #
allow all $SYS/#
all
deny all a/secret
deny all closed/#
allow all closed/in/#
deny all d/%c/no
allow all a/#
allow all d/%c/#
allow all $SYS/#
`;

const silent = { write: () => {} };
let broker: Running;
before(async () => {
  writeFileSync(acl, RULES);
  const flags = {
    listeners: 'mqtt://127.0.0.1:0',
    'auth.allowAnonymous': 'true',
    'auth.aclFile': acl,
    'log.file': '',
    'persistence.dir': join(directory, 'data'),
    'sys.intervalSeconds': '0',
  };
  broker = await serve(loadConfig({ env: {}, flags }), { stdout: silent, stderr: silent });
});
after(async () => {
  await broker.close();
  rmSync(directory, { recursive: true });
});

/** What the command says by its exit code. */
function explained(action: Action, topic: string, client: string): boolean {
  return explainCommand(action, topic, { file: acl, client }, { stdout: silent, stderr: silent }) === 0;
}

function connect(clientId: string, options: IClientOptions = {}): Promise<MqttClient> {
  const [{ url }] = broker.addresses;
  return mqtt.connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, clientId, ...options }, false);
}

/** Whether the broker does it: a refusal has reason code 0x87, and any other error fails the test. */
async function does(attempt: Promise<unknown>): Promise<boolean> {
  try {
    await attempt;
    return true;
  } catch (error) {
    assert.equal((error as { code?: number }).code, 0x87);
    return false;
  }
}

/** Whether the filter is granted: the client has an error for a SUBACK with a reason code from 0x80 up. */
async function subscribes(client: MqttClient, filter: string): Promise<boolean> {
  return new Promise((resolve) => {
    client.subscribe(filter, { qos: 1 }, (error) => resolve(error === null));
  });
}

const TOPICS = [
  'a/b',
  'a/secret',
  'a/secret/x',
  'closed/in/x',
  'd/dev/yes',
  'd/dev/no',
  'd/o/yes',
  '$SYS/x',
  'z',
];
const FILTERS = [
  '#',
  '+/#',
  'a/#',
  'a/+',
  'a/secret',
  'closed/#',
  'closed/in/#',
  'd/+/no',
  'd/dev/#',
  'd/o/+',
];

describe('The broker and the explanation agree', () => {
  for (const clientId of ['dev', 'o+']) {
    test(`on PUBLISH and wills of client ${clientId}`, async () => {
      const client = await connect(clientId);
      const answers = new Set<boolean>();
      for (const topic of TOPICS) {
        const expected = explained('publish', topic, clientId);
        answers.add(expected);
        assert.equal(await does(client.publishAsync(topic, '', { qos: 1 })), expected, topic);
      }
      await client.endAsync();
      for (const topic of TOPICS) {
        const will = connect(clientId, { will: { topic, payload: Buffer.from('x'), qos: 0, retain: false } });
        const expected = explained('publish', topic, clientId);
        assert.equal(await does(will.then((other) => other.endAsync())), expected, `will to ${topic}`);
      }
      assert.equal(answers.size, 2);
    });

    test(`on SUBSCRIBE, shared too, of client ${clientId}`, async () => {
      const client = await connect(clientId);
      const answers = new Set<boolean>();
      for (const filter of [...FILTERS, ...TOPICS, '$SYS/#']) {
        for (const asked of [filter, `$share/g/${filter}`]) {
          const expected = explained('subscribe', asked, clientId);
          answers.add(expected);
          assert.equal(await subscribes(client, asked), expected, asked);
        }
      }
      await client.endAsync();
      assert.equal(answers.size, 2);
    });
  }

  test('on what is delivered, live, retained and to a member of a shared group', async () => {
    const seer = await connect('seer');
    const topics = TOPICS.filter((topic) => !topic.startsWith('$'));
    for (const topic of topics) await seer.publishAsync(topic, 'kept', { qos: 1, retain: true });
    const expected = topics.filter((topic) => explained('receive', topic, 'dev')).sort();
    assert.ok(expected.length > 0 && expected.length < topics.length);
    for (const filter of ['#', '$share/g/#']) {
      const client = await connect('dev');
      const seen: string[] = [];
      const isLast = new Promise<void>((resolve) => {
        client.on('message', (topic) => {
          if (topic === 'a/last') resolve();
          else seen.push(topic);
        });
      });
      await client.subscribeAsync(filter, { qos: 1 });
      if (filter === '#') {
        // Retained ones come for this filter; the live ones of a shared one follow.
        assert.equal(await does(seer.publishAsync('a/last', 'x', { qos: 1 })), true);
      } else {
        for (const topic of topics) await seer.publishAsync(topic, 'live', { qos: 1 });
        await seer.publishAsync('a/last', 'x', { qos: 1 });
      }
      await isLast;
      assert.deepEqual([...new Set(seen)].sort(), expected, filter);
      await client.endAsync();
    }
    await seer.endAsync();
  });
});
