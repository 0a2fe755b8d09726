/** A clock that stands still until a test moves it. */
import type { Clock } from '../../src/interfaces/clock.ts';

interface Task {
  intervalMs: number;
  dueMs: number;
  run: () => void;
}

/** 2026-01-01T00:00:00Z: where the wall clock starts. */
const WALL_START_MS = 1_767_225_600_000;

export class FakeClock implements Clock {
  readonly #tasks = new Set<Task>();
  #nowMs: number;
  readonly #wallOffsetMs: number;

  /** @param startMs monotonic start; not 0, so that a forgotten 0 shows */
  constructor(startMs = 1_000) {
    this.#nowMs = startMs;
    this.#wallOffsetMs = WALL_START_MS - startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  wallNow(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  every(intervalMs: number, task: () => void): () => void {
    const entry = { intervalMs, dueMs: this.#nowMs + intervalMs, run: task };
    this.#tasks.add(entry);
    return () => this.#tasks.delete(entry);
  }

  /** Moves time forward; each task runs at each of its moments on the way, in order. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (let task = this.#next(endMs); task !== undefined; task = this.#next(endMs)) {
      this.#nowMs = task.dueMs;
      task.dueMs += task.intervalMs;
      task.run();
    }
    this.#nowMs = endMs;
  }

  #next(endMs: number): Task | undefined {
    let next: Task | undefined;
    for (const task of this.#tasks) {
      if (task.dueMs <= endMs && (next === undefined || task.dueMs < next.dueMs)) next = task;
    }
    return next;
  }
}
