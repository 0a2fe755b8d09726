import { ReasonCode } from '../codec/reason-codes.ts';
import type { Connection } from '../connection/connection.ts';
import type { Door } from '../connection/door.ts';
import type { Clock } from '../interfaces/clock.ts';
import { type Limits, REFUSED_CONNECTIONS_MAX } from '../limits.ts';
import type { Statistics } from '../statistics.ts';
import type { Overload } from './overload.ts';

/** Why a CONNECT is refused. */
export interface Objection {
  readonly reasonCode: number;
  readonly reason: string;
}

export interface AdmissionParts {
  readonly limits: Limits;
  readonly overload: Overload;
  readonly statistics: Statistics;
  readonly clock: Clock;
}

/** How many may be connected, at each door and in all, and how fast they may come. */
export class Admission {
  readonly #parts: AdmissionParts;
  readonly #byDoor = new Map<Door, number>();
  /** Those that came while no more could be taken, and may still send a CONNECT to be told so. */
  readonly #turnedAway = new Map<Connection, Objection>();
  #count = 0;

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  /** Counts a new connection; false when there is not even room to tell it why it cannot stay. */
  arrived(connection: Connection): boolean {
    const { door } = connection;
    this.#count++;
    this.#byDoor.set(door, (this.#byDoor.get(door) ?? 0) + 1);
    const objection = this.#objectionAtDoor(door);
    if (objection !== null) this.#turnedAway.set(connection, objection);
    return (
      this.#turnedAway.size <= REFUSED_CONNECTIONS_MAX &&
      this.#count <= this.#parts.limits.connectionsMax + REFUSED_CONNECTIONS_MAX
    );
  }

  /** The connection is closed. Called once for each that arrived. */
  left(connection: Connection): void {
    const { door } = connection;
    this.#count--;
    this.#turnedAway.delete(connection);
    const left = (this.#byDoor.get(door) ?? 1) - 1;
    if (left > 0) this.#byDoor.set(door, left);
    else this.#byDoor.delete(door);
  }

  /** Why no more connections are taken, whoever this one is; null: it may come in. */
  objectionTo(connection: Connection): Objection | null {
    const { door } = connection;
    const isOver =
      this.#count > this.#parts.limits.connectionsMax ||
      (door.connectionsMax > 0 && (this.#byDoor.get(door) ?? 0) > door.connectionsMax);
    if (isOver) return { reasonCode: ReasonCode.QUOTA_EXCEEDED, reason: 'too many connections' };
    return this.#turnedAway.get(connection) ?? null;
  }

  #objectionAtDoor({ connectRate }: Door): Objection | null {
    const { overload, statistics, clock } = this.#parts;
    if (overload.step > 0) {
      statistics.overloadRefused++;
      if (overload.cause === 'memory')
        return { reasonCode: ReasonCode.QUOTA_EXCEEDED, reason: 'memory is short, try later' };
      return { reasonCode: ReasonCode.SERVER_BUSY, reason: 'busy, try later' };
    }
    if (connectRate === null || connectRate.take(clock.now())) return null;
    return { reasonCode: ReasonCode.CONNECTION_RATE_EXCEEDED, reason: 'too many connections at once' };
  }
}
