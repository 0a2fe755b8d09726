/** The core in this process: no sockets in the way, a clock that only the attack moves, and everything that grows in sight. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stage, type StageOptions } from '../../bad-input/stage.ts';
import { settle } from '../../support/test-client.ts';
import { Canary } from './canary.ts';
import { heapBytes, megabytes, tell } from './figures.ts';

/** What the heap may have grown by when the attack is over: what V8 learned meanwhile, and caches with bounds of their own. */
const HEAP_LEFT_BYTES_MAX = 24 << 20;
/** An hour and two days: every will, expiry and timeout that an attack may have left behind. */
const AFTERWARDS_SECONDS = [3_600, 86_401, 86_401];

export interface CoreOptions extends StageOptions {
  /** The canary's user name. */
  readonly canaryUser?: string;
}

export class CoreTarget {
  readonly stage: Stage;
  canary!: Canary;
  readonly #tell: (figure: string) => void;
  #baseline: object = {};
  #heapBefore = 0;
  #heapPeak = 0;

  constructor(options: CoreOptions, tell: (figure: string) => void) {
    this.stage = new Stage(options);
    this.#tell = tell;
  }

  async open(username: string | null): Promise<void> {
    await this.stage.open();
    this.canary = await Canary.create(await this.stage.connect({ clientId: 'canary', username }, 'memory'));
    await this.canary.sing();
    this.#baseline = this.state();
    // The first collection leaves what only its finalizers let go.
    heapBytes();
    await settle();
    this.#heapBefore = heapBytes();
  }

  /** Everything that grows when somebody is there. */
  state(): object {
    const { connections, sessions, statistics, router } = this.stage.broker;
    const { connected, subscriptions, sharedSubscriptions, queuedMessages, queuedBytes } = statistics;
    return {
      connections: connections.size,
      sessions: sessions.size,
      connected,
      subscriptions,
      sharedSubscriptions,
      queuedMessages,
      queuedBytes,
      retainedMessages: router.retained.count,
    };
  }

  /** Bytes by which the heap has grown since before the attack, which must not be more than `bytesMax`. */
  assertGrownBy(bytesMax: number, what: string): number {
    const growth = heapBytes() - this.#heapBefore;
    this.#heapPeak = Math.max(this.#heapPeak, growth);
    assert.ok(
      growth <= bytesMax,
      `${what}: the heap has grown by ${growth} bytes, ${bytesMax} are the bound`,
    );
    return growth;
  }

  /** A line for the report. */
  tell(figure: string): void {
    this.#tell(figure);
  }

  /** The attackers leave; what may outlive them expires; then everything is as before. */
  async assertUnharmed(): Promise<void> {
    await this.stage.connectionsLeft(1);
    for (const seconds of AFTERWARDS_SECONDS) await this.stage.advanceSeconds(seconds);
    await settle();
    await this.canary.sing();
    assert.deepEqual(this.state(), this.#baseline, 'something is left behind');
    this.stage.assertNoDefect();
    assert.deepEqual(
      this.stage.log.lines.filter(({ level }) => level === 'error'),
      [],
    );
    this.stage.log.lines = [];
    const growth = this.assertGrownBy(HEAP_LEFT_BYTES_MAX, 'when all is over');
    this.tell(
      `heap ${megabytes(this.#heapPeak)} at most, ${megabytes(growth)} afterwards; ` +
        `${this.canary.songs} round trips beside it, the slowest ${Math.round(this.canary.slowestMs)} ms`,
    );
  }
}

/**
 * An attack on a core of its own: `run` attacks, and has to leave no connection behind. Before it a canary has logged in;
 * after it everything must be as it was.
 */
export function attackCore(
  name: string,
  options: CoreOptions,
  run: (target: CoreTarget) => Promise<void>,
): void {
  test(name, async (t) => {
    const target = new CoreTarget(options, (figure) => tell(t, figure));
    await target.open(options.canaryUser ?? null);
    t.after(() => target.stage.close());
    await run(target);
    await target.assertUnharmed();
  });
}
