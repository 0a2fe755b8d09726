/** A row that is not what was written. */
export class StoreDamage extends Error {
  /** The row, e.g. `delivery 17 of session 3`. */
  readonly where: string;
  /** @param problem what does not fit */
  constructor(where: string, problem: string) {
    super(`${where} is damaged: ${problem}`);
    this.name = 'StoreDamage';
    this.where = where;
  }
}
