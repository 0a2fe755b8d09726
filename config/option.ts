/** One row of an option table. Types only. */
import type { Format } from './formats.ts';

export interface Option {
  /** Dotted path, e.g. `limits.packetBytesMax`. */
  readonly key: string;
  readonly format: Format;
  /** Null: none, or worked out by the loader (then `defaultText` says how). */
  readonly default: unknown;
  readonly defaultText?: string;
  /** One sentence with the unit. */
  readonly doc: string;
}
