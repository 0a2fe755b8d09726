/** Keeps one noisy client from filling the log: what repeats is counted and summed up. */
import type { Clock } from '../src/interfaces/clock.ts';
import type { Log } from '../src/interfaces/log.ts';

type Level = 'debug' | 'info' | 'warn' | 'error';

const WINDOW_MS = 1_000;
/** Lines of one event from one address in a window. */
const LINES_PER_WINDOW_MAX = 100;
/** Of these events from all addresses together: strangers cause them at will, and a crowd of them comes from as many addresses. */
const LINES_OF_ALL_MAX: ReadonlyMap<string, number> = new Map([['connection.failed', 20]]);
/** Causes remembered at once; beyond it those of one event share a count. */
const CAUSES_MAX = 10_000;

interface Cause {
  level: Level;
  event: string;
  address: string;
  startedAt: number;
  readonly linesMax: number;
  lines: number;
  suppressed: number;
}

/** Passes on at most 100 lines a second for each pair of event and address, of some events fewer, then one line with the number left out. */
export class LimitedLog implements Log {
  readonly #inner: Log;
  readonly #clock: Clock;
  readonly #causes = new Map<string, Cause>();
  readonly #stop: () => void;

  constructor(inner: Log, clock: Clock) {
    this.#inner = inner;
    this.#clock = clock;
    this.#stop = clock.every(WINDOW_MS, () => this.#sweep());
  }

  debug(event: string, fields?: object): void {
    this.#pass('debug', event, fields);
  }

  info(event: string, fields?: object): void {
    this.#pass('info', event, fields);
  }

  warn(event: string, fields?: object): void {
    this.#pass('warn', event, fields);
  }

  error(event: string, fields?: object): void {
    this.#pass('error', event, fields);
  }

  /** Writes the outstanding sums and stops counting. */
  close(): void {
    this.#stop();
    for (const cause of this.#causes.values()) this.#sumUp(cause);
    this.#causes.clear();
  }

  #pass(level: Level, event: string, fields: object | undefined): void {
    const cause = this.#causeOf(level, event, fields);
    if (this.#clock.now() - cause.startedAt >= WINDOW_MS) {
      this.#sumUp(cause);
      cause.startedAt = this.#clock.now();
      cause.lines = 0;
    }
    if (cause.lines >= cause.linesMax) {
      cause.suppressed++;
      return;
    }
    cause.lines++;
    this.#inner[level](event, fields);
  }

  #causeOf(level: Level, event: string, fields: object | undefined): Cause {
    const given = (fields as { address?: unknown } | undefined)?.address;
    const linesOfAllMax = LINES_OF_ALL_MAX.get(event);
    // Without the port, or every new connection would have a count of its own.
    let address = linesOfAllMax !== undefined ? 'many' : typeof given === 'string' ? withoutPort(given) : '';
    let key = `${event} ${address}`;
    let cause = this.#causes.get(key);
    if (cause === undefined && this.#causes.size >= CAUSES_MAX) {
      address = 'many';
      key = `${event} ${address}`;
      cause = this.#causes.get(key);
    }
    if (cause === undefined) {
      const linesMax = linesOfAllMax ?? LINES_PER_WINDOW_MAX;
      cause = { level, event, address, startedAt: this.#clock.now(), linesMax, lines: 0, suppressed: 0 };
      this.#causes.set(key, cause);
    }
    return cause;
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const [key, cause] of this.#causes) {
      if (now - cause.startedAt < WINDOW_MS) continue;
      this.#sumUp(cause);
      this.#causes.delete(key);
    }
  }

  #sumUp(cause: Cause): void {
    if (cause.suppressed === 0) return;
    const { level, event, address, suppressed } = cause;
    this.#inner[level](event, { address, suppressed });
    cause.suppressed = 0;
  }
}

const [ZERO, NINE, COLON] = [0x30, 0x39, 0x3a];

/** Takes `:1234` off the end. By hand: a regular expression is most of what a line that is left out costs. */
function withoutPort(address: string): string {
  let end = address.length;
  let code = NINE;
  while (end > 0 && code >= ZERO && code <= NINE) code = address.charCodeAt(--end);
  return code === COLON && end < address.length - 1 ? address.slice(0, end) : address;
}
