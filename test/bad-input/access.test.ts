/** Who tries to get in, or further than allowed, with the command line's own composition: password file, rules, reload. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { PasswordHasher } from '../../auth/passwords/password-hash.ts';
import { type Running, serve } from '../../cli/serve.ts';
import { loadConfig } from '../../config/load.ts';
import type { ConnectPacket } from '../../src/codec/packets.ts';
import { type ConnectOptions, connect, publish, subscribe } from '../support/packets.ts';
import { socketClient } from '../transports/socket-client.ts';
import { webSocketClient } from '../transports/websocket-client.ts';
import { DoorClient } from './door-client.ts';
import { exchange } from './stage.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-access-'));
after(() => rmSync(directory, { recursive: true }));
const hasher = new PasswordHasher();
const hash = await hasher.hash(Buffer.from('right'));
after(() => hasher.close());

const RULES = `user bystander
allow readwrite bystander
user alice
allow readwrite own/#
allow subscribe shared/#
user bob
allow readwrite shared/#
`;

class Served {
  readonly broker: Running;
  readonly aclFile: string;
  readonly #out: { text: string };

  constructor(broker: Running, aclFile: string, out: { text: string }) {
    this.broker = broker;
    this.aclFile = aclFile;
    this.#out = out;
  }

  get log(): string {
    return this.#out.text;
  }

  async dial(door: 0 | 1 = 0, version: 3 | 4 | 5 = 5): Promise<DoorClient> {
    const { url, port } = this.broker.addresses[door];
    const raw =
      door === 1
        ? await webSocketClient(new WebSocket(url, ['mqtt']))
        : await socketClient(connectTcp({ port, host: '127.0.0.1', noDelay: true }), 'connect');
    return new DoorClient(raw, version);
  }

  async login(username: string, options: ConnectOptions = {}): Promise<DoorClient> {
    const client = await this.dial(0, options.version ?? 5);
    return await client.connect({ clientId: username, username, password: 'right', ...options });
  }

  async rules(text: string): Promise<void> {
    writeFileSync(this.aclFile, text);
    await this.broker.reload();
  }
}

/** A test whose bystander must be able to go on. */
function accessTest(name: string, run: (served: Served, t: TestContext) => Promise<void>): void {
  test(name, async (t) => {
    const passwordFile = join(directory, 'passwd');
    const aclFile = join(directory, `acl-${name.length}`);
    const users = ['alice', 'bob', 'bystander'].map((user) => `${user}:${hash}\n`).join('');
    writeFileSync(passwordFile, users, { mode: 0o600 });
    writeFileSync(aclFile, RULES, { mode: 0o600 });
    const out = { text: '' };
    const sink = {
      write(text: string): void {
        out.text += text;
      },
    };
    const flags = {
      'log.file': '',
      'log.level': 'debug',
      listeners: 'mqtt://127.0.0.1:0,ws://127.0.0.1:0',
      'auth.passwordFile': passwordFile,
      'auth.aclFile': aclFile,
      'sys.intervalSeconds': '1',
      'persistence.enabled': 'false',
      // So many wrong passwords from one address would not be looked at any more.
      'throttle.enabled': 'false',
    };
    const broker = await serve(loadConfig({ env: {}, flags }), { stdout: sink, stderr: sink });
    t.after(() => broker.close());
    const served = new Served(broker, aclFile, out);
    const bystander = await served.login('bystander');
    await bystander.subscribe('bystander', 2);
    await run(served, t);
    await exchange(bystander, 'still here');
    assert.doesNotMatch(out.text, /internal_error/);
    assert.doesNotMatch(out.text, /right\\u0000|"right"|secret payload/);
  });
}

accessTest(
  'a password that is not the right one to the last byte is refused, on every door',
  async (served) => {
    const wrong = [
      '',
      'wrong',
      'righ',
      'right\0',
      'right\0anything',
      '\0right',
      'right ',
      'RIGHT',
      'x'.repeat(60_000),
    ];
    for (const door of [0, 1] as const) {
      for (const version of [3, 4, 5] as const) {
        for (const password of [null, ...wrong]) {
          const client = await served.dial(door, version);
          client.send(connect({ version, clientId: 'x', username: 'alice', password }));
          await client.expectRefused(version === 5 ? 0x86 : 4);
        }
      }
    }
    await (await served.login('alice')).expectQuiet();
  },
);

accessTest('no user name, an empty or unknown one, and names of the runtime are refused', async (served) => {
  for (const username of [
    null,
    '',
    'nobody',
    'alice ',
    'ALICE',
    '__proto__',
    'constructor',
    '#',
    'alice:x',
  ]) {
    const client = await served.dial();
    const packet: ConnectPacket = connect({ clientId: 'x', username, password: 'right' });
    client.send(packet);
    await client.expectRefused(0x86);
  }
});

accessTest(
  'nobody writes to $SYS, whatever way; what else begins with $ follows the rules',
  async (served) => {
    await served.rules('all\nallow readwrite #\nallow readwrite $SYS/#\nallow readwrite $other/#\n');
    const alice = await served.login('alice');
    await alice.subscribe('$SYS/broker/mine', 0);
    for (const topic of ['$SYS/broker/mine', '$SYS', '$SYS/broker/version']) {
      alice.send(publish(topic, 'secret payload', { qos: 1, packetId: 1, retain: true }));
      await alice.expect('PUBACK', { reasonCode: 0x87 });
      alice.send(publish(topic, 'secret payload', { retain: true }));
      const client = await served.dial();
      client.send(connect({ clientId: 'w', username: 'bob', password: 'right', will: { topic } }));
      await client.expectRefused(0x87);
    }
    await alice.expectQuiet();
    alice.send(subscribe(2, ['$other/a']), publish('$other/a', 'ordinary'));
    await alice.expect('SUBACK', { reasonCodes: [0] });
    await alice.receive('$other/a', 'ordinary');
  },
);

accessTest(
  'a will without the right is refused, and one that lost its right is not published',
  async (served) => {
    for (const version of [3, 4, 5] as const) {
      const client = await served.dial(0, version);
      const will = { topic: 'shared/a' };
      client.send(connect({ version, clientId: 'w', username: 'alice', password: 'right', will }));
      await client.expectRefused(version === 5 ? 0x87 : 5);
    }
    const listener = await served.login('bob');
    await listener.subscribe('shared/#', 1);
    const dying = await served.login('bob', {
      clientId: 'dying',
      will: { topic: 'shared/a', qos: 1, retain: true },
    });
    await served.rules(RULES.replace('allow readwrite shared', 'allow subscribe shared'));
    dying.raw.abort();
    await dying.over();
    while (!served.log.includes('will.denied')) await listener.expectQuiet();
    listener.send(subscribe(2, ['shared/#']));
    await listener.expect('SUBACK');
    await listener.expectQuiet();
  },
);

accessTest(
  'a subscription that loses its right on reload gets nothing more: not live, not retained',
  async (served) => {
    const alice = await served.login('alice');
    await alice.subscribe('shared/#', 1);
    await alice.subscribe('$share/g/shared/#', 1);
    const bob = await served.login('bob');
    const say = async (topic: string, retain = false): Promise<void> => {
      bob.send(publish(topic, 'secret payload', { qos: 1, packetId: 1, retain }));
      await bob.expect('PUBACK');
    };
    await say('shared/a');
    for (let copies = 0; copies < 2; copies++) await alice.receive('shared/a', 'secret payload');
    await say('shared/kept', true);
    for (let copies = 0; copies < 2; copies++) await alice.receive('shared/kept', 'secret payload');
    await served.rules(RULES.replace('allow subscribe shared', 'deny subscribe shared'));
    await say('shared/a');
    bob.send(publish('shared/a', 'secret payload'));
    await bob.expectQuiet();
    await alice.expectQuiet();
    alice.send(subscribe(5, ['shared/#', 'own/#', '#']));
    // `#` selects what may still be received, and is granted for that.
    await alice.expect('SUBACK', { reasonCodes: [0x87, 0, 0] });
    await alice.expectQuiet();
  },
);

accessTest('what was queued for a session that has lost its right is not delivered to it', async (served) => {
  const kept = { cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const alice = await served.login('alice', kept);
  await alice.subscribe('shared/#', 1);
  await alice.subscribe('own/#', 1);
  alice.raw.end();
  await alice.over();
  const bob = await served.login('bob');
  for (const packetId of [1, 2, 3]) {
    bob.send(publish('shared/a', 'secret payload', { qos: 1, packetId }));
    await bob.expect('PUBACK');
  }
  const other = await served.login('alice', { clientId: 'other' });
  other.send(publish('own/a', 'mine', { qos: 1, packetId: 1 }));
  await other.expect('PUBACK');
  await served.rules(RULES.replace('allow subscribe shared', 'deny subscribe shared'));
  const back = await served.dial();
  back.send(connect({ ...kept, clientId: 'alice', username: 'alice', password: 'right' }));
  await back.expect('CONNACK', { sessionPresent: true });
  await back.receive('own/a', 'mine');
  await back.expectQuiet();
});

accessTest('a client id that is a pattern gets no more than its own name', async (served) => {
  await served.rules(`${RULES}all\nallow readwrite devices/%c/#\n`);
  for (const clientId of ['#', '+', 'a/b']) {
    const client = await served.login('alice', { clientId });
    client.send(subscribe(1, ['devices/#', 'devices/+/x', 'devices/victim/x']));
    await client.expect('SUBACK', { reasonCodes: [0x87, 0x87, 0x87] });
  }
  const own = await served.login('alice', { clientId: 'own' });
  own.send(subscribe(1, ['devices/own/x', 'devices/victim/x']));
  await own.expect('SUBACK', { reasonCodes: [0, 0x87] });
});

accessTest(
  'broken files on reload leave the old users and rules in force; empty rules deny all',
  async (served) => {
    const alice = await served.login('alice');
    await served.rules('user alice\nallow everything #\n');
    assert.match(served.log, /"event":"acl\.refused"/);
    alice.send(subscribe(1, ['own/a', 'other']));
    await alice.expect('SUBACK', { reasonCodes: [0, 0x87] });
    await served.rules('# nothing\n');
    alice.send(subscribe(2, ['own/a']));
    await alice.expect('SUBACK', { reasonCodes: [0x87] });
    await served.rules(RULES);
  },
);
