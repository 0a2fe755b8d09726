/** Time, injected, so that tests turn hours into microseconds. Types only. */
export interface Clock {
  /** Monotonic milliseconds from an arbitrary start. */
  now(): number;
  /** Wall-clock milliseconds since 1970, only for what must survive a restart or be shown to people. */
  wallNow(): number;
  /** Calls `task` every `intervalMs` until the returned function is called. */
  every(intervalMs: number, task: () => void): () => void;
}
