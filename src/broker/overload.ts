import type { Log } from '../interfaces/log.ts';
import type { Statistics } from '../statistics.ts';

export interface MemoryUse {
  /** Memory of the process in use, in bytes. */
  readonly bytes: number;
  /** Part of the heap that V8 may have at most, 0 to 1: beyond 1 the process ends. */
  readonly heapFraction: number;
}

/** What the process costs its machine, as measured by whoever may look at it. */
export interface LoadSource {
  /** Mean delay of the event loop since the last call, in milliseconds. */
  eventLoopDelayMs(): number;
  memory(): MemoryUse;
}

export interface OverloadOptions {
  readonly source: LoadSource;
  /** 0: not watched. */
  readonly eventLoopDelayMsMax: number;
  /** 0: not watched. */
  readonly memoryMaxBytes: number;
}

/** 0: nothing. 1: new connections are refused. 2: QoS 0 to slow consumers is shed. 3: the slowest are disconnected, too. */
export type OverloadStep = 0 | 1 | 2 | 3;

/** Part of the memory limit (or of the heap) at which each step begins. The last one begins below it, because it must be kept. */
const MEMORY_FRACTIONS = [0, 0.8, 0.85, 0.9] as const;
/** A step ends this far below where it began, or it would come and go all the time. */
const MEMORY_HYSTERESIS = 0.05;
const DELAY_HYSTERESIS = 0.8;
/** Samples over the delay limit before the next step: a single pause for garbage, or by the machine's other users, is none. */
const DELAY_SAMPLES = 2;
/** Samples below all limits before a step is taken back. */
const CALM_SAMPLES = 4;
/** Bytes received and given to receivers after which memory is looked at before the next sweep: a flood is faster than that. */
const CHECK_BYTES = 8_388_608;

const ACTIONS = [
  'none',
  'new connections are refused',
  'QoS 0 to slow consumers is shed',
  'the slowest consumers are disconnected',
];

/** Watches event-loop delay and memory, and says how far the broker must go to stay within them. */
export class Overload {
  readonly #options: OverloadOptions | null;
  readonly #log: Log;
  readonly #statistics: Statistics;
  #delayMs = 0;
  #delaySamples = 0;
  #calmSamples = 0;
  step: OverloadStep = 0;
  /** Step 2 or above: asked for each QoS 0 message, so a plain field. */
  shedding = false;
  /** Memory is what is short, at step 2 or above: nothing more is kept in it than must be. */
  memoryShort = false;
  /** Why, while `step` is above 0. */
  cause: 'delay' | 'memory' = 'delay';
  /** Number of bytes moved at which memory is to be looked at again. */
  checkAtBytes = Number.POSITIVE_INFINITY;

  constructor(options: OverloadOptions | null, log: Log, statistics: Statistics) {
    this.#options = options;
    this.#log = log;
    this.#statistics = statistics;
    if (options !== null && options.memoryMaxBytes > 0) this.checkAtBytes = CHECK_BYTES;
  }

  /** Looks at delay and memory; called by every sweep. */
  sweep(): void {
    if (this.#options === null) return;
    const { eventLoopDelayMsMax, source } = this.#options;
    this.#delayMs = source.eventLoopDelayMs();
    const memory = source.memory();
    const isLate = eventLoopDelayMsMax > 0 && this.#delayMs > eventLoopDelayMsMax;
    this.#delaySamples = isLate ? this.#delaySamples + 1 : 0;
    if (this.#delaySamples >= DELAY_SAMPLES) {
      this.#delaySamples = 0;
      this.#go(Math.min(3, this.step + 1) as OverloadStep, 'delay', memory);
    }
    this.#followMemory(memory);
    const isPrompt = eventLoopDelayMsMax === 0 || this.#delayMs < eventLoopDelayMsMax * DELAY_HYSTERESIS;
    const isSmall = this.#memoryFraction(memory) < MEMORY_FRACTIONS[this.step] - MEMORY_HYSTERESIS;
    this.#calmSamples = this.step > 0 && isPrompt && isSmall ? this.#calmSamples + 1 : 0;
    if (this.#calmSamples < CALM_SAMPLES) return;
    this.#calmSamples = 0;
    this.#go((this.step - 1) as OverloadStep, this.cause, memory);
  }

  /** Looks at memory alone, because `checkAtBytes` was reached. */
  checkMemory(bytesMoved: number): void {
    this.checkAtBytes = bytesMoved + CHECK_BYTES;
    if (this.#options !== null) this.#followMemory(this.#options.source.memory());
  }

  #followMemory(memory: MemoryUse): void {
    const fraction = this.#memoryFraction(memory);
    let step: OverloadStep = 0;
    for (const each of [1, 2, 3] as const) if (fraction >= MEMORY_FRACTIONS[each]) step = each;
    if (step > this.step || (step === this.step && step > 0)) this.#go(step, 'memory', memory);
  }

  #memoryFraction({ bytes, heapFraction }: MemoryUse): number {
    const { memoryMaxBytes } = this.#options!;
    return Math.max(heapFraction, memoryMaxBytes > 0 ? bytes / memoryMaxBytes : 0);
  }

  #go(step: OverloadStep, cause: 'delay' | 'memory', memory: MemoryUse): void {
    const before = this.step;
    this.step = step;
    this.cause = cause;
    this.shedding = step >= 2;
    this.memoryShort = step >= 2 && cause === 'memory';
    if (step === before) return;
    this.#calmSamples = 0;
    const { eventLoopDelayMsMax, memoryMaxBytes } = this.#options!;
    const eventLoopDelayMs = Math.round(this.#delayMs);
    const memoryBytes = Math.round(memory.bytes);
    const heapPercent = Math.round(memory.heapFraction * 100);
    const measured = { eventLoopDelayMs, eventLoopDelayMsMax, memoryBytes, memoryMaxBytes, heapPercent };
    const fields = { step, before, cause, action: ACTIONS[step], ...measured };
    if (step < before) {
      this.#log.info('overload.step', fields);
      return;
    }
    this.#statistics.overloadSteps++;
    this.#log.warn('overload.step', fields);
  }
}
