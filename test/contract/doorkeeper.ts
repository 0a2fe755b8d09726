/** A doorkeeper that writes down what doors tell him, and does as the test says. */
import type { Doorkeeper, Visit } from '../../src/interfaces/doorkeeper.ts';

/** What a door said of one connection. */
export class VisitRecord implements Visit {
  readonly door: string;
  readonly address: string;
  readonly evict: () => void;
  readonly moves: string[] = [];
  logins = 0;
  lefts = 0;
  readonly #keeper: RecordingDoorkeeper;

  constructor(keeper: RecordingDoorkeeper, door: string, address: string, evict: () => void) {
    this.#keeper = keeper;
    this.door = door;
    this.address = address;
    this.evict = evict;
  }

  moved(address: string): boolean {
    this.moves.push(address);
    return this.#keeper.admits(address);
  }

  loggedIn(): void {
    this.logins++;
  }

  left(): void {
    this.lefts++;
    this.#keeper.onChange();
  }
}

export class RecordingDoorkeeper implements Doorkeeper {
  readonly visits: VisitRecord[] = [];
  turnedAway = 0;
  admits = (_address: string): boolean => true;
  onChange = (): void => {};

  knock(door: string, address: string, evict: () => void): Visit | null {
    if (!this.admits(address)) {
      this.turnedAway++;
      this.onChange();
      return null;
    }
    const visit = new VisitRecord(this, door, address, evict);
    this.visits.push(visit);
    this.onChange();
    return visit;
  }
}
