import type { ProtocolVersion } from '../codec/packets.ts';
import type { Limits } from '../limits.ts';
import type { ConnectRate } from './intake.ts';

/** What holds for the connections of one listener. */
export interface Door {
  /** The listener's URL; it stands in log lines. */
  readonly name: string;
  readonly versions: readonly ProtocolVersion[];
  /** The broker's limits with the listener's own put over them. */
  readonly limits: Limits;
  /** Connections of this listener alone; 0: only the broker's limit. */
  readonly connectionsMax: number;
  /** Null: as many a second as come. */
  readonly connectRate: ConnectRate | null;
}
