/** What is to be said of an ACL file that can be read. */

/** `fault`: something does nothing, or not what it seems to. `note`: it may be right, but is worth knowing. */
export type Severity = 'fault' | 'note';

export interface Remark {
  readonly severity: Severity;
  readonly kind:
    | 'unreachable'
    | 'order-decides'
    | 'not-compared'
    | 'unknown-user'
    | 'empty-group'
    | 'unused-group'
    | 'odd-name'
    | 'open-name'
    | 'literal-placeholder';
  /** Line of the file, from 1; 0: it is about the whole file. */
  readonly line: number;
  /** May hold text of the file as it stands there: escape it before it goes to a terminal. */
  readonly problem: string;
  /** What would be right, or what to know. */
  readonly remedy: string;
}

/** Faults that are kept, and notes: more is no list that anybody reads. */
const REMARKS_MAX = 1_000;

/** Collects remarks, the first 1000 faults and as many notes, and counts all. */
export class Remarks {
  readonly #kept: Remark[] = [];
  faults = 0;
  notes = 0;

  add(remark: Remark): void {
    const count = remark.severity === 'fault' ? ++this.faults : ++this.notes;
    if (count <= REMARKS_MAX) this.#kept.push(remark);
  }

  /** By line; the faults of a line first. */
  get kept(): readonly Remark[] {
    return this.#kept.toSorted((a, b) => a.line - b.line || a.severity.localeCompare(b.severity));
  }
}
