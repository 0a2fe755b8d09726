/** The disk is slow, hangs, or fails when it is told to keep what it was given: strace stands in for it. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { DoorClient } from '../bad-input/door-client.ts';
import { type ConnectOptions, connect, publish, pubrec, pubrel, unsubscribe } from '../support/packets.ts';
import { skipUnless } from '../tools/needs.ts';
import { socketClient } from '../transports/socket-client.ts';
import { ProcessStage } from './harness/process-stage.ts';
import { inTime, Scene } from './harness/scene.ts';
import { delaySyncs, failSyncs, holdSyncs, holdWrites, type Strace, whyNoStrace } from './harness/strace.ts';

const DELAY_MS = 200;
const why = whyNoStrace();
const skip = skipUnless(why === null, why ?? '');

const kept = (clientId: string): ConnectOptions => ({
  clientId,
  cleanStart: false,
  properties: { sessionExpiryInterval: 1_000 },
});

/** A broker that is gone with its folder when the test is over. */
function stageFor(
  t: TestContext,
  acknowledge: 'durable' | 'committed' | 'received' = 'durable',
): ProcessStage {
  const stage = new ProcessStage({ config: { persistence: { acknowledge } } });
  t.after(() => stage.close());
  return stage;
}

async function dial(stage: ProcessStage, version: 4 | 5 = 5): Promise<DoorClient> {
  const socket = net.connect({ port: stage.port, host: '127.0.0.1', noDelay: true });
  return new DoorClient(await socketClient(socket, 'connect'), version);
}

/** A session that lasts, subscribed to `kept/#` at QoS 2, whose client is away. */
async function leaveSubscription(stage: ProcessStage): Promise<void> {
  const subscriber = await (await dial(stage)).connect(kept('away'));
  await subscriber.subscribe('kept/#', 2);
  subscriber.raw.end();
  await subscriber.over();
}

describe('a disk that is slow', { skip }, () => {
  test(`no acknowledgement comes within the ${DELAY_MS} ms that the disk takes`, async (t) => {
    const stage = stageFor(t);
    await stage.start();
    await leaveSubscription(stage);
    const publisher = await (await dial(stage)).connect(kept('publisher'));
    const older = await (await dial(stage, 4)).connect({ clientId: 'older' });
    const subscriber = await (await dial(stage)).connect(kept('subscriber'));
    await subscriber.subscribe('live', 2);
    await stage.suffer((pid) => delaySyncs(pid, DELAY_MS));
    const measure = async (what: string, exchange: () => Promise<unknown>): Promise<void> => {
      const sent = performance.now();
      await exchange();
      const took = performance.now() - sent;
      assert.ok(took >= DELAY_MS, `${what} came after ${took.toFixed(1)} ms`);
    };
    await measure('PUBACK', async () => {
      publisher.send(publish('kept/1', 'x', { qos: 1, packetId: 1 }));
      await publisher.expect('PUBACK', { packetId: 1 });
    });
    await measure('PUBACK in 3.1.1', async () => {
      older.send(publish('kept/1', 'x', { qos: 1, packetId: 1 }));
      await older.expect('PUBACK', { packetId: 1 });
    });
    await measure('PUBACK of a retained message', async () => {
      older.send(publish('retained', 'x', { qos: 1, packetId: 2, retain: true }));
      await older.expect('PUBACK', { packetId: 2 });
    });
    await measure('PUBACK of the removal of a retained message', async () => {
      older.send(publish('retained', '', { qos: 1, packetId: 3, retain: true }));
      await older.expect('PUBACK', { packetId: 3 });
    });
    await measure('PUBREC', async () => {
      publisher.send(publish('kept/2', 'x', { qos: 2, packetId: 2 }));
      await publisher.expect('PUBREC', { packetId: 2 });
    });
    await measure('PUBCOMP', async () => {
      publisher.send(pubrel(2));
      await publisher.expect('PUBCOMP', { packetId: 2 });
    });
    publisher.send(publish('live', 'x', { qos: 2, packetId: 3 }));
    const { packetId } = await subscriber.expect('PUBLISH', { topic: 'live' });
    await measure('PUBREL', async () => {
      subscriber.send(pubrec(packetId));
      await subscriber.expect('PUBREL', { packetId });
    });
    await measure('SUBACK', () => subscriber.subscribe('more', 1));
    await measure('UNSUBACK', async () => {
      subscriber.send(unsubscribe(9, ['more']));
      await subscriber.expect('UNSUBACK', { packetId: 9 });
    });
    const newcomer = await dial(stage);
    await measure('CONNACK of a new session', () => newcomer.connect(kept('newcomer')));
    const again = await dial(stage);
    await measure('CONNACK of a session that goes on', async () => {
      again.send(connect(kept('newcomer')));
      await again.expect('CONNACK', { reasonCode: 0, sessionPresent: true });
    });
    const anew = await dial(stage, 4);
    await measure('CONNACK of a client that ends its session', () => anew.connect({ clientId: 'newcomer' }));
    await stage.recover();
  });
});

describe('a disk that hangs', { skip }, () => {
  test('nothing is acknowledged that rests on it, and everything else goes on', async (t) => {
    const stage = stageFor(t);
    const publisher = await hold(stage, holdSyncs);
    publisher.send(publish('kept/1', 'x', { qos: 1, packetId: 1 }));
    await othersGoOn(stage);
    const newcomer = await dial(stage);
    newcomer.send(connect(kept('newcomer')));
    await othersGoOn(stage);
    // Whatever had been sent would have come before these answers.
    await publisher.expectQuiet();
    stage.kill();
    await stage.gone();
    await newcomer.expectClosed();
    await publisher.expectClosed();
  });

  test('acknowledge: committed waits for the write and not for the disk', async (t) => {
    const stage = stageFor(t, 'committed');
    const publisher = await hold(stage, holdSyncs);
    for (let packetId = 1; packetId <= 20; packetId++) {
      publisher.send(publish('kept/1', String(packetId), { qos: 1, packetId }));
      await publisher.expect('PUBACK', { packetId });
    }
    stage.kill();
    await stage.start();
    const subscriber = await (await dial(stage)).connect(kept('away'));
    for (let number = 1; number <= 20; number++) await subscriber.receive('kept/1', String(number));
  });

  test('acknowledge: committed acknowledges nothing before it is written', async (t) => {
    const stage = stageFor(t, 'committed');
    const publisher = await hold(stage, holdWrites);
    publisher.send(publish('kept/1', 'x', { qos: 1, packetId: 1 }));
    await othersGoOn(stage);
    await publisher.expectQuiet();
  });

  test('acknowledge: received waits for nothing', async (t) => {
    const stage = stageFor(t, 'received');
    const publisher = await hold(stage, holdWrites);
    for (let packetId = 1; packetId <= 20; packetId++) {
      publisher.send(publish('kept/1', 'x', { qos: 1, packetId }));
      await publisher.expect('PUBACK', { packetId });
    }
  });
});

/** Has a subscription wait and a publisher connected, then takes the disk away. */
async function hold(stage: ProcessStage, fault: (pid: number) => Promise<Strace>): Promise<DoorClient> {
  await stage.start();
  await leaveSubscription(stage);
  const publisher = await (await dial(stage)).connect({ clientId: 'publisher' });
  await stage.suffer(fault);
  return publisher;
}

/** Somebody whose session does not last gets everything that needs no disk. */
async function othersGoOn(stage: ProcessStage): Promise<void> {
  const other = await (await dial(stage)).connect({ clientId: 'other' });
  await other.subscribe('other', 2);
  other.send(publish('other', 'x', { qos: 1, packetId: 7 }));
  const first = await other.next();
  const second = await other.next();
  assert.deepEqual([first?.type, second?.type].sort(), [3, 4]);
  other.raw.end();
  await other.over();
}

describe('a disk that fails', { skip }, () => {
  for (const nth of [1, 4]) {
    test(`the broker stops at the failed sync number ${nth}, says why, and starts again with all it acknowledged`, async (t) => {
      const stage = stageFor(t);
      const scene = new Scene(stage);
      await scene.judge(nth, false, async () => {
        await scene.start(0);
        const subscriber = await scene.enter({ id: 's', version: 5 });
        await subscriber.subscribe('t/#', 2);
        subscriber.leave(true);
        const publishers = [
          await scene.enter({ id: 'p1', version: 4, window: 10 }),
          await scene.enter({ id: 'p2', version: 5, window: 10 }),
        ];
        for (const [index, publisher] of publishers.entries()) {
          const send = (): void => {
            publisher.publish(scene.message(`t/${index}`, index === 0 ? 1 : 2, 100));
          };
          // Each answer brings the next message, until there is no broker to answer.
          publisher.onAnswer = send;
          for (let first = 0; first < 10; first++) send();
        }
        stage.willEnd();
        await stage.suffer((pid) => failSyncs(pid, nth));
        const { code, signal } = await inTime(stage.ended(), 'the end of the broker');
        assert.deepEqual([code === 0, signal], [false, null], `exit code ${code}, signal ${signal}`);
        assert.match(stage.output, /store/, stage.output);
        assert.match(stage.output, /I\/O error|EIO/i, stage.output);
        await scene.end(0);
        for (const publisher of publishers) publisher.onAnswer = () => {};
        await scene.start(1);
        for (const publisher of publishers)
          await scene.enter({ id: publisher.id, version: publisher.version });
        for (const publisher of publishers) await scene.settle(publisher);
        await scene.drain(await scene.enter({ id: 's', version: 5 }), publishers[1]);
        await scene.end(1);
      });
    });
  }
});
