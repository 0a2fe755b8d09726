/** Figures: how much memory this process uses, and how they get into the report. */
import type { TestContext } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** V8's heap and the buffers that hang on it, in bytes, after a collection. */
export function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** A difference, with its sign. */
export function megabytes(bytes: number): string {
  return `${bytes < 0 ? '' : '+'}${(bytes / 1_048_576).toFixed(1)} MB`;
}

/** What a line of the report begins with, among a test's diagnostics. */
export const MEASURED = 'measured: ';

/** Adds a figure to the report, under the name of the test. */
export function tell(t: TestContext, figure: string): void {
  t.diagnostic(`${MEASURED}${t.name} | ${figure}`);
}
