import type { Session } from '../session/session.ts';
import type { Route } from './route.ts';

const EMPTY = Buffer.alloc(0);

/**
 * PUBLISH packets of one client that stand side by side in the received bytes and go the same way: QoS 0, nothing
 * retained, no properties, one topic. They are copied to each receiver as one piece.
 */
export class PublishRun {
  buffer: Buffer = EMPTY;
  start = 0;
  end = 0;
  count = 0;
  /** The largest packet of the run. */
  frameBytesMax = 0;
  v5 = false;
  route: Route | null = null;
  publisher: Session | null = null;

  /** True when the packet at `start` of `buffer` can be added. */
  continues(buffer: Buffer, start: number, route: Route): boolean {
    return this.end === start && this.buffer === buffer && this.route === route;
  }

  begin(buffer: Buffer, start: number, v5: boolean, route: Route, publisher: Session): void {
    this.buffer = buffer;
    this.start = start;
    this.end = start;
    this.count = 0;
    this.frameBytesMax = 0;
    this.v5 = v5;
    this.route = route;
    this.publisher = publisher;
  }

  add(end: number): void {
    const bytes = end - this.end;
    if (bytes > this.frameBytesMax) this.frameBytesMax = bytes;
    this.end = end;
    this.count++;
  }

  clear(): void {
    this.buffer = EMPTY;
    this.start = 0;
    this.end = 0;
    this.count = 0;
    this.route = null;
    this.publisher = null;
  }
}
