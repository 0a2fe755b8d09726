/** Shows how far something has come: a bar on a terminal, a line now and then elsewhere. */

/** What a bar is drawn on, e.g. `process.stderr`. */
export interface ProgressOutput {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export interface Progress {
  /** @param fraction 0 to 1 */
  update(fraction: number): void;
  /** Takes the bar away. */
  end(): void;
}

const BAR_CHARACTERS = 30;
/** Time between two drawings, in milliseconds. */
const DRAW_INTERVAL_MS = 100;
/** The same for lines, and how long nothing is said at first. */
const LINE_INTERVAL_MS = 2_000;

/** @param title what is going on, e.g. `checking` */
export function createProgress(output: ProgressOutput, title: string): Progress {
  const isTerminal = output.isTTY === true;
  let lastAt = isTerminal ? Number.NEGATIVE_INFINITY : performance.now();
  return {
    update(fraction) {
      const now = performance.now();
      if (now - lastAt < (isTerminal ? DRAW_INTERVAL_MS : LINE_INTERVAL_MS)) return;
      lastAt = now;
      const percent = `${Math.floor(fraction * 100)} %`;
      const done = Math.round(fraction * BAR_CHARACTERS);
      const bar = `${'#'.repeat(done)}${'.'.repeat(BAR_CHARACTERS - done)}`;
      output.write(isTerminal ? `\r\u001b[K${title} [${bar}] ${percent}` : `${title}: ${percent}\n`);
    },
    end() {
      if (isTerminal) output.write('\r\u001b[K');
    },
  };
}
