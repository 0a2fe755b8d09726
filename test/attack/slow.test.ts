/**
 * Strangers who take their time, or just take room: at every stage of every door they have seconds, and all together a bounded
 * number of places. ATTACK_SOCKETS=20000 makes the silent ones that many.
 */
import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import { encodePacket } from '../../src/codec/encode.ts';
import type { RawClient } from '../contract/transport.ts';
import { connect } from '../support/packets.ts';
import { DOOR_URLS, DOORS, dialMqtt, UDP_DOORS } from './harness/doors.ts';
import { Http3Peer } from './harness/http3-peer.ts';
import { QuicPeer } from './harness/quic-peer.ts';
import {
  address,
  dial,
  dialTcp,
  proxyHeader,
  type RawSocket,
  SOCKET_DOORS,
  type SocketDoorName,
  upgradeRequest,
} from './harness/sockets.ts';
import { attackBroker, type Target } from './harness/target.ts';

const SOCKETS = Number(process.env.ATTACK_SOCKETS ?? 2_000);
const TICK_MS = 200;
/** Four times what the longest deadline takes. */
const TICKS_MAX = 200;

/** One that never gets to where it says it goes. */
interface Loiterer {
  readonly stage: string;
  /** Does a little more. */
  tick(step: number): void;
  isCutOff(): boolean;
}

/** Sends one byte a tick, and stays silent once the last but one is sent. */
function dripping(stage: string, raw: RawSocket, bytes: Buffer): Loiterer {
  return {
    stage,
    tick: (step) => {
      if (step < bytes.length - 1) raw.write(bytes.subarray(step, step + 1));
    },
    isCutOff: () => raw.closed,
  };
}

function drippingMqtt(stage: string, client: RawClient, bytes: Buffer): Loiterer {
  let over = false;
  client.onClosed(() => {
    over = true;
  });
  return {
    stage,
    tick: (step) => {
      if (step < bytes.length - 1) client.write(bytes.subarray(step, step + 1));
    },
    isCutOff: () => over,
  };
}

const NOTHING = Buffer.alloc(0);
/** A ClientHello's first half; it announces 512 bytes. */
const CLIENT_HELLO = Buffer.concat([Buffer.from('1603010200010001fc0303', 'hex'), Buffer.alloc(250, 0x41)]);
const CONNECT = encodePacket(connect({ clientId: 'slow', username: 'u'.repeat(200) }), 5);

/** At a door, one for each of its stages, silent or slow. */
async function loiterers({ broker }: Target, door: SocketDoorName): Promise<Loiterer[]> {
  const found = [dripping(`${door}: silent at TCP`, await dialTcp(broker, door, 1), NOTHING)];
  if (door === 'tls' || door === 'wss') {
    const half = await dialTcp(broker, door, 2);
    half.write(CLIENT_HELLO);
    found.push(dripping(`${door}: half a ClientHello`, half, NOTHING));
    found.push(dripping(`${door}: a ClientHello byte by byte`, await dialTcp(broker, door, 3), CLIENT_HELLO));
    found.push(dripping(`${door}: silent after the handshake`, await dial(broker, door, 4), NOTHING));
  }
  if (door === 'ws' || door === 'wss') {
    const lines = await dial(broker, door, 5);
    found.push({
      stage: `${door}: a header line a tick`,
      tick: (step) => lines.write(step === 0 ? upgradeRequest().slice(0, -2) : `X-${step}: y\r\n`),
      isCutOff: () => lines.closed,
    });
    found.push(
      dripping(
        `${door}: an upgrade byte by byte`,
        await dial(broker, door, 6),
        Buffer.from(upgradeRequest()),
      ),
    );
    found.push(drippingMqtt(`${door}: silent after the upgrade`, await dialMqtt(broker, door, 7), NOTHING));
  }
  found.push(drippingMqtt(`${door}: a CONNECT byte by byte`, await dialMqtt(broker, door, 8), CONNECT));
  return found;
}

/** One whose connection is over UDP: nothing on the network tells him of its end but the broker. */
function silent(stage: string, quic: QuicPeer): Loiterer {
  return { stage, tick: () => {}, isCutOff: () => quic.isOver };
}

/** The same at the doors over UDP. */
async function udpLoiterers({ broker }: Target): Promise<Loiterer[]> {
  const at = (from: number) => ({ host: address(from) });
  const [quic, wt] = [broker.port('quic'), broker.port('wt')];
  const found = [
    silent('quic: silent after the handshake', await QuicPeer.open(quic, at(10))),
    silent('wt: a session without a stream', (await Http3Peer.session(wt, at(13))).quic),
  ];
  for (const [index, door] of UDP_DOORS.entries()) {
    const dialled = await dialMqtt(broker, door, 14 + index);
    found.push(drippingMqtt(`${door}: a CONNECT byte by byte`, dialled, CONNECT));
  }
  const begun = await dialMqtt(broker, 'wt', 17);
  found.push(drippingMqtt('wt: silent on its stream', begun, NOTHING));
  return found;
}

attackBroker(
  'whoever is slow at TCP, TLS, QUIC, the upgrade, the session or CONNECT is cut off, at every door',
  { doors: DOOR_URLS, config: { limits: { connectTimeoutSeconds: 2 } } },
  async (target) => {
    const all = (await Promise.all(SOCKET_DOORS.map((door) => loiterers(target, door)))).flat();
    all.push(...(await udpLoiterers(target)));
    const startedAt = performance.now();
    const seconds = new Map<string, number>();
    for (let step = 0; step < TICKS_MAX && seconds.size < all.length; step++) {
      await target.canary.singDuring(1, async () => {
        for (const each of all) {
          if (each.isCutOff() && !seconds.has(each.stage))
            seconds.set(each.stage, Math.round((performance.now() - startedAt) / 1_000));
          else each.tick(step);
        }
        await wait(TICK_MS);
      });
    }
    const left = all.filter((each) => !each.isCutOff()).map(({ stage }) => stage);
    assert.deepEqual(left, [], 'not cut off');
    target.tell([...seconds].map(([stage, after]) => `${stage} ${after} s`).join('; '));
  },
);

attackBroker(
  `${SOCKETS} silent sockets take the places of strangers, and of nobody else`,
  {
    doors: DOOR_URLS,
    config: {
      limits: { connectTimeoutSeconds: 120 },
      strangers: { totalMax: Math.min(2_000, SOCKETS / 4) },
    },
  },
  async (target) => {
    const totalMax = Math.min(2_000, SOCKETS / 4);
    const atOnce = 50;
    const sockets: RawSocket[] = [];
    await target.canary.singDuring(SOCKETS / atOnce, async (step) => {
      const batch = Array.from({ length: atOnce }, (_, index) => {
        const number = step * atOnce + index;
        return dialTcp(target.broker, SOCKET_DOORS[number % SOCKET_DOORS.length]!, 1 + number);
      });
      sockets.push(...(await Promise.all(batch)));
    });
    const open = (): number => sockets.filter(({ closed }) => !closed).length;
    await target.until(() => open() <= totalMax, `at most ${totalMax} of ${open()} are open`);
    assert.ok(open() > totalMax / 2, `only ${open()} are open`);
    const growth = await target.assertGrownBy(totalMax * 40_000 + (8 << 20), 'silent sockets');
    target.tell(`${Math.round(growth / open() / 1_024)} KB of heap for each of ${open()} silent sockets`);
    // The door is open all the while to whoever has something to say.
    for (const [index, door] of DOORS.entries()) {
      const client = await target.connect({ clientId: `late-${door}` }, door, 500_000 + index);
      await client.expectQuiet();
      client.raw.end();
    }
    assert.ok(target.log('stranger.turned_away').some(({ reason }) => reason === 'evicted'));
    for (const { socket } of sockets) socket.destroy();
  },
);

attackBroker(
  'strangers from one address or one network get the places of one address or one network',
  {
    doors: ['mqtt://127.0.0.1:0'],
    listener: { proxyProtocol: true, trustedProxies: ['127.0.0.0/8'] },
    proxied: true,
    config: {
      limits: { connectTimeoutSeconds: 120 },
      strangers: {
        perAddressMax: 20,
        perPrefixMax: 60,
        connectsPerSecondPerAddressMax: 5,
        connectBurstPerAddressMax: 50,
      },
    },
  },
  async (target) => {
    /** So many from each of these addresses; answers how many are let stay. */
    const crowd = async (addresses: readonly string[], each: number): Promise<RawSocket[]> => {
      const sockets: RawSocket[] = [];
      await target.canary.singDuring(each, async () => {
        for (const from of addresses) {
          const socket = await dialTcp(target.broker, 'tcp');
          socket.write(proxyHeader(from));
          sockets.push(socket);
        }
      });
      return sockets;
    };
    const open = (sockets: readonly RawSocket[]): number => sockets.filter(({ closed }) => !closed).length;
    const host = await crowd(['203.0.113.7'], 60);
    await target.until(() => open(host) === 20, `20 stay of one address, now ${open(host)}`);
    const prefix = await crowd(
      Array.from({ length: 10 }, (_, at) => `198.51.100.${at + 1}`),
      12,
    );
    await target.until(() => open(prefix) === 60, `60 stay of one network, now ${open(prefix)}`);
    // Come and go, faster than one host may.
    const fast = await crowd(['192.0.2.9'], 300);
    await target.until(() => open(fast) <= 20, `20 stay of the fast one, now ${open(fast)}`);
    const reasons = new Set(target.log('stranger.turned_away').map(({ reason }) => reason));
    for (const reason of ['strangers-per-address', 'strangers-per-prefix', 'connects-per-second'])
      assert.ok(reasons.has(reason), `${reason} is not among ${[...reasons].join()}`);
    const neighbour = await target.connect({ clientId: 'clean' }, 'tcp', 77);
    await neighbour.expectQuiet();
    neighbour.raw.end();
    for (const { socket } of [...host, ...prefix, ...fast]) socket.destroy();
  },
);
