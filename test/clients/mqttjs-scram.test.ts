/** MQTT.js logs in by SCRAM-SHA-256 over TCP, and shows its password again, against the broker as users run it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import mqtt, { type IClientOptions, type IConnackPacket, type MqttClient } from 'mqtt';
import { hashScram } from '../../auth/scram/scram-hash.ts';
import { type ChildBroker, startChildBroker } from '../support/child-broker.ts';
import { ScramClient } from '../support/scram-client.ts';

const METHOD = 'SCRAM-SHA-256';
const PASSWORD = 'pencil, with a comma';

type IAuthPacket = Parameters<MqttClient['handleAuth']>[0];

/** An AUTH packet of the client's. */
function authPacket(reasonCode: number, authenticationData: Buffer): IAuthPacket {
  return { cmd: 'auth', reasonCode, properties: { authenticationMethod: METHOD, authenticationData } };
}

/** A client of MQTT.js whose `handleAuth` speaks SCRAM, and what came in AUTH packets with reason code 0. */
class ScramMqttClient {
  readonly client: MqttClient;
  readonly connack: Promise<IConnackPacket>;
  #scram: ScramClient;
  readonly #password: string;
  #renewed: (data: Buffer) => void = () => {};

  constructor(url: string, username: string, password: string, more: IClientOptions = {}) {
    this.#password = password;
    this.#scram = new ScramClient({ username, password });
    this.client = mqtt.connect(url, {
      protocolVersion: 5,
      reconnectPeriod: 0,
      manualConnect: true,
      properties: { authenticationMethod: METHOD, authenticationData: this.#scram.first() },
      ...more,
    });
    this.client.handleAuth = (packet, callback) => {
      const data = packet.properties?.authenticationData;
      if (packet.reasonCode === 0) this.#renewed(data!);
      callback(undefined, packet.reasonCode === 0 ? undefined : authPacket(0x18, this.#scram.final(data!)));
    };
    this.connack = new Promise((resolve, reject) => {
      this.client.once('connect', resolve);
      this.client.once('error', reject);
    });
    this.client.connect();
  }

  /** Re-authentication; resolves when the broker has proved once more that it knows the user. */
  async renew(username: string, password = this.#password): Promise<void> {
    this.#scram = new ScramClient({ username, password });
    const renewed = new Promise<Buffer>((resolve) => {
      this.#renewed = resolve;
    });
    // MQTT.js answers AUTH by itself, but has no call of its own to begin with it.
    const sender = this.client as unknown as { _sendPacket(packet: IAuthPacket): void };
    sender._sendPacket(authPacket(0x19, this.#scram.first()));
    this.check(await renewed);
  }

  check(serverFinal: Buffer | undefined): void {
    this.#scram.check(serverFinal);
  }
}

describe('MQTT.js and SCRAM-SHA-256', () => {
  let broker: ChildBroker;
  before(async () => {
    const hash = await hashScram(Buffer.from(PASSWORD));
    broker = await startChildBroker({
      passwordLines: [`ann,=:${hash}`, `bob:${hash}`],
      acl: 'user ann,=\nallow readwrite ann/#\n',
    });
  });
  after(() => broker?.stop());

  test('logs in, works by the rights of the proved name, and shows its password again meanwhile', async () => {
    const one = new ScramMqttClient(broker.url('mqtt'), 'ann,=', PASSWORD);
    const { properties } = await one.connack;
    assert.equal(properties?.authenticationMethod, METHOD);
    one.check(properties?.authenticationData);
    const [granted] = await one.client.subscribeAsync('ann/#', { qos: 1 });
    assert.equal(granted.qos, 1);
    for (const round of ['first', 'second']) {
      const renewed = one.renew('ann,=');
      const came = new Promise<string>((resolve) => {
        one.client.once('message', (_topic, payload) => resolve(payload.toString()));
      });
      await one.client.publishAsync('ann/t', round, { qos: 1 });
      assert.equal(await came, round);
      await renewed;
    }
    await one.client.endAsync();
  });

  test('takes the user name of CONNECT too when it is the same', async () => {
    const one = new ScramMqttClient(broker.url('mqtt'), 'bob', PASSWORD, { username: 'bob' });
    one.check((await one.connack).properties?.authenticationData);
    await one.client.endAsync();
  });

  test('is refused with 0x86 for a wrong password and for an unknown user, after the same steps', async () => {
    for (const [username, password] of [
      ['bob', 'wrong'],
      ['nobody', PASSWORD],
    ]) {
      const one = new ScramMqttClient(broker.url('mqtt'), username, password);
      await assert.rejects(one.connack, { code: 0x86 });
      await one.client.endAsync(true);
    }
  });

  for (const [what, username, password] of [
    ['a wrong password', 'bob', 'wrong'],
    ['the password of another user', 'ann,=', PASSWORD],
  ]) {
    test(`loses its connection with 0x87 when it comes again with ${what}`, async () => {
      const one = new ScramMqttClient(broker.url('mqtt'), 'bob', PASSWORD);
      await one.connack;
      const said = new Promise<number | undefined>((resolve) => {
        one.client.once('disconnect', ({ reasonCode }) => resolve(reasonCode));
      });
      void one.renew(username, password);
      assert.equal(await said, 0x87);
      await one.client.endAsync(true);
    });
  }

  test('a user with a SCRAM line also gets in by plain password', async () => {
    const plain: IClientOptions = { protocolVersion: 4, reconnectPeriod: 0, username: 'bob' };
    const client = await mqtt.connectAsync(broker.url('mqtt'), { ...plain, password: PASSWORD }, false);
    await client.endAsync();
    await assert.rejects(
      mqtt.connectAsync(broker.url('mqtt'), { ...plain, password: 'wrong' }, false),
      /Not authorized|Bad username/i,
    );
  });
});
