/** The real time. The only place outside the entry point that reads it. */
import type { Clock } from '../src/interfaces/clock.ts';

export class SystemClock implements Clock {
  now(): number {
    return performance.now();
  }

  wallNow(): number {
    return Date.now();
  }

  /** The timer does not keep the process alive: the listeners do. */
  every(intervalMs: number, task: () => void): () => void {
    const timer = setInterval(task, intervalMs);
    timer.unref();
    return () => clearInterval(timer);
  }
}
