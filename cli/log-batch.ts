/** Lines that are handed on together: each hand-over wakes a thread or is a system call, dearer than the line itself. */

/** How long a line may wait for others. */
const WAIT_MS = 10;
const CHARACTERS_MAX = 16_384;

export class LineBatch {
  readonly #handOn: (text: string) => void;
  readonly #atExit = (): void => this.flush();
  #text = '';
  #timer: NodeJS.Timeout | undefined;

  /** @param handOn takes whole lines */
  constructor(handOn: (text: string) => void) {
    this.#handOn = handOn;
    // Ahead of those who end, at the exit, what the lines go to.
    process.prependListener('exit', this.#atExit);
  }

  /** An error leaves at once: it may be the last that is ever said. */
  write(line: string): void {
    this.#text += line;
    if (this.#text.length >= CHARACTERS_MAX || isError(line)) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), WAIT_MS).unref();
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const text = this.#text;
    this.#text = '';
    if (text !== '') this.#handOn(text);
  }

  close(): void {
    this.flush();
    process.off('exit', this.#atExit);
  }
}

/** True for a line of pino's, as it is set up here: its level comes first. */
export function isError(line: string): boolean {
  return line.startsWith('{"level":"error"');
}
