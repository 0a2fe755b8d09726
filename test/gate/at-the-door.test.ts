/** The doorkeeper with a broker behind him and sockets before him. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import mqtt from 'mqtt';
import { createDoor, type Door } from '../../cli/doors.ts';
import { loadConfig } from '../../config/load.ts';
import type { ListenerConfig } from '../../config/types.ts';
import { SharedDoorkeeper } from '../../src/gate/doorkeeper.ts';
import { DEFAULT_LIMITS, DEFAULT_STRANGER_LIMITS } from '../../src/limits.ts';
import { TestBroker } from '../support/broker.ts';

const TIMEOUT = { timeout: 15_000 };
const TOTAL_MAX = 20;
const log = { debug() {}, info() {}, warn() {}, error() {} };

let broker: TestBroker;
let keeper: SharedDoorkeeper;
let open: Door[];
let sockets: Socket[];

beforeEach(async () => {
  open = [];
  sockets = [];
  broker = new TestBroker({
    authorizer: { may: () => true, generation: 0 },
  });
  await broker.start();
  const { clock } = broker;
  const { statistics } = broker.broker;
  const limits = { ...DEFAULT_STRANGER_LIMITS, totalMax: TOTAL_MAX };
  keeper = new SharedDoorkeeper({ limits, clock, log, statistics });
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await Promise.all(open.map(({ transport }) => transport.close(0)));
  keeper.close();
  await broker.stop();
  assert.equal(broker.broker.statistics.strangers, 0);
});

/** Opens a door with these keys of a listener; resolves with its port. */
async function openDoor(url: string, keys: Partial<ListenerConfig> = {}): Promise<number> {
  const listener = { url, limits: {}, versions: [3, 4, 5], ...keys } as ListenerConfig;
  listener.scheme = url.slice(0, url.indexOf(':')) as ListenerConfig['scheme'];
  const context = { doorkeeper: keeper, log, clock: broker.clock, isBanned: () => false, ids: null };
  const door = createDoor(listener, DEFAULT_LIMITS, () => {}, context);
  open.push(door);
  const behind = broker.broker.door(url);
  return (await door.transport.listen((wire) => broker.broker.accept(wire, behind))).port;
}

/** A socket that says nothing; its end is none of the test's business. */
async function stand(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

describe('strangers at the doors of a broker', () => {
  it('are strangers until they have logged in', TIMEOUT, async () => {
    const port = await openDoor('mqtt://127.0.0.1:0');
    const { statistics } = broker.broker;
    const oldest = (await stand(port)).resume();
    const closed = new Promise<void>((resolve) => oldest.once('close', () => resolve()));
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0 });
    assert.equal(statistics.strangers, 1);
    for (let n = 1; n < TOTAL_MAX + 1; n++) await stand(port);
    await closed;
    assert.equal(statistics.strangersEvicted, 1);
    await client.publishAsync('still/here', 'yes', { qos: 1 });
    await client.endAsync();
  });

  it('have one room for all doors, and keep nobody out however many they are', TIMEOUT, async () => {
    const tcp = await openDoor('mqtt://127.0.0.1:0');
    const web = await openDoor('ws://127.0.0.1:0/mqtt', { path: '/mqtt' });
    const { statistics } = broker.broker;
    for (let n = 0; n < 300; n++) {
      await stand(n % 2 === 0 ? tcp : web);
      if (n % 60 !== 0) continue;
      const url = n % 120 === 0 ? `mqtt://127.0.0.1:${tcp}` : `ws://127.0.0.1:${web}/mqtt`;
      await (await mqtt.connectAsync(url, { reconnectPeriod: 0 })).endAsync();
    }
    assert.ok(statistics.strangers <= TOTAL_MAX);
    assert.ok(statistics.strangersEvicted >= 300 - TOTAL_MAX);
  });

  it('are turned away where a list says so, and deny goes before allow', TIMEOUT, async () => {
    const { statistics } = broker.broker;
    const denied = await openDoor('mqtt://127.0.0.1:0', { allow: ['127.0.0.0/8'], deny: ['127.0.0.1'] });
    const elsewhere = await openDoor('mqtt://127.0.0.1:0', { allow: ['10.0.0.0/8'] });
    const here = await openDoor('mqtt://127.0.0.1:0', { allow: ['10.0.0.0/8', '127.0.0.1'] });
    for (const port of [denied, elsewhere]) {
      await assert.rejects(mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0 }));
    }
    assert.equal(statistics.strangersTurnedAway, 2);
    await (await mqtt.connectAsync(`mqtt://127.0.0.1:${here}`, { reconnectPeriod: 0 })).endAsync();
    assert.equal(statistics.strangersTurnedAway, 2);
  });
});

describe('the configuration of doors', () => {
  it('hands lists and proxies to the listener, and the budget its defaults', () => {
    const listeners = `[{ url: "mqtt://127.0.0.1:0", proxyProtocol: true, trustedProxies: [10.0.0.1, 2001:db8::/32],
      allow: [0.0.0.0/0], deny: [192.0.2.0/24] }]`;
    const env = { SLUICE_LISTENERS: listeners, SLUICE_STRANGERS_PER_ADDRESS_MAX: '7' };
    const config = loadConfig({ env, flags: { 'auth.allowAnonymous': 'true', 'strangers.totalMax': '5' } });
    const { allow, deny, proxyProtocol, trustedProxies } = config.listeners[0];
    assert.deepEqual(
      { allow, deny, proxyProtocol, trustedProxies },
      {
        allow: ['0.0.0.0/0'],
        deny: ['192.0.2.0/24'],
        proxyProtocol: true,
        trustedProxies: ['10.0.0.1', '2001:db8::/32'],
      },
    );
    assert.deepEqual(config.strangers, { ...DEFAULT_STRANGER_LIMITS, totalMax: 5, perAddressMax: 7 });
  });
});
