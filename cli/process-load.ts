/** What this process takes of its machine: how late its event loop is, and how much memory is in use. */

import { totalmem } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { LoadSource, MemoryUse } from '../src/broker/overload.ts';
import { ConfigError } from '../src/errors.ts';

/** How often the event loop's delay is looked at, in milliseconds. */
const RESOLUTION_MS = 20;
const NS_PER_MS = 1e6;
/** Part of the machine's memory that the process may have unless told. The rest is for the kernel: sockets' buffers, the store's pages. */
const MACHINE_FRACTION = 0.75;
/** From this part of the limit on garbage is collected first: what is only waiting to be thrown away is no load. */
const COLLECT_FRACTION = 0.75;
const COLLECT_INTERVAL_MS = 10_000;
/** Room above what the process takes at start, below which a limit makes no sense. */
const ROOM_BYTES_MIN = 33_554_432;

/** The limit in bytes that holds: the one given, or, for 0, a part of what the machine or the container has. */
export function memoryMaxBytesOf(given: number): number {
  if (given > 0) return given;
  // 0 where the system does not say, a number without meaning where a container has no limit.
  const constrained = process.constrainedMemory();
  const machine = totalmem();
  return Math.floor(MACHINE_FRACTION * (constrained > 0 && constrained < machine ? constrained : machine));
}

export class ProcessLoad implements LoadSource {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #memoryMaxBytes: number;
  /** What the process takes beside its heap and its buffers: code, threads, the store's cache. Null until the store is read. */
  #besideBytes: number | null = null;
  #collectedAtMs = Number.NEGATIVE_INFINITY;

  /** @throws ConfigError when the process already takes about as much as it may */
  constructor(memoryMaxBytes: number) {
    this.#memoryMaxBytes = memoryMaxBytes;
    const rss = process.memoryUsage.rss();
    if (memoryMaxBytes < rss + ROOM_BYTES_MIN)
      throw new ConfigError(
        'limits.memoryMaxBytes',
        `${memoryMaxBytes} bytes are too few, the broker takes ${rss} without a single client`,
        `Give at least ${rss + ROOM_BYTES_MIN}, or 0 for a part of what the machine has`,
      );
    this.#delay.enable();
  }

  close(): void {
    this.#delay.disable();
  }

  eventLoopDelayMs(): number {
    const { mean } = this.#delay;
    this.#delay.reset();
    // Not a number where the loop has not turned once since.
    return Number.isNaN(mean) ? 0 : Math.max(0, mean / NS_PER_MS - RESOLUTION_MS);
  }

  memory(): MemoryUse {
    const use = this.#measure();
    const isMuch = Math.max(use.bytes / this.#memoryMaxBytes, use.heapFraction) > COLLECT_FRACTION;
    if (!isMuch || performance.now() - this.#collectedAtMs < COLLECT_INTERVAL_MS) return use;
    this.#collectedAtMs = performance.now();
    collectGarbage();
    return this.#measure();
  }

  /**
   * The resident set, or what is in use of it: pages that were freed, and that the allocator keeps for the next buffers, are
   * room. Without that, a broker that was full once would stay so.
   */
  #measure(): MemoryUse {
    const heap = getHeapStatistics();
    const countedBytes = heap.used_heap_size + heap.external_memory;
    const rss = readResidentBytes();
    if (rss !== null) this.#besideBytes ??= Math.max(0, rss - countedBytes);
    const inUse = (this.#besideBytes ?? 0) + countedBytes;
    const heapFraction = heap.used_heap_size / heap.heap_size_limit;
    return { bytes: rss === null ? inUse : Math.min(rss, inUse), heapFraction };
  }
}

/** Null where no file can be opened: Linux tells it in one, and descriptors may have run out. */
function readResidentBytes(): number | null {
  try {
    return process.memoryUsage.rss();
  } catch {
    return null;
  }
}

let collector: (() => void) | null = null;

/** Makes V8 collect now; it would wait until it needs room itself, and does not know of our limit. */
function collectGarbage(): void {
  if (collector === null) {
    setFlagsFromString('--expose-gc');
    collector = runInNewContext('gc') as () => void;
  }
  collector();
}
