/** A broker that can be killed and started again on what it left behind. */
import type { Random } from '../../codec/random-packets.ts';
import type { Link } from './link.ts';

export interface Stage {
  /** True from the moment the broker was killed or has ended until it is started again. */
  readonly stopped: boolean;
  /** Starts the broker; `calm`: on a disk without faults. */
  start(calm: boolean): Promise<void>;
  /** Starts the broker and kills it while it starts; where a start takes no time, does nothing. */
  interruptStart(random: Random): Promise<void>;
  /** Rejects when the broker has gone. */
  dial(): Promise<Link>;
  /** Ends the broker now, between two of its events. */
  kill(): void;
  /** Resolves when nothing is left of the broker that was killed. */
  gone(): Promise<void>;
  /** Resolves when nothing more will come of its own accord; never where that cannot be known. */
  quiet(): Promise<void>;
  /** Ends it all and removes what is on the disk. */
  close(): Promise<void>;
}
