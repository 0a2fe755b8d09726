/** Collected latencies, and what a process and its children have used. */
import { readdirSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;

/** Latencies in milliseconds; the last `capacity` of them. */
export class Samples {
  readonly #values: Float64Array;
  #count = 0;

  constructor(capacity = 1_000_000) {
    this.#values = new Float64Array(capacity);
  }

  add(ms: number): void {
    this.#values[this.#count % this.#values.length] = ms;
    this.#count += 1;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Those below which each of these shares of all samples lies; 0 without samples. */
  percentiles(...shares: readonly number[]): number[] {
    const sorted = this.#values.slice(0, Math.min(this.#count, this.#values.length)).sort();
    return shares.map((share) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
  }
}

interface ProcessEntry {
  readonly parent: number;
  readonly cpuSeconds: number;
  readonly rssMb: number;
}

/** CPU time so far, in seconds, and memory, in MB, of a process and all that descend from it; those that ended and were waited for count too. */
export function usageOfTree(pid: number): { readonly cpuSeconds: number; readonly rssMb: number } {
  const all = new Map<number, ProcessEntry>();
  for (const name of readdirSync('/proc')) {
    const entry = /^\d+$/.test(name) ? readEntry(name) : null;
    if (entry !== null) all.set(Number(name), entry);
  }
  let cpuSeconds = 0;
  let rssMb = 0;
  for (const [id, entry] of all) {
    if (!descends(id, pid, all)) continue;
    cpuSeconds += entry.cpuSeconds;
    rssMb += entry.rssMb;
  }
  return { cpuSeconds, rssMb };
}

function descends(id: number, from: number, all: ReadonlyMap<number, ProcessEntry>): boolean {
  for (let at: number | undefined = id; at !== undefined && at > 0; at = all.get(at)?.parent)
    if (at === from) return true;
  return false;
}

/** Null: it ended while it was looked at. */
function readEntry(pid: string): ProcessEntry | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    const rssMb = Number(fields[21]) * (4096 / 1_048_576);
    return { parent: Number(fields[1]), cpuSeconds: ticks / TICKS_PER_SECOND, rssMb };
  } catch {
    return null;
  }
}
