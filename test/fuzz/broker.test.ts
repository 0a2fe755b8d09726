/**
 * A live broker among clients that break every rule, over memory, TCP, WebSocket, WebTransport and QUIC: nobody else notices, nothing
 * is left of them. FUZZ_SECONDS=60 runs half of that long (the codec has the other half); FUZZ_SEED=n begins elsewhere.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type DoorName, Stage } from '../bad-input/stage.ts';
import { Random } from '../codec/random-packets.ts';
import { readVectors } from '../codec/vectors.ts';
import type { RawClient } from '../contract/transport.ts';
import { settle } from '../support/test-client.ts';
import { Canary } from './canary.ts';
import { EXPIRY_MAX_SECONDS, makeScript, play, type Script } from './intruder.ts';

const SEED = Number(process.env.FUZZ_SEED ?? 20_240_607);
const SECONDS = process.env.FUZZ_SECONDS === undefined ? 5 : Number(process.env.FUZZ_SECONDS) / 2;
const ROUNDS_MIN = 4;
const CLIENTS = 40;
/** One in so many intruders comes over a socket; the rest through memory, which is faster. */
const SOCKET_SHARE = 5;
/** Growth of the heap between the middle and the end of the run that is not called a leak. */
const HEAP_GROWTH_BYTES_MAX = 8_000_000;

test(`a live broker survives whatever is sent to it, and forgets it, with seed ${SEED}`, async (t) => {
  const stage = new Stage({
    engines: ['wt', 'quic'],
    limits: {
      sessionExpiryMaxSeconds: EXPIRY_MAX_SECONDS,
      sessionExpiry3xSeconds: EXPIRY_MAX_SECONDS,
      messageExpiryMaxSeconds: EXPIRY_MAX_SECONDS,
      // Small, so that the run meets them.
      queueMessagesMax: 50,
      outBytesMax: 100_000,
      retainedMessagesMax: 200,
      subscriptionsPerClientMax: 30,
    },
  });
  await stage.open();
  t.after(() => stage.close());
  const canaries = [
    await Canary.create(stage, 'memory', 'memory', 5),
    await Canary.create(stage, 'tcp', 'tcp', 4),
    await Canary.create(stage, 'ws', 'ws', 3),
    await Canary.create(stage, 'wt', 'wt', 5),
    await Canary.create(stage, 'quic', 'quic', 4),
  ];
  const run = new Run(stage, canaries);
  const baseline = run.state();
  const until = performance.now() + SECONDS * 1_000;
  let heapInTheMiddle = 0;
  for (let round = 0; round < ROUNDS_MIN || performance.now() < until; round++) {
    await run.round(new Random(SEED + round), round);
    await run.everybodyGone();
    run.check(() => assert.deepEqual(run.state(), baseline, 'something is left behind'));
    const isMiddle = round >= ROUNDS_MIN / 2 && performance.now() > until - SECONDS * 500;
    if (isMiddle && heapInTheMiddle === 0) heapInTheMiddle = heapBytes();
  }
  const growth = heapBytes() - heapInTheMiddle;
  t.diagnostic(
    `${run.clients} clients, ${stage.broker.statistics.messagesReceived} packets, heap ${growth} bytes`,
  );
  assert.ok(run.letIn > run.clients / 4, `only ${run.letIn} of ${run.clients} clients were let in`);
  assert.ok(growth < HEAP_GROWTH_BYTES_MAX, `the heap grew by ${growth} bytes`);
});

/** Rounds of intruders on one stage. */
class Run {
  clients = 0;
  readonly #stage: Stage;
  readonly #canaries: readonly Canary[];
  readonly #vectors = readVectors();
  #scripts: { script: Script; door: DoorName }[] = [];
  #staying: RawClient[] = [];
  #round = 0;

  constructor(stage: Stage, canaries: readonly Canary[]) {
    this.#stage = stage;
    this.#canaries = canaries;
  }

  get letIn(): number {
    return this.#stage.broker.statistics.connectionsOpened - this.#stage.broker.statistics.connectionsRefused;
  }

  /** Everything that grows when somebody is there. */
  state(): object {
    const { connections, sessions, statistics, router } = this.#stage.broker;
    const { connected, subscriptions, sharedSubscriptions, queuedMessages, queuedBytes } = statistics;
    const retained = { messages: router.retained.count, bytes: router.retained.bytes };
    return {
      connections: connections.size,
      sessions: sessions.size,
      connected,
      subscriptions,
      sharedSubscriptions,
      queuedMessages,
      queuedBytes,
      retained,
    };
  }

  async round(random: Random, round: number): Promise<void> {
    this.#round = round;
    this.#scripts = [];
    this.#stage.log.lines = [];
    const playing: Promise<void>[] = [];
    for (let count = 0; count < CLIENTS; count++) {
      const door = random.chance(SOCKET_SHARE) ? random.pick(['tcp', 'ws', 'wt', 'quic'] as const) : 'memory';
      const script = makeScript(random, this.#vectors);
      this.#scripts.push({ script, door });
      playing.push(this.#play(script, door));
      if (count % 10 === 9) {
        await Promise.all([...playing, ...this.#canaries.map((canary) => this.#sing(canary))]);
        this.check(() => this.#stage.assertNoDefect());
      }
      if (random.chance(8)) await this.#stage.advanceSeconds(random.below(3));
    }
    await Promise.all(playing);
  }

  /** All intruders leave, and as much time passes as anything of theirs may last. */
  async everybodyGone(): Promise<void> {
    for (const client of this.#staying) client.abort();
    this.#staying = [];
    const { broker } = this.#stage;
    await this.#stage.until(() => broker.connections.size <= this.#canaries.length * 2, 'all intruders gone');
    // Wills go off and are retained, in part with an expiry of their own, before they expire in turn.
    for (let times = 0; times < 3; times++) await this.#stage.advanceSeconds(EXPIRY_MAX_SECONDS + 1);
    await Promise.all(this.#canaries.map((canary) => this.#sing(canary)));
    for (const canary of this.#canaries) await canary.rest();
    this.check(() => this.#stage.assertNoDefect());
  }

  /** Fails with what it takes to see the failure again. */
  check(assertion: () => void): void {
    try {
      assertion();
    } catch (error) {
      throw this.#reproducible(error);
    }
  }

  async #sing(canary: Canary): Promise<void> {
    try {
      await canary.sing();
    } catch (error) {
      throw this.#reproducible(error);
    }
  }

  async #play(script: Script, door: DoorName): Promise<void> {
    this.clients++;
    const client = await this.#stage.dialRaw(door);
    if (await play(script, client, settle)) this.#staying.push(client);
  }

  #reproducible(cause: unknown): Error {
    const scripts = this.#scripts.map(
      ({ script, door }) =>
        `${door} version ${script.version} ${script.ending}: ${script.chunks.map((chunk) => chunk.toString('hex')).join(' ')}`,
    );
    const again = `FUZZ_SEED=${SEED + this.#round} (round ${this.#round} of seed ${SEED})`;
    const text = cause instanceof Error ? cause.message : String(cause);
    return new Error(`${text}\nagain with ${again}; what was sent in this round:\n${scripts.join('\n')}`, {
      cause,
    });
  }
}

/** Bytes in use after a collection. */
function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}
