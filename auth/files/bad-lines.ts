/** Saying what is wrong with a file of lines: several lines at once, but not a million. */
import { ConfigError } from '../../src/errors.ts';

/** Lines that are told one by one: a screenful. */
const LINES_SHOWN_MAX = 20;
/** Lines that are counted. A file of another kind can have millions of bad ones, and each costs an error with its stack. */
const LINES_COUNTED_MAX = 10_000;

/** More than one line of a file is wrong. The message has a line for each of the first 20, and the number of the others. */
export class BadLines extends ConfigError {
  /** The first ones, and last, where there are more, one that says how many. */
  readonly problems: readonly ConfigError[];

  constructor(path: string, problems: readonly ConfigError[], total: string) {
    const lines = problems.map((problem) => `\n  ${problem.message}`).join('');
    super(path, `${total} lines cannot be used`, `Correct each of them:${lines}`);
    this.name = 'BadLines';
    this.problems = problems;
  }
}

/** What one error names, problem by problem. */
export function problemsOf(error: ConfigError): readonly ConfigError[] {
  return error instanceof BadLines ? error.problems : [error];
}

/** Collects the faults of one file while it is parsed. */
export class LineFaults {
  readonly #path: string;
  readonly #shown: ConfigError[] = [];
  #total = 0;

  /** @param path only for errors */
  constructor(path: string) {
    this.#path = path;
  }

  /** True when so many lines are wrong that the rest need not be looked at. */
  get full(): boolean {
    return this.#total >= LINES_COUNTED_MAX;
  }

  /** Takes note of the fault of one line. Anything but a ConfigError is a defect, and thrown again. */
  add(error: unknown): void {
    if (!(error instanceof ConfigError)) throw error;
    if (this.#total++ < LINES_SHOWN_MAX) this.#shown.push(error);
  }

  /** @throws what `error` says, if anything */
  throwIfAny(): void {
    if (this.error !== null) throw this.error;
  }

  /** A ConfigError for one bad line, BadLines for several, null for none. */
  get error(): ConfigError | null {
    if (this.#total <= 1) return this.#shown[0] ?? null;
    const more = this.#total - this.#shown.length;
    const atLeast = this.full ? 'at least ' : '';
    const rest = new ConfigError(
      this.#path,
      `${atLeast}${more} more ${more === 1 ? 'line' : 'lines'} cannot be used`,
      'Is it the right file? Correct these first.',
    );
    const problems = more === 0 ? this.#shown : [...this.#shown, rest];
    return new BadLines(this.#path, problems, `${atLeast}${this.#total}`);
  }
}
