/** What is shown on the terminal of a log that goes to a file: for people, who do not read hundreds of lines a second. */
import { isError } from './log-batch.ts';

const WINDOW_MS = 1_000;
const LINES_PER_WINDOW_MAX = 20;

/** Passes on every error, and at most 20 other lines a second; then one line says how many are in the file alone. */
export class ShownLines {
  readonly #show: (line: string) => void;
  #lines = 0;
  #left = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(show: (line: string) => void) {
    this.#show = show;
  }

  write(line: string): void {
    this.#timer ??= setTimeout(() => this.#nextWindow(), WINDOW_MS).unref();
    if (isError(line)) this.#show(line);
    else if (this.#lines < LINES_PER_WINDOW_MAX) {
      this.#lines++;
      this.#show(line);
    } else this.#left++;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#nextWindow();
  }

  #nextWindow(): void {
    this.#timer = undefined;
    this.#lines = 0;
    if (this.#left === 0) return;
    const record = {
      level: 'warn',
      time: new Date().toISOString(),
      lines: this.#left,
      event: 'log.not_shown',
    };
    this.#left = 0;
    this.#show(`${JSON.stringify(record)}\n`);
  }
}
