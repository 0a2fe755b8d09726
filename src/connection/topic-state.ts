import type { Route } from '../router/route.ts';

/** A topic that a connection publishes to: checked, decoded and routed once, until rights or subscriptions change. */
export interface TopicState {
  readonly topic: string;
  readonly bytes: Buffer;
  /** Router generation that `allowed` and `route` were found in. */
  generation: number;
  allowed: boolean;
  route: Route;
}

/** True when `buffer[start, end)` is this topic. */
export function sameTopic(state: TopicState, buffer: Buffer, start: number, end: number): boolean {
  const bytes = state.bytes;
  const length = end - start;
  if (bytes.length !== length) return false;
  // From the back: topics of one device differ there.
  for (let index = length - 1; index >= 0; index--) if (bytes[index] !== buffer[start + index]) return false;
  return true;
}
