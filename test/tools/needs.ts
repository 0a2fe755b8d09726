/** The one way to skip a test, so that every skip prints why beside the test's name. */
import { type ProgramName, pathOf, whyMissing } from './apt.ts';

/** For the `skip` option of a test: false when all programs are there, otherwise the reason. */
export function needs(...names: ProgramName[]): string | false {
  const missing = names.find((name) => pathOf(name) === null);
  return missing === undefined ? false : whyMissing(missing);
}

/** For the `skip` option of a test that a machine can be unfit for: false when `fit`, otherwise `why`. */
export function skipUnless(fit: boolean, why: string): string | false {
  return fit ? false : why;
}
